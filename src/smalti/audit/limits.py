"""Limits from held-out images: how near is nearer than chance, at a stated rate of false alarms.

Every image has a few distances to the training set ("looks": whole image, patches, features). Held-out images, which are known not to
be training images, say how small these are by chance. The n held-out images are cut off one by one, nearest first, by the looks in turn:
the first look takes the held-out image with its smallest distance away, the second that of its own among the others, and so on, k in
all. The limit of a look is the distance of the last image that it took. An image is called near where any of its distances is below
the limit of that look.

For images like the held-out ones the chance of that is exactly k / (n + 1) on average over held-out sets, and for the set at hand it is
distributed as Beta(k, n + 1 - k) (Wald 1943, Tukey 1947: statistically equivalent blocks; of one look it is the order statistic of Wilks
1941). So k = floor(rate (n + 1)), and at least 1 / rate - 1 held-out images are needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from smalti.core.errors import InputError

__all__ = ["RATE", "Limits", "check_rate", "needed", "set_limits"]

RATE = 0.01
CONFIDENCE = 0.95
ROUNDING = 1e-9


@dataclass(frozen=True)
class Limits:
    """Limits of looks.

    Attributes:
        rate: of false alarms that was asked for.
        held_out: n.
        cuts: k, held-out images that the limits cut off.
        limits: look -> its limit; None where there were fewer cuts than looks.
        enough: whether k / (n + 1) is no more than the rate; else there is one cut, the strictest limit that there is.
    """

    rate: float
    held_out: int
    cuts: int
    limits: Mapping[str, float | None]
    enough: bool

    @property
    def realised(self) -> float:
        """The rate of false alarms, on average over sets of held-out images: k / (n + 1)."""
        return self.cuts / (self.held_out + 1)

    @property
    def upper(self) -> float:
        """The rate of false alarms of these limits is at most this, with 95 % confidence (one-sided)."""
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            if _at_least(self.cuts, self.held_out, middle) < CONFIDENCE:
                low = middle
            else:
                high = middle
        return high

    def near(self, distances: Mapping[str, np.ndarray]) -> np.ndarray:
        """(m,) bool: which images are nearer than a limit, given the distances (m,) of every look."""
        found = [distances[name] < limit for name, limit in self.limits.items() if limit is not None]
        return np.logical_or.reduce(found)

    def chance(self, flagged: int, images: int) -> float:
        """The chance of so many near images or more among `images` that are like the held-out ones (beta-binomial, exact)."""
        a, b = self.cuts, self.held_out + 1 - self.cuts
        tail = range(flagged, images + 1)
        return min(
            1.0,
            sum(math.exp(_log_choose(images, x) + _log_beta(x + a, images - x + b) - _log_beta(a, b)) for x in tail),
        )


def set_limits(held_out: Mapping[str, np.ndarray], rate: float = RATE) -> Limits:
    """Limits from the distances (n,) of held-out images, the looks in the order in which they cut.

    Raises:
        InputError: a rate that is not between 0 and 1, no look, no held-out image, or distances that are not finite.
    """
    check_rate(rate)
    values = {name: np.asarray(each, np.float64) for name, each in held_out.items()}
    sizes = {len(each) for each in values.values()}
    if len(sizes) != 1 or not (n := sizes.pop()):
        raise InputError("limits are set by held-out images; give at least one, with a distance for every look")
    if not all(np.isfinite(each).all() for each in values.values()):
        raise InputError("a held-out image has a distance that is not finite")
    cuts = math.floor(rate * (n + 1) + ROUNDING)
    left = np.ones(n, bool)
    limits: dict[str, float | None] = dict.fromkeys(values)
    names = list(values)
    for turn in range(max(1, cuts)):
        name = names[turn % len(names)]
        taken = int(np.argmin(np.where(left, values[name], np.inf)))
        limits[name] = float(values[name][taken])
        left[taken] = False
    return Limits(rate, n, max(1, cuts), limits, cuts >= 1)


def check_rate(rate: float) -> float:
    """`rate`, or InputError unless 0 < rate < 1."""
    if not 0 < rate < 1:
        raise InputError(f"the rate of false alarms must be between 0 and 1, not {rate}")
    return float(rate)


def needed(rate: float, looks: int = 1) -> int:
    """How many held-out images give every look a limit at this rate."""
    return math.ceil(looks / rate - ROUNDING) - 1


def _at_least(count: int, n: int, share: float) -> float:
    """P(Binomial(n, share) >= count)."""
    if share in (0.0, 1.0):
        return float(count <= n * share)
    logs = (_log_choose(n, x) + x * math.log(share) + (n - x) * math.log1p(-share) for x in range(count))
    return 1 - sum(map(math.exp, logs))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
