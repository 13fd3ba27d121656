"""When float32 distances will do.

A float32 sum of squares has a small relative error. What matters is its error as a logit, S/(2 sigma^2), and only for the elements that
share the posterior, whose logits are close to -log Z. So the size of the log-normaliser tells: if |log Z| times the relative error is
below `TOLERATED`, float32 is accurate enough; where it is not (low noise and a z far from every image, or very large windows), the
distances are computed again in float64. The decision is taken for each z by itself, so that it cannot depend on the batch.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

__all__ = ["FULL_ERROR", "PRODUCT_ERROR", "TOLERATED", "WINDOW_ERROR", "double"]

TOLERATED = 1e-4  # in a logit; the error of the composite is smaller by the spread of the posterior
WINDOW_ERROR = (
    2.0**-24
)  # relative, typical of window sums by doubling in float32; 2^-22 was the largest seen in 10^5 windows
PRODUCT_ERROR = 2.0**-23  # the same of window sums as float32 matrix products
FULL_ERROR = 2.0**-25  # the same of whole-image distances, summed in float32 tiles that are carried in float64

Lowest = TypeVar("Lowest", np.ndarray, torch.Tensor)


def double(lowest: Lowest, relative_error: float) -> Lowest:
    """Which z need float64, from the lowest natural log-normaliser of each."""
    return -lowest * relative_error > TOLERATED
