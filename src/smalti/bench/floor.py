"""What the machine allows: a memory bound and an arithmetic bound, both measured here and now.

Memory: the composite must read the source twice (the global normalisers come between the two phases); the bound is the measured rate at
which threads read such an array. Arithmetic: `operations` counts the float32 operations that the box-sum algorithm does per image; the
bound divides them by the measured rate of independent multiply-adds in the L1 cache (one multiply-add counts one operation).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from smalti.engine.compiled.jit import plain
from smalti.engine.threads import get_threads, in_order

__all__ = ["admitted", "multiply_add_rate", "operations", "operations_of_a_pair", "read_rate"]

EXP = 15  # operations of one 2^x: clamp 2, round 2, subtract, polynomial 5, exponent 2, multiply, flush 2


@plain
def _sum_words(words: Any) -> int:
    total = np.int64(0)
    for i in range(words.shape[0]):
        total += words[i]
    return total


@plain
def _multiply_add(x: Any, y: Any, repeats: int) -> None:
    a, b = np.float32(0.999), np.float32(0.001)
    for _ in range(repeats):
        for i in range(x.shape[0]):
            v = x[i]
            for _ in range(32):
                v = v * a + b
            y[i] = v


def read_rate(array: np.ndarray) -> float:
    """Bytes per second at which the threads read `array` (C-contiguous, any dtype) once; the best of three."""
    data = np.asarray(array).reshape(-1).view(np.uint8)
    words = data[: len(data) // 8 * 8].view(np.int64)
    words.flags.writeable = False
    parts = np.array_split(words, 8 * get_threads())

    def once() -> float:
        start = time.perf_counter()
        for _ in in_order(lambda number: _sum_words(parts[number]), len(parts)):
            pass
        return time.perf_counter() - start

    _sum_words(words[:1])
    return words.nbytes / min(once() for _ in range(4))


def multiply_add_rate() -> float:
    """Float32 multiply-adds per second on all threads, operands in the L1 cache; the best of three."""
    threads, repeats = get_threads(), 20_000
    arrays = [np.ones((2, 1024), np.float32) for _ in range(threads)]
    _multiply_add(arrays[0][0], arrays[0][1], 1)

    def once() -> float:
        start = time.perf_counter()
        for _ in in_order(lambda number: _multiply_add(arrays[number][0], arrays[number][1], repeats), threads):
            pass
        return time.perf_counter() - start

    return threads * repeats * 1024 * 32 / min(once() for _ in range(3))


def _adds(side: int) -> int:
    """Additions per element of a sliding sum of width `side`: one per doubling, one more per odd step."""
    return sum(1 + (side >> bit & 1) for bit in range(side.bit_length() - 1))


def operations(shape: tuple[int, int, int], side: int) -> int:
    """Float32 operations per image and query of both phases of PSPC-Square, as the kernels do them (conversion shared by a batch not)."""
    channels, height, width = shape
    pixels, rows = height * width, height - side + 1
    windows = rows * width
    convert, difference = 2 * channels * pixels, 2 * channels * pixels
    sums = _adds(side) * (windows + windows)
    first = convert + difference + sums + windows * (1 + 1 + 1 + EXP + 1)
    spread = _adds(side) * (pixels + pixels)
    second = convert + difference + sums + windows * (1 + 1 + EXP) + spread + channels * pixels
    return first + second


def operations_of_a_pair(channels: int, side: int) -> int:
    """The same for one centred window and one place of one image, where responses are pixels and one pass does: the difference of the
    window's pixel, its share of two sliding sums, logit and maximum, weight, totals."""
    return 2 * channels + 2 * _adds(side) + 1 + 1 + 1 + EXP + 1 + channels


def admitted(height: int, width: int, side: int, borders: str) -> int:
    """Pairs of a window and a place of one image that the equivariant machines compare."""
    radius = side // 2

    def along(size: int) -> int:
        inside = max(size - 2 * radius, 0)
        return size * inside if borders == "circular" else inside**2 + size - inside

    return along(height) * along(width)
