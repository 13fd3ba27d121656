"""A look at the scale of float images: files of 0 to 255, saved as floats, are a likely slip."""

from __future__ import annotations

import numpy as np

from smalti.source.checks import BLOCK_BYTES

__all__ = ["beyond_the_scale", "scale_warning"]

BEYOND, SHARE = 2.0, 0.75  # latents may be larger than 1: most values must be far outside


def beyond_the_scale(images: np.ndarray) -> bool:
    """Whether most values of float images (N, C, H, W), other than 0, are far outside [-1, 1].

    Zeros do not count, since a dark background is 0 in every scale. At most about 16 MiB of images, evenly spaced, are
    read.
    """
    if images.dtype.kind != "f":
        return False
    step = -(-images.nbytes // BLOCK_BYTES)
    size = np.abs(images[::step])
    return int((size > BEYOND).sum()) > SHARE * int((size > 0).sum())


def scale_warning(what: str, low: float, high: float) -> str:
    """What to say of images whose values go from `low` to `high`."""
    remedy = "save uint8, or divide by 127.5 and subtract 1" if low >= 0 and high <= 255 else "bring them to that scale"
    return f"{what}: values from {low:.6g} to {high:.6g}; the working scale is [-1, 1]: {remedy}"
