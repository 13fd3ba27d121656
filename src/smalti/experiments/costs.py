"""What one query costs: seconds of each denoiser at each noise level, measured at the start of a run and kept with it.

Measured at a few levels and interpolated (log seconds over the number of the level). A denoiser that is slow on all images is measured
on few of them and its seconds scaled by the number of images: all of the family look at every image once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from smalti.analysis.intervals import TELLING
from smalti.core.denoiser import Denoiser
from smalti.core.noise import standard_normal
from smalti.experiments.steps import Arrays, Step, Work
from smalti.source import Source

__all__ = ["Costs", "cost_step", "count_within"]

UNKNOWN = 0.01  # seconds, of what was not measured
BATCHES = (32, 8, 2)  # queries together: what is quick is computed in large batches
REPEATS, REPEATING = 4, 0.3  # how often a batch is timed, and for how many seconds in all
PROBE = 500  # images on which a denoiser shows whether it is slow
PLACES = (0.0, 0.35, 0.65, 1.0)  # of the measured levels, from the highest noise to the lowest


@dataclass(frozen=True)
class Costs:
    """Attributes:
    seconds: name -> seconds per query at each level, highest noise first.
    """

    seconds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def of(self, name: str, levels: Iterable[int] | None = None) -> float:
        """Seconds for one z at each of `levels` (all by default) by the denoiser `name`; 0.01 a level for what was not measured."""
        known = self.seconds.get(name)
        if known is None:
            count = max(map(len, self.seconds.values()), default=18) if levels is None else len(list(levels))
            return UNKNOWN * count
        return float(sum(known if levels is None else (known[level] for level in levels)))

    def affordable(
        self, name: str, seconds: float, levels: Iterable[int] | None = None, most: int = 1 << 30, least: int = 2
    ) -> int:
        """How many z at each of `levels` `seconds` allow: least <= n <= most."""
        each = self.of(name, levels)
        return most if seconds >= each * most else max(min(least, most), int(seconds / each))

    def scaled(self, name: str, factor: float) -> Costs:
        """The same, with the seconds of `name` times `factor`."""
        return Costs({**self.seconds, name: tuple(factor * s for s in self.seconds[name])})


def count_within(seconds: float, each: float, most: int, least: int) -> int:
    """How many z of `each` seconds fit: least <= n <= most; all where `seconds` is infinite.

    Intervals of fewer than `TELLING` z are not worth much (no claim is judged by them): for so many up to twice the time is taken.
    """
    if seconds >= each * most:
        return most
    telling = min(TELLING, most)
    fitting = int(seconds / each)
    return max(fitting, telling if telling * each <= 2 * seconds else min(least, most))


def cost_step(name: str, denoiser: Denoiser, identity: Mapping[str, Any], sigmas: torch.Tensor, limit: float) -> Step:
    """Measure a denoiser: {"seconds": (L,) float64}, per query at each level.

    Args:
        name: of the denoiser, for the step's name.
        denoiser: the denoiser.
        identity: what determines it.
        sigmas: (L,) the levels, highest first.
        limit: seconds that the measuring may take, about.
    """
    parameters = {"denoiser": identity, "sigmas": sigmas.tolist(), "batches": BATCHES}
    return Step(f"costs/{name}", lambda work: _measure(work, denoiser, sigmas.tolist(), limit), parameters, seconds=0.3)


def _measure(work: Work, denoiser: Denoiser, sigmas: list[float], limit: float) -> Arrays:
    levels = sorted({round(place * (len(sigmas) - 1)) for place in PLACES})
    measured, factor = denoiser, 1.0
    source = getattr(denoiser, "source", None)
    if isinstance(source, Source) and len(source) > 2 * PROBE:
        few = denoiser.with_source(_first(source, PROBE))
        ratio = len(source) / PROBE
        middle = sigmas[levels[len(levels) // 2]]
        _seconds(few, middle, 1)
        if ratio * _seconds(few, middle, 1) * (BATCHES[-1] + 1) * len(levels) > limit:
            measured, factor = few, ratio
    found = []
    for level in levels:
        found.append(factor * _per_query(measured, sigmas[level], limit / len(levels)))
        work.advance(1 / len(levels))
    return {"seconds": np.exp(np.interp(np.arange(len(sigmas)), levels, np.log(found)))}


def _first(source: Source, count: int) -> Source:
    """`count` images of the source, evenly spaced."""
    return source.subset(np.arange(count) * len(source) // count)


def _per_query(denoiser: Denoiser, sigma: float, limit: float) -> float:
    """Seconds for a query in the largest batch that the limit allows; the first call of each size compiles and prepares."""
    _seconds(denoiser, sigma, 1)
    alone = _seconds(denoiser, sigma, 1)
    size = next((size for size in BATCHES if 2 * size * alone <= limit), None)
    if size is None:
        return alone
    _seconds(denoiser, sigma, size)
    times: list[float] = []
    while len(times) < REPEATS and sum(times) * size < REPEATING:
        times.append(_seconds(denoiser, sigma, size))
    return min(times)  # others use the machine too


def _seconds(denoiser: Denoiser, sigma: float, n: int) -> float:
    """Per query, in a batch of n."""
    z = (sigma * standard_normal(0, range(n), denoiser.shape)).float()
    start = time.perf_counter()
    with torch.no_grad():
        denoiser(z, sigma)
    return max(time.perf_counter() - start, 1e-6) / n
