"""The compiled loops for centred boxes whose pixel is looked for at every place (Kamb & Ganguli's equivariant machines).

An image stays where it is; z moves over it, by columns in an outer loop, by rows four shifts at a time:

    D_s[q] = sum_c (x[q + s] - z[q])^2,    logit of window k and shift s = log2 prior - scale * box sum of D_s about k

Only places that the match admits are computed: patches inside the image, or at the windows' distance from the border. Rows run in the
frame of z, so that the four shifts share the state of their windows; columns in that of the image. A box sum is one down a strip of
columns that is a vector wide (`strip_sums`, or `strip_gaps` where signs differ), then one along rows: of up to AT_ONCE columns where
it is needed (`absorb`), of more as sums of sums over a few columns (`partial_sums`), about 2 sqrt(p) loads.

A response is one pixel, so the posterior mean of each window is a number per channel, and one pass suffices: a running maximum m of the
logits, and sums of 2^(logit - m) and of 2^(logit - m) times the pixel, which merge over images, chunks and flips. Vectors of windows in
which every logit lies further below its maximum than the certified gap (`smalti.engine.pruning`) need no exponentials and no sums.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smalti.engine.compiled.exp2 import exp2
from smalti.engine.compiled.jit import plain
from smalti.engine.compiled.kernels import padded, scratch
from smalti.engine.compiled.records import Chunk, Noisy, Shifts, States
from smalti.engine.compiled.search_kernels import absorb_one
from smalti.engine.compiled.shift_rows import (
    AT_ONCE,
    FOUR,
    absorb,
    any_matters,
    partial_sums,
    strip_differences,
    strip_gaps,
    strip_sums,
)

__all__ = ["SLACK", "distance", "load_canvas", "part_of", "shift_pass"]

SLACK = 64  # entries that vectors may write, or read, beyond an end


@plain
def load_canvas(image: Any, offset: Any, layout: Any, out: Any) -> None:
    """Stored pixels (C, H W), minus the offset, into the canvas, and a plane of |pixel|^2 after them; its margins stay 0."""
    real = type(offset)
    height, width, _, top, left, step, plane = layout
    for c in range(image.shape[0]):
        for y in range(height):
            at = c * plane + (y + top) * step + left
            row = out[at : at + width]
            pixels = image[c, y * width : (y + 1) * width]
            squares = out[at + (image.shape[0] - c) * plane : at + (image.shape[0] - c) * plane + width]
            for x in range(width):
                value = real(pixels[x]) - offset
                row[x] = value
                squares[x] = value * value + (squares[x] if c > 0 else real(0))


@plain
def distance(
    x: Any,
    at: int,
    step: int,
    plane: int,
    z: Any,
    z_at: int,
    z_step: int,
    z_plane: int,
    side: int,
    relative: bool,
    channels: int,
) -> Any:
    """The squared distance of one window in float64."""
    total = 0.0
    for c in range(channels):
        for row in range(side):
            a, b = at + c * plane + row * step, z_at + c * z_plane + row * z_step
            for i in range(side):
                pixel = np.float64(x[a + i])
                gap = pixel - z[b + i]
                total += gap * (pixel if relative else gap)
    return total


@plain
def _carry(state: Any, carried: Any, plane: int, channels: int) -> None:
    """What one image added to the totals, in float32, on to those in float64: sums of many like weights would drift in float32."""
    for i in range(plane):
        before, now = carried[i], np.float64(state[i])
        if now != before:
            shrink = np.float64(exp2(np.float32(before - now)))
            carried[i] = now
            for row in range(1, 2 + channels):
                carried[row * plane + i] *= shrink
    for i in range(plane, (2 + channels) * plane):
        carried[i] += state[i]
        state[i] = 0


@plain
def shift_pass(
    chunk: Chunk,
    noisy: Noisy,
    exact_z: Any,
    exact: bool,
    gaps: bool,
    shifts: Shifts,
    gap: Any,
    slack: Any,
    states: States,
) -> None:
    """All images of a chunk, all shifts.

    Args:
        chunk: its log_priors are float64, its offset float32.
        noisy: z is (B, C planes) float32, on its canvas; scales are float64.
        exact_z: the same z in float64.
        exact: whether the elements that matter, by their float32 distances, are looked at in float64; else float32 does.
            Distances are relative then for all z.
        gaps: whether sums down strips are gaps of running ones, where distances are relative.
        shifts: where they are.
        gap, slack: (B,) float32: an element matters where logit + gap >= maximum * slack; bits, and 1 + a relative error.
        states: of the windows: results.
    """
    images, offset, elements, log_priors = chunk
    z, relative, scales = noisy
    x_layout, z_layout, row_groups, row_penalties, column_jobs, segments, ends = shifts
    state_layout, state, exact_state = states
    height, width, radius, _, _, step, plane = x_layout
    z_step, z_plane = z_layout
    state_step, state_plane = state_layout
    channels = images.shape[1]
    side = 2 * radius + 1
    lanes = 32 // z.itemsize
    line = padded(width)
    logits = scratch(1, FOUR * line + SLACK, z)[0]
    part = part_of(side)
    part_count, rest_count = side // part, side % part
    x = scratch(1, (channels + 1) * plane + SLACK, z)[0]
    most = 0
    for g in range(row_groups.shape[0]):
        most = max(most, row_groups[g, 1])
    quarter = padded((most + side + FOUR) * lanes)  # of the buffer of a strip
    strip = scratch(1, FOUR * quarter + FOUR * side * lanes + SLACK, z)[0]
    sums = padded(most * step + SLACK)  # of a shift's sums over rows
    tape = scratch(1, 2 * FOUR * sums + SLACK, z)[0]
    flat_penalties = row_penalties.reshape(-1)
    for j in range(elements.shape[0]):
        load_canvas(images[elements[j]], offset, x_layout, x)
        log_prior = np.float32(log_priors[j])
        for b in range(z.shape[0]):
            scale = np.float32(scales[b])
            running = relative[b] and gaps
            for job in range(column_jobs.shape[0]):
                low, high, across, first, last = column_jobs[job]
                breadth = high - low
                for g in range(row_groups.shape[0]):
                    window, rows, z_row, x_row = row_groups[g]
                    tall = rows + side - 1
                    for column in range(low, high, lanes):
                        strip_differences(
                            x,
                            x_row * step + column,
                            step,
                            plane,
                            z[b],
                            z_row * z_step + column + across,
                            z_step,
                            z_plane,
                            channels,
                            relative[b],
                            running,
                            tall,
                            strip,
                            quarter,
                        )
                        if running:
                            strip_gaps(strip, quarter, side, rows, tape, column - low, breadth, sums)
                        else:
                            strip_sums(strip, quarter, FOUR * quarter, side, rows, tape, column - low, breadth, sums)
                    parts = 0
                    if part > 1:
                        parts = FOUR * sums
                        for q in range(FOUR):
                            partial_sums(tape, q * sums, part, rows * breadth, parts + q * sums)
                    for t in range(rows):
                        here = t * breadth - low
                        there = (window + t) % height * state_step
                        pixel = (x_row + radius + t) * step + radius
                        for s in range(first, last):
                            begin, count, k = segments[s]
                            if exact:
                                row_hit = any_matters(
                                    tape,
                                    parts + here + begin,
                                    part,
                                    part_count,
                                    here + begin + part_count * part,
                                    rest_count,
                                    sums,
                                    scale,
                                    log_prior,
                                    flat_penalties,
                                    (g * row_penalties.shape[1] + t) * FOUR,
                                    ends,
                                    width - count,
                                    state[b],
                                    there + k,
                                    gap[b],
                                    slack[b],
                                    count,
                                    logits,
                                    line,
                                )
                                if not row_hit:
                                    continue
                                for i in range(count):
                                    for q in range(FOUR):
                                        at = there + k + i
                                        if not logits[q * line + i] + gap[b] >= state[b, at] * slack[b]:
                                            continue
                                        far = distance(
                                            x,
                                            (x_row + t + q) * step + begin + i,
                                            step,
                                            plane,
                                            exact_z[b],
                                            (z_row + t) * z_step + across + begin + i,
                                            z_step,
                                            z_plane,
                                            side,
                                            relative[b],
                                            channels,
                                        )
                                        logit = log_priors[j] - scales[b] * far
                                        pixel_at = pixel + begin + i + q * step
                                        absorb_one(exact_state[b], at, state_plane, logit, x, pixel_at, plane, channels)
                                        state[b, at] = max(state[b, at], np.float32(logit))
                                continue
                            absorb(
                                tape,
                                parts + here + begin,
                                part,
                                part_count,
                                here + begin + part_count * part,
                                rest_count,
                                sums,
                                scale,
                                log_prior,
                                flat_penalties,
                                (g * row_penalties.shape[1] + t) * FOUR,
                                ends,
                                width - count,
                                x,
                                pixel + begin,
                                step,
                                plane,
                                channels,
                                state[b],
                                there + k,
                                state_plane,
                                gap[b],
                                slack[b],
                                count,
                            )
            if not exact:
                _carry(state[b], exact_state[b], state_plane, channels)


@plain
def part_of(side: int) -> int:
    """Over how many columns partial sums are taken: 1 (none) for windows that `absorb` sums at once, else about the root of the side."""
    part = 1
    while (part + 1) * (part + 1) <= side:
        part += 1
    return part if side > AT_ONCE else 1
