"""The compiled loops of the search for the training patch that is most like each patch of an image.

For every shift (dy, dx) of a training image x against an image z

    P[q] = sum_c z_c[q] x_c[q + (dy, dx)]                       one image of products
    <z, x>_k = sum of P over the p x p window k                 a box sum: the cost of a shift does not depend on p

and with the sums of the windows, which are made once for each image, that gives all covariances:

    <z, x>_k - sum_c S_c(z_k) S_c(x_k) / p^2                    S_c: sum over the window

Box sums add and never take away (nothing cancels): down the columns in groups of rows, along the rows by doubling, in long loops, so that
they are vector instructions. The search runs in float32; what it finds is computed again in float64 by `smalti.audit.patches`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from smalti.engine.compiled.jit import ordered, plain

__all__ = ["search_patches"]


@plain
def _products(z: Any, z_at: Any, x: Any, x_at: Any, plane: Any, channels: int, wide: Any, out: Any) -> None:
    """out[j] = sum_c z[z_at + c plane + j] x[x_at + c plane + j]."""
    if channels == 3:
        z_1, z_2, x_1, x_2 = z_at + plane, z_at + plane + plane, x_at + plane, x_at + plane + plane
        for j in range(wide):
            out[j] = z[z_at + j] * x[x_at + j] + z[z_1 + j] * x[x_1 + j] + z[z_2 + j] * x[x_2 + j]
        return
    for j in range(wide):
        out[j] = z[z_at + j] * x[x_at + j]
    for _ in range(1, channels):
        z_at += plane
        x_at += plane
        for j in range(wide):
            out[j] += z[z_at + j] * x[x_at + j]


@plain
def _along(row: Any, other: Any, side: int, columns: Any, out: Any) -> None:
    """out[j] = sum of row[j : j + side], by sums over powers of two; `row` and `other` are used up."""
    wide = columns + np.uintp(side - 1)
    done, offset = np.uintp(1), np.uintp(0)
    first = True
    while True:
        if side & 1:
            if first:
                for j in range(columns):
                    out[j] = row[offset + j]
            else:
                for j in range(columns):
                    out[j] += row[offset + j]
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
def _down(products: Any, groups: Any, side: int, step: int, tall: int, width: Any) -> None:
    """groups[g] = sum of rows g step .. g step + step - 1 of `products`, as many as lie within."""
    for g in range((tall + side - 1) // step):
        to, at = np.uintp(g) * width, np.uintp(g * step) * width
        for j in range(width):
            groups[to + j] = products[at + j]
        for _ in range(1, step):
            at += width
            for j in range(width):
                groups[to + j] += products[at + j]


@plain
def _added(rows: Any, at: Any, count: int, width: Any, out: Any, to: Any) -> None:
    """out[to + j] = sum of `count` rows from rows[at]."""
    for j in range(width):
        out[to + j] = rows[at + j]
    for _ in range(1, count):
        at += width
        for j in range(width):
            out[to + j] += rows[at + j]


@ordered
def _better(
    sums: Any, s_at: Any, z: Any, z_at: Any, z_plane: Any, x: Any, x_at: Any, x_plane: Any, channels: int,
    weights: Any, w_at: Any, columns: Any, code: Any, best: Any, which: Any,
) -> None:  # fmt: skip
    """Covariances of a row of windows; kept where they are more than what was found before."""
    at = z_at
    if channels == 3:
        z_1, z_2, x_1, x_2 = z_at + z_plane, z_at + z_plane + z_plane, x_at + x_plane, x_at + x_plane + x_plane
        for j in range(columns):
            means = z[z_at + j] * x[x_at + j] + z[z_1 + j] * x[x_1 + j] + z[z_2 + j] * x[x_2 + j]
            found = (sums[s_at + j] - means) * weights[w_at + j]
            before = best[at + j]
            which[at + j] = code if found > before else which[at + j]
            best[at + j] = found if found > before else before
        return
    for _ in range(channels):
        for j in range(columns):
            sums[s_at + j] -= z[z_at + j] * x[x_at + j]
        z_at += z_plane
        x_at += x_plane
    for j in range(columns):
        found = sums[s_at + j] * weights[w_at + j]
        before = best[at + j]
        which[at + j] = code if found > before else which[at + j]
        best[at + j] = found if found > before else before


@plain
def search_patches(
    z: Any,
    z_sums: Any,
    x: Any,
    x_sums: Any,
    weights: Any,
    shape: Any,
    side: int,
    step: int,
    shift: int,
    rows: Any,
    best: Any,
    which: Any,
) -> None:
    """The most alike patch for some windows of z among those of some images, at its place and up to `shift` pixels beside it.

    Args: (all arrays flat)
        z: (C, H, W) float32.
        z_sums: (C, R', K) float32, sums over the asked rows of windows, divided by p; K = W - p + 1.
        x: (M, C, H, W) float32, the images, and `shift` numbers more before and after them.
        x_sums: (M, C, R, K), sums over all windows, divided by p; R = H - p + 1.
        weights: (M, R, K), what a covariance is multiplied by.
        shape: (M, C, H, W).
        side, shift: p, and how far.
        step: divides p; most of the rows are multiples of it.
        rows: (R',) int64, increasing: which rows of windows are asked for.
        best: (R', K) float32, the result: begins at 0, so that nothing is found which is not alike at all.
        which: (R', K) int32, where it was found: (image (2 shift + 1) + dy + shift) (2 shift + 1) + dx + shift.
    """
    images, channels, height, width = shape
    across = width - side + 1
    plane, windows, asked = (
        np.uintp(height * width),
        np.uintp((height - side + 1) * across),
        np.uintp(len(rows) * across),
    )
    products = np.empty(height * width, z.dtype)
    other = np.empty(height * width, z.dtype)
    sums = np.empty(height * width, z.dtype)
    gathered = np.empty(len(rows) * width, z.dtype)
    span, line = 2 * shift + 1, np.uintp(width)
    for i in range(images):
        for dy in range(-shift, shift + 1):
            low, high = 0, len(rows)  # the asked rows that have a partner
            while low < high and rows[low] + dy < 0:
                low += 1
            while high > low and rows[high - 1] + dy > height - side:
                high -= 1
            if high == low:
                continue
            top = rows[low]
            tall = rows[high - 1] - top + 1
            for dx in range(-shift, shift + 1):
                left, right = max(0, -dx), min(across, across - dx)
                if right <= left:
                    continue
                x_at = np.uintp(i) * np.uintp(channels) * plane + np.uintp((top + dy) * width + shift + dx)
                _products(
                    z, np.uintp(top * width), x, x_at, plane, channels, np.uintp((tall + side - 1) * width), products
                )
                _down(products, other, side, step, tall, line)
                for n in range(low, high):
                    here, there = np.uintp((n - low) * width), rows[n] - top
                    if there % step == 0:
                        _added(other, np.uintp(there // step) * line, side // step, line, gathered, here)
                    else:
                        _added(products, np.uintp(there) * line, side, line, gathered, here)
                _along(gathered, other, side, np.uintp((high - low) * width - side + 1), sums)
                code = np.int32((i * span + dy + shift) * span + dx + shift)
                for n in range(low, high):
                    w_at = np.uintp(i) * windows + np.uintp((rows[n] + dy) * across + left + dx)
                    _better(
                        sums, np.uintp((n - low) * width + left), z_sums, np.uintp(n * across + left), asked,
                        x_sums, np.uintp(i) * np.uintp(channels - 1) * windows + w_at, windows, channels,
                        weights, w_at, np.uintp(right - left), code, best, which,
                    )  # fmt: skip
