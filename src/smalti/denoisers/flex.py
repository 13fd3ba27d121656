"""PSPC-Flex: patch set posterior composites of masks that are cut from heatmaps (Niedoba et al., full paper, Eqs. 8-11).

    E_k = sum_i w_k^i M_k x^i,  w_k^i ∝ exp(-|M_k z - M_k x^i|^2 / (2 sigma^2));   D = (sum_k M_k)^-1 sum_k M_k E_k

over all output pixels k. M_k keeps the pixels of most heat for k that hold a share lambda of it; lambda falls with the noise level.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch

from smalti.core.by_level import ByLevel
from smalti.core.errors import InputError
from smalti.core.schedule import edm_sigmas, nearest_level
from smalti.denoisers.base import check_number, schedule_of
from smalti.denoisers.heatmap_windows import WIENER, HeatmapDenoiser, Heatmaps, hard_windows
from smalti.engine.pruning import TOLERANCE
from smalti.engine.windows import Full, PackedMasks, Windows
from smalti.source import Source

__all__ = ["SHARES", "THRESHOLDS", "PSPCFlex"]

# shares of the heat along the 18 levels of the EDM schedule, for CIFAR-10
THRESHOLDS = (1.0,) * 7 + (0.7, 0.7, 0.5, 0.4, 0.4, 0.4, 0.4, 0.3, 0.3, 0.3, 0.3)

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # to choose from


class PSPCFlex(HeatmapDenoiser):
    """Patch set posterior composite of masks cut from heatmaps: what a network looks at, pixel by pixel.

    Args:
        source: the training images.
        heatmaps: "wiener", the linear denoiser's own filter |F|, F = S (S + sigma^2 I)^-1, summed over channels (S as in `Gaussian`;
            of the class, for z with labels); or heatmaps of a network or denoiser, (levels, H, W, H, W), output pixel before input
            pixel, finite and >= 0: an array, a .npy or .npz file, or the result or file of `smalti.sensitivity`.
        thresholds: lambda, the share of the heat that a mask keeps, 0 < lambda <= 1: one, or one for each noise level; 1 is one full
            mask for the image. By default the paper's for CIFAR-10 (`THRESHOLDS`); at other levels that of the nearest of its 18.
        sigmas: the noise levels of heatmaps and thresholds, which the nearest serves; by default those that the heatmaps come with,
            else the 18 levels of the EDM schedule.
        backend, tolerance: as for all that the engine computes (`smalti.denoisers.base.EngineDenoiser`).

    A mask is what `smalti.denoisers.heatmap_windows.hard_windows` says: sorted ascending, from where the cumulative share reaches
    1 - lambda; a pixel that no mask covers joins its own. Masks are cut when a level is first used and kept as bits,
    (H W)^2 / 8 bytes a level.
    "wiener" needs S and its eigenvectors: 16 (C H W)^2 bytes of float64, 150 MB for 3 x 32 x 32, for the source and for each class
    that is asked for.

    Raises:
        InputError: heatmaps that cannot be read, do not fit the images or are negative; thresholds out of range; lengths that differ.
    """

    name = "pspc-flex"
    paper = "Niedoba et al., Towards a Mechanistic Explanation of Diffusion Model Generalization, PSPC-Flex, Eqs. 8-11"
    by_level = ByLevel("thresholds", candidates=lambda shape, others: SHARES)
    kept = 256

    def __init__(
        self,
        source: Source,
        heatmaps: Heatmaps = WIENER,
        thresholds: float | Sequence[float] | None = None,
        sigmas: Sequence[float] | torch.Tensor | None = None,
        backend: str = "auto",
        *,
        tolerance: float = TOLERANCE,
    ) -> None:
        self.thresholds = thresholds
        super().__init__(source, heatmaps, sigmas, backend, tolerance=tolerance)
        assert self.levels is not None
        self.shares = _shares(thresholds, self.levels)

    def with_thresholds(self, thresholds: float | Sequence[float] | None) -> PSPCFlex:
        """The same denoiser with other thresholds; the heatmaps, and what was computed for them, are shared.

        Raises:
            InputError: thresholds out of range; lengths that differ.
        """
        assert self.levels is not None
        other = copy.copy(self)
        other.thresholds, other.shares = thresholds, _shares(thresholds, self.levels)
        other._made = OrderedDict()
        return other

    def windows_of(self, level: int, label: int | None) -> tuple[Windows, Windows]:
        share = self.shares[level]
        if share == 1:
            return Full(), Full()
        masks = hard_windows(self.heat(level, label), share, tied=self.rounded)
        windows = PackedMasks.of(masks.unflatten(1, (1, *self.shape[1:])))
        return windows, windows


def _shares(thresholds: float | Sequence[float] | None, levels: list[float]) -> list[float]:
    """The share of each level."""
    if thresholds is None:
        schedule = edm_sigmas().tolist()
        shares = [THRESHOLDS[nearest_level(schedule, sigma)] for sigma in levels]
    elif isinstance(thresholds, (Sequence, np.ndarray, torch.Tensor)) and not isinstance(thresholds, str):
        schedule_of(thresholds, levels, "thresholds", levels)  # type: ignore[arg-type]
        shares = [check_number("a threshold", share) for share in thresholds]
    else:
        shares = [check_number("the threshold", thresholds)] * len(levels)
    for share in shares:
        if not 0 < share <= 1:
            raise InputError(f"thresholds must be above 0 and at most 1 (0.3 keeps 30 % of the heat), not {share}")
    return shares
