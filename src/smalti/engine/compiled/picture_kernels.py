"""The compiled loops for crops of z that are looked for at every place of a picture of any size.

z lies on a canvas (continued around where it wraps), the picture beside it; for every relative shift (dy, dx) of the two

    d[q] = sum_c (x[q + (dy, dx)] - z[q])^2       on the pixels in which they overlap
    distance of window k = box sum of d over its p x p pixels

so that the cost of a shift does not depend on p. Box sums only ever add (nothing is subtracted, nothing cancels): down the columns from
suffix sums of one block of p rows and prefix sums of the next (van Herk 1992, Gil and Werman 1993, for sums), along the rows by doubling.

`picture_normalisers` is phase 1: a running maximum of the logits and the sum of 2^(logit - maximum). `picture_numerator` is
phase 2: weights are spread over their crops by the response, which is the same along rows and columns (separable), and meet the
picture once a shift.

Positions are unsigned and arrays flat: LLVM then makes vector instructions of the loops over columns (an index that might be negative
would be looked at, one by one). Rows in which no logit comes within `gap` bits of its window's maximum need no exponentials, and in
phase 2 nothing at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smalti.engine.compiled.exp2 import exp2
from smalti.engine.compiled.jit import ordered, plain
from smalti.engine.compiled.records import Comparison, Heaviest, Normaliser, Picture

__all__ = ["picture_normalisers", "picture_numerator"]

EDGE = 16  # entries beyond the ends of rows
TAPS = 4  # of the response, taken together


@plain
def _overlap(z_size: int, x_size: int, side: int, shift: int) -> Any:
    """First window of z that meets a whole patch at this shift, and their number (0 or less: none)."""
    first = max(0, -shift)
    last = min(z_size - side, x_size - side - shift)
    return first, last - first + 1


@plain
def _squares(
    x: Any, x_at: Any, x_plane: Any, z: Any, z_at: Any, z_plane: Any, channels: int, wide: Any, to: Any, out: Any
) -> None:
    """out[to + j] = sum_c (x[x_at + j] - z[z_at + j])^2."""
    if channels == 3:
        x_1, x_2, z_1, z_2 = x_at + x_plane, x_at + x_plane + x_plane, z_at + z_plane, z_at + z_plane + z_plane
        for j in range(wide):
            first, second, third = x[x_at + j] - z[z_at + j], x[x_1 + j] - z[z_1 + j], x[x_2 + j] - z[z_2 + j]
            out[to + j] = first * first + second * second + third * third
        return
    for j in range(wide):
        gap = x[x_at + j] - z[z_at + j]
        out[to + j] = gap * gap
    for _ in range(1, channels):
        x_at += x_plane
        z_at += z_plane
        for j in range(wide):
            gap = x[x_at + j] - z[z_at + j]
            out[to + j] += gap * gap


@plain
def _along(row: Any, other: Any, side: int, columns: Any, wide: Any, to: Any, out: Any) -> None:
    """out[to + j] = sum of row[j : j + side]: sums over powers of two, taken from `row` and `other` in turn, and added up."""
    done, offset = np.uintp(1), np.uintp(0)
    first = True
    while True:
        if side & 1:
            if first:
                for j in range(columns):
                    out[to + j] = row[offset + j]
            else:
                for j in range(columns):
                    out[to + j] += row[offset + j]
            first = False
            offset += done
        side >>= 1
        if side == 0:
            return
        wide -= done
        for j in range(wide):
            other[j] = row[j] + row[done + j]
        row, other = other, row
        done += done


@plain
def _distances(
    x: Any,
    x_at: Any,
    x_step: Any,
    x_plane: Any,
    z: Any,
    z_at: Any,
    z_step: Any,
    z_plane: Any,
    channels: int,
    side: int,
    rows: int,
    columns: Any,
    blocks: Any,
    rows_of_sums: Any,
    out: Any,
    step: Any,
) -> None:
    """Squared distances of the windows that begin at z[z_at ..] to the patches at x[x_at ..], (rows, columns) to out, rows `step` apart."""
    wide = columns + np.uintp(side - 1)
    tall = rows + side - 1
    prefix, row, other = rows_of_sums[0], rows_of_sums[1], rows_of_sums[2]
    half = np.uintp(side) * step
    i, current, at = 0, np.uintp(0), np.uintp(0)
    for t in range(tall):
        here = current + np.uintp(i) * step
        _squares(x, x_at, x_plane, z, z_at, z_plane, channels, wide, here, blocks)
        x_at += x_step
        z_at += z_step
        if i == 0:
            for j in range(wide):
                prefix[j] = blocks[here + j]
        else:
            for j in range(wide):
                prefix[j] += blocks[here + j]
        if t >= side - 1:
            if i == side - 1:
                for j in range(wide):
                    row[j] = prefix[j]
            else:
                before = half - current + np.uintp(i + 1) * step
                for j in range(wide):
                    row[j] = blocks[before + j] + prefix[j]
            _along(row, other, side, columns, wide, at, out)
            at += step
        i += 1
        if i == side:  # sums from each row of the block to its end
            lower = here
            for _ in range(side - 1):
                upper = lower - step
                for j in range(wide):
                    blocks[upper + j] += blocks[lower + j]
                lower = upper
            i, current = 0, half - current


@ordered
def _closest(out: Any, at: Any, columns: Any, bits: Any, limits: Any, to: Any) -> Any:
    """Distances become logits, in place; the largest of them less its limit."""
    closest = out[at] * bits - limits[to]
    for j in range(columns):
        logit = out[at + j] * bits
        out[at + j] = logit
        gap = logit - limits[to + j]
        closest = gap if gap > closest else closest
    return closest


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
    side, shifts, scale, gap = comparison
    channels, x_height, x_width = x_shape
    _, height, width = z_shape
    step = np.uintp(width + EDGE)
    windows = height - side + 1
    out = np.empty((windows + 1) * (width + EDGE), z.dtype)
    blocks = np.empty((2 * side + 1) * (width + EDGE), z.dtype)
    rows_of_sums = np.empty((3, width + EDGE), z.dtype)
    best = np.empty((windows + 1) * (width + EDGE), z.dtype)
    total = np.empty((windows + 1) * (width + EDGE), np.float32)
    bits = z.dtype.type(-scale)
    for dy in shifts:
        top, rows = _overlap(height, x_height, side, dy)
        if rows <= 0:
            continue
        for r in range(rows):
            for j in range(highest.shape[1]):
                best[r * (width + EDGE) + j] = highest[top + r, j]
                total[r * (width + EDGE) + j] = 0
        for dx in range(side - width, x_width - side + 1):
            left, columns_here = _overlap(width, x_width, side, dx)
            if columns_here <= 0:
                continue
            columns = np.uintp(columns_here)
            _distances(
                x,
                np.uintp((top + dy) * x_width + left + dx),
                np.uintp(x_width),
                np.uintp(x_height * x_width),
                z,
                np.uintp(top * width + left),
                np.uintp(width),
                np.uintp(height * width),
                channels,
                side,
                rows,
                columns,
                blocks,
                rows_of_sums,
                out,
                step,
            )
            at, to = np.uintp(0), np.uintp(left)
            for _ in range(rows):
                if _closest(out, at, columns, bits, best, to) > -gap:
                    for j in range(columns):
                        higher = np.float32(out[at + j] - best[to + j])
                        shrink, before = exp2(-abs(higher)), total[to + j]
                        total[to + j] = before * shrink + np.float32(1) if higher > 0 else before + shrink
                        best[to + j] = max(out[at + j], best[to + j])
                at += step
                to += step
        for r in range(rows):  # what this shift added in float32, on to sums in float64: many like weights would drift
            for j in range(highest.shape[1]):
                now = np.float64(best[r * (width + EDGE) + j])
                if now > highest[top + r, j]:
                    mass[top + r, j] *= np.float64(exp2(np.float32(highest[top + r, j] - now)))
                    highest[top + r, j] = now
                mass[top + r, j] += np.float64(total[r * (width + EDGE) + j])


@plain
def _spread(
    weights: Any, columns: Any, wide: Any, response: Any, side: int, step: Any, row: Any, meet: Any, at: Any
) -> None:
    """One row of windows' weights, spread over their crops: meet[at + q step + j] += response[q] sum_i response[i] weight[j - i].

    weights[last tap + j] is window j; zeros lie on both sides, and response ends in zeros up to whole TAPS.
    """
    behind = np.uintp(response.shape[0] - TAPS)
    for j in range(wide):
        row[j] = np.float32(0)
    for q in range(0, response.shape[0], TAPS):
        first, second, third, fourth = response[q], response[q + 1], response[q + 2], response[q + 3]
        b = behind - np.uintp(q)  # weight[j - q - 3] .. weight[j - q]
        b_1, b_2, b_3 = b + np.uintp(1), b + np.uintp(2), b + np.uintp(3)
        for j in range(wide):
            row[j] += (
                first * weights[b_3 + j]
                + second * weights[b_2 + j]
                + third * weights[b_1 + j]
                + fourth * weights[b + j]
            )
    for q in range(side):
        share = response[q]
        for j in range(wide):
            meet[at + j] += share * row[j]
        at += step


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
        response: float32, R_k(y, x) = response[y] response[x] within the crop; zeros after the first p, up to whole TAPS.
        normaliser: ((h - p + 1) (w - p + 1),) of z's type, the windows' largest logits; and float32, 1 / sum_i 2^(logit - these).
        numerator: (C h w,) float64, on the canvas: sums are added to it.
        heaviest: results.
    """
    x, x_shape = picture
    z, z_shape = canvas
    side, shifts, scale, gap = comparison
    highest, inverse = normaliser
    weight_so_far, place = heaviest
    channels, x_height, x_width = x_shape
    _, height, width = z_shape
    step = np.uintp(width + EDGE)
    windows_wide = width - side + 1
    out = np.empty((height - side + 2) * (width + EDGE), z.dtype)
    blocks = np.empty((2 * side + 1) * (width + EDGE), z.dtype)
    rows_of_sums = np.empty((3, width + EDGE), z.dtype)
    last_tap = response.shape[0] - 1
    weights = np.zeros(width + 2 * response.shape[0] + EDGE, np.float32)
    row = np.zeros(width + EDGE, np.float32)
    meet = np.zeros((height + 1) * (width + EDGE), np.float32)
    sums = np.zeros(channels * height * width, np.float32)
    bits = z.dtype.type(-scale)
    asked = weight_so_far.shape[0] > 0
    for dy in shifts:
        top, rows = _overlap(height, x_height, side, dy)
        if rows <= 0:
            continue
        for dx in range(side - width, x_width - side + 1):
            left, columns_here = _overlap(width, x_width, side, dx)
            if columns_here <= 0:
                continue
            columns = np.uintp(columns_here)
            wide = columns + np.uintp(side - 1)
            _distances(
                x,
                np.uintp((top + dy) * x_width + left + dx),
                np.uintp(x_width),
                np.uintp(x_height * x_width),
                z,
                np.uintp(top * width + left),
                np.uintp(width),
                np.uintp(height * width),
                channels,
                side,
                rows,
                columns,
                blocks,
                rows_of_sums,
                out,
                step,
            )
            low, high = rows + side, 0
            at, to, first = np.uintp(0), np.uintp(top * windows_wide + left), np.uintp(last_tap)
            for r in range(rows):
                if _closest(out, at, columns, bits, highest, to) > -gap:
                    low, high = min(low, r), r + side
                    for j in range(columns):
                        weights[first + j] = exp2(np.float32(out[at + j] - highest[to + j])) * inverse[to + j]
                    for j in range(np.uintp(response.shape[0])):
                        weights[first + columns + j] = 0
                    _spread(weights, columns, wide, response, side, step, row, meet, at)
                at += step
                to += np.uintp(windows_wide)
            for t in range(low, high):
                at = np.uintp(t) * step
                from_x = np.uintp((top + dy + t) * x_width + left + dx)
                on_z = np.uintp((top + t) * width + left)
                for _ in range(channels):
                    for j in range(wide):
                        sums[on_z + j] += meet[at + j] * np.float32(x[from_x + j])
                    from_x += np.uintp(x_height * x_width)
                    on_z += np.uintp(height * width)
                if asked:
                    for i in range(columns_here + side - 1):
                        weight = meet[t * (width + EDGE) + i]
                        if weight > weight_so_far[top + t, left + i]:
                            weight_so_far[top + t, left + i] = weight
                            place[0, top + t, left + i] = top + t + dy
                            place[1, top + t, left + i] = left + dx + i
                for j in range(wide):
                    meet[at + j] = 0
        for i in range(sums.shape[0]):
            numerator[i] += np.float64(sums[i])
            sums[i] = 0
