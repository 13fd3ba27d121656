"""How small a difference of squared errors says nothing.

With many z an interval can exclude 0 at a difference of 1e-7 as well as at one of 0.05. What training-free denoisers are after is
the network's deviation from the optimal denoiser, so that its size is the measure: differences that lie, with their intervals, within
`SHARE` of its largest mean squared value over the levels of a process are level, and speak neither for nor against anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from smalti.core.table import Table

__all__ = ["SHARE", "floor_of", "relevance_floor"]

SHARE = (
    0.01  # in pixels a tenth of the deviation, the root of this; less than the width of a line in the papers' figures
)


def floor_of(deviations: Iterable[float]) -> float:
    """`SHARE` of the largest of mean squared deviations.

    Args:
        deviations: of a network from the optimal denoiser, per entry, at the levels of a process; what is not finite is left out.

    Returns:
        >= 0, in their unit; 0 where there are none: then every difference counts.
    """
    return SHARE * max((value for value in deviations if math.isfinite(value)), default=0.0)


def relevance_floor(table: Table, process: str) -> float:
    """The mean squared error per entry that differences must exceed to count.

    Args:
        table: "w6-to-network", with columns process, denoiser and mse.
        process: "forward" or "reverse".

    Returns:
        `floor_of` the mse of "optimal" to the network over the levels of this process; 0 where the table has no such rows.
    """
    rows = (row["mse"] for row in table if row["process"] == process and row["denoiser"] == "optimal")
    return floor_of(float(mse) for mse in rows if mse is not None)
