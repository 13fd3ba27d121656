"""What rules share: names, ranges of sigma, and how rows of a table become readings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from smalti.experiments.evidence import (
    LEAST,
    NOT_TESTED,
    NotTested,
    Part,
    Reading,
    Row,
    Setting,
    Tables,
    interval,
    relevance_floor,
)

__all__ = [
    "CFDM",
    "FLEX",
    "GAUSSIAN",
    "MIDDLE",
    "OPTIMAL",
    "PROCESSES",
    "PSPC",
    "SQUARE",
    "Rule",
    "curve",
    "floor",
    "networks_in",
    "reading_of",
    "too_few",
    "untested",
]

Rule = Callable[[Tables, Setting], Iterable[Part]]

# ranges of sigma are for 32 x 32 images; upper bounds are multiplied by `Setting.scale`
MIDDLE = (0.3, 10.0)  # where W sec. 4 finds the error to optimal large

OPTIMAL, GAUSSIAN, CFDM = "optimal", "gaussian", "closed-form-diffusion"
SQUARE, FLEX = "pspc-square", "pspc-flex"
PSPC = (SQUARE, FLEX)
PROCESSES = ("forward", "reverse")


def reading_of(row: Row, statistic: str) -> Reading:
    """The statistic of one of `rows_of`'s rows."""
    found = interval(row, statistic)
    assert found is not None  # rows_of gives none without
    return found


def networks_in(rows: Sequence[Row], column: str, setting: Setting) -> list[str]:
    """The networks that have rows.

    Raises:
        NotTested: none has.
    """
    found = [name for name in setting.networks if any(row[column] == name for row in rows)]
    if not found:
        raise NotTested("there is no network")
    return found


def untested(rows: Sequence[Row], column: str, setting: Setting) -> Iterator[Part]:
    """A word on each network that has no rows that can be judged."""
    for name in setting.networks:
        if not any(row[column] == name for row in rows):
            yield too_few(name)


def too_few(what: str) -> Part:
    """For whom or what an interval is lacking."""
    return Part(NOT_TESTED, f"{what}: no interval of {LEAST} z or more")


def curve(rows: Iterable[Row], statistic: str, **equal: Any) -> list[tuple[float, Reading]]:
    """sigma and the statistic of the rows with these values, highest sigma first."""
    chosen = [row for row in rows if all(row[key] == value for key, value in equal.items())]
    points = [(row["sigma"], found) for row in chosen if (found := interval(row, statistic)) is not None]
    return sorted(points, key=lambda point: -point[0])


def floor(tables: Tables, process: str) -> float:
    """`relevance_floor` of a process; 0 where there is no table w6-to-network."""
    table = tables.get("w6-to-network")
    needed = ("process", "denoiser", "mse")
    if table is None or any(column not in table.columns for column in needed):
        return 0.0
    return relevance_floor(table, process)
