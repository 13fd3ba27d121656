"""Generalisation: networks trained on disjoint halves of the images agree with each other, and do not copy; the optimal denoiser does.

Of halves h1 and h2 there are the networks h1, h2 and the optimal denoisers optimal-h1, optimal-h2 of their images. They are held against
each other on the same z (images held out from all of them, forward process), and in samples from the same noise (Euler's method).

Table "halves": comparison, a, b, sigma (None for samples), n, value with _low, _high, _standard_error, by comparison
    networks                        MSE per pixel between the outputs of the two networks
    network-optimal                 between a network's and its own half's optimal denoiser's
    optimals                        between those of the two optimal denoisers
    networks-less-network-optimal   paired over z: the first less the second of half a (b its optimal denoiser): below 0 the networks agree
                                    more with each other than a with b
    sample-distance                 MSE per pixel between the samples of a and of b from the same noise
    sample-ratio                    mean over the samples of a of d_1 / d_2, the distances to the nearest and second nearest image of b
    sample-copies                   share of the samples of a with d_1 / d_2 < 1/3 (Yoon et al. 2023): copies; Wilson's interval
b is, for the last two, "half1 images" and so on, or "images" for denoisers and networks of all images. A sample at distance 0 has ratio 0.

Without networks of halves only the last two are shown, of the reference network and the optimal denoiser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from smalti.analysis.forward import forward_z
from smalti.analysis.identity import identity_of, source_identity
from smalti.analysis.intervals import TELLING, Bootstrap, share_interval
from smalti.analysis.subjects import evaluate
from smalti.core.denoiser import Denoiser
from smalti.core.pieces import Batch
from smalti.core.table import Table
from smalti.denoisers import Optimal
from smalti.engine.neighbours import nearest
from smalti.experiments.captions import BANDS, significant
from smalti.experiments.exhibit import Exhibit, Picture, Shown
from smalti.experiments.shared_steps import sample_counts, sample_step
from smalti.experiments.steps import Arrays, Results, Step, Work
from smalti.metrics import distance_ratio
from smalti.report.figures import Look, colour_of
from smalti.report.image_grid import grid_figure
from smalti.report.sample_figures import agreement_figure, ratios_figure
from smalti.source import Source

if TYPE_CHECKING:
    from smalti.experiments.laboratory import Laboratory

__all__ = ["Generalisation"]

COPY = 1 / 3
MOST = 2048  # z a level at most: four sets of outputs are kept
SAMPLING = 0.4  # of the exhibit's time goes to samples
BATCH = 64
PICTURED = 8
INTERVALS = ("", "_low", "_high", "_standard_error")
COLUMNS = ("comparison", "a", "b", "sigma", "n", *(f"value{end}" for end in INTERVALS))
PAIRED = "networks-less-network-optimal"
LABELS = {
    "networks": "two networks",
    "network-optimal": "network and its optimal",
    "optimals": "two optimal denoisers",
}


class Generalisation(Exhibit):
    """Whether networks of halves agree, and whose samples are copies."""

    key: ClassVar[str] = "halves"
    title: ClassVar[str] = "Networks of disjoint halves of the images, and copies of training images"
    origin: ClassVar[str] = "Generalisation (both papers' premise)"
    share: ClassVar[float] = 0.8

    def missing(self, lab: Laboratory) -> str | None:
        if lab.networks or len(lab.halves) >= 2:
            return None
        return "needs a network (--network), or two that were trained on disjoint halves (--half)"

    def steps(self, lab: Laboratory) -> tuple[Step, ...]:
        subjects = _subjects(lab)
        outputs = [_outputs_step(lab, name, denoiser, self.count(lab)) for name, denoiser in subjects.items()]
        samples = [*_half_samples(lab, self.samples(lab)).values(), *_whole_samples(lab).values()]
        sources = {**_sources(lab), **dict.fromkeys(_whole_samples(lab), lab.source)}
        copies = [_ratio_step(step, sources[_name(step)]) for step in samples]
        return (*outputs, *samples, *copies)

    def count(self, lab: Laboratory) -> int:
        """z at each level."""
        names = [*_halves(lab), "optimal"]
        found = lab.share_out(names, (1 - SAMPLING) * self.share * lab.seconds, min(MOST, lab.scale.z))
        return max(lab.scale.least, min(found.values()))

    def samples(self, lab: Laboratory) -> int:
        """Samples of each denoiser and network of a half."""
        names = [*_halves(lab), "optimal"]
        found = lab.share_out(names, SAMPLING * self.share * lab.seconds, lab.scale.samples)
        return max(lab.scale.least, min(found.values()))

    def show(self, lab: Laboratory, results: Results) -> Shown:
        pictures, rows, notes = [], [], []
        halves = list(_halves(lab))
        if halves:
            rows += _output_rows(lab, results, halves)
            pictures.append(_agreement(lab, rows, halves))
            rows += _sample_rows(lab, results, halves)
            pictures.append(_gallery(lab, results, halves))
            if lab.held_out is None:
                notes.append("No images are held out: the z are of training images, half of them each network's own.")
        else:
            notes.append(
                "No networks of disjoint halves are at hand: only copies are looked at, not how such networks agree."
            )
        ratios = _ratios(lab, results)
        rows += _ratio_rows(lab, ratios)
        pictures.append(_copies(rows, {name: values for (name, _), values in ratios.items()}))
        return Shown(
            pictures, {"halves": Table(COLUMNS, rows, "95 % bootstrap intervals over z, or over samples")}, notes
        )


# -------------------------------------------------------------------------------------------------------------- subjects


def _halves(lab: Laboratory) -> dict[str, tuple[Denoiser, Source]]:
    """The first two networks of halves; none where there are not two."""
    return dict(list(lab.halves.items())[:2]) if len(lab.halves) >= 2 else {}


def _optimal(name: str) -> str:
    return f"optimal-{name}"


def _subjects(lab: Laboratory) -> dict[str, Denoiser]:
    """Networks of halves, then their optimal denoisers."""
    halves = _halves(lab)
    networks: dict[str, Denoiser] = {name: network for name, (network, _) in halves.items()}
    return networks | {_optimal(name): Optimal(source) for name, (_, source) in halves.items()}


def _sources(lab: Laboratory) -> dict[str, Source]:
    """The images that each subject is about."""
    halves = _halves(lab)
    return {prefix(name): source for prefix in (str, _optimal) for name, (_, source) in halves.items()}


def _identity(lab: Laboratory, name: str, denoiser: Denoiser) -> dict[str, Any]:
    return lab.identity(name) if name in lab.halves else identity_of(denoiser)


def _cost(lab: Laboratory, name: str) -> float:
    return lab.costs.of(name) if name in lab.halves else lab.costs.of("optimal") / 2


# ----------------------------------------------------------------------------------------------------------------- steps


def _outputs_step(lab: Laboratory, name: str, denoiser: Denoiser, n: int) -> Step:
    """{"x0": (L, n, C, H, W) float32} on n z a level of held-out images."""
    images, sigmas, seed = lab.held_out or lab.source, lab.sigmas, lab.seed

    def compute(work: Work) -> Arrays:
        z = forward_z(images, sigmas, n, seed).z
        levels: list[np.ndarray] = []
        for every, sigma in zip(z, sigmas.tolist(), strict=True):

            def outputs(batch: Batch, every: torch.Tensor = every, sigma: float = sigma) -> Arrays:
                return {"x0": evaluate(name, denoiser, every[batch.rows], sigma).float().numpy()}

            made = work.pieces.batches(
                f"{len(levels):04d}", n, BATCH, outputs, lambda done: work.advance(done / (n * len(sigmas)))
            )
            levels.append(np.concatenate([arrays["x0"] for _, arrays in made]))
        return {"x0": np.stack(levels)}

    parameters = {
        "denoiser": _identity(lab, name, denoiser),
        "images": source_identity(images),
        "sigmas": sigmas.tolist(),
        "n": n,
        "seed": seed,
    }
    seconds = n * _cost(lab, name)
    return Step(f"generalisation/outputs/{name}", compute, parameters, seconds=seconds, about=f"{name} n = {n}")


def _half_samples(lab: Laboratory, n: int) -> dict[str, Step]:
    return {
        name: sample_step(lab, name, n, denoiser, n * _cost(lab, name)) for name, denoiser in _subjects(lab).items()
    }


def _whole_samples(lab: Laboratory) -> dict[str, Step]:
    """The samples of the optimal denoiser and the reference network, which other exhibits look at too."""
    if lab.reference is None:
        return {}
    counts = sample_counts(lab)
    return {name: sample_step(lab, name, counts[name]) for name in ("optimal", lab.reference) if counts[name]}


def _name(step: Step) -> str:
    return step.name.partition("/")[2]


def _ratio_step(samples: Step, source: Source) -> Step:
    """{"ratio": (n,) float64, "nearest": (n,) int64} of a step of samples."""

    def compute(work: Work) -> Arrays:
        images = torch.from_numpy(work.results[samples.name]["images"])
        ratio = distance_ratio(images, source)
        return {"ratio": torch.nan_to_num(ratio, nan=0.0).numpy(), "nearest": nearest(source, images)[0][:, 0].numpy()}

    parameters = {"source": source_identity(source)}
    return Step(f"generalisation/copies/{_name(samples)}", compute, parameters, (samples,), 1e-7 * len(source) + 0.02)


# ------------------------------------------------------------------------------------------------------------------ rows


def _pairs(halves: Sequence[str]) -> list[tuple[str, str, str]]:
    """(comparison, a, b)."""
    first, second = halves
    own = [("network-optimal", name, _optimal(name)) for name in halves]
    return [("networks", first, second), *own, ("optimals", _optimal(first), _optimal(second))]


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """MSE per pixel of each pair of images: (..., C, H, W) -> (...)."""
    return np.square(a.astype(np.float64) - b).mean((-3, -2, -1))


def _row(lab: Laboratory, comparison: str, a: str, b: str, sigma: float | None, values: np.ndarray) -> dict[str, Any]:
    interval = Bootstrap(torch.from_numpy(values)[:, None].double(), lab.scale.resamples).mean_interval()
    row = {"comparison": comparison, "a": a, "b": b, "sigma": sigma, "n": len(values)}
    return row | interval.named("value")


def _output_rows(lab: Laboratory, results: Results, halves: Sequence[str]) -> list[dict[str, Any]]:
    names = [prefix(name) for prefix in (str, _optimal) for name in halves]
    outputs = {name: results[f"generalisation/outputs/{name}"]["x0"] for name in names}
    errors = {(comparison, a, b): _squared(outputs[a], outputs[b]) for comparison, a, b in _pairs(halves)}
    apart = errors["networks", halves[0], halves[1]]
    for name in halves:
        errors[PAIRED, name, _optimal(name)] = apart - errors["network-optimal", name, _optimal(name)]
    return [
        _row(lab, comparison, a, b, sigma, values[level])
        for (comparison, a, b), values in errors.items()
        for level, sigma in enumerate(lab.sigmas.tolist())
    ]


def _sample_rows(lab: Laboratory, results: Results, halves: Sequence[str]) -> list[dict[str, Any]]:
    images = {name: results[f"samples/{name}"]["images"] for name in _subjects(lab)}
    return [_row(lab, "sample-distance", a, b, None, _squared(images[a], images[b])) for _, a, b in _pairs(halves)]


def _ratios(lab: Laboratory, results: Results) -> dict[tuple[str, str], np.ndarray]:
    """(name, whose images) -> d_1 / d_2 of its samples."""
    images = {prefix(name): f"{name} images" for name in _halves(lab) for prefix in (str, _optimal)}
    images |= dict.fromkeys(_whole_samples(lab), "images")
    return {(name, of): results[f"generalisation/copies/{name}"]["ratio"] for name, of in images.items()}


def _ratio_rows(lab: Laboratory, ratios: Mapping[tuple[str, str], np.ndarray]) -> list[dict[str, Any]]:
    means = [_row(lab, "sample-ratio", name, of, None, values) for (name, of), values in ratios.items()]
    copies = []
    for (name, of), values in ratios.items():
        row = {"comparison": "sample-copies", "a": name, "b": of, "sigma": None, "n": len(values)}
        copies.append(row | share_interval(int((values < COPY).sum()), len(values)).named("value"))
    return means + copies


# -------------------------------------------------------------------------------------------------------------- pictures


def _agreement(lab: Laboratory, rows: list[dict[str, Any]], halves: Sequence[str]) -> Picture:
    chosen = [
        {"comparison": row["comparison"], "a": row["a"], "b": row["b"], "sigma": row["sigma"], "n": row["n"]}
        | {f"mse{end}": row[f"value{end}"] for end in INTERVALS}
        for row in rows
        if row["comparison"] in LABELS
    ]
    table = Table(tuple(chosen[0]), chosen)
    n = rows[0]["n"]
    told = []
    for name in halves:
        paired = [row for row in rows if row["comparison"] == PAIRED and row["a"] == name]
        agree = sum(row["value_high"] < 0 for row in paired)
        differ = sum(row["value_low"] > 0 for row in paired)
        told.append(f"than {name} with its optimal denoiser at {agree} of {len(paired)} levels, less at {differ}")
    worst = max((row for row in rows if row["comparison"] == "optimals"), key=lambda row: row["value"])
    there = next(row for row in rows if row["comparison"] == "networks" and row["sigma"] == worst["sigma"])
    words = (
        f"The networks agree more with each other {'; '.join(told)} (95 % intervals of paired differences). "
        if n >= TELLING
        else f"Fewer than {TELLING} z do not tell at which levels the networks agree more with each other than with optimal denoisers. "
    )
    words += (
        f"Where the two optimal "
        f"denoisers "
        f"differ most (sigma {significant(worst['sigma'])}) their MSE is {worst['value']:.2g}, that of the networks {there['value']:.2g}."
    )
    return Picture(
        "halves-agreement",
        agreement_figure(table, LABELS),
        f"Curves over the noise level of how far the outputs of networks of disjoint halves are from each other. {words}",
        f"Two networks trained on disjoint halves of the images, and the optimal denoisers of these halves, on the same noisy "
        f"{'images that neither was trained on' if lab.held_out is not None else 'training images'}; "
        f"n = {n} z a level, {BANDS}. {words}",
    )


def _gallery(lab: Laboratory, results: Results, halves: Sequence[str]) -> Picture:
    names = [*halves, *(_optimal(name) for name in halves)]
    rows, images = [], []
    for name in names:
        found = results[f"samples/{name}"]["images"][:PICTURED]
        rows.append(name)
        images.append(found)
        copies = results[f"generalisation/copies/{name}"]["nearest"][: len(found)]
        rows.append("its nearest image")
        images.append(_nearest_images(_sources(lab)[name], copies, found))
    blocks = [np.stack(images[i : i + 2]) for i in range(0, len(images), 2)]
    names_of = [rows[i : i + 2] for i in range(0, len(rows), 2)]
    columns = [str(j) for j in range(blocks[0].shape[1])]
    distances = {row["a"] + row["b"]: row["value"] for row in _sample_rows(lab, results, halves)}
    told = ", ".join(f"{a} and {b} {distances[a + b]:.2g}" for _, a, b in _pairs(halves))
    words = f"Mean squared difference of samples from the same noise: {told}."
    return Picture(
        "halves-samples",
        grid_figure(blocks, names_of, columns),
        f"Samples of two networks and two optimal denoisers, each above its nearest training image. {words}",
        f"Samples from the same noise (a column each), and below each the nearest image of the half that the network or denoiser knows. "
        f"{words}",
        vector=False,
    )


def _nearest_images(source: Source, numbers: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Stored images by number, flipped where the source has flips and the flip is nearer."""
    images = source.working(numbers).numpy()
    if source.hflip:
        flipped = _squared(images[..., ::-1], samples) < _squared(images, samples)
        images[flipped] = images[flipped][..., ::-1]
    return images


def _copies(rows: list[dict[str, Any]], ratios: Mapping[str, np.ndarray]) -> Picture:
    shares = [row for row in rows if row["comparison"] == "sample-copies"]
    told = ", ".join(
        f"{row['a']} {row['value']:.0%} [{row['value_low']:.0%}, {row['value_high']:.0%}] of {row['n']}"
        for row in shares
    )
    looks = {name: _look(name, list(ratios)) for name in ratios}
    words = f"Copies (ratio below 1/3): {told}."
    return Picture(
        "halves-copies",
        ratios_figure(ratios, looks, COPY),
        f"Curves of the share of samples up to each ratio of distances to training images. {words}",
        "How near samples are to a single training image: the distance to the nearest over that to the second nearest, of the images "
        "that each "
        f"denoiser or network knows. 0 is a copy. {words}",
    )


def _look(name: str, names: Sequence[str]) -> Look:
    """Optimal denoisers in optimal's colour, networks of halves as networks; dashes tell those of a kind apart."""
    kind = "optimal" if name.startswith("optimal") else "network"
    same = [other for other in names if other.startswith("optimal") == (kind == "optimal")]
    return Look(colour_of(kind), ("-", "--", ":", "-.")[same.index(name) % 4])
