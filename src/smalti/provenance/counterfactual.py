"""What really changes when images are left out: the same denoiser on the source without them, asked with the same noise.

A closed-form denoiser needs no retraining, so leaving images out is exact and costs one sampling run. It is the ground truth that
`smalti.influence` approximates to first order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError

__all__ = ["without"]


def without(denoiser: Denoiser, images: Sequence[int] | np.ndarray | slice | int) -> Denoiser:
    """The denoiser on its source without some images (all their flips and shifts, and what windows are made from them).

    Args:
        denoiser: anything made from a source: `without(denoiser, i)` and `denoiser` sampled with one seed differ by what image i did.
        images: numbers of stored images, a boolean mask (N,), a slice, or one number: an image, a class, a photographer's all.

    Returns:
        A denoiser of the same kind and parameters. Images keep their order, so their numbers move up.

    Raises:
        InputError: a denoiser without a source, numbers out of range, no image left.
    """
    source = getattr(denoiser, "source", None)
    if source is None or not hasattr(denoiser, "with_source"):
        raise InputError(
            f"{type(denoiser).__name__} has no source to leave images out of; give a denoiser made from one"
        )
    kept = np.ones(len(source), bool)
    try:
        kept[_index(images)] = False
    except IndexError as error:
        raise InputError(f"images must be numbers of stored images, 0 to {len(source) - 1}: {error}") from None
    if not kept.any():
        raise InputError(f"leaving out all {len(source)} images leaves nothing to denoise with; leave some in")
    return denoiser.with_source(source.subset(kept))


def _index(images: Any) -> Any:
    if isinstance(images, (slice, int, np.integer)):
        return images
    index = np.asarray(images)
    if index.dtype.kind not in "iub" or index.ndim != 1:
        raise InputError(
            f"images must be whole numbers, or one boolean for each image, not {index.dtype} of shape {index.shape}"
        )
    return index
