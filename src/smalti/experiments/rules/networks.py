"""Rules about networks alone: their error to the optimal denoiser, what they have in common, and how local they are (W Figs. 2 to 4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from smalti.experiments.evidence import (
    NOT_SUPPORTED,
    NOT_TESTED,
    NotTested,
    Part,
    Row,
    Setting,
    Tables,
    beyond,
    judge,
    minus,
    rows_of,
    times,
    trend,
    within,
)
from smalti.experiments.rules.reading import GAUSSIAN, MIDDLE, OPTIMAL, curve, networks_in, reading_of, untested

__all__ = ["area_grows", "error_in_the_middle", "gradient_is_local", "networks_err_alike", "transformed_answers"]

LOW = 0.1  # below: the lower end
HIGH = 30.0  # above: well outside MIDDLE, as far from it in ln sigma as LOW is from 0.3
SMALL = 0.25  # of the largest error: what counts as small against it; the papers' curves fall below a tenth
ALIKE = 0.75  # cosine of two deviations, where nothing else is to compare with: half way from what -D_optimal alone gives to 1
SHARED = 0.5  # that: if D_a, D_b and D_optimal vary alike and independently, D_a - D_optimal and D_b - D_optimal have cosine 1/2
ENDS = ("low end", "high end")
CHANGES = ("shifts", "local changes")  # "a transformed answer", "changed locally"
WINDOW = 15  # pixels of 32 that hold most of the gradient


def error_in_the_middle(tables: Tables, setting: Setting) -> Iterator[Part]:
    """Errors at each end against a share of the peak; not where the peak is clearly elsewhere than in the middle."""
    rows = rows_of(tables, "w2-error", "mse")
    low, high = MIDDLE[0], MIDDLE[1] * setting.scale
    for network in networks_in(rows, "network", setting):
        errors = dict(curve(rows, "mse", network=network))
        middle = [sigma for sigma in errors if within(sigma, low, high)]
        peak = max(errors, key=lambda sigma: errors[sigma].value)
        inside = max(middle, key=lambda sigma: errors[sigma].value, default=peak)
        elsewhere = not middle or minus(errors[peak], errors[inside]).low > 0
        peak = peak if elsewhere else inside
        high_end = HIGH * setting.scale
        for end, words, chosen in (
            (ENDS[0], f"below sigma {LOW:g}", [sigma for sigma in errors if sigma < LOW]),
            (ENDS[1], f"above sigma {high_end:.2g}", [sigma for sigma in errors if sigma > high_end]),
        ):
            small = judge(
                f"{network} peaks at sigma {peak:.2g} with {errors[peak].value:.3g} and is less than {SMALL:g} of that {words}",
                [minus(times(errors[peak], SMALL), errors[sigma]) for sigma in chosen],
                least=2,
                statistic="mean margin of MSE",
                facet=end,
            )
            if small.standing != NOT_TESTED and elsewhere:
                text = f"{small.text}, the peak is not within {low:g} to {high:.2g}"
                small = replace(small, standing=NOT_SUPPORTED, text=text)
            yield small
    yield from untested(rows, "network", setting)


def networks_err_alike(tables: Tables, setting: Setting) -> Iterator[Part]:
    """Against the cosine of the Gaussian denoiser's deviations with the networks', which has -D_optimal in common with them too; where
    the table has none, against `ALIKE`. Not against PSPC's, which is made to deviate as networks do."""
    low, high = MIDDLE[0], MIDDLE[1] * setting.scale
    rows = [row for row in rows_of(tables, "w2-agreement", "cosine") if within(row["sigma"], low, high)]
    for a, b in _pairs(rows, setting):
        cosines = dict(_cosines(rows, {a, b}))
        others = {
            name: [dict(_cosines(rows, {name, network})) for network in (a, b)]
            for name in (GAUSSIAN,)
            if name not in setting.limited
        }
        present = [name for name, curves in others.items() if any(curves)]
        best = {
            sigma: max(found, key=lambda it: it.value)
            for sigma in cosines
            if (found := [of[sigma] for name in present for of in others[name] if sigma in of])
        }
        said = f"{a} and {b}, sigma {low:g} to {high:.2g}"
        if best:
            mean = sum(cosines[sigma].value for sigma in best) / len(best)
            beside = sum(it.value for it in best.values()) / len(best)
            yield judge(
                f"{said}, mean cosine of deviations {mean:.3g} against {beside:.3g} of {', '.join(present)}",
                [minus(cosines[sigma], other) for sigma, other in best.items()],
                statistic="mean difference of cosines",
                kind="unpaired",
            )
        else:
            yield judge(
                f"{said}, cosine of deviations above {ALIKE:g} (the share of the optimal denoiser in both alone gives about {SHARED:g})",
                [beyond(cosine, ALIKE) for cosine in cosines.values()],
                statistic="mean cosine",
                effects=cosines.values(),
            )


def transformed_answers(tables: Tables, setting: Setting) -> Iterator[Part]:
    """At every sigma that the figure shows, shifts and local changes apart."""
    rows = rows_of(tables, "w3-responses", "distance")
    networks = networks_in(rows, "subject", setting)
    of = {(row["subject"], row["sigma"], row["transformation"]): reading_of(row, "distance") for row in rows}
    asked = {key[1:]: it for key, it in of.items() if key[0] == OPTIMAL}
    if not asked:
        raise NotTested("w3-responses has no rows of optimal")
    for network in networks:
        theirs = {key[1:]: it for key, it in of.items() if key[0] == network}
        for sigma in dict.fromkeys(sigma for sigma, _ in asked):
            for facet in CHANGES:
                chosen = [
                    key for key in asked if key[0] == sigma and key[1].startswith("shift") == (facet == CHANGES[0])
                ]
                yield judge(
                    f"{network} nearer to the transformed answer than optimal is, {facet}, sigma {sigma:.2g}",
                    [minus(asked[key], theirs[key]) for key in chosen if key in theirs],
                    levels="transformations",
                    least=1,
                    statistic="mean difference of relative distances",
                    kind="unpaired",
                    facet=facet,
                )
    yield from untested(rows, "subject", setting)


def area_grows(tables: Tables, setting: Setting) -> Iterator[Part]:
    """The trend of the side that holds half of the gradient."""
    rows = rows_of(tables, "w4-sides", "side", share=0.5)
    for network in networks_in(rows, "subject", setting):
        yield trend(f"{network}, side that holds half of the gradient", curve(rows, "side", subject=network))
    yield from untested(rows, "subject", setting)


def gradient_is_local(tables: Tables, setting: Setting) -> Iterator[Part]:
    """The side that holds half of the gradient against the paper's, in proportion to the image."""
    rows = rows_of(tables, "w4-sides", "side", share=0.5)
    limit = WINDOW * setting.scale
    for network in networks_in(rows, "subject", setting):
        sides = [side for _, side in curve(rows, "side", subject=network)]
        yield judge(
            f"{network}, half of the gradient within {limit:.3g} x {limit:.3g} pixels",
            [times(beyond(side, limit), -1) for side in sides],
            everywhere=True,
            statistic="mean side",
            effects=sides,
        )
    yield from untested(rows, "subject", setting)


def _cosines(rows: Sequence[Row], pair: set[str]) -> Iterator[tuple]:
    """sigma and cosine of a pair, whichever comes first."""
    for row in rows:
        if {row["a"], row["b"]} == pair:
            yield row["sigma"], reading_of(row, "cosine")


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
