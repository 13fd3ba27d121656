"""The compiled loops for centred boxes whose pixel is looked for at every place (Kamb & Ganguli's equivariant machines).

z is extended by the box's radius on every side, wrapped around or with zeros. For a shift of the columns an image is laid out the same way,
its columns rolled and its rows twice one below the other, so that all shifts of the rows are places in it, and nothing else is moved:

    D_s[q] = sum_c (z[q] - x[q + s])^2,    logit of window k and shift s = log2 prior - scale * box sum of D_s

A response is one pixel, so the posterior mean of each window is a number per channel, and one pass suffices: a running maximum m of the
logits, and sums of 2^(logit - m) and of 2^(logit - m) times the pixel, which merge over images, chunks and flips.

Which shifts are admitted goes by rows and columns: windows in rows that are not get a logit below all others, those in columns a penalty.
Touch this file after a change of `exp2`, `kernels` or `shift_rows` (for Numba's cache).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from smalti.engine.compiled.kernels import box_logits, padded, scratch
from smalti.engine.compiled.shift_rows import FOUR, absorb, copy_rows, four_differences

__all__ = ["LOWEST_LOGIT", "PENALTY", "shift_pass"]

LOWEST_LOGIT = np.float32(-1e30)  # of what is not admitted, and of running maxima before the first
PENALTY = np.float32(-2e30)  # so that even beside such a maximum nothing is left of a weight
SLACK = 64  # entries that vectors may write, or read, beyond an end

plain = numba.njit(nogil=True, cache=True, fastmath={"contract"})


@plain
def _load_tiled(image: Any, offset: Any, height: int, width: int, line: int, out: Any) -> None:
    """Stored pixels (C, H W), minus the offset, each row repeated up to `line` entries: flat (C, H, line)."""
    real = type(offset)
    for c in range(image.shape[0]):
        for y in range(height):
            row = out[(c * height + y) * line : (c * height + y + 1) * line]
            pixels = image[c, y * width : (y + 1) * width]
            for x in range(width):
                row[x] = real(pixels[x]) - offset
            for x in range(width, line):
                row[x] = row[x - width]


@plain
def _forbid_rows(logits: Any, allowed: Any, stride: int) -> None:
    """Windows in rows that are not allowed."""
    lowest = type(logits[0])(LOWEST_LOGIT)
    for row in range(allowed.shape[0]):
        if not allowed[row]:
            logits[row * stride : (row + 1) * stride] = lowest


@plain
def _run(rows_allowed: Any, first: int, top: int) -> Any:
    """The first run of rows from `top` on in which any of FOUR shifts of the rows is admitted: (its first row, the row after its last)."""
    height = rows_allowed.shape[0]
    last = min(first + FOUR, height)
    while top < height and not rows_allowed[first:last, top].any():
        top += 1
    bottom = top
    while bottom < height and rows_allowed[first:last, bottom].any():
        bottom += 1
    return top, bottom


@plain
def _clear_margins(
    tape: Any, d: int, top: int, bottom: int, radius: int, height: int, stride: int, inside: Any
) -> None:
    """Zeros on the canvas wherever windows of rows top .. bottom - 1 see what is not in the image."""
    begin, end = top * stride, (bottom + 2 * radius) * stride
    squares, within = tape[d + begin : d + end], inside[begin:end]
    for i in range(end - begin):
        squares[i] *= within[i]


@plain
def shift_pass(
    images: Any,
    offset: Any,
    elements: Any,
    log_priors: Any,
    z: Any,
    relative: Any,
    scales: Any,
    layout: Any,
    rows_allowed: Any,
    penalties: Any,
    inside: Any,
    state: Any,
    alive: Any,
) -> None:
    """All images of a chunk, all shifts.

    Args:
        images: (N, C, H W) uint8 or float32, the stored source.
        offset: real, what is subtracted from stored values.
        elements: (n,) indices of the chunk's images.
        log_priors: (n,) real, log2 of the prior.
        z: (B, C plane) real, extended; doubled where relative.
        relative: (B,) bool: distances less |z|^2.
        scales: (B,) real, log2(e) / (2 sigma^2).
        layout: integers (height, width, radius, stride, plane, windows, wrap): of the extended canvas.
        rows_allowed: (H, H) uint8: [sy, row of the window].
        penalties: (W, windows) real: [sx, window] 0 or PENALTY, PENALTY between the rows.
        inside: (plane,) real: 1 within the image, 0 in the margin (not used where z wraps).
        state: (B, (2 + C) windows) real: running maximum, total and totals of pixels; begins at LOWEST_LOGIT, 0, 0.
        alive: (B, n) uint8, results: 0 where every weight of the image underflows to 0.
    """
    height, width, radius, stride, plane, windows, wrap = layout
    channels = images.shape[1]
    side = 2 * radius + 1
    row = padded(plane + side) + 3 * SLACK
    tape = scratch(1, (4 + FOUR) * row + SLACK, z)[0]
    logits = scratch(1, FOUR * windows + 2 * SLACK, z)[0]
    line = 2 * width + 2 * radius
    tiled = scratch(1, channels * height * line + SLACK, z)[0]
    tall = _tall(height, radius) * stride + SLACK
    rolled = scratch(1, channels * tall + SLACK, z)[0]
    for j in range(elements.shape[0]):
        _load_tiled(images[elements[j]], offset, height, width, line, tiled)
        for sx in range(width):
            for c in range(channels):
                _roll_columns(tiled, c * height * line, line, height, width, radius, sx, wrap, rolled, c * tall, stride)
            for b in range(z.shape[0]):
                heavy = False
                for first in range(0, height, FOUR):
                    top = 0
                    while top < height:  # runs of rows in which any of the four shifts is admitted
                        top, bottom = _run(rows_allowed, first, top)
                        if top == height:
                            break
                        # the rows of the canvas that windows of these rows see; without wrapping, those of the image
                        begin = (top if wrap else max(top, radius)) * stride
                        end = (bottom + 2 * radius if wrap else min(bottom + 2 * radius, height + radius)) * stride
                        four_differences(
                            rolled,
                            first * stride + begin,
                            stride,
                            tall,
                            z[b],
                            begin,
                            plane,
                            channels,
                            relative[b],
                            tape,
                            4 * row + begin,
                            row,
                            end - begin,
                        )
                        skipped = top * stride
                        used = (bottom - top - 1) * stride + width
                        for q in range(FOUR):
                            sy = first + q
                            out = logits[q * windows + skipped : q * windows + skipped + padded(used)]
                            if sy >= height:
                                out[:] = type(offset)(LOWEST_LOGIT)
                                continue
                            d = (4 + q) * row
                            if not wrap:
                                _clear_margins(tape, d, top, bottom, radius, height, stride, inside)
                            at = d + skipped
                            box_logits(tape, at, row, stride, side, side, scales[b], log_priors[j], out, out.shape[0])
                            _forbid_rows(out, rows_allowed[sy, top:bottom], stride)
                            out[used:] = type(offset)(LOWEST_LOGIT)
                        centre = (first + radius) * stride + radius + skipped
                        heavy |= absorb(
                            logits[skipped:],
                            windows,
                            penalties,
                            sx * windows + skipped,
                            rolled,
                            centre,
                            stride,
                            tall,
                            channels,
                            state[b, skipped:],
                            windows,
                            used,
                        )
                        top = bottom
                if heavy:
                    alive[b, j] = 1


@plain
def _roll_columns(
    tiled: Any,
    at: int,
    line: int,
    height: int,
    width: int,
    radius: int,
    sx: int,
    wrap: int,
    out: Any,
    to: int,
    stride: int,
) -> None:
    """One channel with its columns shifted by sx, extended by the radius (without `wrap`, what lies there is of no use), and its rows
    -radius .. 2 H + radius + FOUR - 2, modulo H, each `stride` long."""
    left, inner, length = ((sx - radius) % width, 0, stride) if wrap else (sx, radius, width)
    done, total = 0, _tall(height, radius)
    while done < total:  # runs of rows that do not wrap, in order: a vector may write beyond its row
        y = (done - radius) % height
        run = min(height - y, total - done)
        copy_rows(tiled, at + y * line + left, line, out, to + done * stride + inner, stride, run, length)
        done += run


@plain
def _tall(height: int, radius: int) -> int:
    """Rows that all shifts of the rows need, FOUR at a time."""
    return 2 * height + 2 * radius + FOUR - 1
