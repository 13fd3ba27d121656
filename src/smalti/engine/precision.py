"""When float32 distances will do.

A float32 sum of squares has a small relative error. What matters is its error as a logit, S/(2 sigma^2), and only for the elements that
share the posterior: those whose logits are close to the largest. So the size of that logit tells: if it times the relative error is below
`TOLERATED`, float32 is accurate enough; where it is not, the distances are computed again in float64. The decision is taken for each z by
itself, so that it cannot depend on the batch.

At high noise all distances are large, and nearly equal: the noise. There they are taken less |z|^2, as x (x - 2 z): it is the same for all
images and cancels from every posterior, and that leaves little for float32 to round.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import torch

__all__ = ["FULL_ERROR", "PRODUCT_ERROR", "TOLERATED", "WINDOW_ERROR", "by_precision", "double", "rounding_error"]

TOLERATED = 4e-5  # in a logit; two elements that share a posterior then move the composite by less than that
WINDOW_ERROR = 2.0**-23  # relative, of window sums by doubling in float32
PRODUCT_ERROR = 2.0**-22  # the same of window sums as float32 matrix products
FULL_ERROR = (
    2.0**-23
)  # the same of whole-image distances; where float64 is needed, few images are near enough to matter

ROUNDED = 6 / 12**0.5  # standard deviations of a rounding, whose own is 1/sqrt(12): see `rounding_error`

Largest = TypeVar("Largest", np.ndarray, torch.Tensor)


def double(largest: Largest, relative_error: float) -> Largest:
    """Which z need float64, from the largest magnitude among the logits that matter (natural), one for each z."""
    return largest * relative_error > TOLERATED


def by_precision(exact: np.ndarray) -> Iterator[tuple[np.ndarray, type]]:
    """Which rows are computed in float32, then which in float64, each if there are any; `exact`: (rows,) bool, as of `double`."""
    for rows, real in ((np.flatnonzero(~exact), np.float32), (np.flatnonzero(exact), np.float64)):
        if len(rows):
            yield rows, real


def rounding_error(quantum: Largest, terms: int) -> Largest:
    """What exact sums of at most `terms` whole multiples of `quantum` are off, in the unit of the quantum.

    A term that is rounded after a dither, uniform between -1/2 and 1/2 of a quantum, is off by an error that is uniform too, and so
    sub-Gaussian with variance quantum^2/12; those of different entries are independent. The sum is off by more than t of its standard
    deviations with probability 2 exp(-t^2/2) at most: 3e-8 for t = 6. This holds for every image and every z, whatever their values:
    only the dither is random, and it is the same for all images, so that it cancels from every posterior. In no case is the sum off
    by more than terms/2 quanta.
    """
    return quantum * (ROUNDED * terms**0.5)
