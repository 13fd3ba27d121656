"""The compiled loop for hard masks whose responses are single entries: sums in whole numbers, along a tree of masks.

Images are in lanes, as in `mask_kernels`. The terms of a tile are rounded to whole multiples of a quantum, the same for all images, so
that every sum is exact, whatever way it was come by; how far the rounding moves a logit is `precision.rounding_error`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smalti.engine.compiled.exp2 import exp2
from smalti.engine.compiled.jit import plain
from smalti.engine.compiled.kernels import scratch
from smalti.engine.compiled.records import Means, Terms, Tree
from smalti.engine.compiled.rows import LANES
from smalti.engine.compiled.tree_rows import apart, change_row, weigh_row, weighted_sum

__all__ = ["EMPTY", "LANES", "tree_means"]

EMPTY = 0  # the place where the sum of the empty mask lies


@plain
def _fill(images: Any, elements: Any, start: int, tile: Any) -> int:
    """Stored images elements[start], ... into the lanes, the last once more where there are too few; returns their number."""
    count = min(LANES, elements.shape[0] - start)
    for lane in range(LANES):
        image = images[elements[start + min(lane, count - 1)]]
        for p in range(image.shape[0]):
            tile[p * LANES + lane] = image[p]
    return count


@plain
def _terms(tile: Any, offset: float, slopes: Any, constants: Any, factor: float, channels: int, d: Any) -> None:
    """d[p, lane] = factor sum_c x (x + slope) + constant, rounded; x = stored value - offset."""
    plane = constants.shape[0]
    for p in range(plane):
        to = d[p * LANES : p * LANES + LANES]
        if channels == 1:
            slope, constant = slopes[p], constants[p]
            row = tile[p * LANES : p * LANES + LANES]
            for lane in range(LANES):
                x = np.float64(row[lane]) - offset
                to[lane] = np.rint(x * (x + slope) * factor + constant)
            continue
        total = np.zeros(LANES, np.float64)
        for c in range(channels):
            entry = c * plane + p
            row = tile[entry * LANES : entry * LANES + LANES]
            for lane in range(LANES):
                x = np.float64(row[lane]) - offset
                total[lane] += x * (x + slopes[entry])
        for lane in range(LANES):
            to[lane] = np.rint(total[lane] * factor + constants[p])


@plain
def tree_means(
    images: Any, offset: float, elements: Any, terms: Terms, gap: Any, tree: Tree, responses: Any, means: Means
) -> None:
    """One chunk: posterior means of single entries, in running form. B z, K masks, P = D entries, or pixels of C entries.

    Args:
        images: (N, D) uint8 or float32, the stored source.
        offset: float64, what is subtracted from stored values.
        elements: (n,) indices of the chunk's images.
        terms: of the sums, each of n images.
        gap: float32, bits above its mask's least sum from which a weight is left out.
        tree: of the masks.
        responses: (K, M) int64, the entries whose means are wanted of each mask.
        means: of these entries; `highest`, as the origins, is the least sum S, in quanta, to begin with, more than any; `totals` float64.
    """
    origins, slopes, constants, factors, bits = terms
    best, masses, sums = means
    places, starts, entries, rows = tree
    batch, size = slopes.shape
    plane = constants.shape[1]
    channels = size // plane
    tile = np.empty(size * LANES, images.dtype)
    d = scratch(1, plane * LANES, best)[0]  # rows that begin at a cache line are read twice as fast
    held = scratch(1, rows * LANES, best)[0]
    counted = scratch(1, LANES, np.empty(0, np.float32))[0]
    weights = np.empty_like(counted)
    counted[:] = 1
    small = np.float32(offset)
    for start in range(0, elements.shape[0], LANES):
        count = _fill(images, elements, start, tile)
        counted[count:] = 0
        for b in range(batch):
            _terms(tile, offset, slopes[b], constants[b], factors[b], channels, d)
            for lane in range(LANES):
                held[EMPTY * LANES + lane] = origins[b, start + min(lane, count - 1)]
            for k in range(best.shape[1]):
                low = change_row(held, places[k, 0], places[k, 1], d, entries, starts[k, 0], starts[k, 1], starts[k, 2])
                before = best[b, k]
                if low < before:
                    factor = exp2(-bits[b] * apart(before, low))
                    masses[b, k] *= factor
                    for m in range(responses.shape[1]):
                        sums[b, m, k] *= factor
                    best[b, k] = before = low
                elif bits[b] * apart(low, before) > gap:
                    continue
                masses[b, k] += weigh_row(held, places[k, 1] * LANES, before, bits[b], counted, weights)
                for m in range(responses.shape[1]):
                    sums[b, m, k] += weighted_sum(weights, tile, responses[k, m] * LANES, small)
