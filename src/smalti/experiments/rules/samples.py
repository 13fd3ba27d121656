"""Rules about samples from shared initial noise: how they drift from the network's, and how alike they are (A Figs. 8, 9)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from smalti.experiments.evidence import (
    NotTested,
    Part,
    Reading,
    Row,
    Setting,
    Tables,
    beyond,
    interval,
    judge,
    minus,
    rows_of,
    shown,
    times,
    within,
)
from smalti.experiments.rules.reading import (
    CFDM,
    FLEX,
    GAUSSIAN,
    MIDDLE,
    OPTIMAL,
    PSPC,
    Rule,
    curve,
    floor,
    reading_of,
    too_few,
)

__all__ = [
    "errors_compound",
    "flex_nearer_in_similarity",
    "flex_nearer_to_gaussian",
    "networks_nearer_to_each_other",
    "structure_kept",
]

PUBLISHED_MEASURE = "sscd"
COMPOUND = ("compound", "in the middle")
STRUCTURE = ("more than chance", "more than optimal")
RIVALS = (OPTIMAL, CFDM, GAUSSIAN)
GAINED = 0.5  # of the final distance, that the middle of the trajectory adds at least
KEPT = 0.25  # of the way from the similarity of unrelated samples to that of equal ones: clearly more than chance

Case = tuple[tuple[str, ...], Reading, bool]  # the denoisers in it, what was read, whether it is paired


# ---------------------------------------------------------------- trajectories


def errors_compound(tables: Tables, setting: Setting) -> Iterator[Part]:
    """The distance of final samples against the largest error that one step makes over the network's own states, and against where other
    networks end; and how much of it the middle of the trajectory adds.

    All distances are 0 at the start, so that growth alone says nothing: a denoiser whose errors do not add up ends no further from the
    network than its worst single output is. Trajectories of another network go apart too: what is no more than that is not PSPC's. How
    the optimal denoiser fares is said beside it.
    """
    states = rows_of(tables, "a8-trajectories", "distance")
    steps = rows_of(tables, "w6-to-network", "mse", process="reverse")

    def ends(name: str) -> tuple[Reading, Reading] | None:
        """The final distance and the largest one-step error."""
        path, errors = curve(states, "distance", denoiser=name), curve(steps, "mse", denoiser=name)
        if not path or not errors:
            return None
        return path[-1][1], max((error for _, error in errors), key=lambda error: error.value)

    def gained(name: str) -> Reading | None:
        """What the middle adds to the distance, less `GAINED` of where it ends."""
        low, high = MIDDLE[0], MIDDLE[1] * setting.scale
        path = curve(states, "distance", denoiser=name)
        inside = [place for place, (sigma, _) in enumerate(path) if within(sigma, low, high)]
        if len(inside) < 2:
            return None
        first, last = path[inside[0]][1], path[min(inside[-1] + 1, len(path) - 1)][1]
        return minus(minus(last, first), times(path[-1][1], GAINED))

    others = {name: both[0] for name in setting.networks if name != setting.reference and (both := ends(name))}
    beside = ends(OPTIMAL)
    optimal = f", optimal {beside[0].value:.3g} after {beside[1].value:.3g}" if beside else ""
    found = False
    for name in PSPC:
        both = ends(name)
        if both is None:
            yield too_few(name)
            continue
        found = True
        yield judge(
            f"{setting.named(name)} ends {both[0].value:.3g} from the network's samples, after a largest one-step error of "
            f"{both[1].value:.3g}{optimal}",
            [minus(*both)],
            levels="ends",
            least=1,
            floor=floor(tables, "reverse"),
            statistic="mean difference of MSE",
            kind="unpaired",
            limited=name in setting.limited,
            facet=COMPOUND[0],
        )
        for other, end in others.items():
            apart = judge(
                f"{setting.named(name)} ends further than {other}, which ends {end.value:.3g} from them",
                [minus(both[0], end)],
                levels="ends",
                least=1,
                floor=floor(tables, "reverse"),
                statistic="difference of MSE",
                kind="unpaired",
                limited=name in setting.limited,
            )
            yield replace(apart, effect=None)
        middle = gained(name)
        if middle is not None:
            words = f"sigma {MIDDLE[0]:g} to {MIDDLE[1] * setting.scale:.2g} add at least {GAINED:g} of that"
            added = judge(
                f"{setting.named(name)}, {words}",
                [middle],
                levels="trajectories",
                least=1,
                statistic="margin of MSE",
                kind="unpaired",
                limited=name in setting.limited,
                facet=COMPOUND[1],
            )
            yield replace(added, effect=None)
    if not found:
        raise NotTested(f"there are no trajectories and one-step errors of {' or '.join(PSPC)}")


# ---------------------------------------------------------------- similarity


@dataclass(frozen=True)
class _Similarities:
    """What a9-similarity and a9-paired hold of one measure.

    Attributes:
        measure: its name.
        of: (a, b) -> similarity, both ways round.
        paired: (a, b, c) -> similarity of a and b less that of c and b, over the same samples.
        chance: (a, b) -> that of samples that do not correspond, as far as the table says.
    """

    measure: str
    of: Mapping[tuple[str, str], Reading]
    paired: Mapping[tuple[str, str, str], Reading]
    chance: Mapping[tuple[str, str], Reading]

    def difference(self, a: str, b: str, c: str) -> tuple[Reading, bool] | None:
        """Similarity of a and b less that of c and b, and whether it is paired; None where it is not known."""
        if (a, b, c) in self.paired:
            return self.paired[a, b, c], True
        if (c, b, a) in self.paired:
            return times(self.paired[c, b, a], -1), True
        if (a, b) in self.of and (c, b) in self.of:
            return minus(self.of[a, b], self.of[c, b]), False
        return None

    def case(self, a: str, b: str, c: str) -> list[Case]:
        """The difference as a list of one case, or of none."""
        found = self.difference(a, b, c)
        return [] if found is None else [((a, b, c), *found)]


def _by_measure(rule: Callable[[_Similarities, Setting], Iterator[Part]]) -> Rule:
    """A rule from one for a measure. Effects of different measures have no common mean: those of the first, or of SSCD where it was
    measured, stand for all."""

    @functools.wraps(rule)
    def parts(tables: Tables, setting: Setting) -> list[Part]:
        found = {known.measure: list(rule(known, setting)) for known in _measures(tables)}
        chosen = PUBLISHED_MEASURE if PUBLISHED_MEASURE in found else next(iter(found))
        others = [replace(part, effect=None) for name, some in found.items() if name != chosen for part in some]
        return found[chosen] + others

    return parts


@_by_measure
def structure_kept(known: _Similarities, setting: Setting) -> Iterator[Part]:
    """PSPC's similarity to the network's samples against chance, and against the optimal denoiser's: what shared noise alone gives. The
    Gaussian denoiser's stands beside it."""
    network = setting.reference or ""
    if not any(pair in known.chance for pair in ((name, network) for name in PSPC)):
        raise NotTested("a9-similarity does not say how alike samples of PSPC and the network, or unrelated ones, are")
    for name in PSPC:
        if (name, network) not in known.chance:
            yield too_few(f"{known.measure}, {setting.named(name)}")
            continue
        chance = known.chance[name, network]
        above = minus(known.of[name, network], chance)
        yield judge(
            f"{known.measure}, {setting.named(name)} {known.of[name, network].value:.3g} to {network}, {chance.value:.2g} by chance, "
            f"above it by {KEPT:g} of what is possible{_beside(known, name, network, setting)}",
            [beyond(above, KEPT * (1 - chance.value))],
            levels="composites",
            least=1,
            statistic="similarity above chance",
            effects=[above],
            limited=name in setting.limited,
            facet=STRUCTURE[0],
        )
        over = known.difference(name, network, OPTIMAL)
        if over is not None:
            more = judge(
                f"{known.measure}, {setting.named(name)} against {OPTIMAL}",
                [over[0]],
                levels="composites",
                least=1,
                statistic="difference of similarity",
                kind=_kind([over[1]]),
                limited=name in setting.limited,
                facet=STRUCTURE[1],
            )
            yield replace(more, effect=None)


def _beside(known: _Similarities, name: str, network: str, setting: Setting) -> str:
    """What the optimal and the Gaussian denoiser have, and by how much `name` is above the optimal one."""
    words = [
        f"{setting.named(it)} {known.of[it, network].value:.3g}"
        for it in (OPTIMAL, GAUSSIAN)
        if (it, network) in known.of
    ]
    over = known.difference(name, network, OPTIMAL)
    if over is not None:
        words.append(f"above {OPTIMAL} by {shown(over[0])} {_kind([over[1]])}")
    return f" (beside it {', '.join(words)})" if words else ""


@_by_measure
def flex_nearer_in_similarity(known: _Similarities, setting: Setting) -> Iterator[Part]:
    """To each network, against each rival."""
    for rival in RIVALS:
        cases = [case for network in setting.networks for case in known.case(FLEX, network, rival)]
        yield from _weighed(known, setting, f"{FLEX} against {rival}", cases, "networks", facet=rival)


@_by_measure
def flex_nearer_to_gaussian(known: _Similarities, setting: Setting) -> Iterator[Part]:
    """Against each network."""
    cases = [case for network in setting.networks for case in known.case(GAUSSIAN, FLEX, network)]
    yield from _weighed(known, setting, f"{FLEX} to {GAUSSIAN} against to networks", cases, "networks")


@_by_measure
def networks_nearer_to_each_other(known: _Similarities, setting: Setting) -> Iterator[Part]:
    """Each ordered pair of networks against each composite."""
    pairs = [(a, b) for a in setting.networks for b in setting.networks if a != b]
    cases = [case for a, b in pairs for name in PSPC for case in known.case(a, b, name)]
    what = "other networks against PSPC"
    yield from _weighed(known, setting, what, cases, "ordered pairs of networks, with each PSPC", everywhere=True)


def _weighed(
    known: _Similarities,
    setting: Setting,
    what: str,
    cases: Sequence[Case],
    levels: str,
    everywhere: bool = False,
    facet: str = "",
) -> Iterator[Part]:
    """A part of the cases without limited denoisers, and one of those with them where there are any."""
    groups: dict[bool, list[Case]] = {False: [], True: []}
    for case in cases:
        groups[not setting.limited.keys().isdisjoint(case[0])].append(case)
    for limited, group in groups.items():
        if not group and (limited or groups[True]):
            continue
        fewer = dict.fromkeys(setting.named(name) for case in group for name in case[0] if name in setting.limited)
        yield judge(
            f"{known.measure}, {what}" + (f", with {', '.join(fewer)}" if fewer else ""),
            [reading for _, reading, _ in group],
            levels=levels,
            everywhere=everywhere,
            least=1,
            statistic="mean difference",
            kind=_kind([paired for _, _, paired in group]),
            limited=limited,
            facet=facet,
        )


def _kind(paired: Sequence[bool]) -> str:
    return "paired" if all(paired) else ("partly paired" if any(paired) else "unpaired")


def _measures(tables: Tables) -> Iterator[_Similarities]:
    rows = rows_of(tables, "a9-similarity", "similarity")
    try:
        differences = rows_of(tables, "a9-paired", "difference")
    except NotTested:
        differences = []
    for measure in dict.fromkeys(row["measure"] for row in rows):
        of: dict[tuple[str, str], Reading] = {}
        chance: dict[tuple[str, str], Reading] = {}
        for row in (row for row in rows if row["measure"] == measure):
            pairs = (row["a"], row["b"]), (row["b"], row["a"])
            of |= dict.fromkeys(pairs, reading_of(row, "similarity"))
            by_chance = _chance(row)
            if by_chance is not None:
                chance |= dict.fromkeys(pairs, by_chance)
        paired = {
            (row["a"], row["b"], row["c"]): reading_of(row, "difference")
            for row in differences
            if row["measure"] == measure
        }
        yield _Similarities(measure, of, paired, chance)


def _chance(row: Row) -> Reading | None:
    """With its interval where the table has one, else as if it were exact."""
    found, value = interval(row, "chance"), row.get("chance")
    if found is None and isinstance(value, (int, float)):
        return Reading(value, value, value, 0.0, int(row["n"]))
    return found
