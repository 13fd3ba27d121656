"""One denoiser per noise level: `Scheduled` picks the level nearest to sigma, makes its denoiser once, and groups mixed batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.schedule import nearest_level
from smalti.core.surroundings import outside

if TYPE_CHECKING:
    from smalti.engine.collection import PosteriorMeanCollection

__all__ = ["Scheduled"]


class Scheduled(Denoiser):
    """A denoiser that changes with the noise level.

    Args:
        sigmas: the levels sigma_i, each > 0, in any order.
        factory: `factory(i)` makes the denoiser (a `PosteriorMeanCollection`, say) of level i; called when first needed.

    A call uses the level nearest in |sigma - sigma_i| (linear, as in the published code; the first of equals).

    Raises:
        InputError: no levels, or one that is not finite and > 0.
    """

    name = "scheduled"

    def __init__(self, sigmas: Sequence[float] | torch.Tensor, factory: Callable[[int], Denoiser]) -> None:
        self.sigmas = [float(s) for s in sigmas]
        self.factory = factory
        if not self.sigmas or not all(0 < s < float("inf") for s in self.sigmas):
            raise InputError("a schedule needs at least one sigma, each finite and greater than 0")
        self._made: dict[int, Denoiser] = {}
        first = self.at_level(0)
        self.shape, self.num_classes = first.shape, first.num_classes

    def at_level(self, level: int) -> Denoiser:
        """The denoiser of one level, made on first use."""
        if level not in self._made:
            made = outside(self.factory, level)
            if self._made and made.shape != self.shape:
                raise InputError(
                    f"level {level} makes a denoiser of {made.shape}, level 0 one of {self.shape}; they must agree"
                )
            self._made[level] = made
        return self._made[level]

    def at_sigma(self, sigma: float) -> Denoiser:
        """The denoiser of the level nearest to `sigma`."""
        return self.at_level(nearest_level(self.sigmas, sigma))

    def collection(self, sigma: float) -> PosteriorMeanCollection:
        """The same, where the levels are collections."""
        from smalti.engine.collection import PosteriorMeanCollection

        found = self.at_sigma(sigma)
        if not isinstance(found, PosteriorMeanCollection):
            raise InputError(f"the level of sigma {sigma:g} is a {type(found).__name__}, not a collection")
        return found

    def denoise(self, z: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        levels = [nearest_level(self.sigmas, float(s)) for s in sigma]
        if len(set(levels)) == 1:
            return self.at_level(levels[0]).denoise(z, sigma, labels)
        out = torch.empty_like(z)
        for level in sorted(set(levels)):
            rows = torch.tensor([i for i, found in enumerate(levels) if found == level])
            here = rows.to(z.device)
            part = self.at_level(level).denoise(z[here], sigma[rows], None if labels is None else labels[rows])
            out = out.index_copy(0, here, part.to(z.dtype))
        return out
