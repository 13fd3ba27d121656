"""Which denoiser `smalti.generate` uses by default: chosen by measurement on faces (docs: Generation).

Windows are centred on every pixel, and their responses are the middle of what they look at: a posterior that looks far agrees with its
neighbours, and one with a small response is averaged with few of them, which keeps images sharp. Sides by the short side of a scale:

    short side    8    16    32    64
    window        5     7    11    15
    response      3     3     3     5

Other scales have the sides of the nearest of these, in the logarithm of the short side; beyond 64, 15 and 5.
"""

from __future__ import annotations

import math

from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.windows import Centred
from smalti.source import Source

__all__ = ["SIDES", "default_denoiser", "default_sides"]

SIDES = {8: (5, 3), 16: (7, 3), 32: (11, 3), 64: (15, 5)}


def default_sides(height: int, width: int) -> tuple[int, int]:
    """Sides of windows and of their responses, at a scale of H x W: odd, and never so large that a window is the whole image."""
    short = min(height, width)
    window, response = SIDES[min(SIDES, key=lambda side: abs(math.log(short / side)))]
    largest = max(1, (short - 1) - short % 2)  # odd, below the short side
    return min(window, largest), min(response, window, largest)


def default_denoiser(source: Source) -> PosteriorMeanCollection:
    """The denoiser of one scale of `smalti.generate`."""
    window, response = default_sides(*source.shape[1:])
    return PosteriorMeanCollection(source, Centred(window), Centred(response))
