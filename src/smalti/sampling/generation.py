"""`generate`: new images from a folder's, with no training: composites of patches, coarse to fine.

The source is averaged down to every scale, a denoiser is made of each, and `coarse_to_fine_steps` runs over them.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from smalti.core.errors import InputError
from smalti.core.noise import check_seed
from smalti.core.progress import progress as show_progress
from smalti.core.validation import check_count, check_integer, check_labels
from smalti.denoisers.base import check_source
from smalti.sampling.coarse_to_fine import check_eta, coarse_to_fine_steps, linear_levels
from smalti.sampling.resampling import area_down
from smalti.sampling.sampler import check_room
from smalti.source import Source

__all__ = ["GenerateResult", "default_sizes", "generate", "pyramid", "scale_denoisers", "steps_of"]

SMALLEST = 8  # pixels of the short side at the coarsest scale
BATCH = 16  # samples computed together
BLOCK = 512  # images averaged together

Factory = Callable[..., Any]
Sizes = Sequence[int | tuple[int, int]]


@dataclass(frozen=True, repr=False)
class GenerateResult:
    """Generated images and the scales they came through. All tensors are on the CPU.

    Attributes:
        images: (n, C, H, W) float32, working scale, not clipped.
        scales: the finished images of every scale, coarse to fine, each (n, C, h, w) float32; the last is `images`.
    """

    images: torch.Tensor
    scales: tuple[torch.Tensor, ...]

    def __len__(self) -> int:
        return self.images.shape[0]

    def __repr__(self) -> str:
        sizes = ", ".join(f"{s.shape[2]}x{s.shape[3]}" for s in self.scales)
        return f"GenerateResult(n={len(self)}, channels={self.images.shape[1]}, scales={sizes})"


def generate(
    source: Source,
    n: int = 16,
    seed: int = 0,
    sizes: Sizes | None = None,
    denoiser: Factory | Sequence[Factory] | None = None,
    steps: int | Sequence[int] | None = None,
    eta: float = 0.0,
    labels: torch.Tensor | Sequence[int] | int | None = None,
    *,
    batch_size: int = BATCH,
    progress: bool | Callable[[int], None] | None = None,
) -> GenerateResult:
    """New images like those of a source, coarse to fine, with no training.

    Sample j depends on (seed, j) and the settings alone: not on n, nor, but for rounding, on `batch_size`.

    Args:
        source: the images; at each scale they are averaged down (uint8 sources are rounded to uint8 again).
        n: number of samples, at least 1.
        seed: 0 to 2^64 - 1.
        sizes: scales, coarse to fine, sides or (H, W), the last that of the source; by default halves, down to a short
            side of 8 or more.
        denoiser: what makes the denoiser of a scale from its source: a class or function of the source, or a list with
            one a scale; by default the one that `smalti.sampling.defaults` says, chosen by measurement.
        steps: steps at each scale, at least 2; one number, one a scale, or None for those of `smalti.sampling.defaults`.
        eta: share of fresh noise in each step, 0 to 1.
        labels: a class for all samples or one per sample, (n,).
        batch_size: samples computed together.
        progress: True or False; None shows it where stderr is a terminal; a function is called with the number of steps
            of samples that are done (n times all steps of all scales).

    Returns:
        GenerateResult.

    Raises:
        InputError: no source; n, steps, eta, labels or sizes out of range; images that cannot be halved, where no sizes are given.
    """
    n, size, seed = check_count("n", n), check_count("batch_size", batch_size), check_seed(check_integer("seed", seed))
    for count in steps if isinstance(steps, (list, tuple)) else () if steps is None else (steps,):
        linear_levels(count)
    check_eta(eta)
    check_source(source)
    check_room(n, min(size, n), source.shape)
    classes = check_labels(labels, n, source.num_classes)
    denoisers = scale_denoisers(source, sizes, denoiser)
    counts = steps_of(denoisers, steps)
    report = progress if callable(progress) else None
    total = n * sum(counts)
    batches = []
    with show_progress("generating", total, False if report else progress) as shown:  # type: ignore[arg-type]
        for low in range(0, n, size):
            rows = range(low, min(low + size, n))
            chosen = None if classes is None else classes[low : low + size]
            run = coarse_to_fine_steps(denoisers, rows, seed, steps=counts, eta=eta, labels=chosen)
            batches.append(_finished(run, len(rows), report or shown))
    scales = tuple(torch.cat(images) for images in zip(*batches, strict=True))
    return GenerateResult(scales[-1], scales)


def steps_of(denoisers: Sequence[Any], steps: int | Sequence[int] | None = None) -> list[int]:
    """Steps at each scale: as given, or those of `smalti.sampling.defaults`."""
    if steps is None:
        from smalti.sampling.defaults import default_steps

        return default_steps([denoiser.shape[1:] for denoiser in denoisers])
    return list(steps) if isinstance(steps, (list, tuple)) else [steps] * len(denoisers)  # type: ignore[list-item]


@torch.no_grad()
def _finished(run: Iterator[Any], rows: int, advance: Callable[[int], None]) -> list[torch.Tensor]:
    """The finished images of every scale of one batch."""
    finished = []
    for step in run:
        if step.finished:
            finished.append(step.x.float())
        else:
            advance(rows)
    return finished


def default_sizes(shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Halves of (H, W), coarse to fine, while both sides are even and the shorter half is at least 8.

    Raises:
        InputError: an image of more than twice 8 pixels that cannot be halved at all.
    """
    sizes = [(shape[1], shape[2])]
    while all(side % 2 == 0 for side in sizes[0]) and min(sizes[0]) // 2 >= SMALLEST:
        sizes.insert(0, (sizes[0][0] // 2, sizes[0][1] // 2))
    if len(sizes) == 1 and min(sizes[0]) >= 2 * SMALLEST:
        raise InputError(
            f"{shape[1]} x {shape[2]} images cannot be halved; bring them to an even resolution (32, 64) or give sizes="
        )
    return sizes


def pyramid(source: Source, sizes: Sizes | None = None) -> list[Source]:
    """The source averaged down to each of `sizes` (`default_sizes` where None); the last is the source itself.

    Raises:
        InputError: sizes that do not grow to that of the source.
    """
    full = (source.shape[1], source.shape[2])
    chosen = default_sizes(source.shape) if sizes is None else [_pair(size) for size in sizes]
    if not chosen or chosen[-1] != full:
        raise InputError(f"the last of sizes must be that of the images, {full[0]} x {full[1]}, not {chosen[-1:]}")
    for small, large in itertools.pairwise(chosen):
        if small[0] > large[0] or small[1] > large[1] or small == large:
            raise InputError(f"sizes must grow from coarse to fine; {small} is followed by {large}")
    return [_averaged(source, size) for size in chosen[:-1]] + [source]


def scale_denoisers(
    source: Source, sizes: Sizes | None = None, denoiser: Factory | Sequence[Factory] | None = None
) -> list[Any]:
    """The denoisers of every scale, coarse to fine: `denoiser` (or its k-th) called with the k-th source of the `pyramid`.

    Raises:
        InputError: as for `pyramid`; a list of another length; something that is not callable.
    """
    sources = pyramid(source, sizes)
    if denoiser is None:
        from smalti.sampling.defaults import default_denoiser

        factories: list[Factory] = [default_denoiser] * len(sources)
    else:
        factories = list(denoiser) if isinstance(denoiser, (list, tuple)) else [denoiser] * len(sources)  # type: ignore[list-item]
    if len(factories) != len(sources):
        raise InputError(f"{len(factories)} denoisers for {len(sources)} scales; give one for all or one a scale")
    for factory in factories:
        if not callable(factory) or not (inspect.isclass(factory) or not hasattr(factory, "denoise")):
            raise InputError(
                f"denoiser makes a denoiser of a source, such as smalti.PSPCSquare itself, not {factory!r}: "
                "every scale has a source of its own"
            )
    return [factory(scaled) for factory, scaled in zip(factories, sources, strict=True)]


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    sides = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(sides) != 2:
        raise InputError(f"a size is one side or (height, width), not {size!r}")
    return check_count("a side of sizes", sides[0]), check_count("a side of sizes", sides[1])


def _averaged(source: Source, size: tuple[int, int]) -> Source:
    """The source at `size`, in blocks; uint8 stays uint8 (rounded), so that the fine scales stay in memory's reach."""
    if size == (source.shape[1], source.shape[2]):
        return source
    whole = source.images.dtype == np.uint8
    images = np.empty((len(source), source.shape[0], *size), source.images.dtype)
    for start in range(0, len(source), BLOCK):
        part = torch.from_numpy(np.array(source.images[start : start + BLOCK])).double()
        small = area_down(part, size)
        images[start : start + BLOCK] = (small.round() if whole else small).numpy()
    return Source(images, source.labels, source.hflip, class_names=source.class_names, name=source.name, layout="nchw")
