"""Rules about who is nearer to the network, level by level (W Fig. 6, A Fig. 7).

Differences are paired, over the same z, where w6-paired has the two, and else those of w6-to-network; the evidence says which. Levels
whose difference lies within `relevance_floor` are level.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from smalti.experiments.evidence import (
    NotTested,
    Part,
    Reading,
    Setting,
    Tables,
    judge,
    minus,
    rows_of,
    times,
    within,
)
from smalti.experiments.rules.reading import (
    CFDM,
    FLEX,
    GAUSSIAN,
    OPTIMAL,
    PROCESSES,
    PSPC,
    SQUARE,
    curve,
    floor,
    too_few,
)

__all__ = [
    "flex_nearer_than_square",
    "flex_nearest_in_reverse",
    "networks_nearer_than_pspc",
    "pspc_nearer_than_cfdm",
    "pspc_nearer_than_gaussian",
    "pspc_nearer_than_optimal",
]

NEARER_THAN_GAUSSIAN = (0.3, 3.0)  # sigma
ALL = (0.0, float("inf"))
RIVALS = (OPTIMAL, SQUARE, GAUSSIAN, CFDM)


def pspc_nearer_than_optimal(tables: Tables, setting: Setting) -> Iterator[Part]:
    """At every level."""
    yield from _against(tables, setting, PSPC, (OPTIMAL,), everywhere=True)


def pspc_nearer_than_gaussian(tables: Tables, setting: Setting) -> Iterator[Part]:
    """In a range of sigma."""
    low, high = NEARER_THAN_GAUSSIAN
    yield from _against(tables, setting, PSPC, (GAUSSIAN,), inside=(low, high * setting.scale))


def pspc_nearer_than_cfdm(tables: Tables, setting: Setting) -> Iterator[Part]:
    """Over all levels."""
    yield from _against(tables, setting, PSPC, (CFDM,))


def flex_nearer_than_square(tables: Tables, setting: Setting) -> Iterator[Part]:
    """Over all levels."""
    yield from _against(tables, setting, (FLEX,), (SQUARE,))


def flex_nearest_in_reverse(tables: Tables, setting: Setting) -> Iterator[Part]:
    """Against each rival; the effect is that of the nearest rival, since a mean would be that of the furthest."""
    parts = list(_against(tables, setting, (FLEX,), RIVALS, processes=("reverse",), by_rival=True))
    effects = [part.effect.value for part in parts if part.effect is not None and not part.limited]
    for part in parts:
        if part.effect is None or part.effect.value > min(effects, default=part.effect.value):
            yield replace(part, effect=None)
        else:
            yield replace(part, statistic="mean difference of MSE to the nearest rival")


def networks_nearer_than_pspc(tables: Tables, setting: Setting) -> Iterator[Part]:
    """Each other network against each composite."""
    others = [name for name in setting.networks if name != setting.reference]
    if not others:
        raise NotTested("there is no second network")
    yield from _against(tables, setting, others, PSPC)


def _against(
    tables: Tables,
    setting: Setting,
    names: Sequence[str],
    rivals: Sequence[str],
    *,
    processes: Sequence[str] = PROCESSES,
    inside: tuple[float, float] = ALL,
    everywhere: bool = False,
    by_rival: bool = False,
) -> Iterator[Part]:
    """A part for each of `names`, rival and process; its facet is the process, or the rival."""
    words = "" if inside == ALL else f", sigma {inside[0]:g} to {inside[1]:.2g}"
    found, lacking = False, f"there are no levels of both {' or '.join(names)} and {' or '.join(rivals)}"
    for name in names:
        for rival in rivals:
            for process in processes:
                what = f"{setting.named(name)} against {setting.named(rival)}, {process}{words}"
                try:
                    kind, points = _differences(tables, name, rival, process)
                except NotTested as reason:
                    kind, points, lacking = "", [], str(reason)
                if not points:
                    yield too_few(what)
                    continue
                found = True
                yield judge(
                    what,
                    [difference for sigma, difference in points if within(sigma, *inside)],
                    everywhere=everywhere,
                    floor=floor(tables, process),
                    statistic="mean difference of MSE",
                    kind=kind,
                    limited=not setting.limited.keys().isdisjoint((name, rival)),
                    facet=rival if by_rival else process,
                )
    if not found:
        raise NotTested(lacking)


def _differences(tables: Tables, name: str, rival: str, process: str) -> tuple[str, list[tuple[float, Reading]]]:
    """Whether they are paired, and by how much a rival is further from the network at each level.

    Raises:
        NotTested: neither table has them.
    """
    for one, other, sign in ((name, rival, -1), (rival, name, 1)):
        try:
            rows = rows_of(tables, "w6-paired", "difference", denoiser=one, against=other, process=process)
        except NotTested:
            continue
        return "paired", [(sigma, times(difference, sign)) for sigma, difference in curve(rows, "difference")]
    rows = rows_of(tables, "w6-to-network", "mse", process=process)
    theirs = dict(curve(rows, "mse", denoiser=rival))
    ours = curve(rows, "mse", denoiser=name)
    return "unpaired", [(sigma, minus(theirs[sigma], it)) for sigma, it in ours if sigma in theirs]
