"""Soft windows: posteriors that look at near pixels, or at those that matter, more than at others.

    w_k^i ∝ exp(-1/(2 sigma^2) sum_q Q_k(q) (z(q) - x^i(q))^2),   0 <= Q_k <= 1

    GaussianWindow   Q_k(q) = exp(-|q - k|^2 / (2 width^2))
    HeatmapWeighted  Q_k(q) = G_k(q) / max_q G_k(q)

The response is the pixel alone, R_k = 1 at k, or all that the posterior looks at, R_k = Q_k. (Collections of filtered posterior
means, arXiv 2605.24192.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from smalti.core.by_level import ByLevel
from smalti.core.errors import InputError
from smalti.core.validation import shown
from smalti.denoisers.base import WindowDenoiser, check_number, per_level
from smalti.denoisers.heatmap_windows import WIENER, HeatmapDenoiser, Heatmaps, soft_windows
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.pruning import TOLERANCE
from smalti.engine.windows import Centred, GaussianWindows, Masks, Windows
from smalti.source import Source

__all__ = ["WIDTHS", "GaussianWindow", "HeatmapWeighted"]

WIDTHS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)  # to choose from
Response = Literal["pixel", "window"]


class GaussianWindow(WindowDenoiser):
    """Every pixel from the posterior of a Gaussian window around it.

    Args:
        source: the training images.
        width: standard deviation of the window in pixels, > 0: one, or a list with one for each of `sigmas`. Small widths look at the
            pixel alone, large ones at the whole image.
        response: what each posterior mean contributes: "pixel", its own pixel, or "window", all that it looks at, weighted alike.
        sigmas: the noise levels of a list of widths; the 18 levels of the EDM schedule by default. The nearest one serves.
        backend, tolerance: as for all that the engine computes (`smalti.denoisers.base.EngineDenoiser`).

    Raises:
        InputError: a width that is not greater than 0, lengths that differ, another response.
    """

    name = "gaussian-window"
    paper = (
        "a soft LocalScore (response pixel) or PSPC (window); collections of filtered posterior means, arXiv 2605.24192"
    )

    by_level = ByLevel("width", candidates=lambda shape, others: [w for w in WIDTHS if w <= max(1, min(shape[1:]))])
    kept_as = "smalti.denoisers.soft.GaussianWindow"

    def __init__(
        self,
        source: Source,
        width: float | Sequence[float] = 2.0,
        response: Response = "pixel",
        sigmas: Sequence[float] | torch.Tensor | None = None,
        backend: str = "auto",
        *,
        tolerance: float = TOLERANCE,
    ) -> None:
        self.width, self.response, self.sigmas = width, response, sigmas
        _check_response(response)
        widths, levels = per_level(width, sigmas, "widths")
        self.widths = [check_number("the width of a Gaussian window", one) for one in widths]
        super().__init__(levels, source=source, backend=backend, tolerance=tolerance)
        for one in self.widths:
            GaussianWindows(one).check(self.shape)

    def collection_at(self, level: int) -> PosteriorMeanCollection:
        queries = GaussianWindows(self.widths[level])
        responses = queries if self.response == "window" else Centred(1)
        return self.posteriors(queries, responses)


class HeatmapWeighted(HeatmapDenoiser):
    """Every pixel from the posterior of a window that is proportional to its heatmap: PSPC-Flex without a threshold.

    Args:
        source: the training images.
        heatmaps, sigmas: as for `PSPCFlex`. Each heatmap is divided by its largest value.
        response: what each posterior mean contributes: "pixel", its own pixel, or "window", all that it looks at, weighted alike.
        backend, tolerance: as for all that the engine computes (`smalti.denoisers.base.EngineDenoiser`).

    Windows are made when a level is first used: 8 (H W)^2 bytes a level, 8 MB for 32 x 32; the latest 24 are kept. A pixel whose heatmap
    is 0 looks at itself.

    Raises:
        InputError: heatmaps that cannot be read, do not fit the images or are negative; lengths that differ; another response.
    """

    name = "heatmap-weighted"
    paper = "a soft PSPC-Flex; collections of filtered posterior means, arXiv 2605.24192"
    kept = 24
    kept_as = "smalti.denoisers.soft.HeatmapWeighted"

    def __init__(
        self,
        source: Source,
        heatmaps: Heatmaps = WIENER,
        response: Response = "pixel",
        sigmas: Sequence[float] | torch.Tensor | None = None,
        backend: str = "auto",
        *,
        tolerance: float = TOLERANCE,
    ) -> None:
        self.response = response
        _check_response(response)
        super().__init__(source, heatmaps, sigmas, backend, tolerance=tolerance)

    def windows_of(self, level: int, label: int | None) -> tuple[Windows, Windows]:
        queries = Masks(soft_windows(self.heat(level, label)).unflatten(1, self.shape[1:]))
        return queries, queries if self.response == "window" else Centred(1)


def _check_response(response: str) -> None:
    if response not in ("pixel", "window"):
        raise InputError(f"the response must be 'pixel' or 'window', not {shown(response)}")
