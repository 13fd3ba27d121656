"""How far networks are from the optimal denoiser, over the noise level, and whether they err alike (workshop paper, Fig. 2).

Table w2-error: network, sigma, n, mse with its interval; forward z. Table w2-agreement: a, b, sigma, n, cosine of the deviations of
networks a and b from the optimal denoiser; NaN where one of them does not deviate. There a is also each of `OTHERS`, which are cheap, for
comparison: whether the networks deviate like each other, or as any denoiser that is not the optimal one; on the first of the same z.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from smalti.analysis.errors import Deviations, deviations, error_sigmas, example_outputs
from smalti.analysis.identity import source_identity
from smalti.core.pixels import shown_noisy
from smalti.core.table import Table
from smalti.experiments.captions import BANDS, listed, runs, significant, with_interval
from smalti.experiments.costs import count_within
from smalti.experiments.exhibit import Exhibit, Picture, Shown
from smalti.experiments.laboratory import Laboratory
from smalti.experiments.steps import Arrays, Results, Step, Work
from smalti.report.curves import agreement_figure, error_figure
from smalti.report.image_grid import image_grid
from smalti.report.pictures import NOISY_NOTE

__all__ = ["ErrorToOptimal"]

LOW, HIGH = 0.01, 100.0
EXAMPLES = (0.1, 3.0, 30.0)  # sigmas of the outputs that are shown: low, middle, high
LARGE = 0.25  # of the largest error: what is called a large one in the caption
OTHERS = ("gaussian", "pspc-square")
OTHERS_SHARE = 0.1  # of `lab.seconds`, for each of them
OTHERS_MOST = 256  # z: enough for a cosine
ENDS = ("", "_low", "_high", "_standard_error")


class ErrorToOptimal(Exhibit):
    """MSE to the optimal denoiser over sigma, the agreement of the networks' deviations, outputs at three sigmas."""

    key = "w2"
    title = "Where networks deviate from the optimal denoiser"
    origin = "Workshop Fig. 2"
    share = 0.3

    def missing(self, lab: Laboratory) -> str | None:
        return None if lab.networks else "needs a network; give one with --network"

    def steps(self, lab: Laboratory) -> tuple[Step, ...]:
        found = _deviations_step(lab, self.share * lab.seconds)
        return found, _examples_step(lab), *_others_steps(lab, int(found.parameters["n"]))

    def show(self, lab: Laboratory, results: Results) -> Shown:
        arrays, examples = results["w2/deviations"], results["w2/examples"]
        found = _found(lab, arrays, lab.networks)
        errors = found.errors(lab.scale.resamples)
        tables = {"w2-error": _renamed(errors, {"denoiser": "network"}, "mse")}
        pictures = [_error_picture(errors, tables["w2-error"])]
        others = [row for name in OTHERS for row in _others_rows(lab, results, name)]
        if len(lab.networks) > 1:
            agreement = found.agreement(lab.scale.resamples)
            tables["w2-agreement"] = _renamed(agreement, {"first": "a", "second": "b"}, "cosine")
            pictures.append(_agreement_picture(agreement, tables["w2-agreement"], tables["w2-error"], others))
        if others:
            rows = [*tables.get("w2-agreement", Table(())), *others]
            note = "cosine of the deviations from the optimal denoiser; forward z, 95 % bootstrap intervals over z"
            tables["w2-agreement"] = Table(tuple(others[0]), rows, note)
        pictures.append(_outputs_picture(examples, tables["w2-error"]))
        return Shown(pictures, tables)


def _deviations_step(lab: Laboratory, seconds: float) -> Step:
    sigmas = error_sigmas(lab.scale.error_levels, LOW, HIGH)
    each = lab.seconds_each(["optimal", *lab.networks]) * len(sigmas)
    n = count_within(seconds, each, lab.scale.z, lab.scale.least)

    def compute(work: Work) -> Arrays:
        found = deviations(
            lab.networks, lab.source, sigmas, n, lab.seed, optimal=lab.denoisers["optimal"], keep=work.pieces,
            progress=lambda z: work.advance(z / (n * len(sigmas))),
        )  # fmt: skip
        return {"sigmas": found.sigmas.numpy(), "products": found.products.numpy()}

    parameters = {**_identities(lab), "sigmas": sigmas.tolist(), "n": n, "seed": lab.seed}
    about = f"{', '.join(lab.networks)} n = {n}"
    return Step("w2/deviations", compute, parameters, seconds=n * each, about=about)


def _others_steps(lab: Laboratory, most: int) -> list[Step]:
    """A step for each of `OTHERS` that is there, on all images and quick enough: {"sigmas", "products"} as of the networks' step, of the
    networks and, last, of it."""
    return [
        step
        for name in OTHERS
        if name in lab.denoisers and name not in lab.limited and (step := _others_step(lab, name, most))
    ]


def _others_step(lab: Laboratory, name: str, most: int) -> Step | None:
    sigmas, seconds = error_sigmas(lab.scale.error_levels, LOW, HIGH), OTHERS_SHARE * lab.seconds
    each = lab.seconds_each(["optimal", *lab.networks, name]) * len(sigmas)
    n = count_within(seconds, each, min(most, OTHERS_MOST), min(lab.scale.least, most))
    if n * each > 2 * seconds:
        return None

    def compute(work: Work) -> Arrays:
        found = deviations(
            {**lab.networks, name: lab.denoisers[name]}, lab.source, sigmas, n, lab.seed, optimal=lab.denoisers["optimal"],
            keep=work.pieces, progress=lambda z: work.advance(z / (n * len(sigmas))),
        )  # fmt: skip
        return {"sigmas": found.sigmas.numpy(), "products": found.products.numpy()}

    parameters = {
        **_identities(lab), "denoiser": lab.identity(name), "sigmas": sigmas.tolist(), "n": n, "seed": lab.seed,
    }  # fmt: skip
    return Step(_others_name(name), compute, parameters, seconds=n * each, about=f"{name} n = {n}")


def _others_name(name: str) -> str:
    return f"w2/deviations/{name}"


def _others_rows(lab: Laboratory, results: Results, name: str) -> list[dict[str, Any]]:
    """Rows of w2-agreement: `name` and each network; none where it was left out."""
    if _others_name(name) not in results:
        return []
    agreement = _found(lab, results[_others_name(name)], [*lab.networks, name]).agreement(lab.scale.resamples)
    table = _renamed(agreement.where(second=name), {"second": "a", "first": "b"}, "cosine")
    return table.rows


def _found(lab: Laboratory, arrays: Arrays, names: Iterable[str]) -> Deviations:
    return Deviations(
        tuple(names), torch.from_numpy(arrays["sigmas"]), torch.from_numpy(arrays["products"]),
        math.prod(lab.source.shape),
    )  # fmt: skip


def _examples_step(lab: Laboratory) -> Step:
    def compute(work: Work) -> Arrays:
        found = example_outputs(lab.networks, lab.source, EXAMPLES, lab.seed)
        return {name: images.numpy() for name, images in found.items()}

    each = lab.seconds_each(["optimal", *lab.networks])
    parameters = {**_identities(lab), "sigmas": list(EXAMPLES), "seed": lab.seed}
    return Step("w2/examples", compute, parameters, seconds=len(EXAMPLES) * each)


def _identities(lab: Laboratory) -> dict[str, object]:
    networks = {name: lab.identity(name) for name in lab.networks}
    return {"networks": networks, "optimal": lab.identity("optimal"), "data": source_identity(lab.source)}


def _renamed(table: Table, names: dict[str, str], value: str) -> Table:
    """A table of `smalti.analysis.errors` with the report's columns."""
    ends = dict(zip((value, "low", "high", "standard_error"), ENDS, strict=True))
    columns = (*names.values(), "sigma", "n", *(value + end for end in ENDS))
    rows = [
        {new: row[old] for old, new in names.items()}
        | {"sigma": row["sigma"], "n": row["n"]}
        | {value + end: row[old] for old, end in ends.items()}
        for row in table
    ]
    return Table(columns, rows, table.note)


def _peak(table: Table, network: str) -> dict[str, float]:
    return max(table.where(network=network), key=lambda row: row["mse"])


def _error_picture(errors: Table, table: Table) -> Picture:
    said, ranges = [], []
    for network in table.distinct("network"):
        peak = _peak(table, network)
        large = [row["sigma"] for row in table.where(network=network) if row["mse"] >= LARGE * peak["mse"]]
        said.append(f"{network} at sigma {significant(peak['sigma'])} with {with_interval(peak, 'mse')}")
        ranges.append(f"{runs(table['sigma'], large)} ({network})")
    sigmas = table.distinct("sigma")
    ends = [max(table.where(sigma=sigma), key=lambda row: row["mse"]) for sigma in (sigmas[0], sigmas[-1])]
    caption = (
        f"Mean squared error between each network and the optimal denoiser, over {table['n'][0]} forward z at each of {len(sigmas)} "
        f"noise levels; {BANDS}. It peaks: {listed(said)}. It is above a quarter of its peak at "
        f"{'; '.join(ranges)}. At sigma {significant(sigmas[0])} it is at most {significant(ends[0]['mse'])}, at sigma "
        f"{significant(sigmas[-1])} at most {significant(ends[1]['mse'])}."
    )
    alternative = (
        f"Curves of the error to the optimal denoiser over sigma, one for each network. Peaks: {listed(said)}."
    )
    return Picture("w2-error", error_figure(errors), alternative, caption)


def _agreement_picture(
    agreement: Table, table: Table, errors: Table, others: Sequence[Mapping[str, Any]] = ()
) -> Picture:
    sigma = _peak(errors, errors["network"][0])["sigma"]
    said = [f"{row['a']} and {row['b']} {with_interval(row, 'cosine')}" for row in table.where(sigma=sigma)]
    beside = [
        f"{row['a']} and {row['b']} {with_interval(row, 'cosine')} (n = {row['n']})"
        for row in others
        if row["sigma"] == sigma
    ]
    undefined = sum(math.isnan(row["cosine"]) for row in table)
    caption = (
        "Cosine between the deviations of two networks from the optimal denoiser: 1 where they deviate in the same way, 0 where "
        f"they have nothing in common; n = {table['n'][0]}, {BANDS}. At sigma {significant(sigma)}, where "
        f"{errors['network'][0]} deviates most: {listed(said)}."
        + (f" For comparison, there, of denoisers that are no networks: {listed(beside)}." if beside else "")
        + (f" {undefined} values are not defined, as nothing deviates there." if undefined else "")
    )
    alternative = (
        f"Curves of the cosine of pairs of deviations over sigma. At sigma {significant(sigma)}: {listed(said)}."
    )
    return Picture("w2-agreement", agreement_figure(agreement), alternative, caption)


def _outputs_picture(examples: Arrays, errors: Table) -> Picture:
    networks = errors.distinct("network")
    cells = []
    said = []
    for row, sigma in enumerate(EXAMPLES):
        outputs = [examples[name][row] for name in ("optimal", *networks)]
        cells.append([shown_noisy(examples["z"][row], sigma), *outputs])
        furthest = max(float(np.square(output - outputs[0]).mean()) for output in outputs[1:])
        said.append(f"{significant(furthest)} at sigma {significant(sigma)}")
    figure = image_grid(cells, [f"sigma {sigma:g}" for sigma in EXAMPLES], ["z", "optimal", *networks], NOISY_NOTE)
    caption = (
        "One image under the same noise at a low, a middle and a high noise level (rows), and what the optimal denoiser and the "
        f"networks make of it. For this image the network that is furthest from optimal has a mean squared error of {listed(said)}."
    )
    alternative = f"Grid of images: rows sigma 0.1, 3, 30; columns z, optimal, {', '.join(networks)}. Largest errors: {listed(said)}."
    return Picture("w2-outputs", figure, alternative, caption, vector=False)
