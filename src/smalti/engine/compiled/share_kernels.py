"""Shares of images in pixels, for boxes: the composite's weights themselves, of which the largest are kept.

    W_i(q) = sum_k R_k(q) w_k^i / sum_k R_k(q)

As phase 2 (`kernels.box_numerator`), but each image's plane of weights is compared with the largest that were seen, and its entropy
is added up.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smalti.engine.compiled.kernels import (
    HEAVY,
    box_logits,
    box_room,
    box_weights,
    difference,
    load,
    move_rows,
    plain,
    reordered,
    spread_box,
    spread_tape,
)
from smalti.engine.compiled.records import Box, BoxLayout, Chunk, Noisy, Normaliser, Shares
from smalti.engine.compiled.rows import LANES as ROW
from smalti.engine.compiled.rows import any_above

__all__ = ["add_entropy", "box_shares"]

MANTISSA, ONE = np.int32(0x7FFFFF), np.int32(0x3F800000)  # of a float32's bits: its fraction, and those of 1.0
# log2(1 + f) = f (L0 + L1 f + ... + L7 f^7) within 3.2e-7 for 0 <= f < 1: Chebyshev's interpolation
L0, L1, L2, L3 = 1.4426947670912214, -0.7213107228469832, 0.4800737492053184, -0.3534546834375845
L4, L5, L6, L7 = 0.2561797046693757, -0.15559996824334482, 0.06378759612987975, -0.012370642866292381


@reordered
def add_entropy(share: Any, bits: Any, fraction: Any, fraction_bits: Any, out: Any) -> None:
    """out[p] -= share[p] log2(share[p]), float32, 0 <= share <= 1. `bits` and `fraction_bits` are the arrays' own, as integers."""
    for p in range(share.shape[0]):
        fraction_bits[p] = (bits[p] & MANTISSA) | ONE
    for p in range(share.shape[0]):
        f = fraction[p] - np.float32(1)
        log = np.float32(L7)
        log = log * f + np.float32(L6)
        log = log * f + np.float32(L5)
        log = log * f + np.float32(L4)
        log = log * f + np.float32(L3)
        log = log * f + np.float32(L2)
        log = log * f + np.float32(L1)
        log = log * f + np.float32(L0)
        out[p] -= share[p] * (np.float32((bits[p] >> np.int32(23)) - np.int32(127)) + f * log)


@plain
def _keep_largest(share: Any, element: int, lowest: Any, kept: Any, elements: Any) -> None:
    """Put `element` among the largest of each pixel: kept (top, P) descending, for shares above `lowest`. Of equals, the first stays.

    `share` and `lowest` are longer than P, whole rows; beyond it nothing is larger.
    """
    last, pixels = kept.shape
    last -= 1
    for start in range(0, pixels, ROW):
        if not any_above(share, start, lowest, start):
            continue
        for p in range(start, min(start + ROW, pixels)):
            if share[p] > lowest[p]:
                t = last
                while t > 0 and kept[t - 1, p] < share[p]:
                    kept[t, p] = kept[t - 1, p]
                    elements[t, p] = elements[t - 1, p]
                    t -= 1
                kept[t, p] = share[p]
                elements[t, p] = element
                lowest[p] = max(lowest[p], kept[last, p])


@plain
def _take(tape: Any, at: int, places: Any, in_order: bool, factor: Any, out: Any, total: Any) -> None:
    """out[p] = tape[at + places[p]] factor[p], as float32, and added to `total`; `in_order` where places[p] = p."""
    if in_order:
        here = tape[at : at + out.shape[0]]
        for p in range(out.shape[0]):
            out[p] = np.float32(here[p] * factor[p])
            total[p] += out[p]
        return
    for p in range(places.shape[0]):
        out[p] = np.float32(tape[at + places[p]] * factor[p])
        total[p] += out[p]


@plain
def box_shares(
    chunk: Chunk,
    noisy: Noisy,
    layout: BoxLayout,
    response: Box,
    normaliser: Normaliser,
    alive: Any,
    least: Any,
    places: Any,
    factors: Any,
    shares: Shares,
) -> None:
    """The largest shares of one chunk, and the entropy of all.

    Args:
        chunk .. least: as for `kernels.box_numerator`; rows B to 2 B of z are the mirror images of rows 0 to B where there are flips.
        places: (flips, P) int64, the pixels in the plane of z, and of its mirror image.
        factors: (P,) real, 1 / sum_k R_k there.
        shares: results.
    """
    images, offset, elements, log_priors = chunk
    z, relative, scales = noisy
    references, corrections = normaliser
    kept, numbers, entropy, lowest = shares
    height, width, stride, _, row, box_height, box_width, box_first, windows = layout
    zero = type(offset)(0)
    image, logits, canvas, tape, on_canvas, squares = box_room(layout, z)
    spread, spread_row, margin = spread_tape(layout, response, z)
    weights = spread[margin : margin + windows]
    flips = places.shape[0]
    batch = z.shape[0] // flips
    pixels = places.shape[1]
    rows = (pixels + ROW - 1) // ROW * ROW
    all_share, total = np.zeros(rows, np.float32), np.zeros(pixels, np.float32)
    share = all_share[:pixels]
    bounds = np.full((batch, rows), np.inf).astype(np.float32)
    bounds[:, :pixels] = lowest
    fraction_bits = np.zeros(places.shape[1], np.int32)
    bits, fraction = total.view(np.int32), fraction_bits.view(np.float32)
    in_order = np.ones(flips, np.bool_)
    for flip in range(flips):
        for p in range(places.shape[1]):
            in_order[flip] = in_order[flip] and places[flip, p] == p
    for j in range(elements.shape[0]):
        load(images[elements[j]], offset, image)
        for b in range(batch):
            heavy = False
            for flip in range(flips):
                r = b + flip * batch
                if alive[r, j] != HEAVY:
                    continue
                difference(image, zero, z[r], relative[r], squares)
                if stride != width:
                    move_rows(squares, width, on_canvas, stride, height, width)
                at = canvas + box_first
                box_logits(tape, at, row, stride, box_height, box_width, scales[r], log_priors[j], logits, windows)
                if not box_weights(logits, references[r], corrections[r], least, weights, windows):
                    continue
                if not heavy:
                    total[:] = np.float32(0)
                heavy = True
                found = spread_box(spread, spread_row, margin, layout, response)
                _take(spread, found, places[flip], in_order[flip], factors, share, total)
                _keep_largest(all_share, 2 * elements[j] + flip, bounds[b], kept[b], numbers[b])
            if heavy:
                add_entropy(total, bits, fraction, fraction_bits, entropy[b])
