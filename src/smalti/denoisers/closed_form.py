"""ClosedFormDiffusion: the optimal denoiser, smoothed by averaging it over moved z (Scarvelis et al., arXiv 2310.12395).

    D(z, sigma) = 1/M sum_m Optimal(z + tau(sigma) e_m, sigma),   tau = c (1 + sigma)  or  c sqrt(1 + sigma^2)

The noise e_m is drawn once, from a seed, in antithetic pairs e, -e: they sum to 0, so that averaging scores is averaging denoisers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch

from smalti.core.by_level import ByLevel
from smalti.core.errors import InputError
from smalti.core.noise import check_seed, standard_normal
from smalti.core.schedule import nearest_level
from smalti.core.validation import check_integer, shown
from smalti.denoisers.base import EngineDenoiser, check_levels, check_number, per_level
from smalti.denoisers.nearest import Nearest
from smalti.denoisers.optimal import Optimal
from smalti.engine.pruning import TOLERANCE
from smalti.source import Source

__all__ = ["SMOOTHINGS", "ClosedFormDiffusion"]

MOST_SAMPLES = 10_000
SMOOTHINGS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # to choose from


class ClosedFormDiffusion(EngineDenoiser):
    """Smoothed closed-form diffusion model (sigma-CFDM): tends to barycentres of near training images.

    A deterministic function of (z, sigma): the noise is the same at every call.

    Args:
        source: the training images.
        smoothing: c >= 0, standard deviation of the noise in the coordinates below; 0 gives Optimal. The default, 0.1, is
            analytic-diffusion-studio's; Scarvelis et al. choose it for each data set, so for "scarvelis" it is no more than a start.
            One for all noise levels, or a list with one for each of `sigmas`.
        samples: M, even, >= 2; 10 is the studio's.
        seed: of the noise, 0 to 2^64 - 1.
        coordinates: in which the noise has the same size at all times: "scarvelis", t x + (1 - t) e with sigma = (1 - t)/t, so that
            tau = c (1 + sigma); "studio", variance preserving, tau = c sqrt(1 + sigma^2).
        backend, tolerance: as for all that the engine computes (`smalti.denoisers.base.EngineDenoiser`).
        sigmas: the noise levels of a list of smoothings; the 18 levels of the EDM schedule by default. The nearest one serves.

    Costs M times as much as Optimal.

    Raises:
        InputError: a negative smoothing, an odd number of samples, a seed out of range, other coordinates;
            lengths that differ.
    """

    name = "closed-form-diffusion"
    paper = "Scarvelis et al., Closed-Form Diffusion Models, arXiv 2310.12395"
    opt_outs = {"flips_commute": "its noise is fixed, and not symmetric"}
    by_level = ByLevel("smoothing", candidates=lambda shape, others: SMOOTHINGS)

    def __init__(
        self,
        source: Source,
        smoothing: float | Sequence[float] = 0.1,
        samples: int = 10,
        seed: int = 0,
        coordinates: Literal["scarvelis", "studio"] = "scarvelis",
        backend: str = "auto",
        *,
        sigmas: Sequence[float] | torch.Tensor | None = None,
        tolerance: float = TOLERANCE,
    ) -> None:
        super().__init__(source, backend, tolerance)
        self.smoothing, self.samples, self.seed = smoothing, samples, seed
        self.coordinates, self.sigmas = coordinates, sigmas
        smoothings, self.levels = per_level(smoothing, sigmas, "smoothings")
        self.smoothings = [check_number("the smoothing", one) for one in smoothings]
        for one in self.smoothings:
            if not 0 <= one < float("inf"):
                raise InputError(f"the smoothing must be finite and not negative, not {one}")
        if self.levels is not None:
            check_levels(self.levels)
        if not 2 <= check_integer("samples", samples) <= MOST_SAMPLES or samples % 2:
            raise InputError(
                f"samples must be even, at least 2 and at most {MOST_SAMPLES:,}, since noise comes in pairs e, -e, "
                f"not {shown(samples)}"
            )
        if coordinates not in ("scarvelis", "studio"):
            raise InputError(f"coordinates must be 'scarvelis' or 'studio', not {shown(coordinates)}")
        half = standard_normal(check_seed(seed), range(samples // 2), source.shape)
        self.noise = torch.cat([half, -half])
        self._optimal = Optimal(source, backend, tolerance=self.tolerance)

    def tau(self, sigma: torch.Tensor) -> torch.Tensor:
        """Standard deviation of the noise that z is moved by, at noise levels (B,)."""
        return self._smoothing_at(sigma) * (1 + sigma if self.coordinates == "scarvelis" else (1 + sigma**2).sqrt())

    def _smoothing_at(self, sigma: torch.Tensor) -> torch.Tensor:
        """c at noise levels (B,), float64."""
        if self.levels is None:
            return torch.tensor(self.smoothings[0], dtype=torch.float64)
        found = [self.smoothings[nearest_level(self.levels, float(s))] for s in sigma]
        return torch.tensor(found, dtype=torch.float64, device=sigma.device)

    def denoise(self, z: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        moved, levels, classes = self._moved(z, sigma, labels)
        return self._optimal.denoise(moved, levels, classes).unflatten(0, (len(z), self.samples)).mean(1)

    def limit(self, z: torch.Tensor, sigma: float) -> torch.Tensor:
        """What it tends to as sigma goes to 0: the mean of the images that are nearest to the moved z; (B, C, H, W)."""
        moved, levels, _ = self._moved(z, torch.full((len(z),), float(sigma), dtype=torch.float64), None)
        return Nearest(self.source).denoise(moved, levels, None).unflatten(0, (len(z), self.samples)).mean(1)

    def jacobian_rows(
        self, z: torch.Tensor, sigma: float, pixels: torch.Tensor, labels: torch.Tensor | None = None
    ) -> Iterator[torch.Tensor]:
        """The derivatives of chosen output pixels: the mean of Optimal's; see `PosteriorMeanCollection.jacobian_rows`."""
        levels = torch.full((len(z),), float(sigma), dtype=torch.float64)
        moved, _, classes = self._moved(z, levels, labels)
        for rows in self._optimal.jacobian_rows(moved, sigma, pixels, classes):
            yield rows.unflatten(0, (len(z), self.samples)).mean(1)

    def _moved(
        self, z: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """z + tau e_m for all m, (B M, C, H, W) float64, with their noise levels and classes."""
        moves = self.tau(sigma)[:, None, None, None, None] * self.noise
        moved = (z.double()[:, None] + moves.to(z.device)).flatten(0, 1)
        classes = None if labels is None else labels.repeat_interleave(self.samples)
        return moved, sigma.repeat_interleave(self.samples), classes
