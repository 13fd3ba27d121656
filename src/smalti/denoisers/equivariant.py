"""EquivariantLocalScore: as LocalScore, but each window is compared with every place (Kamb & Ganguli's ELS machine, arXiv 2412.20292).

    D(z, sigma)(k) = sum_{i, s} w_k^{i,s} x^i(k + s),   w_k^{i,s} ∝ exp(-1/(2 sigma^2) sum_{q in window(k)} (z(q) - x^i(q + s))^2)

over all images i and the shifts s that `borders` admits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from smalti.core.by_level import ByLevel
from smalti.core.errors import InputError
from smalti.core.validation import shown
from smalti.denoisers.base import WindowDenoiser, per_level, sides_within
from smalti.denoisers.local_score import window_sides
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.match import EveryPlace, SameBorderDistance
from smalti.engine.pruning import TOLERANCE
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
        backend, tolerance: as for all that the engine computes (`smalti.denoisers.base.EngineDenoiser`).
        sigmas: the noise levels of a list of windows; the 18 levels of the EDM schedule by default. The nearest one serves.

    Raises:
        InputError: an even window, or one that does not fit the images; lengths that differ; other borders.
    """

    name = "equivariant-local-score"
    paper = "Kamb & Ganguli, An analytic theory of creativity in convolutional diffusion models, ELS machine"
    by_level = ByLevel(
        "window", whole=True, candidates=lambda shape, others: _sides(shape, others.get("borders", "circular"))
    )

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
        self.window, self.borders, self.sigmas = window, borders, sigmas
        if borders not in ("circular", "aware"):
            raise InputError(f"borders must be 'circular' or 'aware', not {shown(borders)}")
        sides, levels = per_level(window, sigmas, "windows")
        self.windows = [Centred(side, wrap=borders == "circular") for side in sides]
        super().__init__(levels, source=source, backend=backend, tolerance=tolerance)
        for windows in self.windows:
            windows.check(self.shape)

    def collection_at(self, level: int) -> PosteriorMeanCollection:
        match = EveryPlace() if self.borders == "circular" else SameBorderDistance()
        return self.posteriors(self.windows[level], Centred(1), match)


def _sides(shape: tuple[int, int, int], borders: str) -> list[int]:
    """Sides to choose from: as for `LocalScore`, or for circular borders up to the largest odd one that fits."""
    if borders != "circular":
        return window_sides(shape)
    side = min(shape[1:])
    return sorted({*sides_within(side), side - (side + 1) % 2})
