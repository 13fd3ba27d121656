"""The compiled loops for windows of any form (masks, hard or soft) at the same place.

Images are in lanes: a tile holds `LANES` images, entry after entry, so that every operation is one vector instruction for some images
and no window needs to be regular. Sums over masks that overlap share work: queries come in groups, and the entries that the same queries
of a group look at form an *atom*, whose sum is made once and added to each of them,

    S_k = sum over atoms a of query k of A_a,    A_a = sum over entries p of the atom of q_p d_p

and the weights go the same way back: entry p of atom a gets r_p sum over queries k of the atom of w_k.

As in `kernels`, logits are in base 2, log2(prior) - S * scale, in the units of the stored images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smalti.engine.compiled.exp2 import SMALLEST as _SMALLEST
from smalti.engine.compiled.exp2 import exp2
from smalti.engine.compiled.jit import ordered, plain, reordered
from smalti.engine.compiled.kernels import scratch as aligned
from smalti.engine.compiled.records import Chunk, MaskSums, Means, Noisy, Normaliser
from smalti.engine.compiled.rows import LANES, add_row, difference_row, spread_row, sum_rows

__all__ = ["LANES", "mask_means", "mask_normalisers", "mask_numerator"]

SMALLEST = np.float32(_SMALLEST)
GAP_LIMIT = np.float32(64)  # bits; logits lie below their normaliser, but a caller's own may be anything


@plain
def fill_tile(images: Any, elements: Any, start: int, offset: Any, tile: Any) -> int:
    """Images elements[start], ... into the lanes: tile[p, lane] = stored value - offset.

    Returns their number; other lanes repeat the last.
    """
    real = type(offset)
    count = min(LANES, elements.shape[0] - start)
    for lane in range(LANES):
        image = images[elements[start + min(lane, count - 1)]]
        for p in range(image.shape[0]):
            tile[p * LANES + lane] = real(image[p]) - offset
    return count


@plain
def differences(tile: Any, z: Any, channels: int, relative: bool, out: Any) -> None:
    """out[p, lane] = (x - z)^2, or x (x - z) with z doubled if `relative`; summed over the channels that an entry stands for."""
    if channels == 1:
        for p in range(z.shape[0]):
            difference_row(tile, p * LANES, z[p], relative, out, p * LANES, False)
        return
    plane = z.shape[0] // channels
    for p in range(plane):
        for c in range(channels):
            entry = c * plane + p
            difference_row(tile, entry * LANES, z[entry], relative, out, p * LANES, c > 0)


@plain
def group_sums(d: Any, windows: MaskSums, group: int, scratch: Any, out: Any) -> int:
    """Sums of d over the queries of a group, out[k - first, lane]; returns the number of queries."""
    groups, atoms, places, values, member_starts, members, _, _ = windows
    first, count = groups[group, 0], groups[group, 1]
    out[: count * LANES] = 0
    for atom in range(groups[group, 2], groups[group, 3]):
        begin, end = member_starts[atom], member_starts[atom + 1]
        sum_rows(d, places, values, atoms[atom], atoms[atom + 1], scratch, 0)
        for m in range(begin, end):
            add_row(out, (members[m] - first) * LANES, scratch, 0)
    return count


@plain
def group_logits(d: Any, windows: MaskSums, group: int, scale: Any, log_priors: Any, scratch: Any, out: Any) -> int:
    """Logits of the queries of a group, out[k - first, lane]; returns the number of queries."""
    count = group_sums(d, windows, group, scratch, out)
    for k in range(count):
        to = out[k * LANES : k * LANES + LANES]
        for lane in range(LANES):
            to[lane] = log_priors[lane] - to[lane] * scale
    return count


@plain
def spread_group(weights: Any, responses: MaskSums, group: int, scratch: Any, spread: Any) -> None:
    """spread[p, lane] += sum over the queries of a group of response(p) weight[k - first, lane]."""
    groups, atoms, places, values, member_starts, members, _, _ = responses
    first = groups[group, 0]
    for atom in range(groups[group, 2], groups[group, 3]):
        begin, end = member_starts[atom], member_starts[atom + 1]
        source, at = weights, (members[begin] - first) * LANES
        if end - begin > 1:
            scratch[:LANES] = 0
            for m in range(begin, end):
                add_row(scratch, 0, weights, (members[m] - first) * LANES)
            source, at = scratch, 0
        spread_row(source, at, places, values, atoms[atom], atoms[atom + 1], spread)


@plain
def living(alive: Any, log_priors: Any, start: int, count: int, out: Any) -> bool:
    """out[lane] = the log prior of image start + lane, -infinity where it is not alive or there is none; whether there is any."""
    some = False
    for lane in range(LANES):
        lives = lane < count and alive[start + min(lane, count - 1)] != 0
        out[lane] = log_priors[start + lane] if lives else -np.inf
        some = some or lives
    return some


@plain
def group_weights(logits: Any, number: int, first: int, references: Any, corrections: Any, gap: Any) -> bool:
    """Logits of a group's queries become weights; whether any is less than `gap` below its reference."""
    heavy = False
    for k in range(number):
        weights = logits[k * LANES : k * LANES + LANES]
        heavy |= _to_weights(weights, references[first + k], corrections[first + k], gap)
    return heavy


@ordered
def largest_of(values: Any) -> Any:
    """The largest of LANES values."""
    top = values[0]
    for lane in range(1, LANES):
        top = max(top, values[lane])
    return top


@plain
def _add_weights(total: Any, logits: Any, reference: Any, seen: Any) -> None:
    for lane in range(LANES):
        gap = np.float32(logits[lane] - reference)
        total[lane] += exp2(gap)
        seen[lane] |= np.int32(gap >= SMALLEST)


@plain
def _to_weights(logits: Any, reference: Any, correction: Any, gap: Any) -> bool:
    """Logits become weights 2^(logit - reference) correction; whether any logit is less than `gap` below its reference."""
    heavy = np.int32(0)
    for lane in range(LANES):
        above = np.float32(min(logits[lane] - reference, GAP_LIMIT))
        logits[lane] = exp2(above) * correction
        heavy |= np.int32(above >= -gap)
    return heavy != 0


@plain
def mask_normalisers(chunk: Chunk, noisy: Noisy, windows: MaskSums, highest: Any, totals: Any, alive: Any) -> None:
    """Phase 1 on one chunk: per query, the running maximum of the logits and the sum of 2^(logit - maximum).

    Args:
        chunk: images are (N, D), D = C H W.
        noisy: z is (B, D).
        windows: the queries.
        highest, totals: (B, K) real, results.
        alive: (B, n) uint8, results: 0 where every weight of the image underflows to 0.
    """
    images, offset, elements, log_priors = chunk
    z, relative, scales = noisy
    largest_group, channels = windows.largest, windows.channels
    real = z.dtype.type
    batch, entries = z.shape
    tile = aligned(1, entries * LANES, z)[0]
    d = aligned(1, entries // channels * LANES, z)[0]
    logits = aligned(1, largest_group * LANES, z)[0]
    scratch = aligned(1, LANES, z)[0]
    priors = np.empty(LANES, z.dtype)
    seen = np.empty(LANES, np.int32)
    queries = highest.shape[1]
    sums = np.zeros((batch, queries, LANES), z.dtype)
    for start in range(0, elements.shape[0], LANES):
        count = fill_tile(images, elements, start, offset, tile)
        for lane in range(LANES):
            priors[lane] = log_priors[start + lane] if lane < count else real(-np.inf)
        for b in range(batch):
            differences(tile, z[b], channels, relative[b], d)
            seen[:] = 0
            for group in range(windows.groups.shape[0]):
                first = windows.groups[group, 0]
                number = group_logits(d, windows, group, scales[b], priors, scratch, logits)
                for k in range(number):
                    here = logits[k * LANES : k * LANES + LANES]
                    top = largest_of(here)
                    total = sums[b, first + k]
                    before = highest[b, first + k]
                    if top > before:
                        factor = exp2(np.float32(before - top))
                        for lane in range(LANES):
                            total[lane] *= factor
                        highest[b, first + k] = top
                        before = top
                    _add_weights(total, here, before, seen)
            for lane in range(count):
                alive[b, start + lane] = 1 if seen[lane] != 0 else 0
    for b in range(batch):
        for k in range(queries):
            total = real(0)
            for lane in range(LANES):
                total += sums[b, k, lane]
            totals[b, k] = total


@plain
def mask_numerator(
    chunk: Chunk,
    noisy: Noisy,
    windows: MaskSums,
    responses: MaskSums,
    normaliser: Normaliser,
    gap: Any,
    alive: Any,
    numerator: Any,
) -> None:
    """Phase 2 on one chunk: sum over queries and images of response * weight * image.

    Args:
        chunk, noisy, windows: as for `mask_normalisers`.
        responses: in the same groups of queries, as `windows`.
        gap: float32, bits below the reference from which a weight may be left out, of all images together.
        alive: (B, n) uint8 from phase 1.
        numerator: (B, D) float64, result, in the units of the stored images.
    """
    images, offset, elements, log_priors = chunk
    z, relative, scales = noisy
    references, corrections = normaliser
    largest_group, channels = windows.largest, windows.channels
    batch, entries = z.shape
    tile = aligned(1, entries * LANES, z)[0]
    d = aligned(1, entries // channels * LANES, z)[0]
    plane = entries // responses.channels
    spread = aligned(1, plane * LANES, z)[0]
    logits = aligned(1, largest_group * LANES, z)[0]
    scratch = aligned(1, LANES, z)[0]
    priors = np.empty(LANES, z.dtype)
    for start in range(0, elements.shape[0], LANES):
        count = fill_tile(images, elements, start, offset, tile)
        for b in range(batch):
            if not living(alive[b], log_priors, start, count, priors):
                continue
            differences(tile, z[b], channels, relative[b], d)
            spread[:] = 0
            for group in range(windows.groups.shape[0]):
                number = group_logits(d, windows, group, scales[b], priors, scratch, logits)
                first = windows.groups[group, 0]
                if group_weights(logits, number, first, references[b], corrections[b], gap):
                    spread_group(logits, responses, group, scratch, spread)
            collect(spread, tile, plane, entries, numerator[b])


@plain
def mask_means(chunk: Chunk, noisy: Noisy, windows: MaskSums, responses: Any, means: Means, alive: Any) -> None:
    """Both phases on one chunk in one pass, for responses of few entries: posterior means of those entries, in running form.

    Args:
        chunk, noisy, windows: as for `mask_normalisers`.
        responses: (K, M) int64, the entries (times LANES) whose means are wanted of each query.
        means: of these entries, highest and totals real.
        alive: (B, n) uint8, results: 0 where every weight of the image underflows to 0.
    """
    images, offset, elements, log_priors = chunk
    z, relative, scales = noisy
    highest, totals, sums = means
    largest_group, channels = windows.largest, windows.channels
    real = z.dtype.type
    batch, entries = z.shape
    tile = aligned(1, entries * LANES, z)[0]
    d = aligned(1, entries // channels * LANES, z)[0]
    logits = aligned(1, largest_group * LANES, z)[0]
    scratch = aligned(1, LANES, z)[0]
    priors = np.empty(LANES, z.dtype)
    seen = np.empty(LANES, np.int32)
    for start in range(0, elements.shape[0], LANES):
        count = fill_tile(images, elements, start, offset, tile)
        for lane in range(LANES):
            priors[lane] = log_priors[start + lane] if lane < count else real(-np.inf)
        for b in range(batch):
            differences(tile, z[b], channels, relative[b], d)
            seen[:] = 0
            for group in range(windows.groups.shape[0]):
                first = windows.groups[group, 0]
                number = group_logits(d, windows, group, scales[b], priors, scratch, logits)
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
                        for m in range(responses.shape[1]):
                            sums[b, m, query] *= factor
                        highest[b, query] = top
                        before = top
                    weigh(here, before, seen)
                    totals[b, query] += sum_of(here)
                    for m in range(responses.shape[1]):
                        at = responses[query, m]
                        sums[b, m, query] += inner_product(here, tile[at : at + LANES])
            for lane in range(count):
                alive[b, start + lane] = 1 if seen[lane] != 0 else 0


@plain
def weigh(logits: Any, reference: Any, seen: Any) -> None:
    """Logits become weights 2^(logit - reference)."""
    for lane in range(LANES):
        gap = np.float32(logits[lane] - reference)
        logits[lane] = exp2(gap)
        seen[lane] |= np.int32(gap >= SMALLEST)


@reordered
def sum_of(values: Any) -> Any:
    total = values[0]
    for lane in range(1, LANES):
        total += values[lane]
    return total


@reordered
def inner_product(a: Any, b: Any) -> Any:
    total = a[0] * b[0]
    for lane in range(1, LANES):
        total += a[lane] * b[lane]
    return total


@plain
def collect(spread: Any, tile: Any, plane: int, entries: int, out: Any) -> None:
    """out[e] += sum over lanes of spread[e modulo plane] tile[e]."""
    for e in range(entries):
        p = e % plane
        out[e] += inner_product(spread[p * LANES : p * LANES + LANES], tile[e * LANES : e * LANES + LANES])
