"""The compiled loops that look for the windows which can matter, where few can (see `sketches`).

Queries that may be compared with the same windows of an image form a class: all of them where z wraps around; else those inside,
those of each border row, of each border column, each at a corner. For every image its windows are sketched, and every query's sketch is
compared with those of its class; of what survives the longer sketches, then the distances in float32, and what may matter still, in
float64, goes into the query's running posterior mean.

Windows of z that are compared with an image's are *slots*: queries in the order of the classes, each class filled up to a multiple of
QUERIES; the windows of an image are *places*, and in the order of the classes, filled up to whole vectors, its *entries*.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smalti.engine.compiled.exp2 import exp2
from smalti.engine.compiled.jit import plain
from smalti.engine.compiled.kernels import scratch
from smalti.engine.compiled.records import Chunk, Directions, Places, Sketched
from smalti.engine.compiled.sketch_rows import COARSE, FINE, QUERIES, sketch_distance, survivors, window_distance

__all__ = ["LARGEST", "absorb_one", "search_pass"]

FAR = 1e18  # a number of a sketch that is near nothing
LARGEST = 1e16  # norm of windows that are compared with it
DEAR = 4  # pairs that are compared by long sketches in the time that one that matters takes
SMALL = 5  # side of windows that float64 takes hardly longer for than float32
SLACK = 64  # entries that vectors may read beyond an end


@plain
def absorb_one(
    state: Any, at: int, state_plane: int, logit: Any, x: Any, pixel: int, x_plane: int, channels: int
) -> None:
    """One logit and its pixel into a running posterior mean, float64."""
    before = state[at]
    if logit > before:
        shrink = exp2(np.float32(before - logit))
        state[at] = logit
        for row in range(1, 2 + channels):
            state[at + row * state_plane] *= shrink
    mass = np.float64(exp2(np.float32(logit - state[at])))
    state[at + state_plane] += mass
    for c in range(channels):
        state[at + (2 + c) * state_plane] += mass * x[pixel + c * x_plane]


@plain
def _load(image: Any, offset: Any, layout: Any, out: Any) -> None:
    """Stored pixels (C, H W), minus the offset, into the canvas; its margins stay 0."""
    height, width, margin, step, plane = layout
    for c in range(image.shape[0]):
        for y in range(height):
            row = out[c * plane + (y + margin) * step + margin :][:width]
            pixels = image[c, y * width : (y + 1) * width]
            for x in range(width):
                row[x] = np.float32(pixels[x]) - offset


@plain
def _filter(values: Any, filters: Any, number: int, step: int, out: Any) -> None:
    """out[i] = sum_j filters[number, j] values[i + j step]."""
    for i in range(out.shape[0]):
        out[i] = 0
    for j in range(filters.shape[1]):
        factor, shifted = filters[number, j], values[j * step : j * step + out.shape[0]]
        for i in range(out.shape[0]):
            out[i] += factor * shifted[i]


@plain
def _sketch(
    x: Any,
    layout: Any,
    grid: Any,
    sketches: Directions,
    along: Any,
    line: Any,
    coordinates: Any,
    squares: Any,
) -> None:
    """The coordinates of an image's windows, (F, places), and their |x|^2; `along` and `line` are scratch."""
    filters, axes, passes, directions = sketches
    _, _, _, step, plane = layout
    height, width, _, columns = grid
    ones = np.ones((1, filters.shape[1]))
    for y in range(height):
        line[:] = 0
        for c in range(axes.shape[0]):
            pixels = x[c * plane + y * step :][:width]
            for i in range(width):
                line[i] += np.float64(pixels[i]) * np.float64(pixels[i])
        _filter(line, ones, 0, 1, along[y * columns : (y + 1) * columns])
    _filter(along, ones, 0, columns, squares)
    for number in range(passes.shape[0]):
        axis, across = passes[number]
        for y in range(height):
            line[:] = 0
            for c in range(axes.shape[0]):
                factor, pixels = axes[axis, c], x[c * plane + y * step :][:width]
                for i in range(width):
                    line[i] += factor * np.float64(pixels[i])
            _filter(line, filters, across, 1, along[y * columns : (y + 1) * columns])
        for f in range(directions.shape[0]):
            if directions[f, 0] == number:
                _filter(along, filters, directions[f, 1], columns, coordinates[f])


@plain
def _arrange(coordinates: Any, squares: Any, entries: Any, coarse: Any, fine: Any) -> None:
    """Coordinates (F, places) and |x|^2 as short sketches of entries, (COARSE planes), and as long ones of places, (places FINE).

    The last number of each is the norm of the rest; numbers that there are no directions for stay 0.
    """
    directions, places = coordinates.shape
    plane = entries.shape[0]
    known = min(directions, COARSE - 1)
    for f in range(known):
        for i in range(places):
            squares[i] -= coordinates[f, i] * coordinates[f, i]
    for i in range(plane):
        place = entries[i]
        for f in range(known):
            coarse[f * plane + i] = coordinates[f, place] if place >= 0 else FAR
        coarse[(COARSE - 1) * plane + i] = np.sqrt(max(squares[place], 0.0)) if place >= 0 else FAR
    if directions > known:
        for i in range(places):
            rest = squares[i]
            for f in range(directions):
                fine[i * FINE + f] = coordinates[f, i]
                rest -= coordinates[f, i] * coordinates[f, i] if f >= known else 0.0
            fine[i * FINE + FINE - 1] = np.sqrt(max(rest, 0.0))


@plain
def search_pass(
    chunk: Chunk, places: Places, sketches: Directions, sketched: Sketched, most: int, best: Any, state: Any, left: Any
) -> None:
    """All images of a chunk.

    Args:
        chunk: its log_priors are float64, its offset float32.
        places: the windows of an image, and what they are compared with.
        sketches: what windows are sketched along.
        sketched: the windows of z.
        most: pairs; a z that more than these are left for after short sketches is given up, one that matters counting as DEAR more.
        best: (B, K) float64: the largest logits seen so far; rises.
        state: (B, K (2 + C)) float64: each query's maximum, total, totals of pixels: the result. Begins at LOWEST_LOGIT, 0, 0.
        left: (B, 3) int64: pairs that were left after short sketches, after long ones, that mattered; is added to.
    """
    images, offset, elements, log_priors = chunk
    layout, grid, rows, entries, classes, slots = places
    filters, _, _, directions = sketches
    coarse_z, fine_z, narrow_z, exact_z, z_rows, z_starts, scales, gaps, roundings = sketched
    _, _, _, step, plane = layout
    tall, wide, _, columns = grid
    channels, side = images.shape[1], filters.shape[1]
    entry_count, slot_count = entries.shape[0], slots.shape[0]
    fine = directions.shape[0] >= COARSE
    centre = (side // 2) * (step + 1)
    x = scratch(1, channels * plane + SLACK, narrow_z)[0]
    coarse = scratch(1, COARSE * entry_count, narrow_z)[0]
    long = scratch(1, grid[2] * grid[3] * FINE, narrow_z)[0]
    along, line = np.zeros(tall * columns), np.zeros(wide)
    coordinates, squares = np.zeros((directions.shape[0], grid[2] * grid[3])), np.zeros(grid[2] * grid[3])
    limits = np.full(slot_count, np.float32(-1))
    found = np.empty(entry_count * QUERIES, np.int64)
    for j in range(elements.shape[0]):
        _load(images[elements[j]], offset, layout, x)
        _sketch(x, layout, grid, sketches, along, line, coordinates, squares)
        _arrange(coordinates, squares, entries, coarse, long)
        for b in range(state.shape[0]):
            for slot in range(slot_count):
                if slots[slot] >= 0:
                    square = (log_priors[j] - best[b, slots[slot]] + gaps[b]) / scales[b]
                    reach = np.sqrt(max(square, 0.0)) + roundings[b, 0]
                    limits[slot] = reach * reach * roundings[b, 1] if square >= 0 else -1.0
            for m in range(classes.shape[0]):
                first, entry_number, low, high = classes[m]
                for four in range(low, high, QUERIES):
                    if left[b, 0] + DEAR * left[b, 2] > most:
                        break
                    number = survivors(
                        coarse, first, entry_count, entry_number, coarse_z[b], four, slot_count, limits, found
                    )
                    left[b, 0] += number
                    if fine:
                        kept = 0
                        for n in range(number):
                            slot, place = four + found[n] % QUERIES, entries[first + found[n] // QUERIES]
                            near = sketch_distance(long, place * FINE, fine_z[b], slot * FINE) <= limits[slot]
                            found[kept] = found[n]
                            kept += near
                        number = kept
                        left[b, 1] += number
                    if side > SMALL:
                        kept = 0
                        for n in range(number):
                            slot, place = four + found[n] % QUERIES, entries[first + found[n] // QUERIES]
                            at, z_at = place // columns * step + place % columns, z_starts[slots[slot]]
                            near = window_distance(x, at, rows, narrow_z[b], z_at, z_rows, side) <= limits[slot]
                            found[kept] = found[n]
                            kept += near
                        number = kept
                    for n in range(number):
                        k, place = slots[four + found[n] % QUERIES], entries[first + found[n] // QUERIES]
                        at = place // columns * step + place % columns
                        distance = window_distance(x, at, rows, exact_z[b], z_starts[k], z_rows, side)
                        logit = log_priors[j] - scales[b] * distance
                        if logit + gaps[b] >= best[b, k]:
                            left[b, 2] += 1
                            absorb_one(state[b], k * (2 + channels), 1, logit, x, at + centre, plane, channels)
                            best[b, k] = max(best[b, k], logit)
