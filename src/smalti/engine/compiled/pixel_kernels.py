"""The compiled loop for centred boxes whose posteriors answer with their own pixel, at the same place (LocalScore).

A response is one pixel, so the posterior mean of window k is a number per channel, and one pass does: a running maximum m of the
logits, and sums of 2^(logit - m) and of 2^(logit - m) times the pixel. Windows are as many as pixels, so logits, sums and stored pixels lie
alike, row after row; only the sums along rows need room, zeros between the rows:

    squares, (H + 2r) rows of W        squared differences, r rows of zeros above and below
    down, H rows of W + r              sums along columns; the last pass of the sliding sum writes them with their zeros
    logits, H rows of W                sums along rows; the last pass writes log2 prior - scale * sum

What bounds it is instructions. Per image and vector of windows: 5 C for the differences (load, convert, two subtractions, one
multiply-add); 16 for the sums of a window of side 3, and 4 more for each doubling of the side; 3 to see whether any of four images is near
its maximum; and, where one is, 4 C + 18 for weights (2^x is 12) and sums, with the running state read and written once for four images.
With three channels that is 64, and for 50,000 images of 32 x 32 in vectors of 16, 2e8 in all: 0.045 s measured on one core, 0.036 s where
nearly nothing is near (sigma = 0.02), 0.025 s on two, where reading the 154 MB takes 0.006 s. The state, (2 + C) H W numbers, stays in the
L1 cache.
"""

from __future__ import annotations

from typing import Any

from smalti.engine.compiled.jit import plain
from smalti.engine.compiled.kernels import NOWHERE, difference, doublings, padded, plain_logits, scratch, sliding_sum
from smalti.engine.compiled.pixel_rows import FOUR, absorb_pixels, sum_of_three
from smalti.engine.compiled.records import Chunk, Noisy

__all__ = ["pixel_pass"]

SLACK = 64  # entries that vectors may write, or read, beyond an end


@plain
def _keep(image: Any, out: Any) -> None:
    for c in range(image.shape[0]):
        pixels = image[c]
        kept = out[c, : pixels.shape[0]]
        for i in range(pixels.shape[0]):
            kept[i] = pixels[i]


@plain
def pixel_pass(chunk: Chunk, noisy: Noisy, layout: Any, gap: Any, wide: Any, state: Any, alive: Any) -> None:
    """All images of a chunk.

    Args:
        noisy: z is (B, C, plane), padded with zeros.
        layout: integers (height, width, radius), radius r of windows of side 2 r + 1.
        gap: real, bits: what lies further below the running maximum may be left out.
        wide: real, bits >= gap: what lies further below it certainly weighs nothing, however float32 rounds.
        state: (B, (2 + C) plane) real: running maximum, total and totals of pixels. Begins with a logit that some image has, or at
            LOWEST_LOGIT, and with zeros.
        alive: (B, n) uint8, results: 0 where every logit of the image (and of the others of its four) is below `wide`.
    """
    images, offset, elements, log_priors = chunk
    z, relative, scales = noisy
    height, width, radius = layout
    channels, plane, pixels = z.shape[1], z.shape[2], height * width
    side, stride = 2 * radius + 1, width + radius
    passes = max(0, doublings(side) - 1)
    have = side >> 1
    row = padded(max((height + 2 * radius + 1) * width, height * stride + side)) + plane - pixels + 2 * SLACK
    squares_at, down = 2 * row, 3 * row
    tape = scratch(1, (3 + FOUR) * row, z)[0]
    squares = tape[squares_at + radius * width : squares_at + radius * width + plane]
    inside = scratch(1, width + SLACK, z)[0]
    inside[:width] = 1.0
    logits = scratch(1, FOUR * plane + SLACK, z)[0]
    logits[:] = type(offset)(NOWHERE)
    size = channels * plane
    stored = scratch(1, FOUR * size + SLACK, images)[0]
    four = stored[: FOUR * size].reshape(FOUR, channels, plane)
    nothing, one = type(offset)(0), type(offset)(1)
    for start in range(0, elements.shape[0], FOUR):
        count = min(FOUR, elements.shape[0] - start)
        for q in range(count):
            _keep(images[elements[start + q]], four[q])
        for b in range(z.shape[0]):
            for q in range(count):
                difference(four[q], offset, z[b], relative[b], squares)
                if pixels < plane:
                    squares[pixels:] = nothing
                if radius == 0:
                    plain_logits(tape, squares_at, scales[b], log_priors[start + q], logits[q * plane :], plane)
                    continue
                last = sliding_sum(tape, squares_at, side, width, pixels, passes, 0, row)
                middle, end, to = last + have * width, squares_at + (side - 1) * width, down + q * row + radius
                sum_of_three(tape, last, middle, end, width, nothing, one, inside, tape, to, stride, height, width)
            for q in range(
                count
            ):  # only now: what was just stored cannot be loaded at another alignment without a wait
                if radius > 0:
                    at, prior, to = down + q * row, log_priors[start + q], q * plane
                    last = sliding_sum(tape, at, side, 1, (height - 1) * stride + width, passes, 0, row)
                    middle, end = last + have, at + side - 1
                    sum_of_three(
                        tape, last, middle, end, stride, prior, -scales[b], inside, logits, to, width, height, width
                    )
                if pixels < plane:
                    logits[q * plane + pixels : (q + 1) * plane] = type(offset)(NOWHERE)
            if count < FOUR:
                logits[count * plane :] = type(offset)(NOWHERE)
            near = absorb_pixels(
                logits, plane, stored, offset, size, plane, channels, state[b], plane, pixels, gap, wide
            )
            if near >> FOUR:
                alive[b, start : start + count] = 1
