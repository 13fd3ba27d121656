"""Host arrays as the kernels want them: beginning at a cache line, in whole vector iterations."""

from __future__ import annotations

import numpy as np

from smalti.engine.compiled.kernels import ALIGNMENT, LANES

__all__ = ["aligned", "aligned_copy", "padded"]


def aligned(shape: tuple[int, ...], dtype: type | np.dtype) -> np.ndarray:
    """Zeros that begin at a cache line, as `kernels.scratch`."""
    size = np.dtype(dtype).itemsize
    flat = np.zeros(int(np.prod(shape)) + ALIGNMENT // size, dtype)
    start = -flat.ctypes.data % ALIGNMENT // size
    return flat[start : start + int(np.prod(shape))].reshape(shape)


def aligned_copy(values: np.ndarray, dtype: type) -> np.ndarray:
    out = aligned(values.shape, dtype)
    out[...] = values
    return out


def padded(n: int) -> int:
    """As `kernels.padded`."""
    return -(-n // LANES) * LANES
