"""The pictures and numbers of docs/samples.md: what every denoiser makes of the same initial noise.

    .venv/bin/python docs/pictures/samples.py [--cifar cifar10-train.zip] [--only cifar-pspc-flex ...] [--overwrite]

The digits take half a minute, CIFAR-10 about a quarter of an hour on two busy cores. Pictures that are there already are left alone.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

import smalti
from smalti.denoisers.pspc import table_1_patch_sizes
from smalti.engine.neighbours import nearest
from smalti.report.pictures import labelled_grid, samples_with_neighbours, save_png

HERE = Path(__file__).parents[1] / "samples"
WEIGHTS = Path(__file__).parents[2] / "weights"
DDPMPP16, DIT16 = WEIGHTS / "ddpmpp-cifar16.safetensors", WEIGHTS / "dit-cifar16.safetensors"
NUMBERS = HERE / "numbers.csv"
FIELDS = ("picture", "images", "solver", "to nearest", "copies", "to network")
SEED, N, STEPS = 0, 8, 18
COPY = 1 / 255  # half a grey level, images in [-1, 1]

Make = Callable[[smalti.Source], smalti.Denoiser]


@dataclass(frozen=True)
class Sampled:
    """One picture: a denoiser, the words for its parameters, and how many images it is made on (None: all)."""

    name: str
    make: Make
    says: str = ""
    limit: int | None = None


def network(name: str | Path) -> Callable[[smalti.Source], smalti.Network]:
    """A network that comes with smalti, or a checkpoint."""
    return lambda source: smalti.Network.load(name)


def flex_of(name: str | Path, n: int) -> Make:
    """PSPC-Flex with the network's own heatmaps, from n z a level; above the last level that is given masks are the whole image."""
    return lambda source: smalti.PSPCFlex(
        source, smalti.sensitivity(smalti.Network.load(name), source, smalti.edm_sigmas()[6:], n, progress=False)
    )


def windows_by_level(source: smalti.Source) -> list[int]:
    """The patch sizes of the paper's Table 1 as windows: odd, and at most what wraps around."""
    _, height, width = source.shape
    largest = min(height, width) - 1 + min(height, width) % 2
    sides = (largest if side is None else side for side in table_1_patch_sizes(height, width))
    return [min(largest, side - 1 + side % 2) for side in sides]


DIGITS = [
    Sampled("ddpmpp-digits", network("ddpmpp-digits"), "network"),
    Sampled("dit-digits", network("dit-digits"), "network"),
    Sampled("optimal", smalti.Optimal),
    Sampled("nearest", smalti.Nearest),
    Sampled("closed-form-diffusion", smalti.ClosedFormDiffusion, "smoothing 0.1"),
    Sampled("closed-form-diffusion-wide", lambda s: smalti.ClosedFormDiffusion(s, 0.5), "smoothing 0.5"),
    Sampled("gaussian", smalti.Gaussian),
    Sampled("pspc-square", smalti.PSPCSquare),
    Sampled("pspc-flex", smalti.PSPCFlex, "wiener"),
    Sampled("pspc-flex-network", flex_of("ddpmpp-digits", 16), "heatmaps of ddpmpp-digits"),
    Sampled("local-score", lambda s: smalti.LocalScore(s, 3), "window 3"),
    Sampled("local-score-levels", lambda s: smalti.LocalScore(s, windows_by_level(s)), "windows of Table 1"),
    Sampled("equivariant-circular", lambda s: smalti.EquivariantLocalScore(s, 3), "window 3, circular"),
    Sampled("equivariant-aware", lambda s: smalti.EquivariantLocalScore(s, 3, "aware"), "window 3, border-aware"),
    Sampled("pca-locality", smalti.PCALocality),
    Sampled("gaussian-window", lambda s: smalti.GaussianWindow(s, 1.0), "width 1"),
    Sampled("heatmap-weighted", smalti.HeatmapWeighted),
]
CIFAR = [
    Sampled("optimal", smalti.Optimal),
    Sampled("nearest", smalti.Nearest),
    Sampled("closed-form-diffusion", smalti.ClosedFormDiffusion, "smoothing 0.1"),
    Sampled("closed-form-diffusion-wide", lambda s: smalti.ClosedFormDiffusion(s, 2.0), "smoothing 2"),
    Sampled("gaussian", smalti.Gaussian),
    Sampled("pspc-square", smalti.PSPCSquare),
    Sampled("pspc-flex", smalti.PSPCFlex, "wiener"),
    Sampled("local-score", smalti.LocalScore, "window 7"),
    Sampled("local-score-levels", lambda s: smalti.LocalScore(s, windows_by_level(s)), "windows of Table 1"),
    Sampled("equivariant-circular", smalti.EquivariantLocalScore, "window 7, circular", 300),
    Sampled(
        "equivariant-aware", lambda s: smalti.EquivariantLocalScore(s, borders="aware"), "window 7, border-aware", 300
    ),
    Sampled("pca-locality", smalti.PCALocality, limit=5000),
    Sampled("gaussian-window", smalti.GaussianWindow, "width 2", 5000),
    Sampled("heatmap-weighted", smalti.HeatmapWeighted, limit=5000),
]
CIFAR16 = [
    Sampled("ddpmpp-cifar16", network(DDPMPP16)),
    Sampled("dit-cifar16", network(DIT16)),
    Sampled("pspc-flex-network", flex_of(DDPMPP16, 4)),
    Sampled("pspc-flex", smalti.PSPCFlex),
    Sampled("pspc-square", smalti.PSPCSquare),
    Sampled("gaussian", smalti.Gaussian),
    Sampled("optimal", smalti.Optimal),
]


def main() -> None:
    """Draw what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar", help="the 50,000 training images; without them, the digits alone")
    parser.add_argument("--only", nargs="*", help="these pictures")
    parser.add_argument("--overwrite", action="store_true", help="draw what is there already, too")
    asked = parser.parse_args()
    HERE.mkdir(exist_ok=True)

    def wanted(picture: str) -> bool:
        chosen = asked.only is None or picture in asked.only
        return chosen and (asked.overwrite or not (HERE / f"{picture}.png").is_file())

    held_against = smalti.Network.load("ddpmpp-digits")
    digits = held_against.training_source(smalti.Source.open("digits"))
    draw("digits", digits, [row for row in DIGITS if wanted(f"digits-{row.name}")], "heun", held_against)
    if asked.cifar:
        cifar = smalti.Source.open(asked.cifar)
        draw("cifar", cifar, [row for row in CIFAR if wanted(f"cifar-{row.name}")], "euler")
        if wanted("cifar16"):
            together("cifar16", smalti.Source.open(asked.cifar, resolution=16))


def draw(
    data: str, source: smalti.Source, rows: list[Sampled], solver: str, held_against: smalti.Denoiser | None = None
) -> None:
    """One picture for each row: its samples and the nearest images that it was made on."""
    theirs = None if held_against is None or not rows else sampled(held_against, solver)
    for row in rows:
        began = time.perf_counter()
        images = source if row.limit is None else evenly(source, row.limit)
        samples = sampled(row.make(images), solver)
        indices, distances = nearest(images, samples)
        title = ", ".join(filter(None, (row.name, row.says, f"{len(images)} images, {STEPS} {solver} steps")))
        found = images.working(indices[:, 0].numpy())
        picture = f"{data}-{row.name}"
        note(picture, images, solver, samples, theirs)
        save_png(samples_with_neighbours(samples, found, distances[:, 0], N, title), HERE / f"{picture}.png")
        print(f"{picture}: {time.perf_counter() - began:.0f} s", flush=True)


def evenly(source: smalti.Source, limit: int) -> smalti.Source:
    """As --limit keeps them."""
    return source.subset([i * len(source) // limit for i in range(limit)])


def together(picture: str, data: smalti.Source) -> None:
    """One picture of all rows of CIFAR16, on what the first network was trained on."""
    began = time.perf_counter()
    source = smalti.Network.load(DDPMPP16).training_source(data)
    made: list[torch.Tensor] = []
    for row in CIFAR16:
        made.append(sampled(row.make(source), "euler"))
        note(f"{picture} {row.name}", source, "euler", made[-1], made[0])
    title = f"{len(source)} images and their mirror images at 16 x 16, {STEPS} euler steps"
    save_png(labelled_grid(torch.stack(made), [row.name for row in CIFAR16], title=title), HERE / f"{picture}.png")
    print(f"{picture}: {time.perf_counter() - began:.0f} s", flush=True)


def sampled(denoiser: smalti.Denoiser, solver: str) -> torch.Tensor:
    """(N, C, H, W) float32, from the noise that all share."""
    return smalti.sample(denoiser, N, STEPS, solver, SEED, keep_states=False, progress=False).images


def note(picture: str, source: smalti.Source, solver: str, samples: torch.Tensor, theirs: torch.Tensor | None) -> None:
    """Put what is known of a picture into numbers.csv; distances are root mean squares over entries, averaged over samples."""
    distances = (nearest(source, samples)[1][:, 0] / samples[0].numel()).sqrt()
    apart = "" if theirs is None else f"{(samples - theirs).square().flatten(1).mean(1).sqrt().mean():.3f}"
    copies = f"{int((distances < COPY).sum())} of {N}"
    row = (picture, str(len(source)), solver, f"{distances.mean():.3f}", copies, apart)
    kept = {known["picture"]: tuple(known.values()) for known in stored()}
    kept[picture] = row
    order = [f"digits-{r.name}" for r in DIGITS] + [f"cifar-{r.name}" for r in CIFAR]
    order += [f"cifar16 {r.name}" for r in CIFAR16]
    with NUMBERS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows(kept[name] for name in order if name in kept)


def stored() -> Iterable[dict[str, str]]:
    """The rows of numbers.csv."""
    if not NUMBERS.is_file():
        return []
    with NUMBERS.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
