"""Generation: images like one picture against the same by matrix products, and images from a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.nn import functional

from smalti.bench.results import Measurement, best
from smalti.bench.setup import Setup
from smalti.core.noise import standard_normal
from smalti.denoisers.picture_patches import PicturePatches
from smalti.engine.pruning import TOLERANCE
from smalti.sampling.generation import generate
from smalti.sampling.like import generate_like, picture_pyramid
from smalti.source import Source

__all__ = ["by_products", "generation", "mosaic"]

SIDE, LARGE, SMALL = 256, 512, 128  # of pictures
PATCH, STEPS = 15, 10
WINDOWS = 512  # of z that the matrix form is timed on
LOW = 0.126  # sigma of the last step but one
IMAGES, FACE = 10_000, 64

Jobs = list[Callable[[], Iterator[Measurement]]]


def generation(setup: Setup) -> Jobs:
    side, patch = (40, 5) if setup.quick else (SIDE, PATCH)

    def picture() -> Iterator[Measurement]:
        image = mosaic(setup.source, side)
        start = time.perf_counter()
        generate_like(image, seed=0, patch_size=patch, steps=STEPS, progress=False)
        ours = time.perf_counter() - start
        pairs = [pairs_of(tuple(scaled.shape[1:]), patch) for scaled in picture_pyramid(image, patch)]
        some = min(WINDOWS, side)
        z = image + standard_normal(0, [0], image.shape)[0]
        rows = max(1, some // (side - patch + 1))  # of windows, all patches
        plain = best(lambda: by_products(image, z[:, : rows + patch - 1], 1.0, patch), 2)
        part = rows * (side - patch + 1) ** 3
        note = f"published: matrix products in blocks, {rows * (side - patch + 1)} windows, scaled to all windows and steps"
        what = f"one picture of {side} x {side}, p={patch}, every place, {STEPS} steps a scale, in all"
        published = plain * sum(pairs) / part * (STEPS - 1)  # the first step, the mean, costs neither anything
        yield Measurement(what, ours, published, at_least=20, note=note)
        yield Measurement(f"{what}; seconds", ours, at_most=60)

    def large() -> Iterator[Measurement]:
        for length in (side,) if setup.quick else (SMALL, SIDE, LARGE):
            yield _step(mosaic(setup.source, length), patch, LOW)
        yield _step(mosaic(setup.source, side if setup.quick else SMALL), patch, LOW, tolerance=0.0)

    def faces() -> Iterator[Measurement]:
        source = setup.source
        if source.shape[1:] != (FACE, FACE):
            source = _smooth(60 if setup.quick else IMAGES)
        start = time.perf_counter()
        generate(source.subset(slice(0, IMAGES)), n=2 if setup.quick else 16, progress=False)
        seconds = time.perf_counter() - start
        count = min(len(source), IMAGES)
        what = f"{2 if setup.quick else 16} images of {FACE} x {FACE} from {count:,} {source.name}, in all"
        yield Measurement(what, seconds, at_most=60)

    return [picture, large, faces]


def _step(picture: torch.Tensor, patch: int, sigma: float, tolerance: float = TOLERANCE) -> Measurement:
    """One step at one scale, with what weighs nothing left out, or with everything."""
    denoiser = PicturePatches([picture], patch, tolerance=tolerance)
    z = picture + sigma * standard_normal(0, [0], picture.shape)[0]
    start = time.perf_counter()
    denoiser(z[None], sigma)
    seconds = time.perf_counter() - start
    how = "what weighs nothing left out" if tolerance else "everything weighed"
    return Measurement(
        f"one step of {picture.shape[1]} x {picture.shape[2]}, p={patch}, sigma={sigma:.3g}, {how}", seconds
    )


def pairs_of(size: tuple[int, ...], patch: int) -> int:
    """Windows of z times patches of a picture of the same size."""
    return ((size[0] - patch + 1) * (size[1] - patch + 1)) ** 2


def mosaic(source: Source, side: int) -> torch.Tensor:
    """A picture made of the first images of a source side by side, (C, side, side) float64."""
    across, down = (-(-side // length) for length in (source.shape[2], source.shape[1]))
    images = source.working(np.arange(across * down) % len(source)).double()
    rows = [torch.cat(list(images[r * across : (r + 1) * across]), 2) for r in range(down)]
    return torch.cat(rows, 1)[:, :side, :side]


def by_products(picture: torch.Tensor, z: torch.Tensor, sigma: float, patch: int, block: int = 256) -> torch.Tensor:
    """The same by matrix products, float32: |q|^2 - 2 q x + |x|^2 for all windows of z and patches x, softmax, weights times patches.

    4 d M N operations for M windows, N patches of d entries. Returns (C, h, w), windows averaged alike.
    """
    patches = functional.unfold(picture.float()[None], patch)[0].T.contiguous()  # (N, d)
    queries = functional.unfold(z.float()[None], patch)[0].T
    squares = patches.square().sum(1)
    means = []
    for rows in queries.split(block):
        distances = rows.square().sum(1, keepdim=True) - 2 * rows @ patches.T + squares
        means.append(torch.softmax(distances / (-2 * sigma**2), 1) @ patches)
    size = z.shape[1:]
    ones = functional.fold(torch.ones(1, queries.shape[1], len(queries)), size, patch)
    return (functional.fold(torch.cat(means).T[None], size, patch) / ones)[0]


def _smooth(count: int) -> Source:
    """Smooth random 64 x 64 colour images, uint8, seeded."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, 3, 7, 7, generator=generator)
    images = functional.interpolate(coarse, size=FACE, mode="bilinear", align_corners=True)
    pixels = ((images * 0.5 + 1) * 127.5).clamp(0, 255).round().byte().numpy()
    return Source(pixels, name="synthetic images")
