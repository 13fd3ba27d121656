"""The tables of docs/generation.md: what denoisers generate with no training, held against images that they have not seen.

    python docs/measured/generation.py faces.zip --resolution 64 --held-out 2000 -n 32 --work faces64
    python docs/measured/generation.py cifar10-train.zip --held-out 5000 --limit 10000 -n 64 --work cifar --rows pspc-square coarse-to-fine

The last images are held out: the first 1,000 of them are the reference, others the row of photographs. Samples are kept in the --work
folder, 16 at a time, so that a run that was stopped goes on; their pictures are there, and a plot of quality against copying.
Prints a table in Markdown. Needs smalti[quality].
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn import functional

import smalti
from smalti.core.noise import standard_normal
from smalti.quality import Reference, load_features, measure
from smalti.quality.measure import Quality
from smalti.report.figures import save_figure, style
from smalti.report.pictures import grid, save_png
from smalti.sampling import coarse_to_fine_steps
from smalti.sampling.generation import scale_denoisers, steps_of

REFERENCE, BATCH, STEPS, SIGMA_MAX = 1000, 16, 18, 80.0
SCALES = (8, 16, 32, 64)
Draw = Callable[[range, int], torch.Tensor]


@dataclass(frozen=True)
class Row:
    """What is measured: its name in the table, what prepares it, and how many training images it is made of (None: all)."""

    name: str
    prepare: Callable[[smalti.Source, smalti.Source], Draw]
    limit: int | None = None


def evenly(source: smalti.Source, skip: int = 0) -> Callable[[range], torch.Tensor]:
    """Photographs, 64 of them evenly spaced, then those beside them."""
    count = len(source) - skip

    def draw(rows: range) -> torch.Tensor:
        numbers = [skip + (row % 64 * count // 64 + row // 64) % count for row in rows]
        return source.working(np.array(numbers))

    return draw


def reference_of(held_out: smalti.Source) -> int:
    """How many of the held-out images are the reference."""
    return min(REFERENCE, len(held_out) // 2)


def blurred(images: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)


def sampled(make: Callable[[smalti.Source], smalti.Denoiser]) -> Callable[[smalti.Source, smalti.Source], Draw]:
    """One scale: 18 Heun steps of the EDM schedule."""

    def prepare(training: smalti.Source, held_out: smalti.Source) -> Draw:
        denoiser = make(training)

        def draw(rows: range, seed: int) -> torch.Tensor:
            start = SIGMA_MAX * standard_normal(seed, rows, training.shape)
            return smalti.sample(
                denoiser, init=start, n=len(rows), steps=STEPS, keep_states=False, progress=False
            ).images

        return draw

    return prepare


def refined(
    make: Callable[[smalti.Source], smalti.Denoiser] | None = None,
    steps: int | list[int] | None = None,
    eta: float = 0.0,
) -> Callable[[smalti.Source, smalti.Source], Draw]:
    """Coarse to fine, as `smalti.generate` does."""

    def prepare(training: smalti.Source, held_out: smalti.Source) -> Draw:
        denoisers = scale_denoisers(training, None, make)
        chosen = steps_of(denoisers, steps)

        def draw(rows: range, seed: int) -> torch.Tensor:
            *_, last = coarse_to_fine_steps(denoisers, rows, seed, steps=chosen, eta=eta)
            return last.x.float()

        return draw

    return prepare


def square(source: smalti.Source) -> smalti.Denoiser:
    """Uniform patches of 5 5 7 7 at 8 16 32 64."""
    return smalti.PSPCSquare(source, patch_size=5 if min(source.shape[1:]) <= 16 else 7)


def windows(sides: str, responses: str) -> Callable[[smalti.Source], smalti.Denoiser]:
    """Centred windows and their responses, at 8 16 32 64."""

    def make(source: smalti.Source) -> smalti.Denoiser:
        scale = SCALES.index(min(source.shape[1:]))
        queries, middles = (smalti.Centred(int(values.split()[scale])) for values in (sides, responses))
        return smalti.PosteriorMeanCollection(source, queries, middles)

    return make


ROWS = {
    "training": Row("training images", lambda training, held_out: lambda rows, seed: evenly(training)(rows)),
    "photographs": Row(
        "held-out photographs, others",
        lambda training, held_out: lambda rows, seed: evenly(held_out, reference_of(held_out))(rows),
    ),
    "blurred": Row(
        "blurred training images (3 x 3 box)",
        lambda training, held_out: lambda rows, seed: blurred(evenly(training)(rows)),
    ),
    "optimal": Row("Optimal", sampled(smalti.Optimal)),
    "gaussian": Row("Gaussian", sampled(smalti.Gaussian)),
    "closed-form-diffusion": Row("closed-form diffusion", sampled(smalti.ClosedFormDiffusion)),
    "pspc-square": Row("PSPC-Square, one scale", sampled(smalti.PSPCSquare)),
    "pspc-flex": Row("PSPC-Flex (Wiener masks), one scale", sampled(smalti.PSPCFlex)),
    "pca-locality": Row("PCA-locality", sampled(smalti.PCALocality)),
    "local-score": Row("LocalScore, window 7", sampled(smalti.LocalScore)),
    "equivariant": Row("equivariant LocalScore, window 7, of 300 images", sampled(smalti.EquivariantLocalScore), 300),
    "coarse-to-fine-square": Row("coarse to fine, PSPC-Square 5 5 7 7, 10 steps", refined(square, 10)),
    "windows-5-7-9-11": Row("windows of 5 7 9 11, responses of 1 1 3 3", refined(windows("5 7 9 11", "1 1 3 3"), 10)),
    "windows-3-7-11-15": Row(
        "windows of 3 7 11 15, responses of 3 3 3 3", refined(windows("3 7 11 15", "3 3 3 3"), 10)
    ),
    "windows-5-9-15-21": Row(
        "windows of 5 9 15 21, responses of 3 3 3 5", refined(windows("5 9 15 21", "3 3 3 5"), 10)
    ),
    "coarse-to-fine-eta": Row("coarse to fine, default windows, 10 steps, eta 0.5", refined(steps=10, eta=0.5)),
    "coarse-to-fine-10": Row("coarse to fine, default windows, 10 steps", refined(steps=10)),
    "coarse-to-fine": Row("**coarse to fine, default**", refined()),
}


def drawn(row: str, training: smalti.Source, held_out: smalti.Source, asked: argparse.Namespace) -> torch.Tensor:
    """Samples of a row, from the folder where they are there."""
    folder = asked.work / row
    folder.mkdir(parents=True, exist_ok=True)
    draw, parts = None, []
    for low in range(0, asked.n, BATCH):
        rows = range(low, min(low + BATCH, asked.n))
        file = folder / f"seed{asked.seed}-{low}-{rows.stop}.npy"
        if not file.exists():
            if draw is None:
                limit = ROWS[row].limit
                draw = ROWS[row].prepare(training if limit is None else training.subset(slice(0, limit)), held_out)
            with torch.no_grad():
                np.save(folder / "new.npy", draw(rows, asked.seed).float().numpy())
            (folder / "new.npy").rename(file)
        parts.append(torch.from_numpy(np.load(file)))
    return torch.cat(parts).clamp(-1, 1)


def sharpness(images: torch.Tensor) -> float:
    return float((images[..., 1:] - images[..., :-1]).square().mean())


def line(row: str, found: Quality, sharp: float) -> str:
    kid = found.kid
    copies = f"{round(found.copies.share * found.n)} of {found.n}"
    patches = f"{found.patch_copies.share:.1%}"
    return (
        f"| {ROWS[row].name} | {found.n} | {1000 * kid.value:.0f} ({1000 * kid.low:.0f} to {1000 * kid.high:.0f}) | "
        f"{found.precision:.2f} | {found.recall:.2f} | {found.diversity:.2f} | {copies} | {found.copies.median:.3f} | "
        f"{patches} | {sharp:.2f} |"
    )


def plot(found: dict[str, Quality], path: Path) -> None:
    """Quality against copying: the knee is low and to the right."""
    with style():
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for row, quality in found.items():
            kid, x = quality.kid, quality.copies.median / quality.copies.held_out_median
            bars = [[1000 * (kid.value - kid.low)], [1000 * (kid.high - kid.value)]]
            axes.errorbar(
                [x], [1000 * kid.value], yerr=bars, fmt="o", markersize=4, linewidth=1, label=ROWS[row].name.strip("*")
            )
        axes.axvline(1, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.set_xlabel("median distance to the nearest training image, over that of held-out images")
        axes.set_ylabel("KID x 1000")
        figure.legend(loc="outside lower center", ncols=2)
        save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--held-out", type=int, default=2000, help="the last so many images")
    parser.add_argument("--limit", type=int, help="training images, the first so many")
    parser.add_argument("-n", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS))
    parser.add_argument("--work", type=Path, required=True)
    asked = parser.parse_args()
    images = smalti.Source.open(asked.data, resolution=asked.resolution)
    last = len(images) - asked.held_out
    training, held_out = (
        images.subset(slice(0, min(last, asked.limit or last))),
        images.subset(slice(last, len(images))),
    )
    reference = Reference(training, held_out, load_features(), limit=reference_of(held_out))
    unit = sharpness(reference.images)
    found = {}
    print(
        f"{training.name}: {len(training):,} images; held-out images, RMS: 1 % below {reference.distances.quantile(0.01):.3f}, "
        f"median {reference.distances.median():.3f}\n"
    )
    print(
        "| what | n | KID x 1000 (95 %) | precision | recall | diversity | copies | nearest | patch copies | sharpness |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for row in asked.rows:
        made = drawn(row, training, held_out, asked)
        found[row] = measure(made, reference)
        save_png(grid(made[:32], columns=8), asked.work / f"{row}.png")
        print(line(row, found[row], sharpness(made) / unit), flush=True)
    plot(found, asked.work / "quality.png")


if __name__ == "__main__":
    main()
