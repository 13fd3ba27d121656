"""Both phases for windows of any form: products with the matrix of masks.

A tile of differences (elements, entries) is made in registers and multiplied with a tile of masks (entries, queries); the log-sum-exp is
taken of the product where it is. A response that is the query's own pixel or entry adds its weight times the element's value there. Other
responses are a second product, (elements, queries) . (queries, entries), and its weights are kept for some thousand elements at a time.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from smalti.engine.triton.calls import LOWEST, Elements, Parts, merged, references
from smalti.engine.triton.whole import _entries

__all__ = ["Masked", "normalisers", "numerator"]

LEAST = tl.constexpr(LOWEST)
IMAGES, QUERIES, ENTRIES = 64, 64, 32  # of a tile
KEPT = 1 << 26  # weights of one z, float32
ALL_KEPT = 1 << 28  # of several


@triton.jit
def _logits(
    images, image, kinds, kind, z, masks, n, k, last, priors, scale,
    C: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, K: tl.constexpr, CHANNELS: tl.constexpr,
    OFFSET: tl.constexpr, MOVED: tl.constexpr, RELATIVE: tl.constexpr, PRECISION: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    BP: tl.constexpr,
):  # fmt: skip
    """(BN, BK) bits; z is doubled where the form is relative."""
    P: tl.constexpr = CHANNELS * HEIGHT * WIDTH
    SAME: tl.constexpr = C // CHANNELS  # channels that one entry of a mask stands for
    sums = tl.zeros((BN, BK), tl.float32)
    for first in range(0, P, BP):
        p = first + tl.arange(0, BP)
        inside = (n < last)[:, None] & (p < P)[None, :]
        d = tl.zeros((BN, BP), tl.float32)
        for c in tl.static_range(SAME):
            entry = p + c * P
            v = _entries(
                images, image, kinds, kind, entry[None, :], inside, C, HEIGHT, WIDTH, OFFSET, MOVED, tl.float32
            )
            noisy = tl.load(z + entry, mask=p < P, other=0)[None, :]
            if RELATIVE:
                d += v * (v - noisy)
            else:
                v -= noisy
                d += v * v
        mask = tl.load(masks + p[:, None] * K + k[None, :], mask=(p < P)[:, None] & (k < K)[None, :], other=0)
        sums += tl.dot(d, mask, input_precision=PRECISION)
    prior = tl.load(priors + n, mask=n < last, other=0)
    return tl.where((n < last)[:, None], prior[:, None] - scale * sums, LEAST)


@triton.jit(do_not_specialize=["count", "size", "kind_count"])
def _normalisers(
    images, indices, priors, kinds, admitted, z, scales, masks, highest_, mass_, count, size, kind_count,
    C: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, K: tl.constexpr, CHANNELS: tl.constexpr,
    OFFSET: tl.constexpr, MOVED: tl.constexpr, ADMITS: tl.constexpr, RELATIVE: tl.constexpr, PRECISION: tl.constexpr,
    BN: tl.constexpr, BK: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    part, b = tl.program_id(1), tl.program_id(2)
    k = tl.program_id(0) * BK + tl.arange(0, BK)
    scale = tl.load(scales + b)
    last = tl.minimum((part + 1) * size, count)
    highest = tl.full((BN, BK), LEAST, tl.float32)
    mass = tl.zeros((BN, BK), tl.float32)
    for kind in range(kind_count):
        open_ = tl.full((BK,), 1, tl.int1)
        if ADMITS:
            open_ = tl.load(admitted + kind * K + k, mask=k < K, other=0) != 0
        for first in range(part * size, last, BN):
            n = first + tl.arange(0, BN)
            image = tl.load(indices + n, mask=n < last, other=0)[:, None]
            v = _logits(
                images, image, kinds, kind, z + b * (C * HEIGHT * WIDTH), masks, n, k, last, priors, scale, C, HEIGHT, WIDTH, K,
                CHANNELS, OFFSET, MOVED, RELATIVE, PRECISION, BN, BK, BP,
            )  # fmt: skip
            v = tl.where(open_[None, :], v, LEAST)
            less = tl.exp2(-tl.abs(v - highest))
            mass = tl.where(v > highest, mass * less + 1, mass + less)
            highest = tl.maximum(highest, v)
    top = tl.max(highest, 0)
    out = (part * tl.num_programs(2) + b) * K + k
    tl.store(highest_ + out, top, mask=k < K)
    tl.store(mass_ + out, tl.sum(mass * tl.exp2(highest - top[None, :]), 0), mask=k < K)


@triton.jit(do_not_specialize=["start", "count", "size", "kind_count"])
def _weights(
    images, indices, priors, kinds, admitted, z, scales, masks, references_, corrections, out, start, count, size, kind_count,
    C: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, K: tl.constexpr, CHANNELS: tl.constexpr,
    OFFSET: tl.constexpr, MOVED: tl.constexpr, ADMITS: tl.constexpr, RELATIVE: tl.constexpr, PRECISION: tl.constexpr,
    KEEP: tl.constexpr, ANSWERS: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    """KEEP: weights of elements start .. count - 1 of one kind, (B, count - start, K). Else: what own pixels or entries sum to."""
    part, b = tl.program_id(1), tl.program_id(2)
    k = tl.program_id(0) * BK + tl.arange(0, BK)
    scale = tl.load(scales + b)
    last = tl.minimum(start + (part + 1) * size, count)
    reference = tl.load(references_ + b * K + k, mask=k < K, other=float("inf"))
    correction = tl.load(corrections + b * K + k, mask=k < K, other=0)
    totals = ()
    for _ in tl.static_range(ANSWERS):
        totals = totals + (tl.zeros((BN, BK), tl.float32),)
    for kind in range(kind_count):
        open_ = k < K
        if ADMITS:
            open_ = tl.load(admitted + kind * K + k, mask=k < K, other=0) != 0
        for first in range(start + part * size, last, BN):
            n = first + tl.arange(0, BN)
            image = tl.load(indices + n, mask=n < last, other=0)[:, None]
            v = _logits(
                images, image, kinds, kind, z + b * (C * HEIGHT * WIDTH), masks, n, k, last, priors, scale, C, HEIGHT, WIDTH, K,
                CHANNELS, OFFSET, MOVED, RELATIVE, PRECISION, BN, BK, BP,
            )  # fmt: skip
            weights = tl.where(open_[None, :], tl.exp2(v - reference[None, :]) * correction[None, :], 0)
            if KEEP:
                place = (b * (count - start) + n - start).to(tl.int64)[:, None] * K + k[None, :]
                tl.store(out + place, weights, mask=(n < last)[:, None] & (k < K)[None, :])
            else:
                inside = (n < last)[:, None] & (k < K)[None, :]
                added = ()
                for c in tl.static_range(ANSWERS):
                    v = _entries(
                        images,
                        image,
                        kinds,
                        kind,
                        (k + c * K)[None, :],
                        inside,
                        C,
                        HEIGHT,
                        WIDTH,
                        OFFSET,
                        MOVED,
                        tl.float32,
                    )
                    added = added + (totals[c] + weights * v,)
                totals = added
    if not KEEP:
        for c in tl.static_range(ANSWERS):
            place = ((part * tl.num_programs(2) + b) * ANSWERS + c) * K + k
            tl.store(out + place, tl.sum(totals[c], 0), mask=k < K)


@triton.jit(do_not_specialize=["start", "count", "size", "kind"])
def _spread(
    images, indices, kinds, weights, responses, out, start, count, size, kind,
    C: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, K: tl.constexpr, CHANNELS: tl.constexpr,
    OFFSET: tl.constexpr, MOVED: tl.constexpr, PRECISION: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, BP: tl.constexpr,
):  # fmt: skip
    part, b = tl.program_id(1), tl.program_id(2)
    P: tl.constexpr = CHANNELS * HEIGHT * WIDTH
    SAME: tl.constexpr = C // CHANNELS
    p = tl.program_id(0) * BP + tl.arange(0, BP)
    last = tl.minimum(start + (part + 1) * size, count)
    totals = ()
    for _ in tl.static_range(SAME):
        totals = totals + (tl.zeros((BN, BP), tl.float32),)
    for first in range(start + part * size, last, BN):
        n = first + tl.arange(0, BN)
        image = tl.load(indices + n, mask=n < last, other=0)[:, None]
        spread = tl.zeros((BN, BP), tl.float32)
        for lowest in range(0, K, BK):
            k = lowest + tl.arange(0, BK)
            place = (b * (count - start) + n - start).to(tl.int64)[:, None] * K + k[None, :]
            w = tl.load(weights + place, mask=(n < last)[:, None] & (k < K)[None, :], other=0)
            response = tl.load(
                responses + k[:, None] * P + p[None, :], mask=(k < K)[:, None] & (p < P)[None, :], other=0
            )
            spread += tl.dot(w, response, input_precision=PRECISION)
        inside = (n < last)[:, None] & (p < P)[None, :]
        added = ()
        for c in tl.static_range(SAME):
            v = _entries(
                images, image, kinds, kind, (p + c * P)[None, :], inside, C, HEIGHT, WIDTH, OFFSET, MOVED, tl.float32
            )
            added = added + (totals[c] + spread * v,)
        totals = added
    for c in tl.static_range(SAME):
        place = (part * tl.num_programs(2) + b) * (C * HEIGHT * WIDTH) + c * P + p
        tl.store(out + place, tl.sum(totals[c], 0), mask=p < P)


class Masked:
    """Masks of queries and responses on a device.

    Args:
        queries: (K, C or 1, H, W).
        responses: the same, as many; or "pixels" (K = H W) or "entries" (K = C H W) where each query answers with its own alone.
    """

    def __init__(self, queries: torch.Tensor, responses: torch.Tensor | str, device: torch.device) -> None:
        self.count, self.channels = queries.shape[:2]
        self.matrix = queries.flatten(1).T.to(device, torch.float32).contiguous()  # (P, K)
        self.own = responses if isinstance(responses, str) else None
        self.responses: torch.Tensor | None = None
        if isinstance(responses, torch.Tensor):
            self.response_channels = responses.shape[1]
            self.responses = responses.flatten(1).to(device, torch.float32).contiguous()  # (K, P)

    def __len__(self) -> int:
        return self.count

    def sums(self, d: torch.Tensor) -> torch.Tensor:
        """Window sums of (B, C, H, W) float64: (B, K)."""
        d = d.sum(1, keepdim=True) if self.channels == 1 else d
        return d.flatten(1) @ self.matrix.double()


def normalisers(
    windows: Masked, elements: Elements, z: torch.Tensor, scales: torch.Tensor, relative: bool, precision: str
) -> torch.Tensor:
    """Phase 1, in float32: (B, K) float64, bits. Arguments as in `separable.normalisers`."""
    parts = Parts.of(-(-len(elements) // IMAGES))
    size = parts.size * IMAGES
    count = -(-len(elements) // size)
    shape = count, len(z), len(windows)
    highest, mass = (z.new_empty(shape, dtype=torch.float32) for _ in range(2))
    _normalisers[triton.cdiv(len(windows), QUERIES), count, len(z)](
        *_arguments(windows, elements, z, scales, relative), highest, mass, len(elements), size, len(elements.kinds),
        **_constants(elements, relative, precision), K=len(windows), CHANNELS=windows.channels,
    )  # fmt: skip
    return merged(highest, mass)


def numerator(
    windows: Masked, elements: Elements, z: torch.Tensor, scales: torch.Tensor, log_normalisers: torch.Tensor, relative: bool,
    precision: str,
) -> torch.Tensor:  # fmt: skip
    """Phase 2, as `normalisers`, with its result: (B, C, H, W) float64 in the working scale."""
    reference, correction = references(log_normalisers, torch.float32)
    if windows.own is not None:
        return _own(windows, elements, z, scales, reference, correction, relative, precision)
    some = max(1, KEPT // len(windows) // IMAGES) * IMAGES  # elements whose weights are kept; the same for every batch
    together = max(1, ALL_KEPT // (min(some, len(elements)) * len(windows)))
    rows = [slice(low, low + together) for low in range(0, len(z), together)]
    parts = [
        _by_product(windows, elements, z[r], scales[r], reference[r], correction[r], relative, precision, some)
        for r in rows
    ]
    return torch.cat(parts)


def _own(
    windows: Masked, elements: Elements, z: torch.Tensor, scales: torch.Tensor, reference: torch.Tensor, correction: torch.Tensor,
    relative: bool, precision: str,
) -> torch.Tensor:  # fmt: skip
    parts = Parts.of(-(-len(elements) // IMAGES))
    size = parts.size * IMAGES
    count = -(-len(elements) // size)
    answers = z.shape[1] if windows.own == "pixels" else 1
    out = z.new_empty((count, *z.shape), dtype=torch.float32)
    _weights[triton.cdiv(len(windows), QUERIES), count, len(z)](
        *_arguments(windows, elements, z, scales, relative), reference, correction, out, 0, len(elements), size, len(elements.kinds),
        **_constants(elements, relative, precision), K=len(windows), CHANNELS=windows.channels, KEEP=False, ANSWERS=answers,
    )  # fmt: skip
    return out.sum(0, dtype=torch.float64) / elements.unit


def _by_product(
    windows: Masked, elements: Elements, z: torch.Tensor, scales: torch.Tensor, reference: torch.Tensor, correction: torch.Tensor,
    relative: bool, precision: str, some: int,
) -> torch.Tensor:  # fmt: skip
    total = torch.zeros_like(z, dtype=torch.float64)
    arguments = _arguments(windows, elements, z, scales, relative)
    constants = _constants(elements, relative, precision)
    for kind in range(len(elements.kinds)):
        one = elements.kinds[kind : kind + 1]
        admitted = one if elements.admitted is None else elements.admitted[kind : kind + 1]
        for start in range(0, len(elements), some):
            end = min(start + some, len(elements))
            weights = z.new_empty((len(z), end - start, len(windows)), dtype=torch.float32)
            _weights[triton.cdiv(len(windows), QUERIES), triton.cdiv(end - start, IMAGES), len(z)](
                *arguments[:3], one, admitted, *arguments[5:], reference, correction, weights, start, end, IMAGES, 1,
                **constants, K=len(windows), CHANNELS=windows.channels, KEEP=True, ANSWERS=0,
            )  # fmt: skip
            parts = Parts.of(-(-(end - start) // IMAGES))
            size = parts.size * IMAGES
            count = -(-(end - start) // size)
            out = z.new_empty((count, *z.shape), dtype=torch.float32)
            entries = windows.responses.shape[1]  # type: ignore[union-attr]
            sizes = {name: value for name, value in constants.items() if name not in ("ADMITS", "RELATIVE")}
            _spread[triton.cdiv(entries, ENTRIES), count, len(z)](
                elements.images, elements.indices, one, weights, windows.responses, out, start, end, size, 0,
                **sizes, K=len(windows), CHANNELS=windows.response_channels,
            )  # fmt: skip
            total += out.sum(0, dtype=torch.float64)
    return total / elements.unit


def _arguments(windows: Masked, elements: Elements, z: torch.Tensor, scales: torch.Tensor, relative: bool) -> tuple:
    admitted = elements.kinds if elements.admitted is None else elements.admitted
    noisy = (2 * z if relative else z).float().contiguous()
    return (
        elements.images, elements.indices, elements.log_priors.float(), elements.kinds, admitted, noisy, scales.float(), windows.matrix,
    )  # fmt: skip


def _constants(elements: Elements, relative: bool, precision: str) -> dict:
    channels, height, width = elements.images.shape[1:]
    sizes = {"C": channels, "HEIGHT": height, "WIDTH": width, "OFFSET": elements.offset, "MOVED": elements.moved}
    forms = {"ADMITS": elements.admitted is not None, "RELATIVE": relative, "PRECISION": precision}
    return {**sizes, **forms, "BN": IMAGES, "BK": QUERIES, "BP": ENTRIES}
