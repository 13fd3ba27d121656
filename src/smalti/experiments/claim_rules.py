"""What both papers claim, and for each claim the rule from the tables of a report to parts: one for each network, process or denoiser.

`evidence.py` says how intervals become readings and verdicts; `claims.py` applies the rules. Nothing here knows a result. Readings are
positive where a claim holds, and an effect is their mean, unless the evidence names another number.

W is the workshop paper, A the article on the full paper.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smalti.experiments.evidence import (
    LEAST,
    NOT_SUPPORTED,
    NOT_TESTED,
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
    times,
    trend,
    within,
)

__all__ = ["CLAIMS", "Claim"]

# ranges of sigma for 32 x 32 images; upper bounds are multiplied by `Setting.scale`
MIDDLE = (0.3, 10.0)  # where W sec. 4 finds the error to optimal large
LOW = 0.1  # below: W sec. 5 finds patch posterior means equal to optimal's
HIGH = 30.0  # above: well outside MIDDLE, as far from it in ln sigma as LOW is from 0.3
GENERALISES = (
    3.0  # up to here the article and the workshop paper agree that patches are nearer to networks than optimal is
)
NEARER_THAN_GAUSSIAN = (0.3, 3.0)
WINDOW = 15  # pixels of 32 that hold most of the gradient

SMALL = 0.25  # of the largest error: what counts as small against it; the papers' curves fall below a tenth
ALIKE = 0.5  # cosine of two deviations above which more of each is common than not: a quarter of its square, and the sign throughout
COPIED = 0.75  # share of samples that are copies from which "sampling copies" is said

PUBLISHED_MEASURE = "sscd"
OPTIMAL, GAUSSIAN, CFDM = "optimal", "gaussian", "closed-form-diffusion"
SQUARE, FLEX = "pspc-square", "pspc-flex"
PSPC = (SQUARE, FLEX)
PROCESSES = ("forward", "reverse")

Rule = Callable[[Tables, Setting], Iterable[Part]]


@dataclass(frozen=True)
class Claim:
    """What a paper says, and how it is tested.

    Attributes:
        key: short and stable: "error-in-the-middle".
        text: the claim, one sentence.
        source: where it is made.
        rule: from tables and setting to parts; raises NotTested where it lacks something.
    """

    key: str
    text: str
    source: str
    rule: Rule


# ---------------------------------------------------------------- the networks' errors (W Fig. 2)


def _error_in_the_middle(tables: Tables, setting: Setting) -> Iterator[Part]:
    rows = rows_of(tables, "w2-error", "mse")
    for network in _networks(rows, "network", setting):
        errors = {row["sigma"]: _of(row, "mse") for row in rows if row["network"] == network}
        peak = max(errors, key=lambda sigma: errors[sigma].value)
        low, high = MIDDLE[0], MIDDLE[1] * setting.scale
        ends = [sigma for sigma in errors if sigma < LOW or sigma > HIGH * setting.scale]
        small = judge(
            f"{network} peaks at sigma {peak:.2g} with {errors[peak].value:.3g} and is below {SMALL:g} of that outside "
            f"{LOW:g} to {HIGH * setting.scale:.2g}",
            [minus(times(errors[peak], SMALL), errors[sigma]) for sigma in ends],
            statistic="mean margin",
        )
        if small.standing == NOT_TESTED or within(peak, low, high):
            yield small
        else:
            yield Part(NOT_SUPPORTED, f"{small.text}; the peak is not within {low:g} to {high:.2g}", small.effect)
    yield from _untested(rows, "network", setting)


def _networks_err_alike(tables: Tables, setting: Setting) -> Iterator[Part]:
    low, high = MIDDLE[0], MIDDLE[1] * setting.scale
    rows = [row for row in rows_of(tables, "w2-agreement", "cosine") if within(row["sigma"], low, high)]
    for a, b in _pairs(rows, setting):
        cosines = [_of(row, "cosine") for row in rows if {row["a"], row["b"]} == {a, b}]
        yield judge(
            f"{a} and {b}, cosine of deviations above {ALIKE:g}, sigma {low:g} to {high:.2g}",
            [beyond(cosine, ALIKE) for cosine in cosines],
            statistic="mean cosine",
            shown=cosines,
        )


# ---------------------------------------------------------------- locality (W Figs. 3, 4)


def _transformed_answers(tables: Tables, setting: Setting) -> Iterator[Part]:
    rows = rows_of(tables, "w3-responses", "distance")
    networks = _networks(rows, "subject", setting)
    asked = {_question(row, "subject", "distance"): _of(row, "distance") for row in rows if row["subject"] == OPTIMAL}
    if not asked:
        raise NotTested("w3-responses has no rows of optimal")
    for network in networks:
        answers = {
            _question(row, "subject", "distance"): _of(row, "distance") for row in rows if row["subject"] == network
        }
        yield judge(
            f"{network} nearer to the transformed answer than optimal is",
            [minus(asked[key], answers[key]) for key in answers if key in asked],
            levels="transformations",
            statistic="mean difference of relative distances",
        )
    yield from _untested(rows, "subject", setting)


def _area_grows(tables: Tables, setting: Setting) -> Iterator[Part]:
    rows = rows_of(tables, "w4-sides", "side", share=0.5)
    for network in _networks(rows, "subject", setting):
        yield trend(f"{network}, side that holds half of the gradient", _curve(rows, "side", subject=network))
    yield from _untested(rows, "subject", setting)


def _gradient_is_local(tables: Tables, setting: Setting) -> Iterator[Part]:
    rows = rows_of(tables, "w4-sides", "side", share=0.5)
    limit = WINDOW * setting.scale
    for network in _networks(rows, "subject", setting):
        sides = [side for _, side in _curve(rows, "side", subject=network)]
        yield judge(
            f"{network}, half of the gradient within {limit:.3g} x {limit:.3g} pixels",
            [times(beyond(side, limit), -1) for side in sides],
            everywhere=True,
            statistic="mean side",
            shown=sides,
        )
    yield from _untested(rows, "subject", setting)


# ---------------------------------------------------------------- patch posterior means (W Fig. 5)


def _patches_equal_optimal(tables: Tables, setting: Setting) -> Iterator[Part]:
    rows = rows_of(tables, "w5-patches", "error", process="forward", target=OPTIMAL)
    largest = max((_of(row, "error") for row in rows), key=lambda error: error.value)
    high = HIGH * setting.scale
    for words, inside in ((f"below {LOW:g}", (0.0, LOW)), (f"above {high:.2g}", (high, float("inf")))):
        ends = [row for row in rows if inside[0] < row["sigma"] < inside[1] and row["side"] < setting.side]
        yield judge(
            f"sigma {words}, error below {SMALL:g} of the largest ({largest.value:.3g})",
            [minus(times(largest, SMALL), _of(row, "error")) for row in ends],
            levels="sides and levels",
            everywhere=True,
            statistic="mean margin",
        )


def _larger_patches_needed(tables: Tables, setting: Setting) -> Iterator[Part]:
    """The smallest side with an error below `SMALL` of the largest, up to the end of the middle: beyond it any side serves."""
    rows = rows_of(tables, "w5-patches", "error", process="forward", target=OPTIMAL)
    largest = max(_of(row, "error").value for row in rows)
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


def _patches_nearer_than_optimal(tables: Tables, setting: Setting) -> Iterator[Part]:
    rows = _to_network(tables, setting, "reverse", "difference")  # from the whole image, over the same z
    limit = GENERALISES * setting.scale
    near = [row for row in rows if within(row["sigma"], 0, limit) and row["side"] < setting.side]
    yield judge(
        f"up to sigma {limit:.2g}",
        [times(_of(row, "difference"), -1) for row in near],
        levels="sides and levels",
        everywhere=True,
        statistic="mean paired difference of MSE",
    )


def _best_side_shrinks(tables: Tables, setting: Setting) -> Iterator[Part]:
    rows = _to_network(tables, setting, "reverse")
    yield trend(f"side nearest to {setting.reference}", [(sigma, _best(errors)) for sigma, errors in _by_side(rows)])


# ---------------------------------------------------------------- composites against the network (W Fig. 6, A Fig. 7)


def _pspc_nearer_than_optimal(tables: Tables, setting: Setting) -> Iterator[Part]:
    yield from _paired(tables, OPTIMAL, everywhere=True)


def _pspc_nearer_than_gaussian(tables: Tables, setting: Setting) -> Iterator[Part]:
    low, high = NEARER_THAN_GAUSSIAN
    yield from _paired(tables, GAUSSIAN, (low, high * setting.scale))


def _pspc_nearer_than_cfdm(tables: Tables, setting: Setting) -> Iterator[Part]:
    yield from _against(tables, PSPC, CFDM)


def _flex_nearer_than_square(tables: Tables, setting: Setting) -> Iterator[Part]:
    yield from _against(tables, (FLEX,), SQUARE)


def _flex_nearest_in_reverse(tables: Tables, setting: Setting) -> Iterator[Part]:
    rows = rows_of(tables, "w6-to-network", "mse", process="reverse")
    curves = {name: dict(_curve(rows, "mse", denoiser=name)) for name in (FLEX, OPTIMAL, SQUARE, GAUSSIAN, CFDM)}
    rivals = [name for name in curves if name != FLEX and curves[name]]
    if not curves[FLEX] or not rivals:
        raise NotTested(f"w6-to-network has no reverse rows of {FLEX} and of others")
    readings = []
    for sigma, error in curves[FLEX].items():
        others = [curves[name][sigma] for name in rivals if sigma in curves[name]]
        if others:
            readings.append(minus(min(others, key=lambda it: it.value), error))
    yield judge(f"{FLEX} against the best of {', '.join(rivals)}", readings, statistic="mean difference of MSE")


def _networks_nearer_than_pspc(tables: Tables, setting: Setting) -> Iterator[Part]:
    rows = rows_of(tables, "w6-to-network", "mse")
    others = [name for name in setting.networks if name != setting.reference]
    present = [name for name in others if any(row["denoiser"] == name for row in rows)]
    if not present:
        raise NotTested("there is no second network")
    for name in present:
        for process in PROCESSES:
            theirs = dict(_curve(rows, "mse", denoiser=name, process=process))
            composites = [dict(_curve(rows, "mse", denoiser=it, process=process)) for it in PSPC]
            readings = []
            for sigma, error in theirs.items():
                best = [curve[sigma] for curve in composites if sigma in curve]
                if best:
                    readings.append(minus(min(best, key=lambda it: it.value), error))
            if readings:
                yield judge(f"{name} against the better PSPC, {process}", readings, statistic="mean difference of MSE")


# ---------------------------------------------------------------- samples (A Figs. 8, 9)


def _errors_compound(tables: Tables, setting: Setting) -> Iterator[Part]:
    rows = rows_of(tables, "a8-trajectories", "distance")
    middle = MIDDLE[1] * setting.scale
    found = False
    for name in PSPC:
        curve = _curve(rows, "distance", denoiser=name)
        early = [distance for sigma, distance in curve if sigma > middle]
        if not curve or not early:
            continue
        found = True
        last = min(curve, key=lambda point: point[0])[1]
        before = max(early, key=lambda it: it.value)
        yield judge(
            f"{name}, distance to the network's sample against the largest above sigma {middle:.2g}",
            [minus(last, before)],
            levels="ends",
            statistic="growth of the MSE",
        )
    if not found:
        raise NotTested(f"a8-trajectories has no states of {' or '.join(PSPC)} above sigma {middle:.2g}")


def _by_measure(rule: Rule) -> Rule:
    """Effects of different measures have no common mean: that of the first, SSCD where it was measured, stands for all."""

    @functools.wraps(rule)
    def parts(tables: Tables, setting: Setting) -> list[Part]:
        found = list(rule(tables, setting))
        first = next((part for part in found if part.text.startswith(f"{PUBLISHED_MEASURE},")), found[0])
        return [part if part is first else replace(part, effect=None) for part in found]

    return parts


@_by_measure
def _structure_kept(tables: Tables, setting: Setting) -> Iterator[Part]:
    """Against `chance`: the same measure of samples that do not share their noise."""
    rows = rows_of(tables, "a9-similarity", "similarity")
    for measure in dict.fromkeys(row["measure"] for row in rows):
        readings = []
        for row in rows:
            if row["measure"] == measure and {row["a"], row["b"]} in [{name, setting.reference} for name in PSPC]:
                if not isinstance(row.get("chance"), (int, float)):
                    raise NotTested("a9-similarity does not say how alike unrelated samples are")
                readings.append(beyond(_of(row, "similarity"), row["chance"]))
        yield judge(
            f"{measure}, PSPC to the network against unrelated samples",
            readings,
            levels="composites",
            everywhere=True,
            statistic="mean difference",
        )


@_by_measure
def _flex_nearer_in_similarity(tables: Tables, setting: Setting) -> Iterator[Part]:
    for measure, similarity in _measures(tables):
        networks = [name for name in setting.networks if (FLEX, name) in similarity]
        rivals = [name for name in (OPTIMAL, CFDM, GAUSSIAN) if any((name, it) in similarity for it in networks)]
        readings = [
            minus(similarity[FLEX, network], similarity[rival, network])
            for network in networks
            for rival in rivals
            if (rival, network) in similarity
        ]
        yield judge(
            f"{measure}, {FLEX} against {', '.join(rivals) or 'others'}",
            readings,
            levels="pairs of network and rival",
            statistic="mean difference",
        )


@_by_measure
def _flex_nearer_to_gaussian(tables: Tables, setting: Setting) -> Iterator[Part]:
    for measure, similarity in _measures(tables):
        networks = [name for name in setting.networks if (FLEX, name) in similarity]
        known = (FLEX, GAUSSIAN) in similarity
        readings = [minus(similarity[FLEX, GAUSSIAN], similarity[FLEX, name]) for name in networks if known]
        yield judge(
            f"{measure}, {FLEX} to {GAUSSIAN} against to networks",
            readings,
            levels="networks",
            statistic="mean difference",
        )


@_by_measure
def _networks_nearer_to_each_other(tables: Tables, setting: Setting) -> Iterator[Part]:
    for measure, similarity in _measures(tables):
        readings = []
        for a in setting.networks:
            for b in setting.networks:
                composites = [similarity[name, a] for name in PSPC if (name, a) in similarity]
                if a != b and composites and (a, b) in similarity:
                    readings.append(minus(similarity[a, b], max(composites, key=lambda it: it.value)))
        yield judge(
            f"{measure}, other networks against the better PSPC",
            readings,
            levels="ordered pairs of networks",
            everywhere=True,
            statistic="mean difference",
        )


# ---------------------------------------------------------------- generalisation


def _halves_agree(tables: Tables, setting: Setting) -> Iterator[Part]:
    low, high = MIDDLE[0], MIDDLE[1] * setting.scale
    rows = _comparison(tables, "networks-less-network-optimal")
    for name in dict.fromkeys(row["a"] for row in rows):
        curve = _curve(rows, "value", a=name)
        yield judge(
            f"{name}, sigma {low:g} to {high:.2g}",
            [times(difference, -1) for sigma, difference in curve if within(sigma, low, high)],
            statistic="mean paired difference of MSE",
        )


def _optimal_copies(tables: Tables, setting: Setting) -> Iterator[Part]:
    rows = [row for row in _comparison(tables, "sample-copies") if OPTIMAL in str(row["a"])]
    if not rows:
        raise NotTested(f"halves has no copies among the samples of {OPTIMAL}")
    shares = [_of(row, "value") for row in rows]
    yield judge(
        f"share of samples of {OPTIMAL} that are copies, above {COPIED:g}",
        [beyond(share, COPIED) for share in shares],
        levels="sets of samples",
        everywhere=True,
        statistic="mean share",
        shown=shares,
    )


# ---------------------------------------------------------------- reading tables


def _of(row: Row, statistic: str) -> Reading:
    found = interval(row, statistic)
    assert found is not None  # rows_of gives none without
    return found


def _networks(rows: Sequence[Row], column: str, setting: Setting) -> list[str]:
    """The networks that have rows.

    Raises:
        NotTested: none has.
    """
    found = [name for name in setting.networks if any(row[column] == name for row in rows)]
    if not found:
        raise NotTested("there is no network")
    return found


def _untested(rows: Sequence[Row], column: str, setting: Setting) -> Iterator[Part]:
    """A word on each network that has no rows that can be judged."""
    for name in setting.networks:
        if not any(row[column] == name for row in rows):
            yield _too_few(name)


def _too_few(what: str) -> Part:
    return Part(NOT_TESTED, f"{what}: no interval of {LEAST} z or more")


def _pairs(rows: Sequence[Row], setting: Setting) -> list[tuple[str, str]]:
    """Pairs of networks that have rows.

    Raises:
        NotTested: none has.
    """
    known = setting.networks
    pairs = dict.fromkeys((row["a"], row["b"]) for row in rows if row["a"] in known and row["b"] in known)
    found = [pair for pair in pairs if pair[0] != pair[1]]
    if not found:
        raise NotTested("there are no two networks")
    return found


def _question(row: Row, who: str, statistic: str) -> tuple:
    """What a row asks, apart from whom and with what result."""
    return tuple((key, value) for key, value in row.items() if key not in (who, "n") and not key.startswith(statistic))


def _curve(rows: Sequence[Row], statistic: str, **equal: Any) -> list[tuple[float, Reading]]:
    """sigma and the statistic, highest sigma first."""
    chosen = [row for row in rows if all(row[key] == value for key, value in equal.items())]
    points = [(row["sigma"], found) for row in chosen if (found := interval(row, statistic)) is not None]
    return sorted(points, key=lambda point: -point[0])


def _by_side(rows: Sequence[Row]) -> list[tuple[float, dict[int, Reading]]]:
    """sigma -> side -> error."""
    found: dict[float, dict[int, Reading]] = {}
    for row in rows:
        found.setdefault(row["sigma"], {})[int(row["side"])] = _of(row, "error")
    return sorted(found.items(), reverse=True)


def _best(errors: Mapping[int, Reading]) -> Reading:
    """The side of least error, between the sides whose intervals reach below the least upper end."""
    bound = min(it.high for it in errors.values())
    near = [side for side, it in errors.items() if it.low <= bound]
    best = min(errors, key=lambda side: errors[side].value)
    return Reading(best, min(near), max(near), (max(near) - min(near)) / 4, errors[best].n)


def _to_network(tables: Tables, setting: Setting, process: str, statistic: str = "error") -> list[Row]:
    if setting.reference is None:
        raise NotTested("there is no network")
    return rows_of(tables, "w5-patches", statistic, process=process, target=setting.reference)


def _paired(
    tables: Tables, against: str, inside: tuple[float, float] = (0.0, float("inf")), everywhere: bool = False
) -> Iterator[Part]:
    """PSPC's squared errors against another's, over the same z."""
    rows = rows_of(tables, "w6-paired", "difference", against=against)
    words = "" if inside[0] == 0 else f", sigma {inside[0]:g} to {inside[1]:.2g}"
    found = False
    for name in PSPC:
        for process in PROCESSES:
            curve = _curve(rows, "difference", denoiser=name, process=process)
            if curve:
                found = True
                yield judge(
                    f"{name} against {against}, {process}{words}",
                    [times(difference, -1) for sigma, difference in curve if within(sigma, *inside)],
                    everywhere=everywhere,
                    statistic="mean paired difference of MSE",
                )
            else:
                yield _too_few(f"{name} against {against}, {process}")
    if not found:
        raise NotTested(f"w6-paired has no rows of {' or '.join(PSPC)}")


def _against(tables: Tables, names: Sequence[str], rival: str) -> Iterator[Part]:
    """MSE to the network of `names` against a rival's, level by level: paired where w6-paired has the two, else from w6-to-network."""
    found = False
    for name in names:
        for process in PROCESSES:
            paired, readings = _differences(tables, name, rival, process)
            if readings:
                found = True
                kind = "paired difference" if paired else "difference"
                yield judge(f"{name} against {rival}, {process}", readings, statistic=f"mean {kind} of MSE")
            else:
                yield _too_few(f"{name} against {rival}, {process}")
    if not found:
        raise NotTested(f"w6-to-network has no levels of both {' or '.join(names)} and {rival}")


def _differences(tables: Tables, name: str, rival: str, process: str) -> tuple[bool, list[Reading]]:
    """Whether they are paired, and by how much a rival is further from the network at each level."""
    try:
        rows = rows_of(tables, "w6-paired", "difference", against=rival, denoiser=name, process=process)
        return True, [times(difference, -1) for _, difference in _curve(rows, "difference")]
    except NotTested:
        rows = rows_of(tables, "w6-to-network", "mse", process=process)
    theirs = dict(_curve(rows, "mse", denoiser=rival))
    return False, [minus(theirs[sigma], it) for sigma, it in _curve(rows, "mse", denoiser=name) if sigma in theirs]


def _measures(tables: Tables) -> Iterator[tuple[str, dict[tuple[str, str], Reading]]]:
    """Each measure with its similarities, both ways round."""
    rows = rows_of(tables, "a9-similarity", "similarity")
    for measure in dict.fromkeys(row["measure"] for row in rows):
        found = {}
        for row in rows:
            if row["measure"] == measure:
                found[row["a"], row["b"]] = found[row["b"], row["a"]] = _of(row, "similarity")
        yield measure, found


def _comparison(tables: Tables, comparison: str) -> list[Row]:
    return rows_of(tables, "halves", "value", comparison=comparison)


CLAIMS = (
    Claim(
        "error-in-the-middle",
        "Networks are far from the optimal denoiser in a middle range of sigma, and near to it at both ends.",
        "W sec. 4, Fig. 2; A Fig. 2",
        _error_in_the_middle,
    ),
    Claim(
        "networks-err-alike",
        "Networks of different architectures deviate from the optimal denoiser in the same way.",
        "W sec. 4, Fig. 2; A Fig. 2",
        _networks_err_alike,
    ),
    Claim(
        "transformed-answers",
        "To a transformed z networks give a transformed answer, changed locally; the optimal denoiser does not.",
        "W sec. 4, Fig. 3",
        _transformed_answers,
    ),
    Claim("area-grows", "The area that a pixel is sensitive to grows with sigma.", "W Fig. 4; A Fig. 3", _area_grows),
    Claim(
        "gradient-is-local",
        "At every sigma most of the gradient lies within 15 x 15 pixels (of 32 x 32).",
        "W Fig. 4",
        _gradient_is_local,
    ),
    Claim(
        "patches-equal-optimal",
        "Over forward z, patch posterior means equal the optimal denoiser's patches at small and at large sigma, whatever the side.",
        "W sec. 5, Fig. 5 left",
        _patches_equal_optimal,
    ),
    Claim(
        "larger-patches-needed",
        "Over forward z, larger patches are needed to be near to the optimal denoiser as sigma grows.",
        "W sec. 5, Fig. 5 left",
        _larger_patches_needed,
    ),
    Claim(
        "patches-nearer-than-optimal",
        "Over reverse z, below sigma 3 to 5, patches of every side are nearer to the network than the optimal denoiser is.",
        "W sec. 5, Fig. 5 right",
        _patches_nearer_than_optimal,
    ),
    Claim(
        "best-side-shrinks",
        "Over reverse z, the side of patches that is nearest to the network shrinks as sigma falls.",
        "W sec. 5, Fig. 5 right",
        _best_side_shrinks,
    ),
    Claim(
        "pspc-nearer-than-optimal",
        "At every sigma, forward and reverse, PSPC is nearer to the network than the optimal denoiser is.",
        "W sec. 5, Fig. 6; A Fig. 7",
        _pspc_nearer_than_optimal,
    ),
    Claim(
        "pspc-nearer-than-gaussian",
        "For sigma from 0.3 to 3 PSPC is nearer to the network than the Gaussian denoiser is.",
        "A sec. 6, Fig. 7",
        _pspc_nearer_than_gaussian,
    ),
    Claim(
        "pspc-nearer-than-cfdm",
        "PSPC is nearer to the network than closed-form diffusion is.",
        "A sec. 6, Fig. 7",
        _pspc_nearer_than_cfdm,
    ),
    Claim(
        "flex-nearer-than-square",
        "PSPC-Flex is nearer to the network than PSPC-Square is.",
        "A sec. 6, Fig. 7",
        _flex_nearer_than_square,
    ),
    Claim(
        "flex-nearest-in-reverse",
        "Over reverse z PSPC-Flex is nearer to the network than every other training-free denoiser of the paper.",
        "A sec. 6, Fig. 7",
        _flex_nearest_in_reverse,
    ),
    Claim(
        "networks-nearer-than-pspc",
        "Other networks are nearer to the network than PSPC is.",
        "A sec. 6, Fig. 7",
        _networks_nearer_than_pspc,
    ),
    Claim(
        "errors-compound",
        "Samples of PSPC drift from the network's: errors from the middle of the trajectory compound.",
        "A sec. 6, Fig. 8",
        _errors_compound,
    ),
    Claim(
        "structure-kept",
        "From shared noise, samples of PSPC keep the structure (colours, layout) of the network's.",
        "A sec. 6, Fig. 8",
        _structure_kept,
    ),
    Claim(
        "flex-nearer-in-similarity",
        "From shared noise, samples of PSPC-Flex are more similar to networks' than those of Optimal, CFDM and Gaussian are.",
        "A sec. 6, Fig. 9",
        _flex_nearer_in_similarity,
    ),
    Claim(
        "flex-nearer-to-gaussian",
        "Samples of PSPC-Flex are more similar to the Gaussian denoiser's than to networks'.",
        "A Fig. 9",
        _flex_nearer_to_gaussian,
    ),
    Claim(
        "networks-nearer-to-each-other",
        "Samples of networks are more similar to each other than samples of PSPC are to any network's.",
        "A Fig. 9",
        _networks_nearer_to_each_other,
    ),
    Claim(
        "halves-agree",
        "Where networks deviate from the optimal denoiser, those trained on disjoint halves agree more with each other than each does "
        "with the optimal denoiser of its own half.",
        "W sec. 1 (Kadkhodaie et al. 2023)",
        _halves_agree,
    ),
    Claim(
        "optimal-copies",
        "Sampling with the optimal denoiser only copies training images.",
        "W sec. 1; A, the paradox of the optimal denoiser",
        _optimal_copies,
    ),
)
