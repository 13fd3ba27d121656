"""Rules about networks of disjoint halves, and about copies (W sec. 1)."""

from __future__ import annotations

from collections.abc import Iterator

from smalti.experiments.evidence import (
    NotTested,
    Part,
    Row,
    Setting,
    Tables,
    beyond,
    floor_of,
    judge,
    rows_of,
    times,
    within,
)
from smalti.experiments.rules.reading import MIDDLE, OPTIMAL, curve, reading_of

__all__ = ["halves_agree", "optimal_copies"]

COPIED = 0.75  # share of samples that are copies from which "sampling copies" is said
HALVES = ("one half", "the other half")
PAIRED = "networks-less-network-optimal"


def halves_agree(tables: Tables, setting: Setting) -> Iterator[Part]:
    """In the middle; the floor is that of the networks' own deviation from the optimal denoisers of their halves."""
    low, high = MIDDLE[0], MIDDLE[1] * setting.scale
    rows = _comparison(tables, PAIRED)
    level = floor_of(row["value"] for row in tables["halves"] if row["comparison"] == "network-optimal")
    for facet, name in zip(HALVES, dict.fromkeys(row["a"] for row in rows), strict=False):
        yield judge(
            f"{name}, sigma {low:g} to {high:.2g}",
            [times(it, -1) for sigma, it in curve(rows, "value", a=name) if within(sigma, low, high)],
            floor=level,
            statistic="mean difference of MSE",
            kind="paired",
            facet=facet,
        )


def optimal_copies(tables: Tables, setting: Setting) -> Iterator[Part]:
    """Of each set of its samples."""
    rows = [row for row in _comparison(tables, "sample-copies") if OPTIMAL in str(row["a"])]
    if not rows:
        raise NotTested(f"halves has no copies among the samples of {OPTIMAL}")
    shares = [reading_of(row, "value") for row in rows]
    yield judge(
        f"share of samples of {OPTIMAL} that are copies, above {COPIED:g}",
        [beyond(share, COPIED) for share in shares],
        levels="sets of samples",
        everywhere=True,
        least=1,
        statistic="mean share",
        effects=shares,
    )


def _comparison(tables: Tables, comparison: str) -> list[Row]:
    return rows_of(tables, "halves", "value", comparison=comparison)
