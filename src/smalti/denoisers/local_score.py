"""LocalScore: each pixel from the posterior of the window centred on it (Kamb & Ganguli's LS machine, arXiv 2412.20292).

D(z, sigma)(k) = sum_i w_k^i x^i(k),   w_k^i ∝ exp(-1/(2 sigma^2) sum_{q in window(k)} (z(q) - x^i(q))^2)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from smalti.denoisers.base import WindowDenoiser, check_source, per_level
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.pruning import TOLERANCE, check_tolerance
from smalti.engine.windows import Centred
from smalti.source import Source

__all__ = ["LocalScore"]


class LocalScore(WindowDenoiser):
    """Local score machine: every pixel from its own p x p window, clipped at the borders, at the same place in every image.

    Args:
        source: the training images.
        window: odd side p >= 1 of the window; from 2 max(H, W) - 1 on it covers the image from every pixel. One side, or a list with
            one for each of `sigmas`.
        backend: "auto", "numba", "torch" or "reference".
        tolerance: what a pixel may be off for images left out because they certainly weigh little (`smalti.engine.pruning`); 0 for none.
        sigmas: the noise levels of a list of windows; the 18 levels of the EDM schedule by default. The nearest one serves.

    Raises:
        InputError: an even window, or one larger than 2 max(H, W) - 1; lengths that differ.
    """

    name = "local-score"
    paper = "Kamb & Ganguli, An analytic theory of creativity in convolutional diffusion models, LS machine"

    def __init__(
        self,
        source: Source,
        window: int | Sequence[int] = 7,
        backend: str = "auto",
        *,
        sigmas: Sequence[float] | torch.Tensor | None = None,
        tolerance: float = TOLERANCE,
    ) -> None:
        check_source(source)
        self.tolerance = check_tolerance(tolerance)
        self.source, self.window, self.backend, self.sigmas = source, window, backend, sigmas
        self.windows, levels = per_level(window, sigmas, "windows")
        for side in self.windows:
            Centred(side).check(source.shape)
        super().__init__(levels)

    def collection_at(self, level: int) -> PosteriorMeanCollection:
        return PosteriorMeanCollection(
            self.source, Centred(self.windows[level]), Centred(1), backend=self.backend, tolerance=self.tolerance
        )
