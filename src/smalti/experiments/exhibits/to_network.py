"""Workshop Fig. 6, article Fig. 7: how near denoisers come to a network, on z of the forward and of the reverse process.

Tables
    w6-to-network   process, denoiser, sigma, n, and mse, cosine, r2, fraction with _low, _high, _standard_error (`smalti.compare` says what
                    they are); images: how many the denoiser is made on, None for a network. Other networks are rows as well.
    w6-paired       process, denoiser, against, sigma, n, difference with its interval: the squared error per pixel of `denoiser` to the
                    network less that of `against` (one of `PAIRED`), over the same z; below 0 `denoiser` is the nearer one.

Steps: the z (shared), the network's outputs for each process, and the sums over pixels of one denoiser on one process each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from smalti.analysis.compare import STATISTICS, pixel_sums, statistics_of
from smalti.analysis.intervals import TELLING, Bootstrap
from smalti.analysis.subjects import evaluate
from smalti.core.denoiser import Denoiser
from smalti.core.pieces import Batch
from smalti.core.table import Table
from smalti.experiments.captions import BANDS, label_of, labels_of, listed, significant
from smalti.experiments.evidence import SHARE, relevance_floor
from smalti.experiments.exhibit import Exhibit, Picture, Shown
from smalti.experiments.shared_steps import forward_step, reverse_count, reverse_step
from smalti.experiments.steps import Arrays, Results, Step, Work
from smalti.report.levels import VERDICTS, fraction_figure, mse_figure, verdict_figure, verdict_of

if TYPE_CHECKING:
    from smalti.experiments.laboratory import Laboratory

__all__ = ["DistanceToNetwork"]

PROCESSES = ("forward", "reverse")
AGAINST = ("optimal", "gaussian")  # drawn
PAIRED = (*AGAINST, "pspc-square", "pspc-flex", "closed-form-diffusion")  # in the table: claims compare with these too
COMPOSITES = ("pspc-flex", "pspc-square")
WEIGHTS = {
    "local-score": 0.3,
    "equivariant-local-score": 0.3,
    "pca-locality": 0.3,
}  # of time: the papers' figure is without them
BATCH = 64
INTERVALS = ("", "_low", "_high", "_standard_error")


class DistanceToNetwork(Exhibit):
    """MSE to the network, fraction of its deviation from optimal explained, and who is nearer than whom."""

    key: ClassVar[str] = "w6"
    title: ClassVar[str] = "How near denoisers come to a network"
    origin: ClassVar[str] = "Workshop Fig. 6, article Fig. 7"
    share: ClassVar[float] = 2.0

    def missing(self, lab: Laboratory) -> str | None:
        return None if lab.networks else "needs a network to hold the denoisers against; give one with --network"

    def counts(self, lab: Laboratory) -> dict[str, dict[str, int]]:
        """process -> denoiser or other network -> n; what is 0 is left out. The optimal denoiser has the most: all others are held
        against it on their z."""
        names = [name for name in lab.subjects if name != lab.reference]
        found = {}
        for process in PROCESSES:
            most = lab.scale.z if process == "forward" else reverse_count(lab)
            counts = lab.share_out(names, self.share * lab.seconds / len(PROCESSES), most, WEIGHTS)
            found[process] = counts | {"optimal": max(counts.values())}
        return found

    def steps(self, lab: Laboratory) -> tuple[Step, ...]:
        assert lab.reference is not None
        steps = []
        for process, counts in self.counts(lab).items():
            n = max(counts.values())
            z = forward_step(lab, n) if process == "forward" else reverse_step(lab, n)
            reference = _reference_step(lab, process, z, n)
            steps += [_sums_step(lab, process, name, z, reference, count) for name, count in counts.items() if count]
        return tuple(steps)

    def show(self, lab: Laboratory, results: Results) -> Shown:
        counts = self.counts(lab)
        table, paired = _comparisons(lab, results, counts), _paired(lab, results, counts)
        names = table.distinct("denoiser")
        labels = labels_of(lab, names)
        floors = {process: relevance_floor(table, process) for process in PROCESSES}
        network = label_of(lab, lab.reference or "")
        pictures = [
            Picture(
                "w6-mse",
                mse_figure(table, labels, "process", f"MSE to {network}"),
                f"Curves of the mean squared error to {network} over the noise level, for {len(names)} denoisers. "
                + _nearest(table, lab, floors),
                f"Mean squared error per pixel to the outputs of {network} at the {len(lab.sigmas)} noise levels of the sampler, "
                f"forward and "
                f"reverse process; {BANDS}. {_said_of_n(table)} {_nearest(table, lab, floors)} Errors that are apart by less than "
                f"{100 * SHARE:g} % of {network}'s largest deviation from the optimal denoiser in that process count as alike; denoisers "
                f"of n < {TELLING} do not take part.",
            ),
            Picture(
                "w6-fraction",
                fraction_figure(table, labels, "process", network),
                f"Curves of the share of {network}'s deviation from the optimal denoiser that each denoiser explains. "
                + _explained(table, lab),
                f"The share of {network}'s squared deviation from the optimal denoiser that a denoiser accounts for: 0 is the optimal "
                f"denoiser, "
                f"1 the network itself, below 0 is further from the network than optimal is (cut off at -1); {BANDS}. "
                + _explained(table, lab),
            ),
            Picture(
                "w6-paired",
                verdict_figure(paired, labels, AGAINST, floors),
                "A chart of which denoisers are nearer to the network than the optimal and the Gaussian denoiser. "
                + _verdicts(paired, lab, floors),
                "Paired over the same z: blue where the 95 % interval of the difference of squared errors lies below 0 (nearer to the "
                "network), "
                f"orange where it lies above (further), grey where all of it is within {100 * SHARE:g} % of {network}'s largest "
                f"deviation from the optimal denoiser (alike), white where it otherwise holds 0, hatched where n < {TELLING}. "
                + _verdicts(paired, lab, floors),
            ),
        ]
        return Shown(pictures, {"w6-to-network": table, "w6-paired": paired}, _notes(lab, counts))


# ---------------------------------------------------------------------------------------------------------------- steps


def _reference_step(lab: Laboratory, process: str, z: Step, n: int) -> Step:
    """{"x0": (L, n, C, H, W) float32}: the network's outputs."""
    name, sigmas = lab.reference or "", lab.sigmas.tolist()
    network = lab.networks[name]

    def compute(work: Work) -> Arrays:
        def outputs(level: int, part: torch.Tensor, batch: Batch) -> Arrays:
            return {"x0": evaluate(name, network, part, sigmas[level]).float().numpy()}

        return _by_level(work, work.results[z.name]["z"], n, outputs)

    parameters = {"network": lab.identity(name), "n": n}
    seconds = n * lab.costs.of(name)
    return Step(f"to-network/{process}/reference", compute, parameters, (z,), seconds, about=f"{name} n = {n}")


def _sums_step(lab: Laboratory, process: str, name: str, z: Step, reference: Step, n: int) -> Step:
    """{"error", "dot", "norm", "network_norm", "spread"}, each (L, n) float64: sums over the pixels of each z."""
    subject: Denoiser = lab.subjects[name]
    sigmas = lab.sigmas.tolist()

    def compute(work: Work) -> Arrays:
        x0 = torch.from_numpy(work.results[reference.name]["x0"][:, :n])

        def sums(level: int, part: torch.Tensor, batch: Batch) -> Arrays:
            return pixel_sums(x0[level, batch.rows], evaluate(name, subject, part, sigmas[level]))

        found = _by_level(work, work.results[z.name]["z"], n, sums)
        norm, spread = np.empty((len(sigmas), n)), np.empty((len(sigmas), n))
        for level, outputs in enumerate(x0):
            outputs = outputs.double()
            norm[level] = outputs.square().flatten(1).sum(1).numpy()
            spread[level] = (outputs - outputs.mean(0)).square().flatten(1).sum(1).numpy()
        return found | {"network_norm": norm, "spread": spread}

    parameters = {"denoiser": lab.identity(name), "n": n}
    seconds = n * lab.costs.of(name)
    return Step(f"to-network/{process}/{name}", compute, parameters, (z, reference), seconds, about=f"{name} n = {n}")


def _by_level(work: Work, z: np.ndarray, n: int, compute: Callable[[int, torch.Tensor, Batch], Arrays]) -> Arrays:
    """compute(level, z of a batch, batch) for all batches, kept as pieces and joined to (L, n, ...)."""
    levels = []
    for level, every in enumerate(z):

        def computed(batch: Batch, level: int = level, every: np.ndarray = every) -> Arrays:
            return compute(level, torch.from_numpy(every[batch.rows]), batch)

        made = work.pieces.batches(f"{level:04d}", n, BATCH, computed, lambda done: work.advance(done / (n * len(z))))
        parts = [arrays for _, arrays in made]
        levels.append({key: np.concatenate([part[key] for part in parts]) for key in parts[0]})
    return {key: np.stack([level[key] for level in levels]) for key in levels[0]}


# --------------------------------------------------------------------------------------------------------------- tables


def _sums_of(results: Results, process: str, name: str, level: int) -> dict[str, torch.Tensor]:
    found = results[f"to-network/{process}/{name}"]
    return {key: torch.from_numpy(values[level]) for key, values in found.items()}


def _comparisons(lab: Laboratory, results: Results, counts: dict[str, dict[str, int]]) -> Table:
    columns = ["process", "denoiser", "sigma", "n"]
    columns += [f"{statistic}{end}" for statistic in STATISTICS for end in INTERVALS] + ["images"]
    dimension, rows = int(np.prod(lab.source.shape)), []
    for process, ns in counts.items():
        for name in (name for name, n in ns.items() if n):
            for level, sigma in enumerate(lab.sigmas.tolist()):
                sums = _sums_of(results, process, name, level)
                deviation = _sums_of(results, process, "optimal", level)["error"][: ns[name]]
                row: dict[str, Any] = {"process": process, "denoiser": name, "sigma": sigma, "n": ns[name]}
                row |= statistics_of(
                    sums, sums["network_norm"], sums["spread"], deviation, dimension, lab.scale.resamples
                )
                rows.append(row | {"images": _images(lab, name)})
    note = f"against the outputs of {lab.reference}; 95 % bootstrap intervals over z"
    return Table(tuple(columns), rows, note)


def _images(lab: Laboratory, name: str) -> int | None:
    return None if name in lab.networks else lab.limited.get(name, len(lab.source))


def _paired(lab: Laboratory, results: Results, counts: dict[str, dict[str, int]]) -> Table:
    columns = ("process", "denoiser", "against", "sigma", "n", *(f"difference{end}" for end in INTERVALS))
    dimension, rows = int(np.prod(lab.source.shape)), []
    for process, ns in counts.items():
        for name in (name for name, n in ns.items() if n):
            for against in (other for other in PAIRED if other != name and ns.get(other)):
                n = min(ns[name], ns[against])
                for level, sigma in enumerate(lab.sigmas.tolist()):
                    errors = [_sums_of(results, process, each, level)["error"][:n] for each in (name, against)]
                    bootstrap = Bootstrap((errors[0] - errors[1])[:, None] / dimension, lab.scale.resamples)
                    row = {"process": process, "denoiser": name, "against": against, "sigma": sigma, "n": n}
                    rows.append(row | bootstrap.mean_interval().named("difference"))
    return Table(columns, rows, "squared error per pixel of the denoiser less that of the other, on the same z")


# ------------------------------------------------------------------------------------------------------------- sentences


def _said_of_n(table: Table) -> str:
    said = []
    for process in table.distinct("process"):
        part = table.where(process=process)
        counts = {row["denoiser"]: row["n"] for row in part}
        most = max(counts.values())
        fewer = [f"{name} {n}" for name, n in counts.items() if n < most]
        said.append(f"{process} n = {most} z a level" + (f" (fewer for {listed(fewer)})" if fewer else ""))
    return f"{'; '.join(said).capitalize()}."


def _nearest(table: Table, lab: Laboratory, floors: Mapping[str, float]) -> str:
    """Which denoiser is nearest to the network at how many levels; those that are apart by no more than the floor share a
    level, and those of few z do not take part."""
    sentences = []
    for process in table.distinct("process"):
        wins: dict[str, int] = {}
        shared = 0
        for sigma in table.distinct("sigma"):
            rows = [row for row in table.where(process=process, sigma=sigma) if row["denoiser"] not in lab.networks]
            rows = [row for row in rows if row["n"] >= TELLING] or rows
            best = min(rows, key=lambda row: row["mse"])
            if sum(row["mse"] - best["mse"] <= floors[process] for row in rows) > 1:
                shared += 1
            else:
                wins[best["denoiser"]] = wins.get(best["denoiser"], 0) + 1
        told = [f"by {name} at {count}" for name, count in sorted(wins.items(), key=lambda item: -item[1])]
        told += [f"by several alike at {shared}"] * bool(shared)
        sentences.append(
            f"{process.capitalize()}: of the denoisers, least error {listed(told)} of {len(lab.sigmas)} levels."
        )
    return " ".join(sentences)


def _explained(table: Table, lab: Laboratory) -> str:
    """The fractions where the network deviates most from the optimal denoiser: best denoiser, the composites, other networks."""
    sentences = []
    for process in table.distinct("process"):
        deviation = table.where(process=process, denoiser="optimal")
        row = max(deviation, key=lambda row: row["mse"])
        there = {row["denoiser"]: row for row in table.where(process=process, sigma=row["sigma"])}
        denoisers = [name for name in there if name not in (*lab.networks, "optimal")]
        denoisers = [name for name in denoisers if there[name]["n"] >= TELLING] or denoisers
        ordered = sorted(denoisers, key=lambda name: -there[name]["fraction"])
        chosen = [name for name in ordered if name == ordered[0] or name in COMPOSITES]
        chosen += [name for name in there if name in lab.networks]
        told = [f"{name} {_interval(there[name], 'fraction')}" for name in chosen]
        sentences.append(
            f"{process.capitalize()}, where the network deviates most (sigma {significant(row['sigma'])}, MSE {row['mse']:.2g}): "
            f"{listed(told)}."
        )
    return " ".join(sentences)


def _interval(row: dict[str, Any], column: str) -> str:
    return f"{row[column]:.2f} [{row[f'{column}_low']:.2f}, {row[f'{column}_high']:.2f}]"


def _verdicts(paired: Table, lab: Laboratory, floors: Mapping[str, float]) -> str:
    """At how many levels the composites are nearer to, further from, and as near to the network as what they are held against."""
    names = [name for name in COMPOSITES if name in lab.denoisers]
    sentences = []
    for process in paired.distinct("process"):
        for against in AGAINST:
            told = []
            for name in names:
                rows = paired.where(process=process, denoiser=name, against=against)
                found = [verdict_of(row, floors[process]) for row in rows]
                if rows and max(rows["n"]) < TELLING:
                    told.append(f"{name} has too few z")
                elif found:
                    told.append(f"{name} " + ", ".join(f"{word} at {found.count(word)}" for word in VERDICTS[:3]))
            if told:
                sentences.append(
                    f"{process.capitalize()}, held against {against}, of {len(lab.sigmas)} levels: {'; '.join(told)}."
                )
    return " ".join(sentences)


def _notes(lab: Laboratory, counts: dict[str, dict[str, int]]) -> list[str]:
    notes = []
    left_out = {name for ns in counts.values() for name, n in ns.items() if not n}
    if left_out:
        notes.append(
            f"Left out, because {lab.scale.least} z a level do not fit into the time budget: {listed(sorted(left_out))}."
        )
    shown = [name for name in lab.limited if name not in left_out]
    if shown:
        notes.append(f"On fewer images: {listed([label_of(lab, name) for name in shown])}.")
    return notes
