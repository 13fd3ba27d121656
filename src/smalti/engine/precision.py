"""When float32 distances will do.

A float32 sum of squares has a small relative error. What matters is its error as a logit, S/(2 sigma^2), and only for the elements that
share the posterior: those whose logits are close to the largest. So the size of that logit tells: if it times the relative error is below
`TOLERATED`, float32 is accurate enough; where it is not, the distances are computed again in float64. The decision is taken for each z by
itself, so that it cannot depend on the batch.

At high noise all distances are large, and nearly equal: the noise. There they are taken less |z|^2, as x (x - 2 z): it is the same for all
images and cancels from every posterior, and that leaves little for float32 to round.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch

__all__ = ["FULL_ERROR", "PRODUCT_ERROR", "TOLERATED", "WINDOW_ERROR", "double"]

TOLERATED = 4e-5  # in a logit; two elements that share a posterior then move the composite by less than that
WINDOW_ERROR = 2.0**-23  # relative, of window sums by doubling in float32
PRODUCT_ERROR = 2.0**-22  # the same of window sums as float32 matrix products
FULL_ERROR = (
    2.0**-23
)  # the same of whole-image distances; where float64 is needed, few images are near enough to matter

Largest = TypeVar("Largest", np.ndarray, torch.Tensor)


def double(largest: Largest, relative_error: float) -> Largest:
    """Which z need float64, from the largest magnitude among the logits that matter (natural), one for each z."""
    return largest * relative_error > TOLERATED
