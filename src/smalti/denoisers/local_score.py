"""LocalScore: each pixel from the posterior of the window centred on it (Kamb & Ganguli's LS machine, arXiv 2412.20292).

D(z, sigma)(k) = sum_i w_k^i x^i(k),   w_k^i ∝ exp(-1/(2 sigma^2) sum_{q in window(k)} (z(q) - x^i(q))^2)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from smalti.core.by_level import ByLevel
from smalti.denoisers.base import WindowDenoiser, per_level, sides_within
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.pruning import TOLERANCE
from smalti.engine.windows import Centred
from smalti.source import Source

__all__ = ["LocalScore", "window_sides"]


def window_sides(shape: tuple[int, int, int]) -> list[int]:
    """Sides of windows to choose from: the paper's of patches that are smaller than the image, and one that covers it from every pixel."""
    return [*sides_within(min(shape[1:])), 2 * max(shape[1:]) - 1]


class LocalScore(WindowDenoiser):
    """Local score machine: every pixel from its own p x p window, clipped at the borders, at the same place in every image.

    Args:
        source: the training images.
        window: odd side p >= 1 of the window; from 2 max(H, W) - 1 on it covers the image from every pixel. One side, or a list with
            one for each of `sigmas`.
        backend, tolerance: as for all that the engine computes (`smalti.denoisers.base.EngineDenoiser`).
        sigmas: the noise levels of a list of windows; the 18 levels of the EDM schedule by default. The nearest one serves.

    Raises:
        InputError: an even window, or one larger than 2 max(H, W) - 1; lengths that differ.
    """

    name = "local-score"
    paper = "Kamb & Ganguli, An analytic theory of creativity in convolutional diffusion models, LS machine"
    by_level = ByLevel("window", whole=True, candidates=lambda shape, others: window_sides(shape))

    def __init__(
        self,
        source: Source,
        window: int | Sequence[int] = 7,
        backend: str = "auto",
        *,
        sigmas: Sequence[float] | torch.Tensor | None = None,
        tolerance: float = TOLERANCE,
    ) -> None:
        self.window, self.sigmas = window, sigmas
        self.windows, levels = per_level(window, sigmas, "windows")
        super().__init__(levels, source=source, backend=backend, tolerance=tolerance)
        for side in self.windows:
            Centred(side).check(self.shape)

    def collection_at(self, level: int) -> PosteriorMeanCollection:
        return self.posteriors(Centred(self.windows[level]), Centred(1))
