"""Arrays that must be changed on the way in: another dtype or resolution, block by block into a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from smalti.core.progress import progress
from smalti.source.cache import Store
from smalti.source.checks import blocks, check_finite
from smalti.source.resizing import resize_float, resize_uint8

__all__ = ["Rows", "fill", "rows_of"]


@dataclass(frozen=True)
class Rows:
    """A 4-D array that is read in blocks of rows, in order: its shape and dtype, and the blocks."""

    shape: tuple[int, ...]
    dtype: np.dtype
    blocks: Callable[[], Iterator[np.ndarray]]


def rows_of(array: np.ndarray) -> Rows:
    """The rows of an array that is there already."""
    return Rows(array.shape, array.dtype, lambda: (array[block] for block in blocks(array.shape, array.itemsize)))


def fill(rows: Rows, store: Store, resolution: tuple[int, int] | None = None, show: bool | None = None) -> np.ndarray:
    """`rows`, (N, C, H, W) of any of the dtypes taken, as uint8 or float32 in an array of `store`.

    Raises:
        InputError: NaN or infinite values, or a resolution that float images cannot be averaged to.
        EnvironmentFailure: no room for the array.
    """
    shape = rows.shape
    whole = rows.dtype == np.uint8
    dtype = np.dtype(np.uint8 if whole else np.float32)
    images = store.allocate((*shape[:2], *(resolution or shape[2:])), dtype)
    start = 0
    with progress(f"reading {store.what}", shape[0], show) as advance:
        for block in rows.blocks():
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
