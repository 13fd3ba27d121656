"""Draws that depend on (seed, stream, j) alone: images of a source and their noise, whatever the batch they are drawn in.

A stream is a noise level (its number), or a purpose. Streams here are apart from the initial noise of `smalti.sample`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from smalti.core.noise import check_seed, standard_normal
from smalti.source import Source

__all__ = ["Forward", "draw_images", "draw_noise", "forward_batch"]

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
