"""z of the forward process: z ~ p(z | x) = N(x, sigma^2 I), x uniform over the images (workshop paper, section 4).

Draws depend on (seed, stream, j) alone, whatever the batch they are drawn in. A stream is a noise level (its number), or a purpose;
streams here are apart from the initial noise of `smalti.sample`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from smalti.analysis.identity import source_identity
from smalti.analysis.z_sets import ZSet, check_levels
from smalti.core.errors import InputError
from smalti.core.noise import check_seed, standard_normal
from smalti.core.schedule import edm_sigmas
from smalti.core.validation import check_count
from smalti.source import Source

__all__ = ["Forward", "draw_images", "draw_noise", "forward_batch", "forward_z"]

IMAGE = 1 << 63  # set in the keys of draws of images, not in those of noise


@dataclass(frozen=True)
class Forward:
    """Noisy images with what they were made of.

    Attributes:
        z: (n, C, H, W) float32, x + sigma * noise.
        clean: (n, C, H, W) float32, x.
        labels: (n,) int64, the classes of the images, or None where the source has none.
    """

    z: torch.Tensor
    clean: torch.Tensor
    labels: torch.Tensor | None


def forward_batch(source: Source, sigma: float, seed: int, stream: int, indices: Sequence[int]) -> Forward:
    """z ~ p(z | x), x uniform over the source's images (and flips, where it has them).

    Args:
        source: the images.
        sigma: noise level > 0.
        seed: 0 <= seed < 2^64.
        stream: 0 <= stream < 2^30.
        indices: sample numbers, 0 <= j < 2^32.

    Raises:
        InputError: a seed out of range.
    """
    numbers, clean = draw_images(source, seed, stream, indices)
    z = clean.double() + sigma * draw_noise(seed, stream, indices, source.shape)
    labels = None if source.labels is None else torch.from_numpy(np.array(source.labels[numbers], np.int64))
    return Forward(z.float(), clean, labels)


def draw_images(source: Source, seed: int, stream: int, indices: Sequence[int]) -> tuple[np.ndarray, torch.Tensor]:
    """Their numbers, (n,) int64, and the images, (n, C, H, W) float32, flipped with probability 1/2 where the source has flips.

    Raises:
        InputError: a seed out of range.
    """
    check_seed(seed)
    numbers, flipped = np.empty(len(indices), np.int64), np.zeros(len(indices), bool)
    for row, j in enumerate(indices):
        generator = np.random.Generator(np.random.Philox(key=np.array([seed, IMAGE | _key(stream, j)], np.uint64)))
        numbers[row] = generator.integers(len(source))
        flipped[row] = source.hflip and generator.integers(2)
    clean = source.working(numbers)
    clean[torch.from_numpy(flipped)] = clean[torch.from_numpy(flipped)].flip(-1)
    return numbers, clean


def draw_noise(seed: int, stream: int, indices: Sequence[int], shape: tuple[int, ...]) -> torch.Tensor:
    """Unit normal noise, (len(indices), *shape) float64.

    Raises:
        InputError: a seed out of range.
    """
    return standard_normal(seed, [_key(stream, j) for j in indices], shape)


def _key(stream: int, j: int) -> int:
    return (stream + 1) << 32 | j  # below 2^32: the initial noise of samples


def forward_z(
    source: Source,
    sigmas: torch.Tensor | Sequence[float] | None = None,
    n: int = 16,
    seed: int = 0,
    *,
    labelled: bool = False,
) -> ZSet:
    """n noisy images of the source (and their flips, where it has them) at each level.

    Image, flip and noise of z[level, j] are functions of (seed, level, j) alone, so that a longer set begins with the shorter one.
    The paper takes 10,000 z a level.

    Args:
        source: the images.
        sigmas: (L,) noise levels > 0; None for the 18 of the EDM schedule.
        n: z at a level, at least 1.
        seed: 0 to 2^64 - 1.
        labelled: condition every z on the class of its image.

    Returns:
        A ZSet of process "forward".

    Raises:
        InputError: bad sigmas, n or seed; `labelled` for a source without classes.
    """
    levels = edm_sigmas() if sigmas is None else check_levels(sigmas)
    n = check_count("n", n)
    if labelled and source.labels is None:
        raise InputError("labelled=True needs a source with classes; open the data with classes or leave it out")
    z = torch.empty((len(levels), n, *source.shape), dtype=torch.float32)
    labels = torch.empty((len(levels), n), dtype=torch.int64)
    for level, sigma in enumerate(levels.tolist()):
        drawn = forward_batch(source, sigma, seed, level, range(n))
        z[level] = drawn.z
        if drawn.labels is not None:
            labels[level] = drawn.labels
    about = {"seed": seed, "data": source_identity(source)}
    return ZSet(z, levels, "forward", about, labels if labelled else None)
