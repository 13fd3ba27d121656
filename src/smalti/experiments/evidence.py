"""How claims are judged: intervals of tables, turned into readings for or against, and readings into a verdict.

reading      an interval of something that is positive if the claim holds: for it where the interval lies above 0, against it
             where it lies below, unclear where it holds 0; level, and neither, where it lies within a floor of what matters
difference   of two intervals of one table, as if they were independent: +- 1.96 sqrt(s_a^2 + s_b^2). Those over the same z vary
             together as a rule, and then it is too wide; where one is large when the other is small it is too narrow. Paired
             differences, which are neither, are taken where a table has them, and the evidence says which they are
every level  a claim about all of m levels is judged by intervals that hold simultaneously (Bonferroni: each covers 1 - 0.05 / m),
             so that the one level in twenty that a 95 % interval misses does not refute it
trend        Spearman's rank correlation of a statistic with sigma over the levels; its interval is that over redrawings of the
             statistic from its standard errors (parametric bootstrap, Efron & Tibshirani 1993, section 6.5)
floor        how small a difference of squared errors says nothing: with many z an interval can exclude 0 at a difference of 1e-7 as
             well as at one of 0.05. What training-free denoisers are after is the network's deviation from the optimal denoiser, so
             that its size is the measure: differences that lie, with their intervals, within `SHARE` of its largest mean squared
             value over the levels of a process are level, and speak neither for nor against anything
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from smalti.analysis.intervals import ACCURACY, TELLING, Interval
from smalti.core.table import Table

__all__ = [
    "LEAST",
    "MOST",
    "NOT_SUPPORTED",
    "NOT_TESTED",
    "PARTLY",
    "SHARE",
    "SOME",
    "SUPPORTED",
    "UNDECIDED",
    "NotTested",
    "Part",
    "Reading",
    "Row",
    "Setting",
    "Standing",
    "Tables",
    "beyond",
    "counted",
    "floor_of",
    "interval",
    "judge",
    "minus",
    "relevance_floor",
    "rows_of",
    "said_of_n",
    "shown",
    "simultaneous",
    "times",
    "together",
    "trend",
    "within",
]

Standing = Literal["supported", "partly", "undecided", "not supported", "not tested here"]
SUPPORTED: Standing = "supported"
PARTLY: Standing = "partly"
UNDECIDED: Standing = "undecided"
NOT_SUPPORTED: Standing = "not supported"
NOT_TESTED: Standing = "not tested here"

LEAST = TELLING  # z of an interval
MOST = 0.75  # share of readings that must speak for a claim about levels in general
SOME = 0.25  # share of readings from which on something is established, for the claim or against it
READINGS = 3  # that speak of levels in general; two may agree by chance
LEVELS = 6  # of a trend: of 4 levels without one, 1 order in 24 is perfectly rising
STRONG = 0.5  # rank correlation that counts as growing with sigma, and not only as related to it
REDRAWINGS = 2000
EDGE = 0.05  # a level counts as within bounds that it misses by 5 %: 0.296 is the paper's 0.3
NORMAL = 1.96
SHARE = 0.01  # of the largest squared deviation; in pixels a tenth of the deviation: less than the width of a line in the papers' figures

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
        limited: denoisers that were made on fewer images than there are -> how many; they are marked, and decide nothing alone.
    """

    side: int
    networks: Sequence[str] = ()
    reference: str | None = None
    limited: Mapping[str, int] = field(default_factory=dict)

    @property
    def scale(self) -> float:
        """side / 32: what the papers' upper sigmas are multiplied by, since they belong to 32 x 32.

        Noise hides which image z was made of once sigma is about the distance between images, and that grows with the root of the
        number of pixels. The error to optimal peaks at sigma 3 for 32 x 32, 1.4 for 16 x 16 and 0.7 for 8 x 8. Lower sigmas are
        about single pixels, and stay.
        """
        return self.side / 32

    def named(self, name: str) -> str:
        """A denoiser's name, with how many images it was made on where those are not all."""
        return f"{name} (on {self.limited[name]:,} images)" if name in self.limited else name


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
        standing: "supported", "partly", "undecided", "not supported" or "not tested here".
        text: the evidence, without a full stop and without "; ", which stands between parts.
        effect: the mean of what was read, or None.
        statistic: what the effect is.
        limited: whether a denoiser that was made on fewer images than there are is in it.
        facet: which part of a claim with "and" it is about ("forward"), or "".
        n: z behind it, (least, most); (0, 0) where nothing was read.
    """

    standing: Standing
    text: str
    effect: Interval | None = None
    statistic: str = ""
    limited: bool = False
    facet: str = ""
    n: tuple[int, int] = (0, 0)


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


def simultaneous(readings: Sequence[Reading]) -> list[Reading]:
    """The readings with intervals that hold all at once in 95 % (Bonferroni): each arm longer by the ratio of the normal quantiles of
    1 - 0.025 / m and 0.975, and at least that many standard errors."""
    if len(readings) < 2:
        return list(readings)
    quantile = NormalDist().inv_cdf(1 - 0.025 / len(readings))
    found = []
    for it in readings:
        arms = (it.value - it.low, it.high - it.value)
        below, above = (max(arm * quantile / NORMAL, quantile * it.standard_error) for arm in arms)
        found.append(Reading(it.value, it.value - below, it.value + above, it.standard_error, it.n))
    return found


def judge(
    what: str,
    readings: Iterable[Reading],
    *,
    levels: str = "levels",
    everywhere: bool = False,
    least: int = READINGS,
    floor: float = 0.0,
    statistic: str = "mean",
    kind: str = "",
    effects: Iterable[Reading] | None = None,
    limited: bool = False,
    facet: str = "",
) -> Part:
    """One verdict from readings that are positive where the claim holds.

    Of the readings that are not level: "supported" where at least `MOST` are for the claim, and with `everywhere` none is against it;
    "not supported" where more are against it than for it, and these at least `SOME` (with `everywhere`: one alone, since a single
    exception refutes it), or where all are level; "undecided" where neither those for it nor those against it are `SOME`, or fewer than
    `least` are not level; else "partly".

    Args:
        what: who it is about, for the evidence.
        readings: intervals.
        levels: what the readings are, for the evidence.
        everywhere: whether the claim is about all of them; intervals are then those of `simultaneous`.
        least: readings that it takes; 1 where they are all the cases that there are, and not some levels of a range.
        floor: readings whose intervals lie within +- this are level; at least `ACCURACY`.
        statistic: what the effect is.
        kind: "paired" or "unpaired", for the evidence.
        effects: what the effect is the mean of; the readings by default.
        limited, facet: see `Part`.
    """
    readings = list(readings)
    if len(readings) < least:
        few = f"only {len(readings)} {levels}, and a verdict takes {least}" if readings else "nothing to compare"
        return Part(NOT_TESTED, f"{what}: {few}", limited=limited, facet=facet)
    if all(max(abs(it.low), abs(it.high)) <= ACCURACY for it in readings):
        return Part(NOT_TESTED, f"{what}: nothing differs", limited=limited, facet=facet)
    weighed = simultaneous(readings) if everywhere else readings
    differing = [it for it in weighed if max(abs(it.low), abs(it.high)) > max(floor, ACCURACY)]
    held, against = sum(it.low > 0 for it in differing), sum(it.high < 0 for it in differing)
    unclear, level = len(differing) - held - against, len(readings) - len(differing)
    effect = _mean(readings if effects is None else list(effects))
    notes = [f"against it at {against}"] * bool(against) + [f"unclear at {unclear}"] * bool(unclear)
    notes += [f"level at {level}" + (f" (within {floor:.2g})" if floor > ACCURACY else "")] * bool(level)
    refuted = everywhere and against > 0
    holds = f"{'not supported as stated, holds' if refuted else 'for it'} at {held} of {len(readings)} {levels}"
    said = ", ".join([holds, *notes, f"{statistic} {shown(effect)}"])
    text = f"{what}: {said}{kind and f', {kind}'}, {_counts(readings)}"
    standing = _standing(held, against, len(differing), everywhere, least)
    return Part(standing, text, effect, statistic, limited, facet, _n(readings))


def _standing(held: int, against: int, differing: int, everywhere: bool, least: int) -> Standing:
    if not differing or (everywhere and against):
        return NOT_SUPPORTED
    if differing < least:
        return UNDECIDED
    if held >= MOST * differing:
        return SUPPORTED
    refuted = against >= SOME * differing
    if against > held and refuted:
        return NOT_SUPPORTED
    return PARTLY if refuted or held >= SOME * differing else UNDECIDED


def trend(what: str, points: Sequence[tuple[float, Reading]], seed: int = 0) -> Part:
    """Whether a statistic grows with sigma: "supported" where the interval of the rank correlation lies above 0 and the correlation is
    at least `STRONG`, "partly" where it is less; "not supported" where the interval reaches 0 but not `STRONG`, "undecided" where both.

    Args:
        what: of what, for the evidence.
        points: sigma and the statistic, one pair a level; at least `LEVELS`.
        seed: of the redrawings.
    """
    if len(points) < LEVELS:
        return Part(NOT_TESTED, f"{what}: {len(points)} levels are too few for a trend, which takes {LEVELS}")
    sigma = np.array([point[0] for point in points])
    value = np.array([point[1].value for point in points])
    error = np.array([point[1].standard_error for point in points])
    found = float(np.nan_to_num(_spearman(sigma, value[None])[0]))  # 0 where it is the same at all levels
    generator = np.random.Generator(np.random.Philox(key=[seed, len(points)]))
    drawn = np.nan_to_num(_spearman(sigma, value + error * generator.standard_normal((REDRAWINGS, len(points)))))
    low, high = (float(end) for end in np.quantile(drawn, [0.025, 0.975]))
    effect = Interval(found, min(low, found), max(high, found), float(drawn.std()))
    growing = SUPPORTED if effect.value >= STRONG else PARTLY
    other = NOT_SUPPORTED if effect.high < STRONG else UNDECIDED
    counts = _counts([point[1] for point in points])
    statistic = "rank correlation with sigma"
    standing = growing if effect.low > 0 else other
    said = f"{what}: {statistic} {shown(effect)} over {len(points)} levels, {counts}"
    return Part(standing, said, effect, statistic, n=_n([point[1] for point in points]))


def together(parts: Sequence[Part], facets: Sequence[str] = (), universal: bool = False) -> Part:
    """One verdict of several, and the evidence of all.

    "supported", "not supported" or "undecided" where all parts that were tested are; "not supported" where some are and the others are
    undecided; else "partly". Parts with denoisers that were made on fewer images than there are do not count; where there are only
    such it is "undecided".

    Args:
        parts: what was found.
        facets: the parts of a claim with "and": while one is not tested, what would be supported, or partly so, is "undecided".
        universal: whether the claim is about all parts: one that is not supported refutes it.
    """
    text = "; ".join(part.text for part in parts)
    tested = [part for part in parts if part.standing != NOT_TESTED]
    if not tested:
        return Part(NOT_TESTED, text or "nothing to compare")
    full = [part for part in tested if not part.limited]
    counted = full or tested
    effects = [part for part in counted if part.effect is not None]
    standings = {part.standing for part in full}
    if len(standings) <= 1:
        standing = standings.pop() if standings else UNDECIDED
    else:
        standing = NOT_SUPPORTED if standings == {NOT_SUPPORTED, UNDECIDED} else PARTLY
    if universal and NOT_SUPPORTED in {part.standing for part in full}:
        standing = NOT_SUPPORTED
    elif universal and standing == PARTLY and UNDECIDED in {part.standing for part in full}:
        standing = UNDECIDED
    if open_ := [facet for facet in facets if facet not in {part.facet for part in full}]:
        text += f"; not tested: {', '.join(open_)}"
        standing = UNDECIDED if standing in (SUPPORTED, PARTLY) else standing
    n = _n_of(counted)
    if not full:
        text += "; only denoisers on fewer images than there are were measured, which decides nothing"
    if not effects:
        return Part(standing, text, n=n)
    return Part(standing, text, _mean([part.effect for part in effects if part.effect]), effects[0].statistic, n=n)


def _mean(intervals: Sequence[Interval]) -> Interval:
    """The mean of intervals, as wide as if they varied together: levels of the reverse process do."""
    columns = zip(*((it.value, it.low, it.high, it.standard_error) for it in intervals), strict=True)
    return Interval(*(float(np.mean(column)) for column in columns))


def shown(effect: Interval) -> str:
    """ "0.81 (0.779 to 0.835)": a value and its interval."""
    return f"{effect.value:.3g} ({effect.low:.3g} to {effect.high:.3g})"


def _n(readings: Sequence[Reading]) -> tuple[int, int]:
    return min(it.n for it in readings), max(it.n for it in readings)


def _n_of(parts: Sequence[Part]) -> tuple[int, int]:
    known = [part.n for part in parts if part.n != (0, 0)]
    return (min(n[0] for n in known), max(n[1] for n in known)) if known else (0, 0)


def _counts(readings: Sequence[Reading]) -> str:
    return said_of_n(_n(readings))


def said_of_n(n: tuple[int, int]) -> str:
    """ "n = 32", "n = 8 to 64"."""
    return f"n = {n[0]}" if n[0] == n[1] else f"n = {n[0]} to {n[1]}"


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
