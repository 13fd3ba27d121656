"""The compiled loops for crops of z that are looked for at every place of a picture of any size.

z lies on a canvas (continued around where it wraps), the picture beside it; for every relative shift (dy, dx) of the two

    d[q] = sum_c (x[q + (dy, dx)] - z[q])^2       on the pixels in which they overlap
    distance of window k = box sum of d over its p x p pixels

so that the cost of a shift does not depend on p. Box sums only ever add (nothing is subtracted, nothing cancels): down the columns from
suffix sums of one block of p rows and prefix sums of the next (van Herk 1992, Gil and Werman 1993, for sums), along the rows from sums
over a few columns. One row of windows after another, so that all but the picture, z and the result stays near the processor.

picture_normalisers   phase 1: a running maximum of the logits and the sum of 2^(logit - maximum)
picture_numerator     phase 2 where many elements weigh: weights are spread over their crops by the response, which is the same along
                      rows and columns (separable), and meet the picture once a shift
picture_candidates    phase 2 where few weigh: which they are, with their distances in float64
picture_scatter       and their sums

Rows in which no logit comes within `gap` bits of its window's maximum need no exponentials, and in phase 2 nothing at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smalti.engine.compiled.exp2 import exp2
from smalti.engine.compiled.jit import plain
from smalti.engine.compiled.picture_rows import (
    LANES,
    absorb_row,
    add_patch,
    closest_row,
    fill,
    meet_row,
    partial_sums,
    patch_distance,
    spread_row,
    suffix_sums,
    sum_rows,
    weigh_row,
)
from smalti.engine.compiled.records import EDGE, Candidates, Comparison, Heaviest, Normaliser, Picture

__all__ = ["picture_candidates", "picture_normalisers", "picture_numerator", "picture_scatter"]

FLOAT = np.zeros(0, np.float32)
FAR = 1e30  # a squared difference of pixels that are not there
BEFORE, PREFIX, SUMS, PARTS, OUT, BLOCKS = 0, 1, 2, 3, 4, 5  # rows of the tape; the last are two blocks of p


@plain
def _step(width: int) -> int:
    """From row to row: whole vectors."""
    return (width + EDGE + LANES - 1) // LANES * LANES


@plain
def _overlap(z_size: int, x_size: int, side: int, shift: int) -> Any:
    """First window of z that meets a whole patch at this shift, and their number (0 or less: none)."""
    first = max(0, -shift)
    last = min(z_size - side, x_size - side - shift)
    return first, last - first + 1


@plain
def _aligned(count: int, like: Any) -> Any:
    """Zeros that begin where a vector may be loaded from one line of the cache."""
    whole = LANES * 4
    values = np.zeros(count + whole, like.dtype)
    return values[(-values.ctypes.data % whole) // values.itemsize :]


@plain
def _tape(side: int, step: int, like: Any) -> Any:
    """Scratch memory of the rows, rows `step` apart; BEFORE is a row of zeros."""
    tape = _aligned((BLOCKS + 2 * side) * step + EDGE, like)
    tape[:] = FAR
    tape[:step] = 0
    return tape


@plain
def _next_row(
    x: Any, x_at: int, x_plane: int, z: Any, z_at: int, z_plane: int, channels: int, side: int, i: int,
    block: int, wide: int, step: int, tape: Any,
) -> Any:
    """The next row of the pixels, row i of a block of p (block 0 or 1, in turn): sums of the last p rows to SUMS, and partial sums of those.

    Returns:
        Where these partial sums begin.
    """  # fmt: skip
    zero, far = tape.dtype.type(0), tape.dtype.type(FAR)
    here = (BLOCKS + block * side + i) * step
    before = BEFORE * step if i == side - 1 else (BLOCKS + (1 - block) * side + i + 1) * step
    if i == 0:
        fill(tape, PREFIX * step, wide, zero)
    sum_rows(x, x_at, x_plane, z, z_at, z_plane, channels, wide, tape, here, before, PREFIX * step, SUMS * step)
    if i == side - 1:
        suffix_sums(tape, (BLOCKS + block * side) * step, step, side, wide)
    fill(tape, SUMS * step + wide, 2 * LANES, far)  # windows beyond the last are far from everything
    if not partial_sums(tape, SUMS * step, side, wide, PARTS * step):
        return SUMS * step
    fill(tape, PARTS * step + wide, 2 * LANES, far)
    return PARTS * step


@plain
def _padded(values: Any, step: int, like: Any) -> Any:
    """(rows, columns) to one line, rows `step` apart."""
    line = _aligned(values.shape[0] * step + EDGE, like)
    for r in range(values.shape[0]):
        line[r * step : r * step + values.shape[1]] = values[r]
    return line


@plain
def picture_normalisers(picture: Picture, canvas: Picture, comparison: Comparison, highest: Any, mass: Any) -> None:
    """Phase 1 over some shifts of the rows, all shifts of the columns.

    Args:
        picture, canvas: x and z, of the same type.
        comparison: some shifts dy of the rows.
        highest, mass: (h - p + 1, w - p + 1) float64, the result: begins at the lowest logit and 0.
    """
    x, x_shape = picture
    z, z_shape = canvas
    side, shifts, scale, gap_bits = comparison
    channels, x_height, x_width = x_shape
    _, height, width = z_shape
    x_plane, z_plane, step = x_height * x_width, height * width, _step(width)
    tape = _tape(side, step, z)
    best = _aligned((height - side + 1) * step + EDGE, z)
    total = _aligned((height - side + 1) * step + EDGE, FLOAT)
    bits, gap = z.dtype.type(-scale), z.dtype.type(gap_bits)
    for dy in shifts:
        top, rows = _overlap(height, x_height, side, dy)
        if rows <= 0:
            continue
        for r in range(rows):
            best[r * step : r * step + highest.shape[1]] = highest[top + r]
            total[r * step : r * step + highest.shape[1]] = 0
        for dx in range(side - width, x_width - side + 1):
            left, columns = _overlap(width, x_width, side, dx)
            if columns <= 0:
                continue
            x_at, z_at, wide, i, block = (top + dy) * x_width + left + dx, top * width + left, columns + side - 1, 0, 0
            for t in range(rows + side - 1):
                sums = _next_row(
                    x, x_at, x_plane, z, z_at, z_plane, channels, side, i, block, wide, step, tape
                )
                i, block = (i + 1, block) if i < side - 1 else (0, 1 - block)
                x_at += x_width
                z_at += width
                if t >= side - 1:
                    to = (t - side + 1) * step + left
                    absorb_row(
                        tape, SUMS * step, sums, side, bits, columns, gap, best, total, to
                    )
        for r in range(rows):  # what this shift added in float32, on to sums in float64: many like weights would drift
            for j in range(highest.shape[1]):
                now = np.float64(best[r * step + j])
                if now > highest[top + r, j]:
                    mass[top + r, j] *= np.float64(exp2(np.float32(highest[top + r, j] - now)))
                    highest[top + r, j] = now
                mass[top + r, j] += np.float64(total[r * step + j])


@plain
def picture_numerator(
    picture: Picture,
    canvas: Picture,
    comparison: Comparison,
    response: Any,
    normaliser: Normaliser,
    numerator: Any,
    heaviest: Heaviest,
) -> None:
    """Phase 2 over some shifts of the rows, all shifts of the columns.

    Args:
        picture, canvas, comparison: as in phase 1.
        response: (p,) float32, R_k(y, x) = response[y] response[x] within the crop.
        normaliser: (h - p + 1, w - p + 1) of z's type, the windows' largest logits; and float32, 1 / sum_i 2^(logit - these).
        numerator: (C h w + EDGE,) float64, on the canvas: sums are added to it.
        heaviest: results.
    """
    x, x_shape = picture
    z, z_shape = canvas
    side, shifts, scale, gap_bits = comparison
    weight_so_far, place = heaviest
    channels, x_height, x_width = x_shape
    _, height, width = z_shape
    x_plane, z_plane, step = x_height * x_width, height * width, _step(width)
    tape = _tape(side, step, z)
    highest, inverse = _padded(normaliser.references, step, z), _padded(normaliser.corrections, step, response)
    weights = _aligned((side + 2) * step + 2 * (side + EDGE), response)  # p rows that were spread, what they make, one of weights
    meet, first = side * step, (side + 1) * step + (side + LANES - 1) // LANES * LANES
    lit = np.zeros(side, np.bool_)
    places, shares = np.zeros(side, np.int64), np.zeros(side, np.float32)
    sums = np.zeros(channels * z_plane + EDGE, np.float32)
    bits, gap = z.dtype.type(-scale), z.dtype.type(gap_bits)
    asked = weight_so_far.shape[0] > 0
    for dy in shifts:
        top, rows = _overlap(height, x_height, side, dy)
        if rows <= 0:
            continue
        for dx in range(side - width, x_width - side + 1):
            left, columns = _overlap(width, x_width, side, dx)
            if columns <= 0:
                continue
            wide = columns + side - 1
            x_at, z_at = (top + dy) * x_width + left + dx, top * width + left
            on_x, on_z, i, block, slot = x_at, z_at, 0, 0, side - 1
            weights[first + columns : first + columns + side + EDGE] = 0
            lit[:] = False
            for t in range(rows + 2 * (side - 1)):
                r = t - side + 1  # the row of windows that ends with row t, and the row of pixels that is then complete
                if t < rows + side - 1:
                    parts = _next_row(
                        x, x_at, x_plane, z, z_at, z_plane, channels, side, i, block, wide, step, tape
                    )
                    i, block = (i + 1, block) if i < side - 1 else (0, 1 - block)
                    x_at += x_width
                    z_at += width
                if r < 0:
                    continue
                slot = slot + 1 if slot < side - 1 else 0
                lit[slot] = r < rows and weigh_row(
                    tape, SUMS * step, parts, side, bits, columns, gap, highest, inverse,
                    (top + r) * step + left, weights, first,
                )  # fmt: skip
                if lit[slot]:
                    spread_row(weights, first, response, side, wide, slot * step)
                found = 0
                for q in range(side):
                    before = slot - q if slot >= q else slot - q + side
                    if lit[before]:
                        places[found], shares[found] = before * step, response[q]
                        found += 1
                if found:
                    meet_row(
                        weights, places, shares, found, wide, meet, x, on_x, x_plane, channels, sums, on_z, z_plane
                    )
                    if asked:
                        for j in range(wide):
                            weight = weights[meet + j]
                            if weight > weight_so_far[top + r, left + j]:
                                weight_so_far[top + r, left + j] = weight
                                place[0, top + r, left + j] = top + r + dy
                                place[1, top + r, left + j] = left + dx + j
                on_x += x_width
                on_z += width
        for i in range(channels * z_plane):
            numerator[i] += np.float64(sums[i])
            sums[i] = 0


@plain
def picture_candidates(
    picture: Picture, canvas: Picture, comparison: Comparison, limits: Any, precise: Any, candidates: Candidates
) -> Any:
    """Which elements have logits above their window's limit, over some shifts of the rows, in the order of shifts.

    Args:
        picture, canvas, comparison: as in phase 1, float32.
        limits: (h - p + 1, w - p + 1) float32, in bits.
        precise: x and z again, in float64: what the candidates' logits are made of.
        candidates: results.

    Returns:
        Their number, or -1 where they are more than `candidates` has room for.
    """
    x, x_shape = picture
    z, z_shape = canvas
    side, shifts, scale, _ = comparison
    windows_found, places_found, logits_found = candidates
    exact_x, exact_z = precise
    channels, x_height, x_width = x_shape
    _, height, width = z_shape
    x_plane, z_plane, step = x_height * x_width, height * width, _step(width)
    windows_wide = width - side + 1
    tape = _tape(side, step, z)
    bound = _padded(limits, step, z)
    inside = np.zeros(side + LANES)
    inside[:side] = 1
    bits = z.dtype.type(-scale)
    found = 0
    for dy in shifts:
        top, rows = _overlap(height, x_height, side, dy)
        if rows <= 0:
            continue
        for dx in range(side - width, x_width - side + 1):
            left, columns = _overlap(width, x_width, side, dx)
            if columns <= 0:
                continue
            x_at, z_at, wide, i, block = (top + dy) * x_width + left + dx, top * width + left, columns + side - 1, 0, 0
            for t in range(rows + side - 1):
                parts = _next_row(
                    x, x_at, x_plane, z, z_at, z_plane, channels, side, i, block, wide, step, tape
                )
                i, block = (i + 1, block) if i < side - 1 else (0, 1 - block)
                x_at += x_width
                z_at += width
                r = t - side + 1
                if r < 0 or not closest_row(
                    tape, SUMS * step, parts, side, bits, columns, bound, (top + r) * step + left,
                    OUT * step,
                ):  # fmt: skip
                    continue
                for j in range(columns):
                    if tape[OUT * step + j] > 0:
                        if found == windows_found.shape[0]:
                            return -1
                        y, u = top + r, left + j
                        windows_found[found] = y * windows_wide + u
                        places_found[found] = (y + dy) * x_width + u + dx
                        distance = patch_distance(
                            exact_x, places_found[found], x_width, x_plane, exact_z, y * width + u, width, z_plane,
                            channels, side, inside,
                        )  # fmt: skip
                        logits_found[found] = -scale * distance
                        found += 1
    return found


@plain
def picture_scatter(
    picture: Picture,
    width: int,
    response: Any,
    candidates: Candidates,
    numerator: Any,
    heaviest: Heaviest,
    meet: Any,
) -> None:
    """Phase 2 of candidates: numerator += weight * response * patch.

    Args:
        picture: x, float64.
        width: of z on its canvas.
        response: (p,) float64.
        candidates: of one chunk, in its order; the last are their weights.
        numerator: (C h w + EDGE,) float64, on the canvas: sums are added to it.
        heaviest: results.
        meet: (h w + EDGE,) float64 zeros where the heaviest are asked for; they are again, afterwards.
    """
    x, (channels, x_height, x_width) = picture
    windows, places, weights = candidates
    weight_so_far, place = heaviest
    side, plane = response.shape[0], x_height * x_width
    windows_wide = width - side + 1
    z_plane = (numerator.shape[0] - EDGE) // channels
    asked = weight_so_far.shape[0] > 0
    shares, ones = np.zeros(side + LANES), np.ones(side + LANES)
    shares[:side] = response
    start = 0
    while start < windows.shape[0]:
        stop, dy, dx = start, np.int64(0), np.int64(0)
        while stop < windows.shape[0]:  # all of one shift
            y, u = windows[stop] // windows_wide, windows[stop] % windows_wide
            here_dy, here_dx = places[stop] // x_width - y, places[stop] % x_width - u
            if stop > start and (here_dy != dy or here_dx != dx):
                break
            dy, dx = here_dy, here_dx
            on_z = y * width + u
            add_patch(x, places[stop], x_width, plane, numerator, on_z, width, z_plane, channels, side, weights[stop], shares)
            if asked:
                add_patch(ones, 0, 0, 0, meet, on_z, width, 0, 1, side, weights[stop], shares)
            stop += 1
        if asked:
            for clear in (False, True):
                for k in range(start, stop):
                    y, u = windows[k] // windows_wide, windows[k] % windows_wide
                    for q in range(side):
                        for o in range(side):
                            on_z = (y + q) * width + u + o
                            if clear:
                                meet[on_z] = 0
                            elif meet[on_z] > weight_so_far[y + q, u + o]:
                                weight_so_far[y + q, u + o] = meet[on_z]
                                place[0, y + q, u + o] = places[k] // x_width + q
                                place[1, y + q, u + o] = places[k] % x_width + o
        start = stop
