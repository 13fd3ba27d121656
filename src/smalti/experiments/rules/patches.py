"""Rules about patch posterior means: how near they are to the optimal denoiser and to a network, by side (W Fig. 5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from smalti.experiments.evidence import (
    NotTested,
    Part,
    Reading,
    Row,
    Setting,
    Tables,
    judge,
    minus,
    rows_of,
    times,
    trend,
    within,
)
from smalti.experiments.rules.reading import MIDDLE, OPTIMAL, floor, reading_of

__all__ = ["best_side_shrinks", "larger_patches_needed", "patches_equal_optimal", "patches_nearer_than_optimal"]

LOW = 0.1  # below: W sec. 5 finds patch posterior means equal to optimal's
HIGH = 30.0  # above: as well
NEARER = 3.0  # up to here the article and the workshop paper agree that patches are nearer to networks than optimal is
ENDS = ("small sigma", "large sigma")
SMALL = 0.25  # of the largest error: what counts as small against it


def patches_equal_optimal(tables: Tables, setting: Setting) -> Iterator[Part]:
    """All sides at the levels of both ends against a share of the largest error."""
    rows = rows_of(tables, "w5-patches", "error", process="forward", target=OPTIMAL)
    largest = max((reading_of(row, "error") for row in rows), key=lambda error: error.value)
    high = HIGH * setting.scale
    bounds = ((f"below {LOW:g}", (0.0, LOW)), (f"above {high:.2g}", (high, float("inf"))))
    for facet, (words, inside) in zip(ENDS, bounds, strict=True):
        ends = [row for row in rows if inside[0] < row["sigma"] < inside[1] and row["side"] < setting.side]
        yield judge(
            f"sigma {words}, error below {SMALL:g} of the largest ({largest.value:.3g})",
            [minus(times(largest, SMALL), reading_of(row, "error")) for row in ends],
            levels="sides and levels",
            everywhere=True,
            statistic="mean margin of MSE",
            facet=facet,
        )


def larger_patches_needed(tables: Tables, setting: Setting) -> Iterator[Part]:
    """The smallest side with an error below `SMALL` of the largest, up to the end of the middle: beyond it any side serves."""
    rows = rows_of(tables, "w5-patches", "error", process="forward", target=OPTIMAL)
    largest = max(reading_of(row, "error").value for row in rows)
    limit = MIDDLE[1] * setting.scale

    def needed(errors: Mapping[int, Reading]) -> Reading:
        """The side, with those that the ends of the errors' intervals would give."""
        value, low, high = (
            min((side for side, it in errors.items() if getattr(it, end) <= SMALL * largest), default=setting.side)
            for end in ("value", "low", "high")
        )
        return Reading(value, low, high, (high - low) / 4, min(it.n for it in errors.values()))

    points = [(sigma, needed(errors)) for sigma, errors in _by_side(rows) if within(sigma, 0, limit)]
    yield trend(f"side whose error to optimal is below {SMALL:g} of the largest, up to sigma {limit:.2g}", points)


def patches_nearer_than_optimal(tables: Tables, setting: Setting) -> Iterator[Part]:
    """Errors to the network less that of the whole image, which is the optimal denoiser's, over the same z."""
    rows = _to_network(tables, setting, "difference")
    limit = NEARER * setting.scale
    near = [row for row in rows if within(row["sigma"], 0, limit) and row["side"] < setting.side]
    yield judge(
        f"up to sigma {limit:.2g}",
        [times(reading_of(row, "difference"), -1) for row in near],
        levels="sides and levels",
        everywhere=True,
        floor=floor(tables, "reverse"),
        statistic="mean difference of MSE",
        kind="paired",
    )


def best_side_shrinks(tables: Tables, setting: Setting) -> Iterator[Part]:
    """The trend of the side of least error; sides whose errors are level with the least are as good."""
    rows, level = _to_network(tables, setting, "error"), floor(tables, "reverse")
    points = [(sigma, _best(errors, level)) for sigma, errors in _by_side(rows)]
    yield trend(f"side nearest to {setting.reference}", points)


def _by_side(rows: Sequence[Row]) -> list[tuple[float, dict[int, Reading]]]:
    """sigma -> side -> error."""
    found: dict[float, dict[int, Reading]] = {}
    for row in rows:
        found.setdefault(row["sigma"], {})[int(row["side"])] = reading_of(row, "error")
    return sorted(found.items(), reverse=True)


def _best(errors: Mapping[int, Reading], level: float) -> Reading:
    """The side of least error, or the middle of those that are level with it; between the sides whose intervals reach as low."""
    least = min(it.value for it in errors.values()) + level
    alike = [side for side, it in errors.items() if it.value <= least]
    bound = max(least, min(it.high for it in errors.values()))
    near = [side for side, it in errors.items() if it.low <= bound]
    width = max(near) - min(near)
    middle = (min(alike) + max(alike)) / 2
    return Reading(middle, min(near), max(near), width / 4, min(it.n for it in errors.values()))


def _to_network(tables: Tables, setting: Setting, statistic: str) -> list[Row]:
    if setting.reference is None:
        raise NotTested("there is no network")
    return rows_of(tables, "w5-patches", statistic, process="reverse", target=setting.reference)
