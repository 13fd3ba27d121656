"""How denoisers respond to changes of z: shifts, and fresh noise inside or outside a box (workshop paper, Fig. 3).

Table w3-responses: subject, transformation, sigma, n, distance with its interval, compared, region: the squared distance of the answer to
the transformed z from the transformed answer, on the pixels whose z the transformation keeps, relative to that between answers
to unrelated z (`smalti.analysis.transforms`): 0 where a local change is answered locally, 1 where another image might have been denoised.

    shifts           D(T z) against T D(z), on the pixels that both have
    noise-inside     D(T z) against D(z), outside the box
    noise-outside    D(T z) against D(z), inside the box

Table w3-distances has all comparisons, as mean squared errors too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from smalti.analysis.identity import source_identity
from smalti.analysis.intervals import TELLING
from smalti.analysis.transforms import TRANSFORMATIONS, TransformResult, box_of, shift_of, transforms
from smalti.core.denoiser import Denoiser
from smalti.core.table import Table
from smalti.experiments.captions import level, significant, with_interval
from smalti.experiments.costs import count_within
from smalti.experiments.exhibit import Exhibit, Picture, Shown
from smalti.experiments.laboratory import Laboratory
from smalti.experiments.steps import Arrays, Results, Step, Work
from smalti.report.transform_figure import distances_figure, outputs_figure

__all__ = ["Responses"]

PUBLISHED_SIGMA, PUBLISHED_SIDE = 2.0, 32
MOST = 1000  # z
SHOWN = 1  # z in the picture of outputs
TEXTS = ("transform", "denoiser", "compared", "region")
ENDS = ("", "_low", "_high", "_standard_error")
NUMBERS = tuple(f"{name}{end}" for name in ("mse", "relative") for end in ENDS)
KEPT = {  # transformation -> what is compared, on the pixels whose z it keeps
    "shift-x": ("D(Tz), TD(z)", "kept"),
    "shift-y": ("D(Tz), TD(z)", "kept"),
    "noise-inside": ("D(Tz), D(z)", "outside"),
    "noise-outside": ("D(Tz), D(z)", "inside"),
}


class Responses(Exhibit):
    """Outputs for five versions of z, and how far they are from what a denoiser that is local would answer."""

    key = "w3"
    title = "How denoisers respond to local changes"
    origin = "Workshop Fig. 3"
    share = 0.2

    def missing(self, lab: Laboratory) -> str | None:
        return None if lab.networks else "needs a network; give one with --network"

    def steps(self, lab: Laboratory) -> tuple[Step, ...]:
        subjects, sigmas = _subjects(lab), _sigmas(lab)
        each = len(TRANSFORMATIONS) * len(sigmas) * lab.seconds_each(subjects)
        n = count_within(self.share * lab.seconds, each, min(lab.scale.z, MOST), lab.scale.least)
        return tuple(_step(lab, name, subject, sigma, n) for sigma in sigmas for name, subject in subjects.items())

    def show(self, lab: Laboratory, results: Results) -> Shown:
        every = {sigma: _distances(lab, results, sigma) for sigma in _sigmas(lab)}
        rows = [_row(row, sigma) for sigma, table in every.items() for row in table if _is_kept(row)]
        columns = ("subject", "transformation", "sigma", "n", *(f"distance{end}" for end in ENDS), "compared", "region")
        note = "relative to the distance between answers to unrelated z; 95 % bootstrap intervals over z"
        responses = Table(columns, rows, note)
        distances = [{"sigma": sigma} | row for sigma, table in every.items() for row in table]
        tables = {"w3-responses": responses, "w3-distances": Table(("sigma", *TEXTS, "n", *NUMBERS), distances, note)}
        pictures = []
        for sigma, table in every.items():
            pictures.append(_outputs_picture(lab, results, sigma))
            pictures.append(_distances_picture(lab, responses.where(sigma=sigma), table, sigma))
        return Shown(pictures, tables)


def _subjects(lab: Laboratory) -> dict[str, Denoiser]:
    composites = {name: lab.denoisers[name] for name in ("pspc-square",) if name in lab.denoisers}
    return {"optimal": lab.denoisers["optimal"], **lab.networks, **composites}


def _sigmas(lab: Laboratory) -> list[float]:
    """The paper's 2 at 32 x 32 and, for other sizes, also the level whose noise is as strong beside the whole image: 2 m / 32."""
    side = min(lab.source.shape[1:])
    return list(dict.fromkeys([PUBLISHED_SIGMA, PUBLISHED_SIGMA * side / PUBLISHED_SIDE]))


def _name(sigma: float, subject: str) -> str:
    return f"w3/{sigma:g}/{subject}"


def _step(lab: Laboratory, name: str, subject: Denoiser, sigma: float, n: int) -> Step:
    seconds = n * len(TRANSFORMATIONS) * lab.seconds_each([name])
    resamples = lab.scale.resamples

    def compute(work: Work) -> Arrays:
        found = transforms(
            {name: subject}, lab.source, sigma, n, lab.seed, keep=work.pieces,
            progress=lambda count: work.advance(count / (n * len(TRANSFORMATIONS))),
        )  # fmt: skip
        table = found.distances(resamples)
        return {
            "z": found.z[:, :SHOWN].numpy(),
            "clean": found.clean[:SHOWN].numpy(),
            "outputs": found.outputs[name][:, :SHOWN].numpy(),
            "n": np.array(n),
            "texts": np.array([[row[column] for column in TEXTS] for row in table]),
            "numbers": np.array([[row[column] for column in NUMBERS] for row in table], np.float64),
        }

    parameters = {
        "subject": lab.identity(name),
        "data": source_identity(lab.source),
        "sigma": sigma,
        "n": n,
        "seed": lab.seed,
    }
    about = f"{name} n = {n}"
    return Step(
        _name(sigma, name), compute, {**parameters, "name": name, "resamples": resamples}, seconds=seconds, about=about
    )


def _distances(lab: Laboratory, results: Results, sigma: float) -> Table:
    """The table of `TransformResult.distances`, of all subjects, by transformation."""
    rows: list[dict[str, Any]] = []
    for name in _subjects(lab):
        arrays = results[_name(sigma, name)]
        for texts, numbers in zip(arrays["texts"].tolist(), arrays["numbers"].tolist(), strict=True):
            rows.append(
                dict(zip(TEXTS, texts, strict=True))
                | {"n": int(arrays["n"])}
                | dict(zip(NUMBERS, numbers, strict=True))
            )
    rows.sort(key=lambda row: TRANSFORMATIONS.index(row["transform"]))
    return Table((*TEXTS, "n", *NUMBERS), rows)


def _is_kept(row: dict[str, Any]) -> bool:
    return KEPT.get(row["transform"]) == (row["compared"], row["region"])


def _row(row: dict[str, Any], sigma: float) -> dict[str, Any]:
    head = {"subject": row["denoiser"], "transformation": row["transform"], "sigma": sigma, "n": row["n"]}
    found = {f"distance{end}": row[f"relative{end}"] for end in ENDS}
    return head | found | {"compared": row["compared"], "region": row["region"]}


def _outputs_picture(lab: Laboratory, results: Results, sigma: float) -> Picture:
    arrays = {name: results[_name(sigma, name)] for name in _subjects(lab)}
    first = next(iter(arrays.values()))
    height, width = lab.source.shape[1:]
    result = TransformResult(
        TRANSFORMATIONS, torch.from_numpy(first["z"]), torch.from_numpy(first["clean"]),
        {name: torch.from_numpy(found["outputs"]) for name, found in arrays.items()},
        sigma, shift_of(None, height, width), box_of(None, height, width),
    )  # fmt: skip
    dx, dy = result.shift
    caption = (
        f"One z at {level(sigma)} in five versions (columns): as it is, moved right by {dx} pixel{'s' * (dx > 1)}, moved down by {dy}, "
        "with fresh noise inside the box, with fresh noise outside it; below, what each denoiser makes of it."
    )
    alternative = f"Grid of images: five versions of a noisy image, rows {', '.join(arrays)}, at {level(sigma)}."
    return Picture(f"w3-outputs-{significant(sigma)}", outputs_figure(result), alternative, caption, vector=False)


def _distances_picture(lab: Laboratory, responses: Table, table: Table, sigma: float) -> Picture:
    said = []
    for transformation in responses.distinct("transformation"):
        rows = {row["subject"]: row for row in responses.where(transformation=transformation)}
        values = [f"{name} {with_interval(rows[name], 'distance')}" for name in (str(lab.reference), "optimal")]
        said.append(f"{transformation.replace('-', ' ')}: {', '.join(values)}")
    kept = Table(table.columns, [row for row in table if _is_kept(row)])
    caption = (
        f"How far the answer to a changed z is from that of a denoiser which looks nearby only, at {level(sigma)}, on the pixels whose z "
        "the change keeps: after a shift from the shifted answer, after fresh noise from the answer before. 0 is no difference, 1 that "
        f"between answers to unrelated z. Bars are 95 % intervals over the same {responses['n'][0]} z (none for n < {TELLING}). "
        f"{'; '.join(said)}."
    )
    alternative = f"Points with intervals: four changes, one point a denoiser. {'; '.join(said)}."
    return Picture(f"w3-distances-{significant(sigma)}", distances_figure(kept), alternative, caption)
