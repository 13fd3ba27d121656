"""The engine: collections of filtered posterior means, written once for every window-based denoiser.

`reference` is the specification; `numba` and `torch` are fast backends that tests hold to it.
"""

from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.match import EveryPlace, Match, SameBorderDistance, SamePlace
from smalti.engine.posterior import Posterior
from smalti.engine.scheduled import Scheduled
from smalti.engine.threads import get_threads, set_threads
from smalti.engine.windows import Centred, Crops, Entries, Full, GaussianWindows, Masks, PackedMasks, Windows

__all__ = [
    "Centred",
    "Crops",
    "Entries",
    "EveryPlace",
    "Full",
    "GaussianWindows",
    "Masks",
    "Match",
    "PackedMasks",
    "Posterior",
    "PosteriorMeanCollection",
    "SameBorderDistance",
    "SamePlace",
    "Scheduled",
    "Windows",
    "get_threads",
    "set_threads",
]
