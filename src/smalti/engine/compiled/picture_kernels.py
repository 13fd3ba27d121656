"""The compiled loops for crops of z that are looked for at every place of a picture of any size.

z lies on a canvas (continued around where it wraps), the picture beside it; for every relative shift (dy, dx) of the two

    d[q] = sum_c (x[q + (dy, dx)] - z[q])^2       on the pixels in which they overlap
    distance of window k = box sum of d over its p x p pixels

so that the cost of a shift does not depend on p. Box sums only ever add (nothing is subtracted, nothing cancels): down the columns from
suffix sums of one block of p rows and prefix sums of the next (van Herk 1992, Gil and Werman 1993, for sums), along the rows by doubling.

`picture_normalisers` is phase 1: a running maximum of the logits and the sum of 2^(logit - maximum). `picture_numerator` is phase 2: weights
are spread over their crops by the response, which is the same along rows and columns (separable), and meet the picture once a shift.

Rows in which no logit comes within `gap` bits of its window's maximum need no exponentials, and in phase 2 nothing at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smalti.engine.compiled.exp2 import exp2
from smalti.engine.compiled.jit import plain

__all__ = ["picture_normalisers", "picture_numerator"]

EDGE = 8  # entries beyond the ends of rows


@plain
def _overlap(z_size: int, x_size: int, side: int, shift: int) -> Any:
    """First window of z that meets a whole patch at this shift, and their number (0 or less: none)."""
    first = max(0, -shift)
    last = min(z_size - side, x_size - side - shift)
    return first, last - first + 1


@plain
def _distances(
    x: Any,
    z: Any,
    dy: int,
    dx: int,
    side: int,
    top: int,
    rows: int,
    left: int,
    columns: int,
    blocks: Any,
    prefix: Any,
    out: Any,
    step: int,
) -> None:
    """Squared distances of windows (top .., left ..) of z to the patches at the shift, (rows, columns) into out, rows `step` apart."""
    wide, tall = columns + side - 1, rows + side - 1
    half = side * step
    for t in range(tall):
        block, i = t // side, t % side
        current = (block % 2) * half
        here = current + i * step
        z_row, x_row = top + t, top + t + dy
        for c in range(x.shape[0]):
            a, b = x[c, x_row], z[c, z_row]
            if c == 0:
                for j in range(wide):
                    gap = a[left + dx + j] - b[left + j]
                    blocks[here + j] = gap * gap
            else:
                for j in range(wide):
                    gap = a[left + dx + j] - b[left + j]
                    blocks[here + j] += gap * gap
        if i == 0:
            for j in range(wide):
                prefix[j] = blocks[here + j]
        else:
            for j in range(wide):
                prefix[j] += blocks[here + j]
        start = t - side + 1
        if start >= 0:
            at = start * step
            if i == side - 1:
                for j in range(wide):
                    out[at + j] = prefix[j]
            else:
                before = half - current + (i + 1) * step
                for j in range(wide):
                    out[at + j] = blocks[before + j] + prefix[j]
            _along(out, at, wide, side, columns, prefix.shape[0], prefix)
        if i == side - 1:
            for k in range(side - 2, -1, -1):
                upper, lower = current + k * step, current + (k + 1) * step
                for j in range(wide):
                    blocks[upper + j] += blocks[lower + j]


@plain
def _along(row: Any, at: int, wide: int, side: int, columns: int, size: int, prefix: Any) -> None:
    """Sums over `side` neighbours of row[at : at + wide], in place: sums over powers of two, added up from the largest on."""
    # the sum over n = 2^k + rest neighbours is that over 2^k and, beside it, that over the rest
    done, rest, reach = 1, side, wide
    offset = 0
    total = size // 2  # the second half of the prefix buffer holds the sum so far
    first = True
    while True:
        if rest & 1:
            if first:
                for j in range(columns):
                    prefix[total + j] = row[at + offset + j]
                first = False
            else:
                for j in range(columns):
                    prefix[total + j] += row[at + offset + j]
            offset += done
        rest >>= 1
        if rest == 0:
            break
        reach -= done
        for j in range(reach):
            row[at + j] += row[at + done + j]
        done *= 2
    for j in range(columns):
        row[at + j] = prefix[total + j]


@plain
def picture_normalisers(
    x: Any, z: Any, side: int, shifts: Any, scale: float, gap: float, highest: Any, mass: Any
) -> None:
    """Phase 1 over some shifts of the rows, all shifts of the columns.

    Args:
        x: (C, H, W) float32 or float64, the picture.
        z: (C, h, w), the canvas, of the same type.
        side: p.
        shifts: (n,) int64, dy: row of the picture less row of the canvas.
        scale: log2(e) / (2 sigma^2).
        gap: bits below its window's maximum at which a logit may be left out.
        highest, mass: (h - p + 1, w - p + 1) float64, the result: begins at the lowest logit and 0.
    """
    height, width = z.shape[1], z.shape[2]
    step = width + EDGE
    out = np.empty((height - side + 1) * step + EDGE, z.dtype)
    blocks = np.empty(2 * side * step + EDGE, z.dtype)
    prefix = np.empty(2 * step + EDGE, z.dtype)
    best = np.empty((height - side + 1) * step, z.dtype)
    total = np.empty((height - side + 1) * step, np.float32)
    bits, near = z.dtype.type(-scale), z.dtype.type(gap)
    for dy in shifts:
        top, rows = _overlap(height, x.shape[1], side, dy)
        if rows <= 0:
            continue
        for r in range(rows):
            for j in range(highest.shape[1]):
                best[r * step + j] = highest[top + r, j]
                total[r * step + j] = 0
        for dx in range(side - width, x.shape[2] - side + 1):
            left, columns = _overlap(width, x.shape[2], side, dx)
            if columns <= 0:
                continue
            _distances(x, z, dy, dx, side, top, rows, left, columns, blocks, prefix, out, step)
            for r in range(rows):
                at, to = r * step, r * step + left
                hits = 0
                for j in range(columns):
                    out[at + j] *= bits
                    hits += out[at + j] + near > best[to + j]
                if hits == 0:
                    continue
                for j in range(columns):
                    higher = np.float32(out[at + j] - best[to + j])
                    shrink = exp2(-abs(higher))
                    if higher > 0:
                        total[to + j] = total[to + j] * shrink + np.float32(1)
                        best[to + j] = out[at + j]
                    else:
                        total[to + j] = total[to + j] + shrink
        for r in range(rows):  # what this shift added in float32, on to sums in float64: many like weights would drift
            for j in range(highest.shape[1]):
                now = np.float64(best[r * step + j])
                if now > highest[top + r, j]:
                    mass[top + r, j] *= np.float64(exp2(np.float32(highest[top + r, j] - now)))
                    highest[top + r, j] = now
                mass[top + r, j] += np.float64(total[r * step + j])


@plain
def picture_numerator(
    x: Any,
    z: Any,
    side: int,
    response: Any,
    shifts: Any,
    scale: float,
    gap: float,
    highest: Any,
    inverse: Any,
    numerator: Any,
    heaviest: Any,
    place: Any,
) -> None:
    """Phase 2 over some shifts of the rows, all shifts of the columns.

    Args:
        x, z, side, shifts, scale, gap: as in phase 1.
        response: (p,) float32, R_k(y, x) = response[y] response[x] within the crop.
        highest: (h - p + 1, w - p + 1) of z's type, the windows' largest logits.
        inverse: float32, 1 / sum_i 2^(logit - highest).
        numerator: (C, h, w) float64, on the canvas: sums are added to it.
        heaviest: (h, w) float32, the largest sum of R_k w_k of one shift at each pixel, so far; (0, 0) where it is not asked for.
        place: (2, h, w) int64, the row and column of the picture that it comes from.
    """
    channels, height, width = z.shape
    step = width + EDGE
    out = np.empty((height - side + 1) * step + EDGE, z.dtype)
    blocks = np.empty(2 * side * step + EDGE, z.dtype)
    prefix = np.empty(2 * step + EDGE, z.dtype)
    weights = np.zeros(width + 2 * side + EDGE, np.float32)
    spread = np.zeros(step, np.float32)
    meet = np.zeros(height * step, np.float32)
    sums = np.zeros((channels, height, width), np.float32)
    bits, near = z.dtype.type(-scale), z.dtype.type(gap)
    asked = heaviest.shape[0] > 0
    for dy in shifts:
        top, rows = _overlap(height, x.shape[1], side, dy)
        if rows <= 0:
            continue
        for dx in range(side - width, x.shape[2] - side + 1):
            left, columns = _overlap(width, x.shape[2], side, dx)
            if columns <= 0:
                continue
            _distances(x, z, dy, dx, side, top, rows, left, columns, blocks, prefix, out, step)
            wide = columns + side - 1
            low, high = rows + side, 0
            for r in range(rows):
                at = r * step
                limits, scaled = highest[top + r], inverse[top + r]
                hits = 0
                for j in range(columns):
                    out[at + j] *= bits
                    hits += out[at + j] + near > limits[left + j]
                if hits == 0:
                    continue
                low, high = min(low, r), r + side
                for j in range(columns):
                    weights[side - 1 + j] = exp2(np.float32(out[at + j] - limits[left + j])) * scaled[left + j]
                for j in range(side):
                    weights[side - 1 + columns + j] = 0
                for j in range(wide):
                    spread[j] = response[0] * weights[side - 1 + j]
                for q in range(1, side):
                    share, behind = response[q], side - 1 - q
                    for j in range(wide):
                        spread[j] += share * weights[behind + j]
                for q in range(side):
                    share, down = response[q], (r + q) * step
                    for j in range(wide):
                        meet[down + j] += share * spread[j]
            for t in range(low, high):
                at = t * step
                for c in range(channels):
                    pixels, to = x[c, top + t + dy], sums[c, top + t]
                    for j in range(wide):
                        to[left + j] += meet[at + j] * np.float32(pixels[left + dx + j])
                if asked:
                    for j in range(wide):
                        if meet[at + j] > heaviest[top + t, left + j]:
                            heaviest[top + t, left + j] = meet[at + j]
                            place[0, top + t, left + j] = top + t + dy
                            place[1, top + t, left + j] = left + dx + j
                for j in range(wide):
                    meet[at + j] = 0
        for c in range(channels):
            for y in range(height):
                for j in range(width):
                    numerator[c, y, j] += np.float64(sums[c, y, j])
                    sums[c, y, j] = 0
