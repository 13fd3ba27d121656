"""Both phases for one window, the image itself: the optimal denoiser.

Logits of all elements are few (one number for each z and element) and are kept:

    relative   l = log pi - scale (|x|^2 - 2 x . z)     a matrix product of all x with all z, summed with compensation (Kahan)
    direct     l = log pi - scale |x - z|^2             differences; in float64 where float32 would not do: they are cheap
    D          = sum_i exp2(l_i - log Z) x_i            the second matrix product

Both read the images once; where no element of a tile weighs anything, the second does not.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from smalti.engine.triton.calls import LOWEST, Elements, Parts, references

__all__ = ["log_normalisers", "logits", "numerator"]

LEAST = tl.constexpr(LOWEST)
IMAGES, ENTRIES, NOISY = 64, 64, 16  # of a tile: elements, entries of an image, z


@triton.jit
def _entries(
    images, image, kinds, kind, p, inside,
    C: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, OFFSET: tl.constexpr, MOVED: tl.constexpr, REAL: tl.constexpr,
):  # fmt: skip
    """Entries p of elements in stored units, 0 outside."""
    place = p
    if MOVED:
        y, x = (p % (HEIGHT * WIDTH)) // WIDTH, p % WIDTH
        y = (y + tl.load(kinds + 3 * kind + 1)) % HEIGHT
        x = (x + tl.load(kinds + 3 * kind + 2)) % WIDTH
        x = tl.where(tl.load(kinds + 3 * kind) != 0, WIDTH - 1 - x, x)
        place = p // (HEIGHT * WIDTH) * (HEIGHT * WIDTH) + y * WIDTH + x
    v = tl.load(images + image * (C * HEIGHT * WIDTH) + place, mask=inside, other=0).to(REAL) - OFFSET
    return tl.where(inside, v, 0)


@triton.jit(do_not_specialize=["count"])
def _direct(
    images, indices, priors, kinds, z, scales, out, count,
    C: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, OFFSET: tl.constexpr, MOVED: tl.constexpr, REAL: tl.constexpr,
    BN: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    b, kind = tl.program_id(0), tl.program_id(2)
    n, p = tl.program_id(1) * BN + tl.arange(0, BN), tl.arange(0, BP)
    P: tl.constexpr = C * HEIGHT * WIDTH
    image = tl.load(indices + n, mask=n < count, other=0)[:, None]
    squares = tl.zeros((BN, BP), REAL)
    for first in range(0, P, BP):
        inside = (n < count)[:, None] & (first + p < P)[None, :]
        v = _entries(images, image, kinds, kind, first + p[None, :], inside, C, HEIGHT, WIDTH, OFFSET, MOVED, REAL)
        v -= tl.load(z + b * P + first + p, mask=first + p < P, other=0)[None, :]
        squares += v * v
    value = tl.load(priors + n, mask=n < count, other=0) - tl.load(scales + b) * tl.sum(squares, 1)
    tl.store(out + (b * tl.num_programs(2) + kind).to(tl.int64) * count + n, value, mask=n < count)


@triton.jit(do_not_specialize=["count", "batch"])
def _relative(
    images, indices, priors, kinds, z, scales, out, count, batch,
    C: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, OFFSET: tl.constexpr, MOVED: tl.constexpr, PRECISION: tl.constexpr,
    BN: tl.constexpr, BP: tl.constexpr, BZ: tl.constexpr,
):  # fmt: skip
    kind = tl.program_id(2)
    b = tl.program_id(0) * BZ + tl.arange(0, BZ)
    n, p = tl.program_id(1) * BN + tl.arange(0, BN), tl.arange(0, BP)
    P: tl.constexpr = C * HEIGHT * WIDTH
    image = tl.load(indices + n, mask=n < count, other=0)[:, None]
    squares = tl.zeros((BN,), tl.float32)
    products, lost = tl.zeros((BN, BZ), tl.float32), tl.zeros((BN, BZ), tl.float32)
    for first in range(0, P, BP):
        inside = (n < count)[:, None] & (first + p < P)[None, :]
        v = _entries(
            images, image, kinds, kind, first + p[None, :], inside, C, HEIGHT, WIDTH, OFFSET, MOVED, tl.float32
        )
        noisy = tl.load(
            z + b[None, :] * P + (first + p)[:, None], mask=(b < batch)[None, :] & (first + p < P)[:, None], other=0
        )
        more = tl.dot(v, noisy, input_precision=PRECISION) - lost
        total = products + more
        lost = (total - products) - more
        products = total
        squares += tl.sum(v * v, 1)
    scale = tl.load(scales + b, mask=b < batch, other=0)
    value = tl.load(priors + n, mask=n < count, other=0)[:, None] - scale[None, :] * (squares[:, None] - 2 * products)
    place = (b * tl.num_programs(2) + kind).to(tl.int64)[None, :] * count + n[:, None]
    tl.store(out + place, value, mask=(n < count)[:, None] & (b < batch)[None, :])


@triton.jit(do_not_specialize=["count", "size", "batch", "kind_count"])
def _numerator(
    images, indices, kinds, values, references_, corrections, out, count, size, batch, kind_count,
    C: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, OFFSET: tl.constexpr, MOVED: tl.constexpr, REAL: tl.constexpr,
    PRECISION: tl.constexpr, BN: tl.constexpr, BP: tl.constexpr, BZ: tl.constexpr,
):  # fmt: skip
    part = tl.program_id(2)
    b, p = tl.program_id(1) * BZ + tl.arange(0, BZ), tl.program_id(0) * BP + tl.arange(0, BP)
    P: tl.constexpr = C * HEIGHT * WIDTH
    reference = tl.load(references_ + b, mask=b < batch, other=float("inf"))
    correction = tl.load(corrections + b, mask=b < batch, other=0)
    last = tl.minimum((part + 1) * size, count)
    total = tl.zeros((BZ, BP), tl.float32)
    for kind in range(kind_count):
        for first in range(part * size, last, BN):
            n = first + tl.arange(0, BN)
            place = (b * kind_count + kind).to(tl.int64)[:, None] * count + n[None, :]
            known = (b < batch)[:, None] & (n < last)[None, :]
            value = tl.load(values + place, mask=known, other=LEAST)
            weights = tl.exp2((value - reference[:, None]).to(tl.float32)) * correction[:, None]
            if tl.max(weights) > 0:
                image = tl.load(indices + n, mask=n < last, other=0)[:, None]
                inside = (n < last)[:, None] & (p < P)[None, :]
                v = _entries(
                    images, image, kinds, kind, p[None, :], inside, C, HEIGHT, WIDTH, OFFSET, MOVED, tl.float32
                )
                total += tl.dot(weights, v, input_precision=PRECISION)
    place = (part * batch + b)[:, None] * P + p[None, :]
    tl.store(out + place, total, mask=(b < batch)[:, None] & (p < P)[None, :])


def logits(
    elements: Elements, z: torch.Tensor, scales: torch.Tensor, relative: bool, real: torch.dtype, precision: str
) -> torch.Tensor:
    """(B, T n) in `real`, bits: of every element, kind after kind. Arguments as in `separable.normalisers`."""
    if relative and real != torch.float32:
        raise ValueError("the relative form is computed in float32")
    count, kinds = len(elements), len(elements.kinds)
    out = z.new_empty((len(z), kinds * count), dtype=real)
    arguments = (
        elements.images, elements.indices, elements.log_priors.to(real), elements.kinds, z.to(real).contiguous(), scales.to(real),
    )  # fmt: skip
    tiles = triton.cdiv(count, IMAGES)
    if relative:
        _relative[triton.cdiv(len(z), NOISY), tiles, kinds](
            *arguments, out, count, len(z), **_constants(elements), PRECISION=precision, BZ=NOISY
        )
    else:
        number = tl.float64 if real == torch.float64 else tl.float32
        _direct[len(z), tiles, kinds](*arguments, out, count, **_constants(elements), REAL=number)
    return out


def log_normalisers(values: torch.Tensor) -> torch.Tensor:
    """Phase 1 from logits: (B, 1) float64, bits."""
    highest = values.amax(1, keepdim=True)
    mass = torch.exp2((values - highest).float()).sum(1, keepdim=True, dtype=torch.float64)
    return highest.double() + mass.log2()


def numerator(elements: Elements, values: torch.Tensor, log_normalisers: torch.Tensor, precision: str) -> torch.Tensor:
    """Phase 2 from logits and (B, 1) log-normalisers: (B, C, H, W) float64 in the working scale."""
    batch, shape = len(values), elements.images.shape[1:]
    parts = Parts.of(-(-len(elements) // IMAGES))  # of whole tiles
    size = parts.size * IMAGES
    count = -(-len(elements) // size)
    reference, correction = references(log_normalisers[:, 0], values.dtype)
    out = values.new_empty((count, batch, *shape), dtype=torch.float32)
    grid = triton.cdiv(shape.numel(), ENTRIES), triton.cdiv(batch, NOISY), count
    _numerator[grid](
        elements.images, elements.indices, elements.kinds, values, reference, correction, out, len(elements), size, batch,
        len(elements.kinds), **_constants(elements), REAL=tl.float64 if values.dtype == torch.float64 else tl.float32,
        PRECISION=precision, BZ=NOISY,
    )  # fmt: skip
    return out.sum(0, dtype=torch.float64) / elements.unit


def _constants(elements: Elements) -> dict:
    channels, height, width = elements.images.shape[1:]
    sizes = {"C": channels, "HEIGHT": height, "WIDTH": width, "OFFSET": elements.offset, "MOVED": elements.moved}
    return {**sizes, "BN": IMAGES, "BP": ENTRIES}
