"""What a caption reads from a row of a table: a noise level, a value with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from smalti.experiments.wording import significant

__all__ = ["level", "with_interval"]


def level(sigma: float) -> str:
    """ "sigma 1.9"."""
    return f"sigma {significant(sigma)}"


def with_interval(row: Mapping[str, Any], column: str) -> str:
    """ "0.075 [0.07, 0.08]" from the columns that `Interval.named` gives; the value alone where the interval is not known."""
    value, low, high = (row[f"{column}{end}"] for end in ("", "_low", "_high"))
    if not math.isfinite(value):
        return "undefined"
    known = math.isfinite(low) and math.isfinite(high)
    return f"{significant(value)} [{significant(low)}, {significant(high)}]" if known else significant(value)
