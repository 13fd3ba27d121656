"""Kernel Inception Distance (Binkowski et al. 2018), in any features: the unbiased MMD^2 with the cubic kernel, with an interval.

    k(x, y) = (x.y / d + 1)^3
    KID     = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)

Its standard error is the jackknife's (Efron and Stein 1981; for two samples, Arvesen 1969): every x and every y is left out once,

    se^2 = (m-1)/m sum_i (KID_-i - mean)^2 + (n-1)/n sum_j (KID_-j - mean)^2,     interval KID +- 1.96 se

The bootstrap would not do: images that a resample holds twice are pairs with themselves, which an unbiased estimate leaves out. Leaving one
out needs only sums of rows of the kernel matrices. An unbiased estimate of a distance that is 0 is negative half of the time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from smalti.core.errors import InputError

__all__ = ["KID", "kid"]

NORMAL = 1.959963984540054


@dataclass(frozen=True)
class KID:
    """A distance with its uncertainty.

    Attributes:
        value: unbiased MMD^2; published values are often times 1000.
        low, high: 95 % interval.
        standard_error: of the jackknife, over both sets.
        n, reference: sizes of the two sets.
    """

    value: float
    low: float
    high: float
    standard_error: float
    n: int
    reference: int


def kid(samples: torch.Tensor, reference: torch.Tensor) -> KID:
    """KID of two sets of features.

    Args:
        samples: (m, d) float64, m >= 3.
        reference: (n, d), n >= 3.

    Raises:
        InputError: fewer than three, or other numbers of features.
    """
    if samples.ndim != 2 or reference.ndim != 2 or samples.shape[1] != reference.shape[1]:
        raise InputError(
            f"features have shapes {tuple(samples.shape)} and {tuple(reference.shape)}; give (m, d), (n, d)"
        )
    m, n = len(samples), len(reference)
    if min(m, n) < 3:
        raise InputError(f"KID with an interval needs at least 3 images on both sides, not {m} and {n}")
    x, y = samples.double(), reference.double()
    within_x, within_y = _off_diagonal(x), _off_diagonal(y)
    between = kernel(x, y)
    sx, sy, sb = within_x.sum(), within_y.sum(), between.sum()
    value = float(sx / (m * (m - 1)) + sy / (n * (n - 1)) - 2 * sb / (m * n))
    without_x = (sx - 2 * within_x) / ((m - 1) * (m - 2)) + sy / (n * (n - 1))
    without_x = without_x - 2 * (sb - between.sum(1)) / ((m - 1) * n)
    without_y = sx / (m * (m - 1)) + (sy - 2 * within_y) / ((n - 1) * (n - 2))
    without_y = without_y - 2 * (sb - between.sum(0)) / (m * (n - 1))
    variance = sum(
        float((size - 1) / size * (left - left.mean()).square().sum())
        for size, left in ((m, without_x), (n, without_y))
    )
    error = math.sqrt(variance)
    return KID(value, value - NORMAL * error, value + NORMAL * error, error, m, n)


def kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(x.y / d + 1)^3, (m, n)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def _off_diagonal(x: torch.Tensor) -> torch.Tensor:
    """Sums of the rows of the kernel matrix of a set with itself, pairs with themselves left out."""
    values = kernel(x, x)
    return values.sum(1) - values.diagonal()
