"""Article Fig. 8: sampling trajectories from shared initial noise, the network beside each denoiser.

Samples are those of the similarity matrix: Euler's method on the noise levels of the run, sample j of all starting at the same noise.

Table
    a8-trajectories   denoiser (other networks too), step (0: the initial noise), sigma (0 at the end), n, distance with _low, _high,
                      _standard_error: MSE per pixel of its state to the network's state at that step, the mean over n samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from smalti.analysis.intervals import TELLING, Bootstrap
from smalti.core.table import Table
from smalti.experiments.captions import label_of, labels_of, listed, significant
from smalti.experiments.exhibit import Exhibit, Picture, Shown
from smalti.experiments.shared_steps import sample_counts, sample_notes, sample_step
from smalti.experiments.steps import Results, Step
from smalti.report.image_grid import grid_figure
from smalti.report.sample_figures import distances_over_steps

if TYPE_CHECKING:
    from smalti.experiments.laboratory import Laboratory

__all__ = ["Trajectories"]

SHOWN = (80, 20, 8.4, 3.3, 1.9, 1.1, 0.6, 0.3, 0.06)  # noise levels; the nearest of the run's are drawn
CHOSEN = ("pspc-flex", "pspc-square", "optimal", "gaussian")  # beside the network, for samples after the first
INTERVALS = ("", "_low", "_high", "_standard_error")


class Trajectories(Exhibit):
    """What a sample is on its way, by the network and by each denoiser."""

    key: ClassVar[str] = "a8"
    title: ClassVar[str] = "Sampling from the same noise, step by step"
    origin: ClassVar[str] = "Article Fig. 8"
    share: ClassVar[float] = 0.5

    def missing(self, lab: Laboratory) -> str | None:
        return None if lab.networks else "needs a network whose trajectories are followed; give one with --network"

    def steps(self, lab: Laboratory) -> tuple[Step, ...]:
        return tuple(sample_step(lab, name, n) for name, n in sample_counts(lab).items() if n)

    def show(self, lab: Laboratory, results: Results) -> Shown:
        reference = lab.reference or ""
        counts = {name: n for name, n in sample_counts(lab).items() if n}
        table = _distances(lab, results, reference, [name for name in counts if name != reference])
        names = [reference, *(name for name in counts if name != reference)]
        chosen = [reference, *(name for name in CHOSEN if name in counts)]
        followed = min(lab.scale.trajectories, counts[reference])
        pictures = [_strips(lab, results, "a8-trajectories", names, [0])]
        if followed > 1:
            pictures.append(_strips(lab, results, "a8-more", chosen, list(range(1, followed))))
        if len(table):
            words = _apart(table, lab)
            pictures.append(
                Picture(
                    "a8-distance",
                    distances_over_steps(table, labels_of(lab, table.distinct("denoiser")), reference),
                    f"Curves of the distance of each denoiser's states to the states of {reference}, over the steps. {words}",
                    f"How far trajectories from the same noise are from that of {reference}: MSE per pixel of the states, mean over n "
                    f"samples "
                    f"({_of_n(table)}), bands: 95 % bootstrap intervals (none for n < {TELLING}). {words}",
                )
            )
        return Shown(pictures, {"a8-trajectories": table}, sample_notes(lab))


def _distances(lab: Laboratory, results: Results, reference: str, names: list[str]) -> Table:
    columns = ("denoiser", "step", "sigma", "n", *(f"distance{end}" for end in INTERVALS))
    theirs, rows = results[f"samples/{reference}"], []
    for name in names:
        states = results[f"samples/{name}"]["states"]
        n = min(states.shape[1], theirs["states"].shape[1])
        errors = np.square(states[:, :n].astype(np.float64) - theirs["states"][:, :n]).mean((2, 3, 4))
        for step, (sigma, error) in enumerate(zip(theirs["sigmas"].tolist(), errors, strict=True)):
            interval = Bootstrap(torch.from_numpy(error)[:, None], lab.scale.resamples).mean_interval()
            rows.append({"denoiser": name, "step": step, "sigma": sigma, "n": n} | interval.named("distance"))
    return Table(columns, rows, f"MSE of states to those of {reference} from the same noise")


def _strips(lab: Laboratory, results: Results, title: str, names: list[str], samples: list[int]) -> Picture:
    """D(z, sigma) of some samples over the steps, and the sample itself at the end."""
    sigmas = results[f"samples/{names[0]}"]["sigmas"]
    total = len(sigmas) - 1
    shown = sorted({int(np.abs(np.log(sigmas[:total] / sigma)).argmin()) for sigma in SHOWN})
    blocks, rows = [], []
    for j in samples:
        kept = [name for name in names if results[f"samples/{name}"]["denoised"].shape[1] > j]
        found = [results[f"samples/{name}"] for name in kept]
        blocks.append(np.stack([np.concatenate([one["denoised"][shown, j], one["images"][None, j]]) for one in found]))
        rows.append([label_of(lab, name) for name in kept])
    columns = [significant(sigmas[step]) for step in shown] + ["sample"]
    figure = grid_figure(blocks, rows, columns, [f"sample {j}" for j in samples] if len(samples) > 1 else ())
    last = ", ".join(f"{_final(results, names[0], name, samples):.2g} ({name})" for name in names[1:])
    words = f"MSE of the final images to those of {names[0]}, in these samples: {last}."
    which = f"sample {samples[0]}" if len(samples) == 1 else f"samples {listed([str(j) for j in samples])}"
    return Picture(
        title,
        figure,
        f"A grid of images: rows {listed(rows[0])}; columns the noise levels of {which} from noise to sample. {words}",
        f"D(z, sigma) along the sampler's way (Euler's method, {total} steps) for {which}, all rows from the same initial noise. Above: "
        f"sigma; right: the sample. {words}",
        vector=False,
    )


def _final(results: Results, reference: str, name: str, samples: list[int]) -> float:
    ours, theirs = (results[f"samples/{each}"]["images"] for each in (name, reference))
    kept = [j for j in samples if j < len(ours)]
    return float(np.square(ours[kept].astype(np.float64) - theirs[kept]).mean()) if kept else float("nan")


def _of_n(table: Table) -> str:
    counts = {name: table.where(denoiser=name)["n"][0] for name in table.distinct("denoiser")}
    most = max(counts.values())
    fewer = [f"{name} {n}" for name, n in counts.items() if n < most]
    return f"n = {most}" + (f"; {listed(fewer)}" if fewer else "")


def _apart(table: Table, lab: Laboratory) -> str:
    """Final distances, least first."""
    last = sorted(table.where(step=max(table["step"])), key=lambda row: row["distance"])
    told = [
        f"{row['denoiser']} {row['distance']:.2g} [{row['distance_low']:.2g}, {row['distance_high']:.2g}]"
        for row in last
    ]
    return f"At the end, least first: {', '.join(told)}."
