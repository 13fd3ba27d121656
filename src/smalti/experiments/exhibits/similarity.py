"""Article Fig. 9: how alike the samples of all denoisers and networks are, where they start at the same noise.

Measures, each of corresponding samples (sample j of a, sample j of b), averaged over samples:
    pixel-cosine   cosine of the images less the mean training image
    ssim           `smalti.metrics`
    patch-cosine   cosine of `smalti.analysis.descriptors`, fitted on the training images
    sscd           cosine of SSCD descriptors, where its TorchScript file is given (`smalti.analysis.descriptors`), as published

Tables
    a9-similarity   measure, a, b (each pair once, a before b in the order denoisers, then networks), n, similarity with _low, _high,
                    _standard_error, chance: the same of samples that do not correspond (j of a with j + 1 of b)
    a9-paired       measure, a, b, c, n, difference with its interval: similarity(a, b) - similarity(c, b) over the same samples, above 0
                    where a is more like b than c is; b a network, a a composite or another network, c one of `RIVALS`; and
                    a gaussian, b pspc-flex, c a network: whether pspc-flex is more like gaussian than like the network
    a9-published    a, b, similarity: the article's matrix (CIFAR-10 32x32, SSCD, 1,000 samples), in our names
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from smalti.analysis.descriptors import SMALL_EDGE, SSCD, PatchFeatures
from smalti.analysis.identity import source_identity
from smalti.analysis.intervals import Bootstrap
from smalti.core.table import Table
from smalti.experiments.captions import label_of, listed
from smalti.experiments.exhibit import Exhibit, Picture, Shown
from smalti.experiments.shared_steps import sample_counts, sample_notes, sample_step
from smalti.experiments.steps import Arrays, Results, Step, Work
from smalti.metrics import cosine, ssim
from smalti.report.image_grid import grid_figure
from smalti.report.sample_figures import matrix_figure

if TYPE_CHECKING:
    from smalti.experiments.laboratory import Laboratory

__all__ = ["PUBLISHED", "Similarity"]

# Niedoba et al., full paper, Fig. 9: mean SSCD cosine of corresponding samples, upper triangle
PUBLISHED_NAMES = (
    "optimal", "closed-form-diffusion", "gaussian", "ncsnpp", "dit", "ddpmpp", "u-vit", "pspc-flex", "pspc-square",
)  # fmt: skip
_ROWS = (
    (0.23, 0.22, 0.34, 0.35, 0.35, 0.33, 0.32, 0.30),
    (0.30, 0.23, 0.25, 0.23, 0.22, 0.36, 0.37),
    (0.34, 0.38, 0.33, 0.33, 0.70, 0.68),
    (0.80, 0.90, 0.79, 0.55, 0.46),
    (0.79, 0.72, 0.59, 0.51),
    (0.81, 0.55, 0.46),
    (0.52, 0.45),
    (0.88,),
)
PUBLISHED = dict(
    zip(itertools.combinations(PUBLISHED_NAMES, 2), itertools.chain.from_iterable(_ROWS), strict=True)
)  # (a, b) -> similarity
WORDS = {
    "pixel-cosine": "cosine of pixels, less the mean image",
    "ssim": "structural similarity (SSIM)",
    "patch-cosine": "cosine of pooled patch features",
    "sscd": "cosine of SSCD descriptors",
}
FIRST = (
    "optimal",
    "closed-form-diffusion",
    "gaussian",
)  # the order of the article's matrix: these, networks, then LAST
LAST = ("pspc-flex", "pspc-square")
RIVALS = ("optimal", "closed-form-diffusion", "gaussian", "pspc-flex", "pspc-square")
PICTURED = 10
PUBLISHED_MEASURE = "sscd"
MEAN_OF = 5000  # images, evenly spaced, for the mean image
INTERVALS = ("", "_low", "_high", "_standard_error")

Measure = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Similarity(Exhibit):
    """Matrices of similarity, ours and the published one."""

    key: ClassVar[str] = "a9"
    title: ClassVar[str] = "How alike samples from the same noise are"
    origin: ClassVar[str] = "Article Fig. 9"
    share: ClassVar[float] = 1.0

    def missing(self, lab: Laboratory) -> str | None:
        return None if lab.networks else "needs a network whose samples are compared; give one with --network"

    def steps(self, lab: Laboratory) -> tuple[Step, ...]:
        samples = {name: sample_step(lab, name, n) for name, n in sample_counts(lab).items() if n}
        return _similarity_step(lab, samples), *samples.values()

    def show(self, lab: Laboratory, results: Results) -> Shown:
        table = _table(lab, results["similarity/pairs"])
        names = _in_order(lab, [name for name, n in sample_counts(lab).items() if n])
        labels = [label_of(lab, name) for name in names]
        pictures = [_gallery(lab, results, names)]
        for measure in sorted(table.distinct("measure"), key=lambda measure: measure != PUBLISHED_MEASURE):
            part = table.where(measure=measure)
            words = _nearness(part, lab)
            unrelated = float(np.nanmean(part["chance"]))
            pictures.append(
                Picture(
                    f"a9-{measure}",
                    matrix_figure(
                        labels,
                        _matrix(names, {(row["a"], row["b"]): row["similarity"] for row in part}),
                        WORDS[measure],
                    ),
                    f"A matrix of the mean {WORDS[measure]} between {len(names)} denoisers and networks. {words}",
                    f"Mean {WORDS[measure]} of samples from the same initial noise (Euler's method, {len(lab.sigmas)} steps, up to "
                    f"{max(part['n'])} samples); samples that do not correspond have {unrelated:.2f}. {words}",
                )
            )
        pictures.insert(
            2, _published()
        )  # right after the first matrix, which is by its own measure where that is there
        published = Table(
            ("a", "b", "similarity"),
            [{"a": a, "b": b, "similarity": value} for (a, b), value in PUBLISHED.items()],
            "published: CIFAR-10 32x32, SSCD (sscd_imagenet_mixup), 1,000 samples",
        )
        notes = sample_notes(lab)
        if lab.sscd is None:
            notes.append(
                "Without SSCD's file (--sscd) similarity is that of pixels, SSIM and patch features: their numbers are not SSCD's, only "
                "the "
                "order can be compared with the published matrix."
            )
        paired = _paired(lab, results["similarity/pairs"])
        return Shown(pictures, {"a9-similarity": table, "a9-paired": paired, "a9-published": published}, notes)


def _similarity_step(lab: Laboratory, samples: Mapping[str, Step]) -> Step:
    """{"measures" (M,), "a" (P,), "b" (P,), "n" (P,), "values" and "chance" (M, P, n) with NaN where there are fewer samples}."""
    descriptor = lab.descriptor()  # bad files are refused before anything is computed
    pairs = list(itertools.combinations(samples, 2))

    def compute(work: Work) -> Arrays:
        images = {name: torch.from_numpy(work.results[step.name]["images"]) for name, step in samples.items()}
        measures = _measures(lab, images, descriptor)
        counts = [min(len(images[a]), len(images[b])) for a, b in pairs]
        shape = (len(measures), len(pairs), max(counts, default=0))
        values, chance = np.full(shape, np.nan), np.full(shape, np.nan)
        for m, measure in enumerate(measures.values()):
            for p, ((a, b), n) in enumerate(zip(pairs, counts, strict=True)):
                values[m, p, :n] = measure(a, b, range(n))
                if n > 1:
                    chance[m, p, :n] = measure(a, b, [(j + 1) % n for j in range(n)])
                work.advance(1 / (len(measures) * len(pairs)))
        first, second = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
        return {
            "measures": np.array(list(measures)),
            "a": first,
            "b": second,
            "n": np.array(counts),
            "values": values,
            "chance": chance,
        }

    parameters = {
        "source": source_identity(lab.source),
        "sscd": None if descriptor is None else {"sha256": descriptor.digest, "edge": SMALL_EDGE},
    }
    seconds = 0.2 + 1e-3 * len(pairs) + 0.15 * (descriptor is not None) * sum(sample_counts(lab).values())
    return Step("similarity/pairs", compute, parameters, tuple(samples.values()), seconds)


def _measures(lab: Laboratory, images: Mapping[str, torch.Tensor], descriptor: SSCD | None) -> dict[str, Any]:
    """Measure -> (a, b, numbers of b's samples) -> similarities with a's samples 0, 1, ..."""
    chosen = np.unique(np.linspace(0, len(lab.source) - 1, min(MEAN_OF, len(lab.source))).astype(np.int64))
    mean = lab.source.working(chosen).double().mean(0)
    if lab.source.hflip:
        mean = (mean + mean.flip(-1)) / 2
    features = PatchFeatures.fit(lab.source)

    def of(function: Measure, values: Mapping[str, torch.Tensor]) -> Callable[[str, str, Sequence[int]], np.ndarray]:
        return lambda a, b, numbers: function(values[a][: len(numbers)], values[b][list(numbers)]).numpy()

    found = {
        "pixel-cosine": of(cosine, {name: samples.double() - mean for name, samples in images.items()}),
        "ssim": of(ssim, images),
        "patch-cosine": of(cosine, {name: features.descriptors(samples) for name, samples in images.items()}),
    }
    if descriptor is not None:
        found["sscd"] = of(cosine, {name: descriptor.descriptors(samples) for name, samples in images.items()})
    return found


def _table(lab: Laboratory, found: Arrays) -> Table:
    columns = ("measure", "a", "b", "n", *(f"similarity{end}" for end in INTERVALS), "chance")
    rows = []
    for measure, values, chances in zip(found["measures"].tolist(), found["values"], found["chance"], strict=True):
        for a, b, n, value, chance in zip(
            found["a"].tolist(), found["b"].tolist(), found["n"].tolist(), values, chances, strict=True
        ):
            interval = Bootstrap(value[:n, None], lab.scale.resamples).mean_interval()
            row = {"measure": measure, "a": a, "b": b, "n": n} | interval.named("similarity")
            rows.append(row | {"chance": float(chance[:n].mean())})
    return Table(columns, rows, "mean over corresponding samples; 95 % bootstrap intervals over samples")


def _paired(lab: Laboratory, found: Arrays) -> Table:
    """Differences of similarities, sample by sample: what intervals of two similarities do not tell, as the samples of b are the same."""
    place, counts = {}, found["n"].tolist()
    for p, (a, b) in enumerate(zip(found["a"].tolist(), found["b"].tolist(), strict=True)):
        place[a, b] = place[b, a] = p
    rows = []
    for measure, values in zip(found["measures"].tolist(), found["values"], strict=True):
        for a, b, c in _triples(lab):
            if (a, b) in place and (c, b) in place:
                first, second = place[a, b], place[c, b]
                n = min(counts[first], counts[second])
                apart = values[first, :n] - values[second, :n]
                interval = Bootstrap(apart[:, None], lab.scale.resamples).mean_interval()
                rows.append({"measure": measure, "a": a, "b": b, "c": c, "n": n} | interval.named("difference"))
    columns = ("measure", "a", "b", "c", "n", *(f"difference{end}" for end in INTERVALS))
    note = "similarity of a and b less that of c and b, over the same samples; 95 % bootstrap intervals over samples"
    return Table(columns, rows, note)


def _triples(lab: Laboratory) -> list[tuple[str, str, str]]:
    """(a, b, c) of a9-paired."""
    chosen = [
        (a, b, c)
        for a in (*reversed(RIVALS[-2:]), *lab.networks)
        for b in lab.networks
        for c in RIVALS
        if a not in (b, c)
    ]
    return chosen + [("gaussian", "pspc-flex", network) for network in lab.networks]


def _in_order(lab: Laboratory, names: Sequence[str]) -> list[str]:
    """The order of the article's matrix, what it has not after it."""
    wanted = [*FIRST, *reversed(list(lab.networks)), *LAST]
    return [name for name in wanted if name in names] + [name for name in names if name not in wanted]


def _matrix(names: Sequence[str], values: Mapping[tuple[str, str], float]) -> np.ndarray:
    found = np.full((len(names), len(names)), np.nan)
    for (a, b), value in values.items():
        if a in names and b in names:
            i, j = names.index(a), names.index(b)
            found[i, j] = found[j, i] = value
    return found


def _nearness(part: Table, lab: Laboratory) -> str:
    """The mean similarity of each denoiser to the networks, and the networks' among themselves."""
    to_networks: dict[str, list[float]] = {}
    among, to_gaussian = [], None
    for row in part:
        a, b = row["a"], row["b"]
        if a in lab.networks and b in lab.networks:
            among.append(row["similarity"])
        elif b in lab.networks:
            to_networks.setdefault(a, []).append(row["similarity"])
        elif {a, b} == {"pspc-flex", "gaussian"}:
            to_gaussian = row["similarity"]
    ordered = sorted(to_networks, key=lambda name: -float(np.mean(to_networks[name])))
    counts = {name: min(row["n"] for row in part if row["a"] == name and row["b"] in lab.networks) for name in ordered}
    few = {name: f" (n = {n})" if n < max(counts.values()) else "" for name, n in counts.items()}
    told = [f"{name} {np.mean(to_networks[name]):.2f}{few[name]}" for name in ordered]
    words = f"To the networks, on average: {listed(told)}."
    words += f" Networks among themselves: {np.mean(among):.2f}." if among else ""
    return words + (f" Pspc-flex to gaussian: {to_gaussian:.2f}." if to_gaussian is not None else "")


def _gallery(lab: Laboratory, results: Results, names: Sequence[str]) -> Picture:
    images = [results[f"samples/{name}"]["images"] for name in names]
    wide = min(PICTURED, max(map(len, images)))
    block = np.full((len(names), wide, *images[0].shape[1:]), np.nan, np.float32)
    for row, samples in zip(block, images, strict=True):
        row[: len(samples)] = samples[:wide]
    return Picture(
        "a9-samples",
        grid_figure([block], [[label_of(lab, name) for name in names]], [str(j) for j in range(wide)]),
        f"A grid of samples: a row for each of {listed(names)}, a column for each initial noise.",
        f"Samples of all denoisers and networks (Euler's method, {len(lab.sigmas)} steps); the images of a column start at the same noise.",
        vector=False,
    )


def _published() -> Picture:
    flex = [
        value for (a, b), value in PUBLISHED.items() if b == "pspc-flex" and a in ("ncsnpp", "dit", "ddpmpp", "u-vit")
    ]
    optimal = [
        value for (a, b), value in PUBLISHED.items() if a == "optimal" and b in ("ncsnpp", "dit", "ddpmpp", "u-vit")
    ]
    words = (
        f"There pspc-flex has {np.mean(flex):.2f} to the four networks on average, optimal {np.mean(optimal):.2f}, pspc-flex to gaussian "
        f"{PUBLISHED['gaussian', 'pspc-flex']:.2f}."
    )
    return Picture(
        "a9-published",
        matrix_figure(list(PUBLISHED_NAMES), _matrix(PUBLISHED_NAMES, PUBLISHED), "published (CIFAR-10 32x32, SSCD)"),
        f"The article's matrix of mean SSCD cosines. {words}",
        f"The article's own matrix, not computed here: mean cosine of SSCD descriptors of 1,000 corresponding samples, CIFAR-10 32x32. "
        f"{words}",
    )
