"""The compiled loops for crops of z that are looked for at every place of a picture of any size.

z lies on a canvas (continued around where it wraps), the picture beside it; for every relative shift (dy, dx) of the two

    d[q] = sum_c (x[q + (dy, dx)] - z[q])^2       on the pixels in which they overlap
    distance of window k = box sum of d over its p x p pixels

so that the cost of a shift does not depend on p. Box sums only ever add (nothing is subtracted, nothing cancels): down the columns from
suffix sums of one block of p rows and prefix sums of the next (van Herk 1992, Gil and Werman 1993, for sums), along the rows from sums
over a few columns. A block of p rows after another, for two shifts of the rows at a time: what a block needs stays near the processor, and
loads, of which this kind of loop has the most, serve both.

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
    patch_distance,
    spread_row,
    sum_block,
    weigh_row,
)
from smalti.engine.compiled.records import EDGE, Candidates, Comparison, Heaviest, Normaliser, Picture

__all__ = ["picture_candidates", "picture_normalisers", "picture_numerator", "picture_scatter"]

FAR = 1e30  # a squared difference of pixels that are not there
SMALLEST = 80.0  # bits below its window's largest from which on a weight is 0
FLOAT = np.zeros(0, np.float32)


@plain
def _step(width: int) -> int:
    """From row to row: whole vectors."""
    return (width + EDGE + LANES - 1) // LANES * LANES


@plain
def _overlap(z_size: int, x_size: int, side: int, shift: int) -> Any:
    """First window of z that meets a whole patch at this shift, and the one after the last (not more: none)."""
    return max(0, -shift), min(z_size - side, x_size - side - shift) + 1


@plain
def _aligned(count: int, like: Any) -> Any:
    """Zeros that begin where a vector may be loaded from one line of the cache."""
    whole = LANES * 4
    values = np.zeros(count + whole, like.dtype)
    return values[(-values.ctypes.data % whole) // values.itemsize :]


@plain
def _lines(values: Any, step: int, like: Any) -> Any:
    """(rows, columns) to one line, rows `step` apart."""
    line = _aligned(values.shape[0] * step + EDGE, like)
    for r in range(values.shape[0]):
        line[r * step : r * step + values.shape[1]] = values[r]
    return line


@plain
def _tape(side: int, step: int, like: Any) -> Any:
    """Scratch memory for the sums of both shifts, a vector of zeros at the end of each strip's kept sums; and a row beyond."""
    return _aligned(2 * _half(side, step) + step + EDGE, like)


@plain
def _half(side: int, step: int) -> int:
    """From one shift's scratch memory to the other's: kept sums, p + 1 a strip, and a block of rows of sums."""
    return (2 * side + 1) * step


@plain
def _both(x_shape: Any, z_shape: Any, side: int, dy: int) -> Any:
    """The windows of z that meet a patch at row shift dy or dy + 1, and those of each: from, to, ((from, to), (from, to))."""
    first, second = _overlap(z_shape[1], x_shape[1], side, dy), _overlap(z_shape[1], x_shape[1], side, dy + 1)
    top, bottom = first
    if second[1] > second[0]:
        top, bottom = (min(top, second[0]), max(bottom, second[1])) if bottom > top else second
    return top, bottom, first[0], first[1], second[0], second[1]


@plain
def _next_block(
    x: Any,
    x_lead: int,
    x_shape: Any,
    z: Any,
    z_lead: int,
    z_shape: Any,
    side: int,
    step: int,
    tape: Any,
    place: Any,
    done: int,
    tall: int,
    wide: int,
) -> Any:
    """The next rows of pixels, p at most, of those that begin at `place`, (row and column of x, row and column of z).

    Returns:
        How many. Their sums over p rows lie at (p + 1 + i) step in each half of the tape.
    """  # fmt: skip
    rows = min(side, tall - done)
    x_row, x_column, z_row, z_column = place
    sum_block(
        x, x_lead + (x_row + done) * x_shape[2] + x_column, x_shape[2], x_shape[1] * x_shape[2],
        z, z_lead + (z_row + done) * z_shape[2] + z_column, z_shape[2], z_shape[1] * z_shape[2],
        z_shape[0], side, rows, wide, tape, 0, (side + 1) * step, step, _half(side, step),
    )  # fmt: skip
    far = tape.dtype.type(FAR)
    for i in range(2 * rows):  # windows beyond the last are far from everything
        fill(tape, i % 2 * _half(side, step) + (side + 1 + i // 2) * step + wide, 2 * LANES, far)
    return rows


@plain
def picture_normalisers(picture: Picture, canvas: Picture, comparison: Comparison, highest: Any, mass: Any) -> None:
    """Phase 1 over some shifts of the rows, all shifts of the columns.

    Args:
        picture, canvas: x and z, of the same type.
        comparison: some shifts dy of the rows.
        highest, mass: (h - p + 1, w - p + 1) float64, the result: begins at the lowest logit and 0.
    """
    x, x_lead, x_shape = picture
    z, z_lead, z_shape = canvas
    side, shifts, scale, gap_bits = comparison
    x_width, width = x_shape[2], z_shape[2]
    step = _step(width)
    tape = _tape(side, step, z)
    best = _aligned((z_shape[1] - side + 1) * step + EDGE, z)
    total = _aligned((z_shape[1] - side + 1) * step + EDGE, FLOAT)
    bits, gap = z.dtype.type(-scale), z.dtype.type(gap_bits)
    half = _half(side, step)
    for dy in shifts:
        top, bottom, first_0, last_0, first_1, last_1 = _both(x_shape, z_shape, side, dy)
        for r in range(top, bottom):
            best[r * step : r * step + highest.shape[1]] = highest[r]
            total[r * step : r * step + highest.shape[1]] = 0
        for dx in range(side - width, x_width - side + 1):
            left, right = _overlap(width, x_width, side, dx)
            columns, tall, done = right - left, bottom - top + side - 1, 0
            while columns > 0 and done < tall:
                place = (top + dy, left + dx, top, left)
                rows = _next_block(
                    x, x_lead, x_shape, z, z_lead, z_shape, side, step, tape, place, done, tall, columns + side - 1
                )
                for i in range(rows):
                    r = top + done + i - (side - 1)
                    sums = (side + 1 + i) * step
                    if first_0 <= r < last_0:
                        absorb_row(tape, sums, side, bits, columns, gap, best, total, r * step + left)
                    if first_1 <= r < last_1:
                        absorb_row(tape, half + sums, side, bits, columns, gap, best, total, r * step + left)
                done += rows
        for r in range(top, bottom):  # what this added in float32, on to sums in float64: many like weights would drift
            for j in range(highest.shape[1]):
                now = np.float64(best[r * step + j])
                if now > highest[r, j]:
                    mass[r, j] *= np.float64(exp2(np.float32(highest[r, j] - now)))
                    highest[r, j] = now
                mass[r, j] += np.float64(total[r * step + j])


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
    x, x_lead, x_shape = picture
    z, z_lead, z_shape = canvas
    side, shifts, scale, gap_bits = comparison
    weight_so_far, place_so_far = heaviest
    channels, x_height, x_width = x_shape
    _, height, width = z_shape
    x_plane, z_plane, step = x_height * x_width, height * width, _step(width)
    tape = _tape(side, step, z)
    highest, inverse = _lines(normaliser.references, step, z), _lines(normaliser.corrections, step, response)
    # for each shift p rows that were spread; a row that they make, and one of weights, with zeros on both sides
    weights = _aligned((2 * side + 1) * step + side + LANES + step + side + EDGE, response)
    meet, first = 2 * side * step, (2 * side + 1) * step + (side + LANES - 1) // LANES * LANES
    lit, last_lit = np.zeros((2, side), np.bool_), np.zeros(2, np.int64)
    places, shares = np.zeros(side, np.int64), np.zeros(side, np.float32)
    sums = np.zeros(channels * z_plane + EDGE, np.float32)
    bits, gap = z.dtype.type(-scale), z.dtype.type(min(gap_bits, SMALLEST))
    half = _half(side, step)
    asked = weight_so_far.shape[0] > 0
    for dy in shifts:
        top, bottom, first_0, last_0, first_1, last_1 = _both(x_shape, z_shape, side, dy)
        for dx in range(side - width, x_width - side + 1):
            left, right = _overlap(width, x_width, side, dx)
            columns, tall, done = right - left, bottom - top + side - 1, 0
            if columns <= 0:
                continue
            wide, slot = columns + side - 1, side - 1
            weights[first + columns : first + columns + side + EDGE] = 0
            lit[:] = False
            last_lit[:] = -height
            while done < tall + side - 1:
                rows = tall + side - 1 - done  # at the end those that get something from windows above only
                if done < tall:
                    place = (top + dy, left + dx, top, left)
                    rows = _next_block(
                        x, x_lead, x_shape, z, z_lead, z_shape, side, step, tape, place, done, tall, wide
                    )
                for i in range(rows):
                    r = top + done + i - (side - 1)  # the row of windows that ends here, and of pixels that is complete
                    if r < top:
                        continue
                    slot = slot + 1 if slot < side - 1 else 0
                    for q in range(2):
                        inside = first_0 <= r < last_0 if q == 0 else first_1 <= r < last_1
                        lit[q, slot] = inside and weigh_row(
                            tape, q * half + (side + 1 + i) * step, side, bits, columns, gap, highest, inverse,
                            r * step + left, weights, first,
                        )  # fmt: skip
                        ring = q * side * step
                        if lit[q, slot]:
                            spread_row(weights, first, response, side, wide, ring + slot * step)
                            last_lit[q] = r
                        if r - last_lit[q] >= side:
                            continue
                        found = 0
                        for o in range(side):
                            before = slot - o if slot >= o else slot - o + side
                            if lit[q, before]:
                                places[found], shares[found] = ring + before * step, response[o]
                                found += 1
                        x_at = x_lead + (r + dy + q) * x_width + left + dx
                        meet_row(
                            weights, places, shares, found, wide, meet, x, x_at, x_plane, channels, sums,
                            r * width + left, z_plane,
                        )  # fmt: skip
                        if asked:
                            for j in range(wide):
                                weight = weights[meet + j]
                                if weight > weight_so_far[r, left + j]:
                                    weight_so_far[r, left + j] = weight
                                    place_so_far[0, r, left + j] = r + dy + q
                                    place_so_far[1, r, left + j] = left + dx + j
                done += rows
        for i in range(channels * z_plane):
            numerator[i] += np.float64(sums[i])
            sums[i] = 0


@plain
def picture_candidates(
    picture: Picture, canvas: Picture, comparison: Comparison, limits: Any, precise: Any, candidates: Candidates
) -> Any:
    """Which elements have logits above their window's limit, over some shifts of the rows.

    Args:
        picture, canvas, comparison: as in phase 1, float32.
        limits: (h - p + 1, w - p + 1) float32, in bits.
        precise: the pixels of x and z in float64: what the candidates' logits are made of.
        candidates: results.

    Returns:
        Their number, or -1 where they are more than `candidates` has room for.
    """
    x, x_lead, x_shape = picture
    z, z_lead, z_shape = canvas
    side, shifts, scale, _ = comparison
    windows_found, places_found, logits_found = candidates
    exact_x, exact_z = precise
    channels, x_height, x_width = x_shape
    _, height, width = z_shape
    step = _step(width)
    windows_wide = width - side + 1
    tape = _tape(side, step, z)
    bound = _lines(limits, step, z)
    inside = np.zeros(side + LANES)
    inside[:side] = 1
    bits = z.dtype.type(-scale)
    half = _half(side, step)
    found = 0
    for dy in shifts:
        top, bottom, first_0, last_0, first_1, last_1 = _both(x_shape, z_shape, side, dy)
        for dx in range(side - width, x_width - side + 1):
            left, right = _overlap(width, x_width, side, dx)
            columns, tall, done = right - left, bottom - top + side - 1, 0
            while columns > 0 and done < tall:
                place = (top + dy, left + dx, top, left)
                rows = _next_block(
                    x, x_lead, x_shape, z, z_lead, z_shape, side, step, tape, place, done, tall, columns + side - 1
                )
                for i in range(2 * rows):
                    q, r = i % 2, top + done + i // 2 - (side - 1)
                    if not (first_0 <= r < last_0 if q == 0 else first_1 <= r < last_1):
                        continue
                    sums, to = q * half + (side + 1 + i // 2) * step, r * step + left
                    if not closest_row(tape, sums, side, bits, columns, bound, to, 2 * half):
                        continue
                    for j in range(columns):
                        if tape[2 * half + j] <= 0:
                            continue
                        if found == windows_found.shape[0]:
                            return -1
                        u = left + j
                        windows_found[found] = r * windows_wide + u
                        places_found[found] = (r + dy + q) * x_width + u + dx
                        distance = patch_distance(
                            exact_x, x_lead + places_found[found], x_width, x_height * x_width,
                            exact_z, z_lead + r * width + u, width, height * width, channels, side, inside,
                        )  # fmt: skip
                        logits_found[found] = -scale * distance
                        found += 1
                done += rows
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
        candidates: of one chunk, with weights; where the heaviest are asked for, those of one shift after another.
        numerator: (C h w + EDGE,) float64, on the canvas: sums are added to it.
        heaviest: results.
        meet: (h w + EDGE,) float64 zeros where the heaviest are asked for; they are again, afterwards.
    """
    x, x_lead, (channels, x_height, x_width) = picture
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
            add_patch(
                x,
                x_lead + places[stop],
                x_width,
                plane,
                numerator,
                on_z,
                width,
                z_plane,
                channels,
                side,
                weights[stop],
                shares,
            )
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
