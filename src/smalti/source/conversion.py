"""Arrays that must be changed on the way in: another layout, dtype or resolution, block by block into a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from smalti.core.errors import InputError
from smalti.core.progress import progress
from smalti.source.cache import Store
from smalti.source.checks import blocks, check_dtype, check_finite, check_images_shape
from smalti.source.resizing import resize_float, resize_uint8

__all__ = ["Rows", "check_layout", "fill", "rows_of"]

LIKELY_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Rows:
    """A 4-D array that is read in blocks of rows, in order: its shape and dtype, and the blocks."""

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[], Iterator[np.ndarray]]


def rows_of(array: np.ndarray) -> Rows:
    """The rows of an array that is there already."""
    return Rows(array.shape, array.dtype, lambda: (array[block] for block in blocks(array.shape, array.itemsize)))


def check_layout(shape: tuple[int, ...], dtype: np.dtype, layout: str, what: str) -> None:
    """Raise InputError unless these are the shape and dtype of images in `layout`, and no slip for the other layout."""
    try:
        check_images_shape(shape, layout)
        check_dtype(dtype)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error
    _, a, b, c = shape
    if layout == "nchw" and c in LIKELY_CHANNELS and a not in LIKELY_CHANNELS and b != c:
        raise InputError(f"{what} has shape {shape}, which looks like (N, H, W, C); pass --layout nhwc")
    if layout == "nhwc" and a in LIKELY_CHANNELS and c not in LIKELY_CHANNELS and a != b:
        raise InputError(f"{what} has shape {shape}, which looks like (N, C, H, W); leave out --layout nhwc")


def fill(
    rows: Rows, store: Store, layout: str = "nchw", resolution: tuple[int, int] | None = None, show: bool | None = None
) -> np.ndarray:
    """`rows` as (N, C, H, W) uint8 or float32 in an array of `store`.

    Raises:
        InputError: NaN or infinite values, or a resolution that float images cannot be averaged to.
        EnvironmentFailure: no room for the array.
    """
    count = rows.shape[0]
    order = (0, 3, 1, 2) if layout == "nhwc" else (0, 1, 2, 3)
    shape = tuple(rows.shape[axis] for axis in order)
    whole = rows.dtype == np.uint8
    dtype = np.dtype(np.uint8 if whole else np.float32)
    images = store.allocate((*shape[:2], *(resolution or shape[2:])), dtype)
    start = 0
    with progress(f"reading {store.what}", count, show) as advance:
        for block in rows.blocks():
            block = block.transpose(order)
            target = images[start : start + len(block)]
            if not whole:
                with np.errstate(over="ignore"):  # what overflows is refused as infinite
                    block = block.astype(np.float32)
                check_finite(block, start)
                target[:] = block if resolution is None else resize_float(block, resolution)
            elif resolution is None or resolution == shape[2:]:
                target[:] = block
            else:
                for number, image in enumerate(block):
                    target[number] = resize_uint8(image, resolution)
            start += len(block)
            advance(len(block))
    return images
