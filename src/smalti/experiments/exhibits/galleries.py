"""Galleries: what the denoisers make of the same noisy images (workshop paper, Figs. 1 and 8-15; the article's gallery).

The z are states of the reference network's own sampling. Columns: z, the optimal denoiser, the networks, PSPC-Square, PSPC-Flex.

Table w1-outputs: sigma, subject, against (the reference), n, mse with its interval over the rows shown.
"""

from __future__ import annotations

import numpy as np
import torch

from smalti.analysis.intervals import Bootstrap
from smalti.analysis.subjects import evaluate
from smalti.core.denoiser import Denoiser
from smalti.core.pixels import shown_noisy
from smalti.core.schedule import nearest_level
from smalti.core.table import Table
from smalti.experiments.captions import level, listed, significant
from smalti.experiments.exhibit import Exhibit, Picture, Shown
from smalti.experiments.laboratory import Laboratory
from smalti.experiments.shared_steps import reverse_step
from smalti.experiments.steps import Arrays, Results, Step, Work
from smalti.metrics import mse
from smalti.report.image_grid import image_grid
from smalti.report.pictures import NOISY_NOTE

__all__ = ["Galleries"]

SIGMAS = (0.3, 0.6, 1.1, 1.9, 3.3, 5.3, 8.4, 12.9)  # of Figs. 8-15
COMPOSITES = ("pspc-square", "pspc-flex")


class Galleries(Exhibit):
    """Rows of shared z, columns of denoisers, a picture for each noise level; before them one z over all levels."""

    key = "w1"
    title = "What denoisers make of the same noisy images"
    origin = "Workshop Figs. 1, 8-15"
    share = 0.1

    def missing(self, lab: Laboratory) -> str | None:
        return (
            None if lab.networks else "needs a network, whose sampling gives the noisy images; give one with --network"
        )

    def steps(self, lab: Laboratory) -> tuple[Step, ...]:
        z = reverse_step(lab, lab.scale.gallery)
        return tuple(_step(lab, name, subject, z) for name, subject in _subjects(lab).items())

    def show(self, lab: Laboratory, results: Results) -> Shown:
        outputs = {name: results[_name(name)] for name in _subjects(lab)}
        z = next(iter(outputs.values()))["z"]
        levels = _levels(lab)
        table = _table(lab, outputs, levels)
        pictures = [_overview(lab, z, outputs, levels, table)]
        pictures += [_gallery(lab, z, outputs, place, table) for place in range(len(levels))]
        return Shown(pictures, {"w1-outputs": table})


def _subjects(lab: Laboratory) -> dict[str, Denoiser]:
    composites = {name: lab.denoisers[name] for name in COMPOSITES if name in lab.denoisers}
    return {"optimal": lab.denoisers["optimal"], **lab.networks, **composites}


def _levels(lab: Laboratory) -> list[int]:
    """Numbers of the levels of the run that are nearest to the paper's, lowest sigma first, each once."""
    sigmas = lab.sigmas.tolist()
    return sorted({nearest_level(sigmas, sigma) for sigma in SIGMAS}, key=lambda number: sigmas[number])


def _name(subject: str) -> str:
    return f"w1/{subject}"


def _step(lab: Laboratory, name: str, subject: Denoiser, z: Step) -> Step:
    levels, rows = _levels(lab), lab.scale.gallery
    sigmas = lab.sigmas[levels].tolist()

    def compute(work: Work) -> Arrays:
        states = torch.from_numpy(work.results[z.name]["z"][levels, :rows].copy())
        outputs = []
        for states_of_level, sigma in zip(states, sigmas, strict=True):
            outputs.append(evaluate(name, subject, states_of_level, sigma).numpy())
            work.advance(1 / len(levels))
        return {"z": states.numpy(), "outputs": np.stack(outputs)}

    seconds = lab.seconds_each([name]) * len(levels) * rows
    return Step(
        _name(name),
        compute,
        {"subject": lab.identity(name), "sigmas": sigmas, "rows": rows},
        needs=(z,),
        seconds=seconds,
        about=f"{name} n = {rows}",
    )


def _table(lab: Laboratory, outputs: dict[str, Arrays], levels: list[int]) -> Table:
    reference = str(lab.reference)
    rows = []
    for place, chosen in enumerate(levels):
        wanted = torch.from_numpy(outputs[reference]["outputs"][place])
        for name, arrays in outputs.items():
            if name == reference:
                continue
            errors = mse(torch.from_numpy(arrays["outputs"][place]), wanted)
            found = Bootstrap(errors[:, None], lab.scale.resamples).mean_interval().named("mse")
            head = {"sigma": float(lab.sigmas[chosen]), "subject": name, "against": reference, "n": len(errors)}
            rows.append(head | found)
    columns = ("sigma", "subject", "against", "n", "mse", "mse_low", "mse_high", "mse_standard_error")
    return Table(
        columns, rows, "of the z that are shown, states of the reference network's sampling; 95 % bootstrap intervals"
    )


def _note(lab: Laboratory) -> str:
    limited = [f"{name} on {lab.limited[name]:,} images" for name in _subjects(lab) if name in lab.limited]
    return NOISY_NOTE + (f" {listed(limited)}." if limited else "")


def _nearest(table: Table, sigma: float) -> str:
    """ "pspc-flex 0.011, optimal 0.043": the subjects by their distance from the reference."""
    rows = sorted(table.where(sigma=sigma), key=lambda row: row["mse"])
    return ", ".join(f"{row['subject']} {significant(row['mse'])}" for row in rows)


def _overview(lab: Laboratory, z: np.ndarray, outputs: dict[str, Arrays], levels: list[int], table: Table) -> Picture:
    sigmas = lab.sigmas[levels].tolist()
    cells = [[shown_noisy(states[0], sigma) for states, sigma in zip(z, sigmas, strict=True)]]
    cells += [list(arrays["outputs"][:, 0]) for arrays in outputs.values()]
    figure = image_grid(
        cells, ["z", *outputs], [significant(sigma) for sigma in sigmas], f"Columns: sigma. {_note(lab)}"
    )
    nearest = [min(table.where(sigma=sigma), key=lambda row: row["mse"])["subject"] for sigma in sigmas]
    said = ", ".join(f"{name} at {listed([significant(s) for s, n in zip(sigmas, nearest, strict=True) if n == name])}"
                     for name in dict.fromkeys(nearest))  # fmt: skip
    caption = (
        f"One run of {lab.reference}'s sampling at {len(levels)} noise levels (columns, sigma), and what each denoiser makes of its "
        f"states (rows). Nearest to {lab.reference} by mean squared error over {z.shape[1]} such runs, by sigma: {said}."
    )
    return Picture(
        "w1-overview", figure, f"Grid of images: rows z, {', '.join(outputs)}; columns sigma {significant(sigmas[0])} to "
        f"{significant(sigmas[-1])}. Nearest to {lab.reference}: {said}.", caption, vector=False,
    )  # fmt: skip


def _gallery(lab: Laboratory, z: np.ndarray, outputs: dict[str, Arrays], place: int, table: Table) -> Picture:
    sigma = float(lab.sigmas[_levels(lab)[place]])
    noisy = shown_noisy(z[place], sigma)
    cells = [[noisy[j], *(arrays["outputs"][place, j] for arrays in outputs.values())] for j in range(len(noisy))]
    figure = image_grid(cells, columns=["z", *outputs], note=_note(lab))
    caption = (
        f"Outputs at {level(sigma)} for {len(noisy)} z of {lab.reference}'s sampling. Mean squared error to {lab.reference}, "
        f"nearest first: {_nearest(table, sigma)}."
    )
    alternative = f"Grid of images at {level(sigma)}: rows of z, columns z, {', '.join(outputs)}. Errors: {_nearest(table, sigma)}."
    return Picture(f"w1-sigma-{significant(sigma)}", figure, alternative, caption, vector=False)
