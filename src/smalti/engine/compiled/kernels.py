"""The compiled loops of the `numba` backend. Each works on one chunk of the source, releases the GIL and shares nothing.

Boxes. An image is a plane, row after row, per channel; z too. The squared differences, summed over channels, go onto a *canvas*, on rows
of length `stride`, with zeros for whatever lies outside the image. There the sum over every a x b window is two one-dimensional sliding
sums, first along columns (step `stride`), then along rows (step 1), and a sliding sum of width p takes floor(log2 p) passes of additions:

    S_1[i] = x[i],   S_2w[i] = S_w[i] + S_w[i + w step],   S_2w+1[i] = S_2w[i] + x[i + 2w step]

So the cost hardly depends on p, nothing is ever subtracted (a running sum would cancel), and the lanes of the processor hold
neighbouring pixels. Window k = (ay, ax) has its result at ay * stride + ax; the entries between the rows of windows, and the padding
after the last one, are meaningless and get no weight. The composite's weights are the transpose: the same passes, looking back.

Logits are in base 2: l = log2(prior) - S * scale with scale = log2(e) / (2 sigma^2), in the units of the stored images, uint8 ones
about their middle: u - 127.5. `real` is float32, or float64 where float32 distances would not do: the type of the arrays decides.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smalti.engine.compiled.exp2 import exp2
from smalti.engine.compiled.jit import plain, reordered
from smalti.engine.compiled.pixel_rows import FOUR, absorb_pixels
from smalti.engine.compiled.records import Box, BoxLayout, Chunk, Inner, Moments, Noisy, Normaliser, Product

__all__ = [
    "HEAVY",
    "LOWEST_LOGIT",
    "NOWHERE",
    "TILE",
    "bounded_distances",
    "box_covariance",
    "box_moments",
    "box_normalisers",
    "box_numerator",
    "full_distances",
    "full_numerator",
    "full_products",
]

GAP_LIMIT = np.float32(64)  # bits; logits lie below their normaliser, but a caller's own may be anything
LOWEST_LOGIT = np.float32(-1e30)  # running maxima before the first
NOWHERE = np.float32(-2e30)  # logits where there is no window or image: no weight even beside such a maximum
LIGHT, HEAVY = 1, 2  # images that could weigh something but for rounding; that do


# ------------------------------------------------------------------------------------------------------ lengths and memory

LANES = 64  # a whole number of unrolled vector iterations for any type and processor; no scalar remainder is left
ALIGNMENT = 64  # bytes of a cache line, and of the widest vector


@plain
def padded(n: int) -> int:
    """n rounded up to whole vector iterations. What lies between is computed and never used, or used as zeros."""
    return (n + LANES - 1) // LANES * LANES


@plain
def scratch(rows: int, length: int, like: Any) -> Any:
    """(rows, length) zeros of the type of `like`, beginning at a cache line."""
    flat = np.zeros(rows * length + ALIGNMENT // like.itemsize, like.dtype)
    start = (-flat.ctypes.data) % ALIGNMENT // like.itemsize
    return flat[start : start + rows * length].reshape(rows, length)


# ---------------------------------------------------------------------------------------------------------------- box sums


# All buffers of a box sum are in one array, `tape`, and passed as positions: handing array slices from pass to pass would cost more in
# reference counting than the passes themselves.


@plain
def _double(tape: Any, out: int, a: int, b: int, n: int) -> None:
    to, xa, xb = tape[out : out + n], tape[a : a + n], tape[b : b + n]
    for i in range(n):
        to[i] = xa[i] + xb[i]


@plain
def _double_and_one(tape: Any, out: int, a: int, b: int, x: int, n: int) -> None:
    to, xa, xb, xx = tape[out : out + n], tape[a : a + n], tape[b : b + n], tape[x : x + n]
    for i in range(n):
        to[i] = xa[i] + xb[i] + xx[i]


@plain
def doublings(width: int) -> int:
    """floor(log2(width)): how many passes a sliding sum takes."""
    passes = 0
    while (width >> (passes + 1)) > 0:
        passes += 1
    return passes


@plain
def sliding_sum(tape: Any, x: int, width: int, step: int, n: int, passes: int, ping: int, pong: int) -> int:
    """out[i] = sum_{j < width} x[i + j step] for i < n, after the first `passes` of its passes.

    x, ping, pong and the result (one of the three) are positions on the tape. With passes = `doublings(width)` the sum is complete.
    Reads up to n + (width - 1) step entries of x, and some padding.
    """
    top = doublings(width)
    source, target, spare = x, ping, pong
    for bit in range(top - 1, top - 1 - passes, -1):
        have, after = width >> (bit + 1), width >> bit
        count = padded(n + (width - after) * step)
        if after & 1:
            _double_and_one(tape, target, source, source + have * step, x + (after - 1) * step, count)
        else:
            _double(tape, target, source, source + have * step, count)
        source, target, spare = target, spare, target
    return source


@plain
def box_sum(tape: Any, x: int, height: int, width: int, stride: int, n: int, row: int) -> int:
    """Sums over height x width boxes: out[i] = sum over x[i + j stride + k], i < n.

    The first four rows of the tape, `row` entries each, are used; x is left as it is. Returns the position of the result.
    """
    columns = sliding_sum(tape, x, height, stride, n + width - 1, doublings(height), 0, row)
    return sliding_sum(tape, columns, width, 1, n, doublings(width), 2 * row, 3 * row)


@plain
def spread_sum(tape: Any, x: int, width: int, step: int, n: int, out: int, row: int) -> int:
    """The transpose of a sliding sum: out[i] = sum_{j < width} x[i - j step], i < n + (width - 1) step, for x of n entries.

    Positions on the tape; the passes write at out, out + row, ... There are zeros before and after x and all of these, and since each
    pass always writes the same range, they stay. Returns the position of the result, x itself or the last pass's.
    """
    top = doublings(width)
    source, target = x, out
    for bit in range(top - 1, -1, -1):
        have, after = width >> (bit + 1), width >> bit
        count = padded(n + (after - 1) * step)
        if after & 1:
            _double_and_one(tape, target, source, source - have * step, x - (after - 1) * step, count)
        else:
            _double(tape, target, source, source - have * step, count)
        source = target
        target += row
    return source


# ------------------------------------------------------------------------------------------------- from images to logits


@plain
def _copy(pixels: Any, offset: Any, out: Any) -> None:
    """out = pixels - offset; uint8 pixels become multiples of 1/2 about 0, exactly."""
    real = type(offset)
    for i in range(pixels.shape[0]):
        out[i] = real(pixels[i]) - offset


@plain
def load(image: Any, offset: Any, out: Any) -> None:
    """Stored pixels (C, H W) -> planes (C, plane), minus the offset; the padding stays 0."""
    for c in range(image.shape[0]):
        _copy(image[c], offset, out[c, : image.shape[1]])


@plain
def difference(image: Any, offset: Any, z: Any, relative: bool, out: Any) -> None:
    """out[i] = sum_c (v - z[c, i])^2, v = image[c, i] - offset, over the pixels of the image (planes, or stored pixels).

    If `relative`, z is doubled and out[i] = sum_c v (v - z[c, i]): the same less |z|^2, which at high noise is nearly all of it.
    """
    real = type(offset)
    if relative and image.shape[0] == 3:
        z0, z1, z2 = z[0], z[1], z[2]
        x0, x1, x2 = image[0], image[1], image[2]
        for i in range(x0.shape[0]):
            v0 = real(x0[i]) - offset
            v1 = real(x1[i]) - offset
            v2 = real(x2[i]) - offset
            out[i] = v0 * (v0 - z0[i]) + v1 * (v1 - z1[i]) + v2 * (v2 - z2[i])
    elif image.shape[0] == 3:
        z0, z1, z2 = z[0], z[1], z[2]
        x0, x1, x2 = image[0], image[1], image[2]
        for i in range(x0.shape[0]):
            d0 = (real(x0[i]) - offset) - z0[i]
            d1 = (real(x1[i]) - offset) - z1[i]
            d2 = (real(x2[i]) - offset) - z2[i]
            out[i] = d0 * d0 + d1 * d1 + d2 * d2
    elif relative:
        for c in range(image.shape[0]):
            zc, xc = z[c], image[c]
            for i in range(xc.shape[0]):
                v = real(xc[i]) - offset
                out[i] = v * (v - zc[i]) + (out[i] if c > 0 else real(0))
    else:
        for c in range(image.shape[0]):
            zc, xc = z[c], image[c]
            for i in range(xc.shape[0]):
                d = (real(xc[i]) - offset) - zc[i]
                out[i] = d * d + (out[i] if c > 0 else real(0))


@plain
def move_rows(source: Any, source_stride: int, target: Any, target_stride: int, height: int, width: int) -> None:
    """The rows of an image from one stride to another; eight pixels at a time, loads before stores, and unsigned positions: rows are
    too short for LLVM's own vector loops."""
    one, eight, n = np.uint64(1), np.uint64(8), np.uint64(width)
    for y in range(height):
        a, b = np.uint64(y * source_stride), np.uint64(y * target_stride)
        end = a + n
        while a + eight <= end:
            a1, b1 = a + one, b + one
            a2, b2 = a1 + one, b1 + one
            a3, b3 = a2 + one, b2 + one
            a4, b4 = a3 + one, b3 + one
            a5, b5 = a4 + one, b4 + one
            a6, b6 = a5 + one, b5 + one
            a7, b7 = a6 + one, b6 + one
            x0, x1, x2, x3 = source[a], source[a1], source[a2], source[a3]
            x4, x5, x6, x7 = source[a4], source[a5], source[a6], source[a7]
            target[b], target[b1], target[b2], target[b3] = x0, x1, x2, x3
            target[b4], target[b5], target[b6], target[b7] = x4, x5, x6, x7
            a += eight
            b += eight
        while a < end:
            target[b] = source[a]
            a += one
            b += one


@plain
def plain_logits(tape: Any, a: int, scale: Any, log_prior: Any, out: Any, n: int) -> None:
    xa = tape[a : a + n]
    for k in range(n):
        out[k] = log_prior - xa[k] * scale


@plain
def _logits_of_two(tape: Any, a: int, b: int, scale: Any, log_prior: Any, out: Any, n: int) -> None:
    xa, xb = tape[a : a + n], tape[b : b + n]
    for k in range(n):
        out[k] = log_prior - (xa[k] + xb[k]) * scale


@plain
def _logits_of_three(tape: Any, a: int, b: int, x: int, scale: Any, log_prior: Any, out: Any, n: int) -> None:
    xa, xb, xx = tape[a : a + n], tape[b : b + n], tape[x : x + n]
    for k in range(n):
        out[k] = log_prior - (xa[k] + xb[k] + xx[k]) * scale


@plain
def box_logits(
    tape: Any, d: int, row: int, stride: int, height: int, width: int, scale: Any, log_prior: Any, out: Any, n: int
) -> None:
    """out = log_prior - scale * box sums of d: the last pass of the box sum makes the logits. Uses the tape as `box_sum`."""
    columns = sliding_sum(tape, d, height, stride, n + width - 1, doublings(height), 0, row)
    if width == 1:
        plain_logits(tape, columns, scale, log_prior, out, n)
        return
    last = sliding_sum(tape, columns, width, 1, n, doublings(width) - 1, 2 * row, 3 * row)
    have = width >> 1
    if width & 1:
        _logits_of_three(tape, last, last + have, columns + width - 1, scale, log_prior, out, n)
    else:
        _logits_of_two(tape, last, last + have, scale, log_prior, out, n)


@plain
def box_weights(logits: Any, reference: Any, correction: Any, least: Any, out: Any, n: int) -> bool:
    """out = 2^(logits - reference) correction, with normaliser = reference - log2(correction); whether any 2^(...) is at least 2^least.

    The two parts keep the weights' sum at one: a normaliser of thousands of bits, rounded to float32, would not.
    """
    alive = np.int32(0)
    for k in range(n):
        gap = np.float32(min(logits[k] - reference[k], GAP_LIMIT))
        out[k] = exp2(gap) * correction[k]
        alive |= np.int32(gap >= least)
    return alive != 0


@plain
def box_normalisers(chunk: Chunk, noisy: Noisy, layout: BoxLayout, gap: Any, wide: Any, state: Any, alive: Any) -> None:
    """Phase 1 on one chunk: per query window, the running maximum of the logits and the sum of 2^(logit - maximum).

    Args:
        noisy: z is (B, C, plane), padded with zeros.
        gap: real, bits: a logit that lies further below the running maximum may be left out, of the sums and by phase 2.
        wide: real, bits >= gap: one that lies further below certainly may be, however float32 rounds.
        state: (B, 2 windows) real, running maxima and totals: begin with logits that some image has, or at LOWEST_LOGIT, and with 0.
        alive: (B, n) uint8, results: HEAVY where some logit is not below the running maximum less `gap`; LIGHT where none is, but some
            of it, or of the three images beside it, is not below the maximum less `wide`; else 0.
    """
    images, offset, elements, log_priors = chunk
    z, relative, scales = noisy
    height, width, stride, first, row, box_height, box_width, box_first, windows = layout
    channels, plane = z.shape[1], z.shape[2]
    block = scratch(FOUR * channels, plane, z).reshape(FOUR, channels, plane)
    logits = scratch(1, FOUR * windows, z)[0]
    canvas = 4 * row
    tape = scratch(1, 5 * row + LANES, z)[0]
    on_canvas = tape[canvas + first : canvas + first + max(plane, height * stride)]
    squares = on_canvas if stride == width else scratch(1, plane, z)[0]
    alone = z.shape[0] == 1
    zero = type(offset)(0)
    for start in range(0, elements.shape[0], FOUR):
        count = min(FOUR, elements.shape[0] - start)
        if not alone:
            for j in range(count):
                load(images[elements[start + j]], offset, block[j])
        for b in range(z.shape[0]):
            for j in range(count):
                if alone:
                    difference(images[elements[start + j]], offset, z[0], relative[0], squares)
                else:
                    difference(block[j], zero, z[b], relative[b], squares)
                if stride != width:
                    move_rows(squares, width, on_canvas, stride, height, width)
                at, out = canvas + box_first, logits[j * windows : (j + 1) * windows]
                box_logits(tape, at, row, stride, box_height, box_width, scales[b], log_priors[start + j], out, windows)
            if count < FOUR:
                logits[count * windows :] = type(offset)(NOWHERE)
            found = absorb_pixels(logits, windows, logits, zero, 0, 0, 0, state[b], windows, windows, gap, wide)
            if found >> FOUR:
                for j in range(count):
                    alive[b, start + j] = HEAVY if (found >> j) & 1 else LIGHT


@plain
def _accumulate(out: Any, tape: Any, weights: int, image: Any) -> None:
    """out[c, i] += weights[i] image[c, i], planes, the weights at a position on the tape."""
    w = tape[weights : weights + image.shape[1]]
    for c in range(image.shape[0]):
        oc, xc = out[c], image[c]
        for i in range(w.shape[0]):
            oc[i] += w[i] * xc[i]


@plain
def _accumulate_two(out: Any, tape: Any, weights: int, image: Any, tape2: Any, weights2: int, image2: Any) -> None:
    """`_accumulate` for two images in one pass."""
    w, v = tape[weights : weights + image.shape[1]], tape2[weights2 : weights2 + image.shape[1]]
    for c in range(image.shape[0]):
        oc, xc, yc = out[c], image[c], image2[c]
        for i in range(w.shape[0]):
            oc[i] += w[i] * xc[i] + v[i] * yc[i]


@plain
def spread_tape(layout: BoxLayout, outer: Box, like: Any) -> Any:
    """A tape of zeros for `spread_box`, the length of its rows, and the margin before entry 0 of each. Row 0 takes the weights."""
    height, _, stride, _, _, _, _, _, windows = layout
    box_height, box_width, lead, before = outer
    margin = padded(max(lead + 1, box_height * stride + box_width, before))
    spread = padded(windows + box_height * stride + box_width)
    row = margin + max(spread, lead + padded(height * stride)) + LANES
    rows = 2 + doublings(box_width) + doublings(box_height)
    return scratch(1, rows * row, like)[0], row, margin


@plain
def spread_box(tape: Any, row: int, margin: int, layout: BoxLayout, outer: Box) -> int:
    """The composite's weights, sum_k weight_k [pixel in box k], from the weights in row 0: position of a plane."""
    height, width, stride, _, _, _, _, _, windows = layout
    box_height, box_width, lead, before = outer
    along = doublings(box_width)
    rows = spread_sum(tape, margin, box_width, 1, windows, row + margin, row)
    both = spread_sum(tape, rows, box_height, stride, windows + box_width - 1, (1 + along) * row + margin, row)
    begin = both + lead - before
    if stride == width:
        return begin
    plane = (1 + along + doublings(box_height)) * row
    move_rows(tape[begin : begin + height * stride], stride, tape[plane : plane + height * width], width, height, width)
    return plane


@plain
def box_numerator(
    chunk: Chunk,
    noisy: Noisy,
    layout: BoxLayout,
    response: Box,
    normaliser: Normaliser,
    alive: Any,
    least: Any,
    numerator: Any,
) -> None:
    """Phase 2 on one chunk: sum over windows and images of response * weight * image.

    Args:
        noisy: as for `box_normalisers`.
        normaliser: (B, windows).
        alive: (B, n) uint8 from phase 1 (or HEAVY): other images are passed over.
        least: float32, bits: an image none of whose weights is above 2^least is passed over too.
        numerator: (B, C, plane) real, result, in the units of the stored images.
    """
    images, offset, elements, log_priors = chunk
    z, relative, scales = noisy
    references, corrections = normaliser
    height, width, stride, first, row, box_height, box_width, box_first, windows = layout
    channels, plane = z.shape[1], z.shape[2]
    pair = scratch(2 * channels, plane, z).reshape(2, channels, plane)
    logits = scratch(1, windows, z)[0]
    canvas = 4 * row
    tape = scratch(1, 5 * row + LANES, z)[0]
    on_canvas = tape[canvas + first : canvas + first + max(plane, height * stride)]
    squares = on_canvas if stride == width else scratch(1, plane, z)[0]
    zero = type(offset)(0)
    one, spread_row, margin = spread_tape(layout, response, z)
    two, _, _ = spread_tape(layout, response, z)
    weights, other_weights = one[margin : margin + windows], two[margin : margin + windows]
    for start in range(0, elements.shape[0], 2):
        count = min(2, elements.shape[0] - start)
        for i in range(count):
            load(images[elements[start + i]], offset, pair[i])
        for b in range(z.shape[0]):
            heavy = 0
            for i in range(count):
                j = start + i
                if alive[b, j] != HEAVY:
                    continue
                difference(pair[i], zero, z[b], relative[b], squares)
                if stride != width:
                    move_rows(squares, width, on_canvas, stride, height, width)
                at = canvas + box_first
                box_logits(tape, at, row, stride, box_height, box_width, scales[b], log_priors[j], logits, windows)
                if i == 0:
                    heavy += 1 if box_weights(logits, references[b], corrections[b], least, weights, windows) else 0
                else:
                    heavy += (
                        2 if box_weights(logits, references[b], corrections[b], least, other_weights, windows) else 0
                    )
            if heavy == 1:
                _accumulate(numerator[b], one, spread_box(one, spread_row, margin, layout, response), pair[0])
            elif heavy == 2:
                _accumulate(numerator[b], two, spread_box(two, spread_row, margin, layout, response), pair[1])
            elif heavy == 3:
                composite = spread_box(one, spread_row, margin, layout, response)
                other = spread_box(two, spread_row, margin, layout, response)
                _accumulate_two(numerator[b], one, composite, pair[0], two, other, pair[1])


@plain
def box_room(layout: BoxLayout, z: Any) -> Any:
    """What a kernel needs that takes one image after another: its planes, its logits, where the canvas begins on the tape, the tape, the
    image on the canvas, and a plane to be moved there."""
    height, width, stride, first, row, _, _, _, windows = layout
    channels, plane = z.shape[1], z.shape[2]
    canvas = 4 * row
    tape = scratch(1, 5 * row + LANES, z)[0]
    on_canvas = tape[canvas + first : canvas + first + max(plane, height * stride)]
    flat = on_canvas if stride == width else scratch(1, plane, z)[0]
    return scratch(channels, plane, z), scratch(1, windows, z)[0], canvas, tape, on_canvas, flat


# -------------------------------------------------------------------------------------------------- derivatives of boxes


@plain
def _inner_product(direction: Any, image: Any, out: Any) -> None:
    """out[i] = sum_c direction[c, i] image[c, i], planes."""
    for c in range(image.shape[0]):
        ac, xc = direction[c], image[c]
        if c == 0:
            for i in range(ac.shape[0]):
                out[i] = ac[i] * xc[i]
        else:
            for i in range(ac.shape[0]):
                out[i] += ac[i] * xc[i]


@plain
def _add_moments(mass: Any, mean: Any, weights: Any, values: Any, n: int) -> None:
    for k in range(n):
        mass[k] += weights[k]
        mean[k] += weights[k] * values[k]


@plain
def _centre(weights: Any, values: Any, mean: Any, n: int) -> None:
    for k in range(n):
        weights[k] *= values[k] - mean[k]


@reordered
def _sum(values: Any, n: int) -> Any:
    total = values.dtype.type(0)
    for k in range(n):
        total += values[k]
    return total


@plain
def box_moments(
    chunk: Chunk,
    noisy: Noisy,
    layout: BoxLayout,
    inner: Inner,
    direction: Any,
    gap: Any,
    wide: Any,
    state: Any,
    alive: Any,
) -> None:
    """Phase 1 (`box_normalisers`) and, in the same pass, sums of weights times u_k^i = <inner window k * direction, image i>.

    Args:
        inner: boxes of the inner product.
        direction: (B, C, plane) real.
        state: (B, 3 windows) real, running maxima, totals, and totals times u.

    Other arguments are as for `box_normalisers`.
    """
    images, offset, elements, log_priors = chunk
    z, relative, scales = noisy
    height, width, stride, first, row, box_height, box_width, box_first, windows = layout
    inner_height, inner_width, inner_first = inner
    channels, plane = z.shape[1], z.shape[2]
    block = scratch(FOUR * channels, plane, z).reshape(FOUR, channels, plane)
    logits = scratch(1, FOUR * windows, z)[0]
    products = scratch(1, FOUR * windows, z)[0]
    canvas = 4 * row
    tape = scratch(1, 5 * row + LANES, z)[0]
    on_canvas = tape[canvas + first : canvas + first + max(plane, height * stride)]
    flat = on_canvas if stride == width else scratch(1, plane, z)[0]
    zero = type(offset)(0)
    for start in range(0, elements.shape[0], FOUR):
        count = min(FOUR, elements.shape[0] - start)
        for j in range(count):
            load(images[elements[start + j]], offset, block[j])
        for b in range(z.shape[0]):
            for j in range(count):
                difference(block[j], zero, z[b], relative[b], flat)
                if stride != width:
                    move_rows(flat, width, on_canvas, stride, height, width)
                at, out = canvas + box_first, logits[j * windows : (j + 1) * windows]
                box_logits(tape, at, row, stride, box_height, box_width, scales[b], log_priors[start + j], out, windows)
                _inner_product(direction[b], block[j], flat)
                if stride != width:
                    move_rows(flat, width, on_canvas, stride, height, width)
                sums = box_sum(tape, canvas + inner_first, inner_height, inner_width, stride, windows, row)
                _copy(tape[sums : sums + windows], zero, products[j * windows : (j + 1) * windows])
            if count < FOUR:
                logits[count * windows :] = type(offset)(NOWHERE)
            found = absorb_pixels(logits, windows, products, zero, windows, 0, 1, state[b], windows, windows, gap, wide)
            if found >> FOUR:
                for j in range(count):
                    alive[b, start + j] = HEAVY if (found >> j) & 1 else LIGHT


@plain
def box_covariance(
    chunk: Chunk,
    noisy: Noisy,
    layout: BoxLayout,
    product: Product,
    normaliser: Normaliser,
    alive: Any,
    least: Any,
    centred: bool,
    moments: Moments,
    numerator: Any,
    moved: Any,
) -> None:
    """Posterior covariances times a direction, on one chunk; two passes, so that nothing cancels.

    With u_k^i = <inner window k * direction, image i>: first (`centred` False) the moments mass_k = sum_i w_k^i and
    means_k = sum_i w_k^i u_k^i, then (`centred` True, `means` now the mean)
    numerator += sum_k outer window k * sum_i w_k^i (u_k^i - mean_k) image i,
    and moved_i = sum_k w_k^i (u_k^i - mean_k), (B, n) float64.

    Other arguments are as for `box_numerator`.
    """
    images, offset, elements, log_priors = chunk
    z, relative, scales = noisy
    references, corrections = normaliser
    (inner_height, inner_width, inner_first), outer, direction = product
    mass, means = moments
    height, width, stride, _, row, box_height, box_width, box_first, windows = layout
    zero = type(offset)(0)
    image, logits, canvas, tape, on_canvas, flat = box_room(layout, z)
    spread, spread_row, margin = spread_tape(layout, outer, z)
    weights = spread[margin : margin + windows]
    for j in range(elements.shape[0]):
        load(images[elements[j]], offset, image)
        for b in range(z.shape[0]):
            if alive[b, j] != HEAVY:
                continue
            difference(image, zero, z[b], relative[b], flat)
            if stride != width:
                move_rows(flat, width, on_canvas, stride, height, width)
            at = canvas + box_first
            box_logits(tape, at, row, stride, box_height, box_width, scales[b], log_priors[j], logits, windows)
            if not box_weights(logits, references[b], corrections[b], least, weights, windows):
                continue
            _inner_product(direction[b], image, flat)
            if stride != width:
                move_rows(flat, width, on_canvas, stride, height, width)
            sums = box_sum(tape, canvas + inner_first, inner_height, inner_width, stride, windows, row)
            values = tape[sums : sums + windows]
            if centred:
                _centre(weights, values, means[b], windows)
                moved[b, j] = _sum(weights, windows)
                _accumulate(numerator[b], spread, spread_box(spread, spread_row, margin, layout, outer), image)
            else:
                _add_moments(mass[b], means[b], weights, values, windows)


# ---------------------------------------------------------------------------------------------- one window: the whole image

TILE = 512  # pixels whose sum in `real` is then carried in float64


@reordered
def _squares(x: Any, offset: Any, z: Any) -> Any:
    """sum (x - offset - z)^2."""
    real = type(offset)
    total = real(0)
    for i in range(z.shape[0]):
        d = (real(x[i]) - offset) - z[i]
        total += d * d
    return total


@reordered
def _products(x: Any, offset: Any, twice_z: Any) -> Any:
    """sum v (v - 2 z), v = x - offset: the squared distance less |z|^2, which at high noise is nearly all of it."""
    real = type(offset)
    total = real(0)
    for i in range(twice_z.shape[0]):
        v = real(x[i]) - offset
        total += v * (v - twice_z[i])
    return total


@reordered
def _squares_of_four(x: Any, z0: Any, z1: Any, z2: Any, z3: Any) -> Any:
    """`_squares` of loaded pixels for four z in one pass."""
    s0 = x.dtype.type(0)
    s1 = x.dtype.type(0)
    s2 = x.dtype.type(0)
    s3 = x.dtype.type(0)
    for i in range(z0.shape[0]):
        d0 = x[i] - z0[i]
        d1 = x[i] - z1[i]
        d2 = x[i] - z2[i]
        d3 = x[i] - z3[i]
        s0 += d0 * d0
        s1 += d1 * d1
        s2 += d2 * d2
        s3 += d3 * d3
    return s0, s1, s2, s3


@reordered
def _products_of_four(x: Any, z0: Any, z1: Any, z2: Any, z3: Any) -> Any:
    """`_products` of loaded pixels for four z in one pass."""
    s0 = x.dtype.type(0)
    s1 = x.dtype.type(0)
    s2 = x.dtype.type(0)
    s3 = x.dtype.type(0)
    for i in range(z0.shape[0]):
        s0 += x[i] * (x[i] - z0[i])
        s1 += x[i] * (x[i] - z1[i])
        s2 += x[i] * (x[i] - z2[i])
        s3 += x[i] * (x[i] - z3[i])
    return s0, s1, s2, s3


@plain
def bounded_distances(
    images: Any,
    offset: Any,
    elements: Any,
    z: Any,
    relative: Any,
    tiles: Any,
    log_priors: Any,
    scales: Any,
    least: Any,
    distances: Any,
) -> None:
    """Squared distances of whole images: distances[b, j] = |z_b - image_{elements[j]}|^2 in stored units, less |z_b|^2 if relative[b].

    Squares only add up: once those of some tiles put a logit below `least`, the others are not looked at.

    Args:
        images: (N, D) uint8 or float32.
        offset: real, what is subtracted from stored values.
        elements: (n,) indices.
        z: (B, D) real; doubled where relative.
        relative: (B,) uint8.
        tiles: (T, 2) the pixels that are added, from .. to, in this order; at most TILE each.
        log_priors: (n,) float64, base 2.
        scales: (B,) float64, log2(e) / (2 sigma^2).
        least: (B,) float64, base 2; -infinity where relative.
        distances: (B, n) float64, sums of tiles before, and results: summed in `real` within tiles, in float64 across them; infinite
            where the logit, log prior - scale * distance, is certainly below `least`.
    """
    batch = z.shape[0]
    zero = type(offset)(0)
    x = scratch(1, TILE, z)[0]
    done = np.zeros(batch, np.bool_)
    for j in range(elements.shape[0]):
        image = images[elements[j]]
        for t in range(tiles.shape[0]):
            start, stop = tiles[t, 0], tiles[t, 1]
            unfinished = False
            for b in range(batch):
                done[b] = log_priors[j] - distances[b, j] * scales[b] < least[b]
                if done[b]:
                    distances[b, j] = np.inf
                unfinished = unfinished or not done[b]
            if not unfinished:
                break
            if batch == 1:
                if relative[0]:
                    distances[0, j] += _products(image[start:stop], offset, z[0, start:stop])
                else:
                    distances[0, j] += _squares(image[start:stop], offset, z[0, start:stop])
                continue
            _copy(image[start:stop], offset, x[: stop - start])
            b = 0
            while b < batch:
                if done[b]:
                    b += 1
                elif b + 4 <= batch and relative[b] == relative[b + 1] == relative[b + 2] == relative[b + 3]:
                    z0, z1 = z[b, start:stop], z[b + 1, start:stop]
                    z2, z3 = z[b + 2, start:stop], z[b + 3, start:stop]
                    if relative[b]:
                        s0, s1, s2, s3 = _products_of_four(x, z0, z1, z2, z3)
                    else:
                        s0, s1, s2, s3 = _squares_of_four(x, z0, z1, z2, z3)
                    distances[b, j] += s0
                    distances[b + 1, j] += s1
                    distances[b + 2, j] += s2
                    distances[b + 3, j] += s3
                    b += 4
                elif relative[b]:
                    distances[b, j] += _products(x, zero, z[b, start:stop])
                    b += 1
                else:
                    distances[b, j] += _squares(x, zero, z[b, start:stop])
                    b += 1


@plain
def full_distances(images: Any, offset: Any, elements: Any, z: Any, relative: Any, distances: Any) -> None:
    """`bounded_distances` over all pixels, none left out."""
    count = (z.shape[1] + TILE - 1) // TILE
    tiles = np.empty((count, 2), np.int64)
    for t in range(count):
        tiles[t, 0], tiles[t, 1] = t * TILE, min((t + 1) * TILE, z.shape[1])
    priors, scales, least = np.zeros(elements.shape[0]), np.zeros(z.shape[0]), np.full(z.shape[0], -np.inf)
    distances[:] = 0.0
    bounded_distances(images, offset, elements, z, relative, tiles, priors, scales, least, distances)


@reordered
def _product(x: Any, offset: Any, a: Any) -> Any:
    """sum (x - offset) a."""
    real = type(offset)
    total = real(0)
    for i in range(a.shape[0]):
        total += (real(x[i]) - offset) * a[i]
    return total


@plain
def full_products(images: Any, offset: Any, elements: Any, directions: Any, products: Any) -> None:
    """products[b, j] = <directions[b], image_{elements[j]}>, in stored units: summed in `real` within tiles, in float64 across them.

    Args:
        images: (N, D) uint8 or float32.
        elements: (n,) indices.
        directions: (B, D) real.
        products: (B, n) float64, results.
    """
    batch, dimension = directions.shape
    zero = type(offset)(0)
    x = scratch(1, TILE, directions)[0]
    for j in range(elements.shape[0]):
        image = images[elements[j]]
        for b in range(batch):
            products[b, j] = 0.0
        for start in range(0, dimension, TILE):
            stop = min(start + TILE, dimension)
            if batch == 1:
                products[0, j] += _product(image[start:stop], offset, directions[0, start:stop])
                continue
            _copy(image[start:stop], offset, x[: stop - start])
            for b in range(batch):
                products[b, j] += _product(x, zero, directions[b, start:stop])


@plain
def _add_four(out: Any, x0: Any, x1: Any, x2: Any, x3: Any, w0: Any, w1: Any, w2: Any, w3: Any) -> None:
    for i in range(out.shape[0]):
        out[i] += (w0 * x0[i] + w1 * x1[i]) + (w2 * x2[i] + w3 * x3[i])


@plain
def _add_stored(out: Any, offset: Any, image: Any, w: Any) -> None:
    """out += w (image - offset). One image after another: memory is read ahead, which several at a time would disturb."""
    real = type(offset)
    for i in range(out.shape[0]):
        out[i] += w * (real(image[i]) - offset)


@plain
def full_numerator(images: Any, offset: Any, elements: Any, weights: Any, numerator: Any) -> None:
    """numerator[b] += sum_j weights[b, j] image_{elements[j]}, for the elements that weigh anything.

    Args:
        images: (N, D) uint8 or float32.
        elements: (n,) indices.
        weights: (B, n) real.
        numerator: (B, D) real, result, in stored units.
    """
    batch, dimension = numerator.shape
    if batch == 1:
        for j in range(elements.shape[0]):
            if weights[0, j] != 0:
                _add_stored(numerator[0], offset, images[elements[j]], weights[0, j])
        return
    kept = np.empty(4, np.int64)
    x = np.zeros((4, TILE), numerator.dtype)
    j = 0
    while j < elements.shape[0]:
        found = 0
        while j < elements.shape[0] and found < 4:
            heavy = False
            for b in range(batch):
                heavy = heavy or weights[b, j] != 0
            if heavy:
                kept[found] = j
                found += 1
            j += 1
        if found == 0:
            break
        for start in range(0, dimension, TILE):
            stop = min(start + TILE, dimension)
            for f in range(found):
                _copy(images[elements[kept[f]], start:stop], offset, x[f])
            for b in range(batch):
                w0 = weights[b, kept[0]]
                w1 = weights[b, kept[1]] if found > 1 else weights.dtype.type(0)
                w2 = weights[b, kept[2]] if found > 2 else weights.dtype.type(0)
                w3 = weights[b, kept[3]] if found > 3 else weights.dtype.type(0)
                _add_four(numerator[b, start:stop], x[0], x[1], x[2], x[3], w0, w1, w2, w3)
