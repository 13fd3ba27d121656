"""EquivariantLocalScore: as LocalScore, but each window is compared with every place (Kamb & Ganguli's ELS machine, arXiv 2412.20292).

    D(z, sigma)(k) = sum_{i, s} w_k^{i,s} x^i(k + s),   w_k^{i,s} ∝ exp(-1/(2 sigma^2) sum_{q in window(k)} (z(q) - x^i(q + s))^2)

over all images i and the shifts s that `borders` admits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from smalti.core.errors import InputError
from smalti.denoisers.base import WindowDenoiser, check_source, per_level
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.match import EveryPlace, SameBorderDistance
from smalti.engine.pruning import TOLERANCE, check_tolerance
from smalti.engine.windows import Centred
from smalti.source import Source

__all__ = ["EquivariantLocalScore"]


class EquivariantLocalScore(WindowDenoiser):
    """Equivariant local score machine: every pixel from its own p x p window, compared with windows at all places.

    Args:
        source: the training images.
        window: odd side p >= 1 of the window: one, or a list with one for each of `sigmas`. p <= H, W for circular borders,
            p <= 2 max(H, W) - 1 for aware ones.
        borders: "circular": z wraps around, and is compared with every p x p patch that lies inside an image. "aware": windows are
            clipped; a row (column) less than p // 2 from a border is compared with the row (column) at that very distance from it
            only, all others with all others.
        backend: "auto", "numba", "torch" or "reference".
        tolerance: what a pixel may be off for images left out because they certainly weigh little (`smalti.engine.pruning`); 0 for none.
        sigmas: the noise levels of a list of windows; the 18 levels of the EDM schedule by default. The nearest one serves.

    Raises:
        InputError: an even window, or one that does not fit the images; lengths that differ; other borders.
    """

    name = "equivariant-local-score"
    paper = "Kamb & Ganguli, An analytic theory of creativity in convolutional diffusion models, ELS machine"

    def __init__(
        self,
        source: Source,
        window: int | Sequence[int] = 7,
        borders: Literal["circular", "aware"] = "circular",
        backend: str = "auto",
        *,
        sigmas: Sequence[float] | torch.Tensor | None = None,
        tolerance: float = TOLERANCE,
    ) -> None:
        check_source(source)
        self.tolerance = check_tolerance(tolerance)
        self.source, self.window, self.borders, self.backend = source, window, borders, backend
        self.sigmas = sigmas
        if borders not in ("circular", "aware"):
            raise InputError(f"borders must be 'circular' or 'aware', not {borders!r}")
        sides, levels = per_level(window, sigmas, "windows")
        self.windows = [Centred(side, wrap=borders == "circular") for side in sides]
        for windows in self.windows:
            windows.check(source.shape)
        super().__init__(levels)

    def collection_at(self, level: int) -> PosteriorMeanCollection:
        match = EveryPlace() if self.borders == "circular" else SameBorderDistance()
        queries = self.windows[level]
        return PosteriorMeanCollection(
            self.source, queries, Centred(1), match, backend=self.backend, tolerance=self.tolerance
        )
