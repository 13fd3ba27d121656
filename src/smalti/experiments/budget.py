"""How many z of a computation a share of the time pays for, where a z asks several denoisers, or asks for more than denoising."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from smalti.analysis.intervals import TELLING

if TYPE_CHECKING:
    from smalti.experiments.laboratory import Laboratory

__all__ = ["count_within", "seconds_each"]


def seconds_each(lab: Laboratory, names: Iterable[str]) -> float:
    """Seconds for one z, at a noise level like those of the run on average, by all of the denoisers and networks called `names`."""
    return sum(lab.costs.of(name) for name in names) / len(lab.sigmas)


def count_within(seconds: float, each: float, most: int, least: int) -> int:
    """How many z of `each` seconds fit: least <= n <= most; all where `seconds` is infinite.

    Intervals of fewer than `TELLING` z are not worth much (no claim is judged by them): for so many up to twice the time is taken.
    """
    if seconds >= each * most:
        return most
    telling = min(TELLING, most)
    fitting = int(seconds / each)
    return max(fitting, telling if telling * each <= 2 * seconds else min(least, most))
