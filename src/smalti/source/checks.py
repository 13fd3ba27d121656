"""Checks of the arrays that become a source. Each failure is one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from smalti.core.errors import InputError

__all__ = [
    "BLOCK_BYTES",
    "blocks",
    "check_dtype",
    "check_finite",
    "check_images_shape",
    "check_labels_array",
    "check_resolution",
]

BLOCK_BYTES = 16 << 20
MAX_SIDE = 1 << 15


def blocks(shape: tuple[int, ...], itemsize: int) -> Iterator[slice]:
    """Slices along the first axis of an array of `shape`, of about 16 MiB each (at least one row)."""
    row = max(int(np.prod(shape[1:], dtype=object)) * itemsize, 1)
    step = max(BLOCK_BYTES // row, 1)
    for start in range(0, shape[0], step):
        yield slice(start, min(start + step, shape[0]))


def check_images_shape(shape: tuple[int, ...], layout: str = "nchw") -> None:
    """Raise InputError unless `shape` is 4-D with every axis at least 1."""
    axes = ", ".join(layout.upper())
    if len(shape) != len(layout):
        raise InputError(f"images have shape {tuple(shape)}; give a {len(layout)}-D array ({axes})")
    if min(shape) < 1:
        raise InputError(f"images have shape {tuple(shape)}; every axis of ({axes}) must be at least 1")


def check_dtype(dtype: np.dtype) -> None:
    """Raise InputError unless `dtype` is uint8 or floating."""
    if dtype != np.uint8 and dtype.kind != "f":
        raise InputError(f"images have dtype {dtype}; give uint8 (0 to 255) or floats in the working scale [-1, 1]")


def check_finite(images: np.ndarray, first: int = 0) -> None:
    """Raise InputError if an image has NaN or infinite values; streamed. `first` is the number of the first image."""
    if images.dtype.kind != "f":
        return
    for block in blocks(images.shape, images.itemsize):
        finite = np.isfinite(images[block])
        if not finite.all():
            bad = first + block.start + int(np.argmin(finite.reshape(len(finite), -1).all(axis=1)))
            raise InputError(f"image {bad} has NaN or infinite values (as float32); repair it or leave it out")


def check_labels_array(labels: np.ndarray, count: int) -> np.ndarray:
    """Labels as (count,) int64.

    Args:
        labels: (N,) or (N, 1) integers >= 0, or (N, K) one-hot rows of any numeric dtype.
        count: N.

    Raises:
        InputError: another shape, dtype or length; a negative label; rows that are not one-hot.
    """
    if labels.ndim == 2 and labels.shape[1] == 1 and labels.dtype.kind in "iu":
        labels = labels[:, 0]
    if labels.ndim not in (1, 2) or labels.shape[0] != count:
        raise InputError(f"labels have shape {labels.shape} for {count} images; give one integer class an image")
    if labels.ndim == 2:
        if labels.dtype.kind not in "iufb" or labels.shape[1] == 0:
            raise InputError(
                f"labels have dtype {labels.dtype} and shape {labels.shape}; give one integer class an image"
            )
        one_hot = ((labels == 0) | (labels == 1)).all(axis=1) & ((labels == 1).sum(axis=1) == 1)
        if not one_hot.all():
            bad = int(np.argmin(one_hot))
            raise InputError(f"labels are 2-D, but row {bad} is not one-hot; give one integer class an image")
        return labels.argmax(axis=1).astype(np.int64)
    if labels.dtype.kind not in "iu":
        raise InputError(f"labels have dtype {labels.dtype}; give integer classes, numbered from 0")
    if labels.dtype.kind == "u" and labels.itemsize == 8 and int(labels.max()) > np.iinfo(np.int64).max:
        raise InputError(f"label {int(labels.max())} is too large; number the classes from 0")
    if int(labels.min()) < 0:
        bad = int(np.argmin(labels))
        raise InputError(f"label {bad} is {int(labels[bad])}; classes are numbered from 0")
    return np.ascontiguousarray(labels, dtype=np.int64)


def check_resolution(resolution: int | Sequence[int] | None) -> tuple[int, int] | None:
    """`resolution` (one side of a square, or (H, W)) as (H, W), or None.

    Raises:
        InputError: something else, a side below 1 or above 32768.
    """
    if resolution is None:
        return None
    sides = [resolution, resolution] if isinstance(resolution, (int, np.integer)) else resolution
    if (
        isinstance(resolution, (bool, str))
        or not isinstance(sides, Sequence)
        or len(sides) != 2
        or not all(isinstance(side, (int, np.integer)) and 1 <= side <= MAX_SIDE for side in sides)
    ):
        raise InputError(
            f"resolution must be one side or (height, width), each from 1 to {MAX_SIDE}, not {resolution!r}"
        )
    return int(sides[0]), int(sides[1])
