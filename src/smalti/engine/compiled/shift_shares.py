"""Shares of images in pixels over all admitted shifts: the weights of `shift_kernels` once normalisers are known, of which the largest are
kept, element by element (an image, mirrored or not, at one place).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smalti.engine.compiled.exp2 import exp2
from smalti.engine.compiled.jit import plain
from smalti.engine.compiled.kernels import GAP_LIMIT, padded, scratch
from smalti.engine.compiled.records import Chunk, Noisy, Shares, Shifts, ShiftShares
from smalti.engine.compiled.share_kernels import add_entropy
from smalti.engine.compiled.shift_kernels import SLACK, distance, load_canvas, part_of
from smalti.engine.compiled.shift_rows import (
    FOUR,
    any_matters,
    partial_sums,
    row_weights,
    strip_differences,
    strip_gaps,
    strip_sums,
)

__all__ = ["shift_shares"]


@plain
def _insert(shares: Shares, b: int, p: int, share: Any, element: int, copies: Any, bounds: Any) -> None:
    """Put an element among the largest of pixel p; of equals, the first stays. `bounds`, at all places of the pixel, rise to the last."""
    kept, numbers, _, lowest = shares
    t = last = kept.shape[1] - 1
    while t > 0 and kept[b, t - 1, p] < share:
        kept[b, t, p] = kept[b, t - 1, p]
        numbers[b, t, p] = numbers[b, t - 1, p]
        t -= 1
    kept[b, t, p] = share
    numbers[b, t, p] = element
    lowest[b, p] = max(lowest[b, p], kept[b, last, p])
    for m in range(copies.shape[1]):
        bounds[copies[p, m]] = lowest[b, p]


@plain
def _element(image: int, flip: int, down: int, along: int, height: int, width: int) -> int:
    """Number of an element, 2 flips an image whatever the source has, from where its pixel lies beside the window's, mirrored with z."""
    across = (-along if flip else along) % width
    return (2 * image + flip) * height * width + down % height * width + across


@plain
def shift_shares(
    chunk: Chunk,
    noisy: Noisy,
    exact_z: Any,
    exact: bool,
    gaps: bool,
    shifts: Shifts,
    gap: Any,
    slack: Any,
    known: ShiftShares,
    shares: Shares,
) -> None:
    """The largest shares of one chunk, and the entropy of all.

    Args:
        chunk .. slack: as for `shift_kernels.shift_pass`; rows B to 2 B of z are the mirror images of rows 0 to B where there are flips.
        known: normalisers of the windows, and which pixel each is.
        shares: results; numbers are (2 image + flip) H W + down W + across.
    """
    images, offset, elements, log_priors = chunk
    z, relative, scales = noisy
    x_layout, z_layout, row_groups, row_penalties, column_jobs, segments, ends = shifts
    state_step, references, exact_references, corrections, slots, copies = known
    height, width, radius, top, left, step, plane = x_layout
    z_step, z_plane = z_layout
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
    quarter = padded((most + side + FOUR) * lanes)
    strip = scratch(1, FOUR * quarter + FOUR * side * lanes + SLACK, z)[0]
    sums = padded(most * step + SLACK)
    tape = scratch(1, 2 * FOUR * sums + SLACK, z)[0]
    flat_penalties = row_penalties.reshape(-1)
    flips, room = slots.shape
    batch, pixels = z.shape[0] // flips, copies.shape[0]
    together = scratch(1, flips * room, z)[0]
    bounds = np.full((batch, flips * room), np.inf).astype(np.float32)
    for b in range(batch):
        for p in range(pixels):
            for m in range(copies.shape[1]):
                bounds[b, copies[p, m]] = shares.lowest[b, p]
    total = np.zeros(pixels, np.float32)
    fraction_bits = np.zeros(pixels, np.int32)
    bits, fraction = total.view(np.int32), fraction_bits.view(np.float32)
    for j in range(elements.shape[0]):
        load_canvas(images[elements[j]], offset, x_layout, x)
        log_prior = np.float32(log_priors[j])
        for b in range(batch):
            together[:] = np.float32(0)
            some = False
            for flip in range(flips):
                r = b + flip * batch
                base = flip * room
                own = bounds[b, base : base + room]
                counted = together[base : base + room]
                scale = np.float32(scales[r])
                running = relative[r] and gaps
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
                                z[r],
                                z_row * z_step + column + across,
                                z_step,
                                z_plane,
                                channels,
                                relative[r],
                                running,
                                tall,
                                strip,
                                quarter,
                            )
                            if running:
                                strip_gaps(strip, quarter, side, rows, tape, column - low, breadth, sums)
                            else:
                                strip_sums(
                                    strip, quarter, FOUR * quarter, side, rows, tape, column - low, breadth, sums
                                )
                        parts = 0
                        if part > 1:
                            parts = FOUR * sums
                            for q in range(FOUR):
                                partial_sums(tape, q * sums, part, rows * breadth, parts + q * sums)
                        for t in range(rows):
                            here = t * breadth - low
                            window_row = (window + t) % height
                            for s in range(first, last):
                                begin, count, k = segments[s]
                                at = window_row * state_step + k
                                if exact:
                                    hit = any_matters(
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
                                        references[r],
                                        at,
                                        gap[r],
                                        slack[r],
                                        count,
                                        logits,
                                        line,
                                    )
                                    if not hit:
                                        continue
                                    for i in range(count):
                                        for q in range(FOUR):
                                            known_at = references[r, at + i]
                                            if not logits[q * line + i] + gap[r] >= known_at * slack[r]:
                                                logits[q * line + i] = np.float32(0)
                                                continue
                                            far = distance(
                                                x,
                                                (x_row + t + q) * step + begin + i,
                                                step,
                                                plane,
                                                exact_z[r],
                                                (z_row + t) * z_step + across + begin + i,
                                                z_step,
                                                z_plane,
                                                side,
                                                relative[r],
                                                channels,
                                            )
                                            above = log_priors[j] - scales[r] * far - exact_references[r, at + i]
                                            weight = exp2(min(np.float32(above), GAP_LIMIT)) * corrections[r, at + i]
                                            logits[q * line + i] = weight
                                            counted[at + i] += weight
                                    some = True
                                else:
                                    found = row_weights(
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
                                        references[r],
                                        corrections[r],
                                        own,
                                        counted,
                                        at,
                                        gap[r],
                                        slack[r],
                                        count,
                                        logits,
                                        line,
                                    )
                                    some = some or found != 0
                                    if found < 2:
                                        continue
                                for i in range(count):
                                    for q in range(FOUR):
                                        weight = logits[q * line + i]
                                        if weight > own[at + i]:
                                            down = x_row + t + q + radius - top - window_row
                                            along = begin + i + radius - left - k - i
                                            element = _element(elements[j], flip, down, along, height, width)
                                            _insert(shares, b, slots[flip, at + i], weight, element, copies, bounds[b])
            if not some:
                continue
            total[:] = np.float32(0)
            for p in range(pixels):
                for m in range(copies.shape[1]):
                    total[p] += together[copies[p, m]]
            add_entropy(total, bits, fraction, fraction_bits, shares.entropy[b])
