"""A parameter of a denoiser that may have one value for each noise level: what schedules say and calibrations choose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["ByLevel"]

Shape = tuple[int, int, int]


class ByLevel(NamedTuple):
    """A parameter that takes a list with one value for each of `sigmas`, as a denoiser's class says it (`Denoiser.by_level`):

        class Columns(smalti.WindowDenoiser):
            by_level = ByLevel("width", whole=True, candidates=lambda shape, others: range(1, shape[2] + 1, 2))

    Attributes:
        parameter: its name in the constructor.
        whole: whether the values are whole numbers.
        full: whether None may stand for the whole image.
        instead: other parameters that say the same for all levels.
        candidates: `candidates(shape, others)`, what a calibration chooses from where nothing else is said, for images of shape (C, H, W)
            and the constructor's other parameters; None where the candidates must be given.
    """

    parameter: str
    whole: bool = False
    full: bool = False
    instead: tuple[str, ...] = ()
    candidates: Callable[[Shape, Mapping[str, Any]], Sequence[Any]] | None = None
