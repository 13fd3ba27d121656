"""Shares of images in pixels, and derivatives, for windows of any form at the same place: as `mask_kernels`, images in lanes.

    W_i(q) = sum_k R_k(q) w_k^i / sum_k R_k(q)                      the rows that phase 2 spreads, before images are added up
    sum_k Q_k * sum_i w_k^i (u_k^i - mean_k) image i                 u_k^i = <R_k * direction, image i>

The second takes two passes: one finds normalisers and the means of u, the other is phase 2 with weights times what u has over its mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smalti.engine.compiled.exp2 import SMALLEST as _SMALLEST
from smalti.engine.compiled.exp2 import exp2
from smalti.engine.compiled.jit import plain
from smalti.engine.compiled.kernels import scratch as aligned
from smalti.engine.compiled.mask_kernels import (
    collect,
    differences,
    fill_tile,
    group_logits,
    group_sums,
    group_weights,
    inner_product,
    largest_of,
    living,
    spread_group,
    sum_of,
    weigh,
)
from smalti.engine.compiled.records import Chunk, MaskShares, MaskSums, Means, Noisy, Normaliser
from smalti.engine.compiled.rows import LANES, spread_row
from smalti.engine.compiled.share_kernels import add_entropy

__all__ = ["mask_moments", "mask_pullback", "mask_shares"]

SMALLEST = np.float32(_SMALLEST)


@plain
def _products(tile: Any, direction: Any, channels: int, where: Any, out: Any) -> None:
    """out[p, lane] = direction[p] x, summed over the channels that an entry stands for; where[p] is its place in `out`."""
    out[:] = 0
    for entry in range(direction.shape[0]):
        spread_row(tile, entry * LANES, where, direction, entry, entry + 1, out)


@plain
def _places_of(entries: int, channels: int) -> Any:
    """Where the sums of entries lie, (entries,): those of all channels at one place where there are several."""
    where = np.empty(entries, np.int64)
    for entry in range(entries):
        where[entry] = entry % (entries // channels) * LANES
    return where


@plain
def mask_moments(
    chunk: Chunk, noisy: Noisy, windows: MaskSums, inner: MaskSums, direction: Any, means: Means, alive: Any
) -> None:
    """Phase 1 and the means of u_k^i = <inner window k * direction, image i> on one chunk, in running form.

    Args:
        chunk, noisy, windows: as for `mask_normalisers`.
        inner: in the same groups, as `windows`.
        direction: (B, D) real.
        means: of u, M = 1; highest and totals real.
        alive: (B, n) uint8, results: 0 where every weight of the image underflows to 0.
    """
    images, offset, elements, log_priors = chunk
    z, relative, scales = noisy
    highest, totals, sums = means
    real = z.dtype.type
    batch, entries = z.shape
    tile = aligned(1, entries * LANES, z)[0]
    d = aligned(1, entries // windows.channels * LANES, z)[0]
    u = aligned(1, entries // inner.channels * LANES, z)[0]
    logits = aligned(1, windows.largest * LANES, z)[0]
    products = aligned(1, windows.largest * LANES, z)[0]
    scratch = aligned(1, LANES, z)[0]
    where = _places_of(entries, inner.channels)
    priors = np.empty(LANES, z.dtype)
    seen = np.empty(LANES, np.int32)
    for start in range(0, elements.shape[0], LANES):
        count = fill_tile(images, elements, start, offset, tile)
        for lane in range(LANES):
            priors[lane] = log_priors[start + lane] if lane < count else real(-np.inf)
        for b in range(batch):
            differences(tile, z[b], windows.channels, relative[b], d)
            _products(tile, direction[b], inner.channels, where, u)
            seen[:] = 0
            for group in range(windows.groups.shape[0]):
                first = windows.groups[group, 0]
                number = group_logits(d, windows, group, scales[b], priors, scratch, logits)
                group_sums(u, inner, group, scratch, products)
                for k in range(number):
                    here = logits[k * LANES : k * LANES + LANES]
                    query = first + k
                    top = largest_of(here)
                    before = highest[b, query]
                    if np.float32(top - before) < SMALLEST:
                        continue
                    if top > before:
                        factor = exp2(np.float32(before - top))
                        totals[b, query] *= factor
                        sums[b, 0, query] *= factor
                        highest[b, query] = top
                        before = top
                    weigh(here, before, seen)
                    totals[b, query] += sum_of(here)
                    sums[b, 0, query] += inner_product(here, products[k * LANES : k * LANES + LANES])
            for lane in range(count):
                alive[b, start + lane] = 1 if seen[lane] != 0 else 0


@plain
def _centre(weights: Any, products: Any, mean: Any, moved: Any) -> None:
    for lane in range(LANES):
        weights[lane] *= products[lane] - mean
        moved[lane] += weights[lane]


@plain
def mask_pullback(
    chunk: Chunk,
    noisy: Noisy,
    windows: MaskSums,
    inner: MaskSums,
    direction: Any,
    normaliser: Normaliser,
    means: Any,
    gap: Any,
    alive: Any,
    numerator: Any,
    moved: Any,
) -> None:
    """Posterior covariances times a direction, on one chunk, once the means of u (see `mask_moments`) are known.

    Args:
        chunk .. direction: as for `mask_moments`.
        normaliser, gap, alive: as for `mask_numerator`.
        means: (B, K) real.
        numerator: (B, D) float64, result: sum_k window k * sum_i w_k^i (u_k^i - mean_k) image i.
        moved: (B, n) float64, result: sum_k w_k^i (u_k^i - mean_k).
    """
    images, offset, elements, log_priors = chunk
    z, relative, scales = noisy
    references, corrections = normaliser
    batch, entries = z.shape
    tile = aligned(1, entries * LANES, z)[0]
    plane = entries // windows.channels
    d = aligned(1, plane * LANES, z)[0]
    spread = aligned(1, plane * LANES, z)[0]
    u = aligned(1, entries // inner.channels * LANES, z)[0]
    logits = aligned(1, windows.largest * LANES, z)[0]
    products = aligned(1, windows.largest * LANES, z)[0]
    scratch = aligned(1, LANES, z)[0]
    where = _places_of(entries, inner.channels)
    priors = np.empty(LANES, z.dtype)
    along = np.empty(LANES, np.float64)
    for start in range(0, elements.shape[0], LANES):
        count = fill_tile(images, elements, start, offset, tile)
        for b in range(batch):
            if not living(alive[b], log_priors, start, count, priors):
                continue
            differences(tile, z[b], windows.channels, relative[b], d)
            _products(tile, direction[b], inner.channels, where, u)
            spread[:] = 0
            along[:] = 0
            for group in range(windows.groups.shape[0]):
                number = group_logits(d, windows, group, scales[b], priors, scratch, logits)
                first = windows.groups[group, 0]
                if not group_weights(logits, number, first, references[b], corrections[b], gap):
                    continue
                group_sums(u, inner, group, scratch, products)
                for k in range(number):
                    row = slice(k * LANES, k * LANES + LANES)
                    _centre(logits[row], products[row], means[b, first + k], along)
                spread_group(logits, windows, group, scratch, spread)
            collect(spread, tile, plane, entries, numerator[b])
            for lane in range(count):
                moved[b, start + lane] = along[lane]


@plain
def _add_row_times(row: Any, factor: Any, out: Any) -> None:
    for lane in range(LANES):
        out[lane] += np.float32(row[lane] * factor)


@plain
def _insert(
    shares: MaskShares, b: int, p: int, share: Any, element: int, spread: Any, at: Any, lane: int, factors: Any
) -> None:
    """Put an element among the largest of pixel p; of equals, the first stays. `at` are the rows of its channels."""
    ranks, kept, numbers, _, lowest = shares
    t = last = ranks.shape[1] - 1
    while t > 0 and ranks[b, t - 1, p] < share:
        ranks[b, t, p] = ranks[b, t - 1, p]
        numbers[b, t, p] = numbers[b, t - 1, p]
        for c in range(at.shape[0]):
            kept[b, t, p, c] = kept[b, t - 1, p, c]
        t -= 1
    ranks[b, t, p] = share
    numbers[b, t, p] = element
    for c in range(at.shape[0]):
        kept[b, t, p, c] = spread[at[c] + lane] * factors[c, p]
    lowest[b, p] = max(lowest[b, p], ranks[b, last, p])


@plain
def mask_shares(
    chunk: Chunk,
    noisy: Noisy,
    windows: MaskSums,
    responses: MaskSums,
    mirrored: MaskSums,
    mirrored_responses: MaskSums,
    normaliser: Normaliser,
    gap: Any,
    alive: Any,
    places: Any,
    factors: Any,
    shares: MaskShares,
) -> None:
    """The largest shares of one chunk, and the entropy of all.

    Args:
        chunk .. responses: as for `mask_numerator`; rows B to 2 B of z are the mirror images of rows 0 to B where there are flips.
        mirrored, mirrored_responses: of the mirrored windows and responses.
        normaliser: (B, K), of both flips together.
        gap, alive: as for `mask_numerator`.
        places: (flips, P) int64, the pixels in the plane of z, and of its mirror image.
        factors: (C', P) real, 1 / sum_k R_k there, of each channel where responses differ between them.
        shares: results.
    """
    images, offset, elements, log_priors = chunk
    z, relative, scales = noisy
    references, corrections = normaliser
    flips, pixels = places.shape
    entries = z.shape[1]
    batch = z.shape[0] // flips
    parts = factors.shape[0]
    plane = entries // responses.channels
    tile = aligned(1, entries * LANES, z)[0]
    d = aligned(1, entries // windows.channels * LANES, z)[0]
    spread = aligned(1, plane * LANES, z)[0]
    logits = aligned(1, windows.largest * LANES, z)[0]
    scratch = aligned(1, LANES, z)[0]
    priors = np.empty(LANES, z.dtype)
    at = np.empty(parts, np.int64)
    one = np.empty(LANES, np.float32)
    together = np.zeros(pixels * LANES, np.float32)
    entropy = np.zeros((batch, pixels * LANES), np.float32)
    fraction_bits = np.zeros(pixels * LANES, np.int32)
    bits, fraction = together.view(np.int32), fraction_bits.view(np.float32)
    share_of = np.float32(1.0 / parts)
    for start in range(0, elements.shape[0], LANES):
        count = fill_tile(images, elements, start, offset, tile)
        for b in range(batch):
            heavy = False
            for flip in range(flips):
                r = b + flip * batch
                if not living(alive[r], log_priors, start, count, priors):
                    continue
                looks = windows if flip == 0 else mirrored
                gives = responses if flip == 0 else mirrored_responses
                differences(tile, z[r], looks.channels, relative[r], d)
                spread[:] = 0
                some = False
                for group in range(looks.groups.shape[0]):
                    number = group_logits(d, looks, group, scales[r], priors, scratch, logits)
                    first = looks.groups[group, 0]
                    if group_weights(logits, number, first, references[b], corrections[b], gap):
                        spread_group(logits, gives, group, scratch, spread)
                        some = True
                if not some:
                    continue
                if not heavy:
                    together[:] = np.float32(0)
                heavy = True
                for p in range(pixels):
                    one[:] = np.float32(0)
                    for c in range(parts):
                        at[c] = (c * (plane // parts) + places[flip, p]) * LANES
                        _add_row_times(spread[at[c] : at[c] + LANES], factors[c, p] * share_of, one)
                    _add_row_times(one, np.float32(1), together[p * LANES : p * LANES + LANES])
                    if largest_of(one) > shares.lowest[b, p]:
                        for lane in range(count):
                            if one[lane] > shares.lowest[b, p]:
                                element = 2 * elements[start + lane] + flip
                                _insert(shares, b, p, one[lane], element, spread, at, lane, factors)
            if heavy:
                add_entropy(together, bits, fraction, fraction_bits, entropy[b])
    for b in range(batch):
        for p in range(pixels):
            for lane in range(LANES):
                shares.entropy[b, p] += entropy[b, p * LANES + lane]
