"""Seeded noise: the j-th sample's noise is a function of (seed, j) alone, whatever the batch it is drawn in."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from smalti.core.errors import InputError
from smalti.core.validation import check_integer, shown

__all__ = ["check_seed", "standard_normal"]


def check_seed(seed: int) -> int:
    """`seed` as an int, or InputError unless it is a whole number and 0 <= seed < 2^64."""
    number = check_integer("the seed", seed)
    if not 0 <= number < 2**64:
        raise InputError(f"the seed must be an integer from 0 to 2^64 - 1, not {shown(number)}")
    return number


def standard_normal(
    seed: int, indices: Iterable[int], shape: tuple[int, ...], draw: tuple[int, int] = (0, 0)
) -> torch.Tensor:
    """Unit normal noise, one independent Philox stream per (seed, index).

    Args:
        seed: 0 <= seed < 2^64.
        indices: sample numbers j >= 0.
        shape: shape of one sample, (C, H, W).
        draw: which of a sample's draws, two numbers >= 0 (a scale and a step, say); each is a part of the stream that no
            other reaches: the upper half of Philox's counter.

    Returns:
        (len(indices), *shape) float64.

    Raises:
        InputError: a seed out of range.
    """
    check_seed(seed)
    counter = np.array([0, 0, draw[1], draw[0]], np.uint64)
    rows = [
        np.random.Generator(np.random.Philox(key=np.array([seed, j], np.uint64), counter=counter)).standard_normal(
            shape
        )
        for j in indices
    ]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty((0, *shape), dtype=torch.float64)
