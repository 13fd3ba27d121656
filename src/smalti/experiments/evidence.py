"""How claims are judged: intervals of tables, turned into readings for or against, and readings into a verdict.

reading      an interval of something that is positive if the claim holds: for it where the interval lies above 0, against it
             where it lies below, unclear where it holds 0; a level at which nothing differs is none
difference   of two intervals of one table, as if they were independent: +- 1.96 sqrt(s_a^2 + s_b^2). Those over the same z vary
             together, so that it is too wide rather than too narrow; paired differences are taken where a table has them
trend        Spearman's rank correlation of a statistic with sigma over the levels; its interval is that over redrawings of the
             statistic from its standard errors (parametric bootstrap, Efron & Tibshirani 1993, section 6.5)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from smalti.analysis.intervals import ACCURACY, Interval
from smalti.core.table import Table

__all__ = [
    "LEAST",
    "MOST",
    "NOT_SUPPORTED",
    "NOT_TESTED",
    "PARTLY",
    "SOME",
    "SUPPORTED",
    "NotTested",
    "Part",
    "Reading",
    "Row",
    "Setting",
    "Standing",
    "Tables",
    "beyond",
    "counted",
    "interval",
    "judge",
    "minus",
    "rows_of",
    "times",
    "together",
    "trend",
    "within",
]

Standing = Literal["supported", "partly", "not supported", "not tested here"]
SUPPORTED: Standing = "supported"
PARTLY: Standing = "partly"
NOT_SUPPORTED: Standing = "not supported"
NOT_TESTED: Standing = "not tested here"

LEAST = 8  # z: the percentile interval of a normal mean covers 89 % with 8 of them, 85 % with 5, 50 % with 2, where 95 % is said
MOST = 0.75  # share of readings that must speak for a claim about levels in general
SOME = 0.25  # share below which nothing of the claim is left
STRONG = 0.5  # rank correlation that counts as growing with sigma, and not only as related to it
REDRAWINGS = 2000
EDGE = 0.05  # a level counts as within bounds that it misses by 5 %: 0.296 is the paper's 0.3
NORMAL = 1.96

Row = Mapping[str, Any]
Tables = Mapping[str, Table]


class NotTested(Exception):
    """What a claim needs is not in the tables; the message says what."""


@dataclass(frozen=True)
class Setting:
    """What the tables are about.

    Attributes:
        side: min(H, W) of the images, pixels.
        networks: names of networks, as the tables have them.
        reference: the network that denoisers are held against, or None.
    """

    side: int
    networks: tuple[str, ...] = ()
    reference: str | None = None

    @property
    def scale(self) -> float:
        """side / 32: what the papers' upper sigmas are multiplied by, since they belong to 32 x 32.

        Noise hides which image z was made of once sigma is about the distance between images, and that grows with the root of the
        number of pixels. The error to optimal peaks at sigma 3 for 32 x 32, 1.4 for 16 x 16 and 0.7 for 8 x 8. Lower sigmas are
        about single pixels, and stay.
        """
        return self.side / 32


@dataclass(frozen=True)
class Reading(Interval):
    """A statistic, or what is made of several, with its interval.

    Attributes:
        n: z behind it, of the fewest where several.
    """

    n: int = 0


@dataclass(frozen=True)
class Part:
    """What is found for one network, process or denoiser.

    Attributes:
        standing: "supported", "partly", "not supported" or "not tested here".
        text: the evidence, without a full stop.
        effect: the mean of what was read, or None.
    """

    standing: Standing
    text: str
    effect: Interval | None = None


def rows_of(tables: Tables, name: str, statistic: str, **equal: Any) -> list[Row]:
    """The rows of a table with these values that have n >= `LEAST` and an interval of `statistic`.

    Raises:
        NotTested: no such table, columns or rows; none that has an interval.
    """
    table = tables.get(name)
    if table is None or not len(table):
        raise NotTested(f"there is no table {name}")
    lacking = [column for column in ("n", statistic, f"{statistic}_low", *equal) if column not in table.columns]
    if lacking:
        raise NotTested(f"the table {name} has no column {lacking[0]}")
    rows = [row for row in table if all(row[column] == value for column, value in equal.items())]
    if not rows:
        raise NotTested(f"the table {name} has no rows with {', '.join(f'{k} {v}' for k, v in equal.items())}")
    return counted(rows, statistic)


def counted(rows: Sequence[Row], statistic: str) -> list[Row]:
    """Those of `rows` that have n >= `LEAST` and an interval.

    Raises:
        NotTested: none has.
    """
    many = [row for row in rows if row["n"] is not None and row["n"] >= LEAST]
    if not many:
        raise NotTested(f"n = {max((row['n'] or 0 for row in rows), default=0)}, and an interval takes {LEAST}")
    found = [row for row in many if interval(row, statistic) is not None]
    if not found:
        raise NotTested(f"no row has an interval of {statistic}")
    return found


def interval(row: Row, statistic: str) -> Reading | None:
    """A row's statistic, or None where it or its interval is missing or not finite."""
    values = [row.get(f"{statistic}{end}") for end in ("", "_low", "_high")]
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
        return None
    value, low, high = map(float, values)  # type: ignore[arg-type]
    error = row.get(f"{statistic}_standard_error")
    known = isinstance(error, (int, float)) and math.isfinite(error)
    deviation = float(error) if known else (high - low) / (2 * NORMAL)  # type: ignore[arg-type]
    return Reading(value, low, high, deviation, int(row["n"]))


def minus(a: Reading, b: Reading) -> Reading:
    """a - b, as if they were independent."""
    error = math.hypot(a.standard_error, b.standard_error)
    value = a.value - b.value
    return Reading(value, value - NORMAL * error, value + NORMAL * error, error, min(a.n, b.n))


def times(a: Reading, factor: float) -> Reading:
    """a times a number."""
    low, high = sorted((factor * a.low, factor * a.high))
    return Reading(factor * a.value, low, high, abs(factor) * a.standard_error, a.n)


def beyond(a: Reading, threshold: float) -> Reading:
    """a - threshold."""
    return Reading(a.value - threshold, a.low - threshold, a.high - threshold, a.standard_error, a.n)


def within(sigma: float | None, low: float = 0.0, high: float = math.inf) -> bool:
    """Whether a level lies in a range of the papers, whose bounds are rounded."""
    return sigma is not None and low * (1 - EDGE) <= sigma <= high * (1 + EDGE)


def judge(
    what: str,
    readings: Iterable[Reading],
    *,
    levels: str = "levels",
    everywhere: bool = False,
    statistic: str = "mean",
    shown: Iterable[Reading] | None = None,
) -> Part:
    """One verdict from readings that are positive where the claim holds.

    "supported": at least `MOST` of the readings are for it, and with `everywhere` none is against it; "not supported": fewer than
    `SOME` are for it, or fewer than are against it; else "partly". Readings that are 0 but for rounding are left out.

    Args:
        what: who it is about, for the evidence.
        readings: intervals.
        levels: what the readings are, for the evidence.
        everywhere: whether the claim is about all of them.
        statistic: what the effect is.
        shown: what the effect is the mean of; the readings by default.
    """
    readings = list(readings)
    differing = [it for it in readings if max(abs(it.low), abs(it.high)) > ACCURACY]
    if not differing:
        return Part(NOT_TESTED, f"{what}: nothing differs" if readings else f"{what}: nothing to compare")
    held = sum(it.low > 0 for it in differing)
    against = sum(it.high < 0 for it in differing)
    unclear = len(differing) - held - against
    effect = _mean(differing if shown is None else list(shown))
    share = held / len(differing)
    standing = NOT_SUPPORTED if share < SOME or held < against else PARTLY
    if share >= MOST and not (everywhere and against):
        standing = SUPPORTED
    notes = [f"against at {against}"] * bool(against) + [f"unclear at {unclear}"] * bool(unclear)
    notes += [f"equal at {len(readings) - len(differing)}"] * (len(readings) > len(differing))
    detail = f" ({', '.join(notes)})" if notes else ""
    text = f"{what}: at {held} of {len(differing)} {levels}{detail}, {statistic} {_shown(effect)}, {_counts(readings)}"
    return Part(standing, text, effect)


def trend(what: str, points: Sequence[tuple[float, Reading]], seed: int = 0) -> Part:
    """Whether a statistic grows with sigma: "supported" where the interval of the rank correlation lies above 0 and the correlation is
    at least `STRONG`, "partly" where it is less, else "not supported".

    Args:
        what: of what, for the evidence.
        points: sigma and the statistic, one pair a level; at least 4 levels.
        seed: of the redrawings.
    """
    if len(points) < 4:
        return Part(NOT_TESTED, f"{what}: {len(points)} levels are too few for a trend")
    sigma = np.array([point[0] for point in points])
    value = np.array([point[1].value for point in points])
    error = np.array([point[1].standard_error for point in points])
    found = _spearman(sigma, value[None])[0]
    if not math.isfinite(found):
        return Part(NOT_SUPPORTED, f"{what}: the same at all {len(points)} levels")
    generator = np.random.Generator(np.random.Philox(key=[seed, len(points)]))
    drawn = _spearman(sigma, value + error * generator.standard_normal((REDRAWINGS, len(points))))
    low, high = np.quantile(np.nan_to_num(drawn), [0.025, 0.975])
    effect = Interval(float(found), min(float(low), float(found)), max(float(high), float(found)), float(drawn.std()))
    standing = NOT_SUPPORTED if effect.low <= 0 else (SUPPORTED if effect.value >= STRONG else PARTLY)
    counts = _counts([point[1] for point in points])
    text = f"{what}: rank correlation with sigma {_shown(effect)} over {len(points)} levels, {counts}"
    return Part(standing, text, effect)


def together(parts: Sequence[Part]) -> Part:
    """One verdict of several: "supported" or "not supported" where all parts that were tested are, else "partly"; evidence of all."""
    tested = [part for part in parts if part.standing != NOT_TESTED]
    text = "; ".join(part.text for part in parts)
    if not tested:
        return Part(NOT_TESTED, text or "nothing to compare")
    standings = {part.standing for part in tested}
    standing = standings.pop() if len(standings) == 1 else PARTLY
    effects = [part.effect for part in tested if part.effect is not None]
    return Part(standing, text, _mean(effects) if effects else None)


def _mean(intervals: Sequence[Interval]) -> Interval:
    """The mean of intervals, as wide as if they varied together: levels of the reverse process do."""
    columns = zip(*((it.value, it.low, it.high, it.standard_error) for it in intervals), strict=True)
    return Interval(*(float(np.mean(column)) for column in columns))


def _shown(effect: Interval) -> str:
    return f"{effect.value:.3g} ({effect.low:.3g} to {effect.high:.3g})"


def _counts(readings: Sequence[Reading]) -> str:
    least, most = min(it.n for it in readings), max(it.n for it in readings)
    return f"n = {least}" if least == most else f"n = {least} to {most}"


def _spearman(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rank correlation of x (L,) with each row of (R, L); NaN where all of a row, or of x, is the same."""
    first, ranks = _ranks(x), np.stack([_ranks(row) for row in rows])
    first, ranks = first - first.mean(), ranks - ranks.mean(1, keepdims=True)
    norm = np.sqrt((first @ first) * (ranks * ranks).sum(1))
    return np.where(norm > 0, ranks @ first / np.where(norm > 0, norm, 1), np.nan)


def _ranks(values: np.ndarray) -> np.ndarray:
    """0 for the least; equals share the mean of their ranks."""
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values) + np.searchsorted(ordered, values, "right") - 1) / 2
