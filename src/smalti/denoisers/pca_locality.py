"""PCALocality: each entry from the entries that its Wiener filter looks at (Lukoianov et al., arXiv 2509.09672).

    F = S (S + sigma^2 I)^-1,   f_nm = |F_nm| / F_nn   (a diagonal below 1e-6 counts as 1)
    D(z, sigma)_m = sum_i w_m^i x_m^i,   w_m^i ∝ exp(-1/(2 sigma^2 T) sum_{n: f_nm >= t max f} (z_n - x_n^i)^2)

m and n are entries (channel, row, column); S is the population covariance of the source; t is the threshold, T the temperature.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from smalti.core.errors import InputError
from smalti.core.schedule import edm_sigmas, nearest_level
from smalti.denoisers.base import AdaptedWindowDenoiser, check_number, check_source, schedule_of
from smalti.denoisers.gaussian import Gaussian
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.pruning import TOLERANCE
from smalti.engine.windows import Entries, PackedMasks
from smalti.source import Source

__all__ = ["PCALocality"]

SMALLEST_DIAGONAL = 1e-6


class PCALocality(AdaptedWindowDenoiser):
    """The analytic denoiser whose locality is that of the data's own covariance.

    Args:
        source: the training images.
        threshold: t, from 0 (all entries) to 1: which entries a posterior looks at, relative to the largest of the normalised filter.
        temperature: T > 0, divides the squared distances.
        masks: given instead of the filter's: (C H W, C, H, W) of 0 and 1, what the posterior of each output entry looks at, or
            (levels, C H W, C, H, W), one for each of `sigmas`.
        sigmas: the noise levels of `masks`; the 18 levels of the EDM schedule by default. The nearest one serves.
        backend, tolerance: as for all that the engine computes (`smalti.denoisers.base.EngineDenoiser`).

    The filter is computed in float64 at the very sigma of each call, for z with labels that of their class. An entry that the rule
    leaves with nothing to look at, as one that never varies, looks at itself. The posterior is normalised over the whole source, so that
    the result does not depend on any block or batch size (the published code's does).
    S and its eigenvectors take 16 (C H W)^2 bytes, 150 MB for 3 x 32 x 32, for the source and for each class that is asked for. Masks
    take (C H W)^2 / 8 bytes for each sigma, 1.2 MB; the latest 64 are kept.

    Raises:
        InputError: a threshold or temperature out of range; masks that do not fit the images or are not 0 and 1; lengths that differ.
    """

    name = "pca-locality"
    paper = "Lukoianov et al., Locality in Image Diffusion Models Emerges from Data Statistics, arXiv 2509.09672"

    def __init__(
        self,
        source: Source,
        threshold: float = 0.02,
        temperature: float = 1.0,
        masks: torch.Tensor | np.ndarray | None = None,
        sigmas: Sequence[float] | torch.Tensor | None = None,
        backend: str = "auto",
        *,
        tolerance: float = TOLERANCE,
    ) -> None:
        check_source(source)
        self.threshold, self.temperature = threshold, temperature
        self.masks = torch.from_numpy(masks) if isinstance(masks, np.ndarray) else masks
        self.sigmas = sigmas
        if not 0 <= check_number("the threshold", threshold) <= 1:
            raise InputError(f"the threshold must be from 0 to 1, not {threshold}")
        if not 0 < check_number("the temperature", temperature) < float("inf"):
            raise InputError(f"the temperature must be finite and greater than 0, not {temperature}")
        if masks is None and sigmas is not None:
            raise InputError("sigmas were given without masks; without masks every sigma has its own filter")
        self._given = None if masks is None else self._packed(source.shape)
        levels = None
        if self._given is not None:
            single = self.masks.ndim == 4  # type: ignore[union-attr]
            if single and sigmas is not None:
                raise InputError("sigmas were given with masks for one level; give (levels, C H W, C, H, W)")
            levels = [1.0] if single else schedule_of(self._given, sigmas, "masks", edm_sigmas().tolist())
        self._linear = Gaussian(source) if masks is None else None
        super().__init__(levels, classwise=masks is None, source=source, backend=backend, tolerance=tolerance)

    @property
    def opt_outs(self) -> dict[str, str]:  # type: ignore[override]
        """Asymmetric masks make a denoiser that flips do not commute with."""
        if self.masks is None:
            return {}
        masks = self.masks.reshape(-1, *self.shape, *self.shape)
        return {} if torch.equal(masks, masks.flip(3, 6)) else {"flips_commute": "its masks are not symmetric"}

    def masks_at(self, sigma: float, label: int | None = None) -> torch.Tensor:
        """What the posteriors at `sigma` look at: (C H W, C, H, W) bool, output entry before input entry."""
        if self._given is not None:
            assert self.levels is not None
            return self._given[nearest_level(self.levels, sigma)].masks(self.shape) > 0
        assert self._linear is not None
        a = self._linear.filter_factor(sigma, label)
        f = (a @ a.T).abs_()  # F_nm
        diagonal = f.diagonal().clone()
        f /= torch.where(diagonal < SMALLEST_DIAGONAL, 1, diagonal)[:, None]
        looks = (
            (f >= self.threshold * f.max()) & (f > 0) if self.threshold > 0 else torch.ones_like(f, dtype=torch.bool)
        )
        masks = looks.T.contiguous()
        alone = (~masks.any(1)).nonzero()[:, 0]
        masks[alone, alone] = True
        return masks.unflatten(1, self.shape)

    def collection_for(self, sigma: float, label: int | None) -> PosteriorMeanCollection:
        queries = PackedMasks.of(self.masks_at(sigma, label), 1 / self.temperature)
        return self.posteriors(queries, Entries())

    def _packed(self, shape_of_images: tuple[int, int, int]) -> list[PackedMasks]:
        masks, entries = self.masks, int(np.prod(shape_of_images))
        wanted = (entries, *shape_of_images)
        if not isinstance(masks, torch.Tensor) or masks.ndim not in (4, 5) or tuple(masks.shape[-4:]) != wanted:
            shape = tuple(masks.shape) if isinstance(masks, torch.Tensor) else type(masks).__name__
            raise InputError(f"masks must be {wanted} or (levels, {', '.join(map(str, wanted))}), not {shape}")
        if not bool(((masks == 0) | (masks == 1)).all()):
            raise InputError("masks must be 0 or 1: what the posterior of each output entry looks at")
        return [PackedMasks.of(level) for level in (masks[None] if masks.ndim == 4 else masks)]
