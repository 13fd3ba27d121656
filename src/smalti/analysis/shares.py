"""The interval of a share of n things of a kind: Wilson's score interval (Wilson 1927).

The bootstrap has no width where all of the sample, or none, is of the kind; this one has: 16 of 16 gives 0.81 to 1.
"""

from __future__ import annotations

import math

from smalti.analysis.intervals import Interval
from smalti.core.errors import InputError

__all__ = ["share_interval"]

NORMAL_95 = 1.959963984540054


def share_interval(count: int, n: int) -> Interval:
    """The share count / n with its 95 % interval; its standard error is the half width over 1.96.

    Raises:
        InputError: n < 1, or not 0 <= count <= n.
    """
    if n < 1 or not 0 <= count <= n:
        raise InputError(f"{count} of {n} is no share; give 0 <= count <= n, n at least 1")
    share, square = count / n, NORMAL_95**2 / n
    middle = (share + square / 2) / (1 + square)
    half = NORMAL_95 * math.sqrt(share * (1 - share) / n + square / (4 * n)) / (1 + square)
    return Interval(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)), half / NORMAL_95)
