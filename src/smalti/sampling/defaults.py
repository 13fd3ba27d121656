"""Which denoiser and how many steps `smalti.generate` uses by default: chosen by measurement on faces (docs: Generation).

Windows are centred on every pixel, and their responses are the middle of what they look at: a posterior that looks far agrees with its
neighbours, and one with a small response is averaged with few of them, which keeps images sharp. Sides by the short side of a scale:

    short side    8    16    32    64
    window        5     7    11    15
    response      3     3     3     5
    steps        30    20    20    10

More steps cost little at coarse scales, and decide the layout: with few, samples are alike and flat.

Other scales have the sides of the nearest of these, in the logarithm of the short side; beyond 64, 15 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.windows import Centred
from smalti.source import Source

__all__ = ["SIDES", "STEPS", "default_denoiser", "default_sides", "default_steps"]

SIDES = {8: (5, 3), 16: (7, 3), 32: (11, 3), 64: (15, 5)}
STEPS = {8: 30, 16: 20, 32: 20, 64: 10}


def default_sides(height: int, width: int) -> tuple[int, int]:
    """Sides of windows and of their responses, at a scale of H x W: odd, and never so large that a window is the whole image."""
    short = min(height, width)
    window, response = SIDES[_nearest(short)]
    largest = max(1, (short - 1) - short % 2)  # odd, below the short side
    return min(window, largest), min(response, window, largest)


def default_steps(sizes: Iterable[Sequence[int]]) -> list[int]:
    """Steps at scales of these (H, W)."""
    return [STEPS[_nearest(min(size))] for size in sizes]


def _nearest(short: int) -> int:
    return min(SIDES, key=lambda side: abs(math.log(short / side)))


def default_denoiser(source: Source) -> PosteriorMeanCollection:
    """The denoiser of one scale of `smalti.generate`."""
    window, response = default_sides(*source.shape[1:])
    return PosteriorMeanCollection(source, Centred(window), Centred(response))
