"""Both phases for separable windows: boxes (PSPC-Square, LocalScore, ELS) and Gaussian windows.

With Q_k(y, x) = down[a, y] across[e, x], k = (a, e), all window sums of a difference image d are two small matrix products,

    S = down d across^T,        and the composite's weights are their transpose,   response_down^T w response_across.

A program holds `GROUP` images of H rows as one tile of GROUP H rows, so that the matrix units see tiles of 64 rows and more:

    (GROUP H, W) . (W, E)  ->  (GROUP, H, E) turned to (GROUP, E, H)  ->  (GROUP E, H) . (H, A)  =  (GROUP E, A)

Float32 differences are summed in float32. Where that does not do (`smalti.engine.precision`), differences and sums are float64, and a row
of them is written as four digits of ten bits relative to its largest entry. A digit is exact as an input of the matrix units, and so are
its sums over at most 2^13 entries in their float32 accumulators: each product is right to 2^-40 of the row's largest entry, at the speed
of the matrix units. That takes factors of 0 and 1, as boxes have.

Images are read twice, as bytes, in each phase once; all z of a batch read the same part of them at the same time, out of the L2 cache.
No array of the size elements x queries is ever written.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from smalti.engine.triton.calls import LOWEST, Elements, Parts, merged, next_power, references

__all__ = ["Separable", "normalisers", "numerator"]

LEAST = tl.constexpr(LOWEST)
DIGITS, BITS = tl.constexpr(4), tl.constexpr(10)
ROWS = 64  # of a tile
SIZES = ["count", "size", "kind_count", "kind_size", "ACROSS", "DOWN"]  # one compiled kernel serves all of them


@triton.jit
def _tile(
    images, image, kinds, kind, y, x, inside, channel,
    C: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, OFFSET: tl.constexpr, MOVED: tl.constexpr, REAL: tl.constexpr,
):  # fmt: skip
    """One channel of a tile of elements in stored units."""
    if MOVED:
        flip = tl.load(kinds + 3 * kind)
        y = (y + tl.load(kinds + 3 * kind + 1)) % HEIGHT
        x = (x + tl.load(kinds + 3 * kind + 2)) % WIDTH
        x = tl.where(flip != 0, WIDTH - 1 - x, x)
    place = (image * C + channel) * (HEIGHT * WIDTH) + y * WIDTH + x
    return tl.load(images + place, mask=inside, other=0).to(REAL) - OFFSET


@triton.jit
def _product(d, factor, REAL: tl.constexpr, PRECISION: tl.constexpr):
    """d (rows, n) . factor (n, columns) float32, in REAL. In float64 the factor is of 0 and 1: see the module."""
    if REAL == tl.float32:
        product = tl.dot(d, factor, input_precision=PRECISION)
    else:
        top = tl.max(tl.abs(d), 1) + 1e-300
        rest = d / top[:, None]
        product = tl.zeros((d.shape[0], factor.shape[1]), tl.float64)
        for j in tl.static_range(DIGITS):
            shift = 1.5 * 2.0 ** (52 - BITS * (j + 1))  # adding it rounds to a multiple of 2^(-BITS (j + 1))
            digit = (rest + shift) - shift
            rest -= digit
            product += tl.dot(digit.to(tl.float32), factor, input_precision="tf32").to(tl.float64)
        product *= top[:, None]
    return product


@triton.jit
def _logits(
    images, image, kinds, kind, z, y, x, inside, prior, scale, across, down,
    C: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, H: tl.constexpr, E: tl.constexpr, A: tl.constexpr, GROUP: tl.constexpr,
    OFFSET: tl.constexpr, MOVED: tl.constexpr, RELATIVE: tl.constexpr, REAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """(GROUP E, A) bits; z is doubled where the form is relative."""
    d = tl.zeros(inside.shape, REAL)
    for c in tl.static_range(C):
        v = _tile(images, image, kinds, kind, y, x, inside, c, C, HEIGHT, WIDTH, OFFSET, MOVED, REAL)
        noisy = tl.load(z + c * (HEIGHT * WIDTH) + y * WIDTH + x, mask=(y < HEIGHT) & (x < WIDTH), other=0)
        if RELATIVE:
            d += v * (v - noisy)
        else:
            v -= noisy
            d += v * v
    rows = _product(d, across, REAL, PRECISION)
    turned = tl.permute(tl.reshape(rows, (GROUP, H, E)), (0, 2, 1))
    sums = _product(tl.reshape(turned, (GROUP * E, H)), down, REAL, PRECISION)
    return prior[:, None] - scale * sums


@triton.jit(do_not_specialize=SIZES)
def _normalisers(
    images, indices, priors, kinds, admitted, z, scales, across_, down_, highest_, mass_, count, size, kind_count, kind_size, ACROSS, DOWN,
    C: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
    H: tl.constexpr, W: tl.constexpr, E: tl.constexpr, A: tl.constexpr, GROUP: tl.constexpr,
    OFFSET: tl.constexpr, MOVED: tl.constexpr, ADMITS: tl.constexpr, RELATIVE: tl.constexpr, REAL: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    b, part = tl.program_id(0), tl.program_id(1)
    slot = tl.program_id(2) * tl.num_programs(1) + part
    first_kind = tl.program_id(2) * kind_size
    row = tl.arange(0, GROUP * H)
    y, x = (row % H)[:, None], tl.arange(0, W)[None, :]
    line, a = tl.arange(0, GROUP * E), tl.arange(0, A)[None, :]
    e = (line % E)[:, None]
    across = tl.load(across_ + tl.arange(0, W)[:, None] * E + tl.arange(0, E)[None, :])
    down = tl.load(down_ + tl.arange(0, H)[:, None] * A + tl.arange(0, A)[None, :])
    scale = tl.load(scales + b)
    last = tl.minimum((part + 1) * size, count)

    highest = tl.full((GROUP * E, A), LEAST, REAL)
    mass = tl.zeros((GROUP * E, A), tl.float32)
    for kind in range(first_kind, tl.minimum(first_kind + kind_size, kind_count)):
        open_ = tl.full((GROUP * E, A), 1, tl.int1)
        if ADMITS:
            numbers = kind * (ACROSS * DOWN) + a * ACROSS + e
            open_ = tl.load(admitted + numbers, mask=(a < DOWN) & (e < ACROSS), other=0) != 0
        for first in range(part * size, last, GROUP):
            n, m = first + row // H, first + line // E
            image = tl.load(indices + n, mask=n < last, other=0)[:, None]
            prior = tl.load(priors + m, mask=m < last, other=LEAST)
            inside = (n < last)[:, None] & (y < HEIGHT) & (x < WIDTH)
            v = _logits(
                images, image, kinds, kind, z + b * (C * HEIGHT * WIDTH), y, x, inside, prior, scale, across, down,
                C, HEIGHT, WIDTH, H, E, A, GROUP, OFFSET, MOVED, RELATIVE, REAL, PRECISION,
            )  # fmt: skip
            v = tl.where((m < last)[:, None] & open_, v, LEAST)
            # one exponential: of the smaller of v and the highest so far, relative to the larger
            less = tl.exp2((-tl.abs(v - highest)).to(tl.float32))
            mass = tl.where(v > highest, mass * less + 1, mass + less)
            highest = tl.maximum(highest, v)

    whole = tl.reshape(highest, (GROUP, E, A))
    top = tl.max(whole, 0)
    shrunk = tl.reshape(mass, (GROUP, E, A)) * tl.exp2((whole - top[None]).to(tl.float32))
    out = (slot * tl.num_programs(0) + b) * (ACROSS * DOWN) + a * ACROSS + tl.arange(0, E)[:, None]
    real = (a < DOWN) & (tl.arange(0, E)[:, None] < ACROSS)
    tl.store(highest_ + out, top, mask=real)
    tl.store(mass_ + out, tl.sum(shrunk, 0), mask=real)


@triton.jit(do_not_specialize=SIZES)
def _numerator(
    images, indices, priors, kinds, admitted, z, scales, across_, down_, response_across_, response_down_, references_, corrections,
    out_, count, size, kind_count, kind_size, ACROSS, DOWN,
    C: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
    H: tl.constexpr, W: tl.constexpr, E: tl.constexpr, A: tl.constexpr, GROUP: tl.constexpr,
    OFFSET: tl.constexpr, MOVED: tl.constexpr, ADMITS: tl.constexpr, RELATIVE: tl.constexpr, PIXELS: tl.constexpr,
    REAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    b, part = tl.program_id(0), tl.program_id(1)
    slot = tl.program_id(2) * tl.num_programs(1) + part
    first_kind = tl.program_id(2) * kind_size
    row = tl.arange(0, GROUP * H)
    y, x = (row % H)[:, None], tl.arange(0, W)[None, :]
    line, a = tl.arange(0, GROUP * E), tl.arange(0, A)[None, :]
    e = (line % E)[:, None]
    across = tl.load(across_ + tl.arange(0, W)[:, None] * E + tl.arange(0, E)[None, :])
    down = tl.load(down_ + tl.arange(0, H)[:, None] * A + tl.arange(0, A)[None, :])
    scale = tl.load(scales + b)
    last = tl.minimum((part + 1) * size, count)
    query = b * (ACROSS * DOWN) + a * ACROSS + e
    real = (a < DOWN) & (e < ACROSS)
    reference = tl.load(references_ + query, mask=real, other=float("inf"))
    correction = tl.load(corrections + query, mask=real, other=0)
    if not PIXELS:
        response_across = tl.load(response_across_ + tl.arange(0, E)[:, None] * W + tl.arange(0, W)[None, :])
        response_down = tl.load(response_down_ + tl.arange(0, A)[:, None] * H + tl.arange(0, H)[None, :])

    totals = ()
    for _ in tl.static_range(C):
        totals = totals + (tl.zeros((GROUP * H, W), tl.float32),)
    for kind in range(first_kind, tl.minimum(first_kind + kind_size, kind_count)):
        open_ = real
        if ADMITS:
            numbers = kind * (ACROSS * DOWN) + a * ACROSS + e
            open_ = tl.load(admitted + numbers, mask=real, other=0) != 0
        for first in range(part * size, last, GROUP):
            n, m = first + row // H, first + line // E
            image = tl.load(indices + n, mask=n < last, other=0)[:, None]
            prior = tl.load(priors + m, mask=m < last, other=LEAST)
            inside = (n < last)[:, None] & (y < HEIGHT) & (x < WIDTH)
            v = _logits(
                images, image, kinds, kind, z + b * (C * HEIGHT * WIDTH), y, x, inside, prior, scale, across, down,
                C, HEIGHT, WIDTH, H, E, A, GROUP, OFFSET, MOVED, RELATIVE, REAL, PRECISION,
            )  # fmt: skip
            weights = tl.exp2((v - reference).to(tl.float32)) * correction
            weights = tl.where((m < last)[:, None] & open_, weights, 0)
            if PIXELS:
                spread = weights
            else:
                spread = tl.dot(weights, response_down, input_precision=PRECISION)
            spread = tl.permute(tl.reshape(spread, (GROUP, E, H)), (0, 2, 1))
            spread = tl.reshape(spread, (GROUP * H, E))
            if not PIXELS:
                spread = tl.dot(spread, response_across, input_precision=PRECISION)
            added = ()
            for c in tl.static_range(C):
                v = _tile(images, image, kinds, kind, y, x, inside, c, C, HEIGHT, WIDTH, OFFSET, MOVED, tl.float32)
                added = added + (totals[c] + spread * v,)
            totals = added

    for c in tl.static_range(C):
        total = tl.sum(tl.reshape(totals[c], (GROUP, H, W)), 0)
        yy, xx = tl.arange(0, H)[:, None], tl.arange(0, W)[None, :]
        place = ((slot * tl.num_programs(0) + b) * C + c) * (HEIGHT * WIDTH) + yy * WIDTH + xx
        tl.store(out_ + place, total, mask=(yy < HEIGHT) & (xx < WIDTH))


class Separable:
    """Factors of the windows, padded to what matrix products take, on a device.

    Args:
        queries: (A, H) and (E, W) float64, window (a, e)(y, x) = down[a, y] across[e, x].
        responses: the same of the responses, as many.
    """

    def __init__(
        self,
        queries: tuple[torch.Tensor, torch.Tensor],
        responses: tuple[torch.Tensor, torch.Tensor],
        device: torch.device,
    ) -> None:
        (down, across), (response_down, response_across) = queries, responses
        self.down_count, self.height = down.shape
        self.across_count, self.width = across.shape
        self.H, self.W = next_power(self.height), next_power(self.width)
        self.A, self.E = next_power(self.down_count), next_power(self.across_count)
        self.group = max(1, ROWS // self.H)
        self.factors = down.to(device), across.to(device)
        self.across = _padded(across.T, self.W, self.E, device).float()
        self.down = _padded(down.T, self.H, self.A, device).float()
        self.response_down = _padded(response_down, self.A, self.H, device).float()
        self.response_across = _padded(response_across, self.E, self.W, device).float()
        self.boxes = bool(((down == 0) | (down == 1)).all()) and bool(((across == 0) | (across == 1)).all())
        # a response that is its own pixel needs no products
        self.pixels = _is_identity(response_down) and _is_identity(response_across)

    def __len__(self) -> int:
        return self.down_count * self.across_count

    def counts(self) -> tuple[int, int]:
        """E and A, of windows."""
        return self.across_count, self.down_count

    def sums(self, d: torch.Tensor) -> torch.Tensor:
        """Window sums of (B, H, W) float64: (B, K)."""
        return (self.factors[0] @ d @ self.factors[1].T).flatten(1)

    def sizes(self) -> dict[str, int]:
        """Of images and tiles, as the kernels name them."""
        return {
            "HEIGHT": self.height,
            "WIDTH": self.width,
            "H": self.H,
            "W": self.W,
            "E": self.E,
            "A": self.A,
            "GROUP": self.group,
        }

    def warps(self, real: torch.dtype) -> int:
        """By the registers that a tile takes."""
        large = max(self.H, self.A) * max(self.W, self.E) * self.group >= 64 * 64
        return 8 if large or real == torch.float64 else 4


def normalisers(
    windows: Separable,
    elements: Elements,
    z: torch.Tensor,
    scales: torch.Tensor,
    relative: bool,
    real: torch.dtype,
    precision: str,
) -> torch.Tensor:
    """Phase 1.

    Args:
        windows, elements: on the device of z.
        z: (B, C, H, W) float64, stored units.
        scales: (B,) float64, log2(e)/(2 sigma^2) in stored units.
        relative: the form; normalisers are then relative too.
        real: torch.float32 or float64, of distances.
        precision: of products of float32, as `tl.dot` names it.

    Returns:
        (B, K) float64, bits.
    """
    parts = Parts.of(len(elements))
    kinds = parts.times(len(elements.kinds))
    shape = parts.count * kinds.count, len(z), len(windows)
    highest, mass = z.new_empty(shape, dtype=real), z.new_empty(shape, dtype=torch.float32)
    _normalisers[len(z), parts.count, kinds.count](
        *_arguments(elements, z, scales, relative, real), windows.across, windows.down, highest, mass,
        len(elements), parts.size, len(elements.kinds), kinds.size, *windows.counts(),
        **_constants(windows, elements, z, relative, real, precision),
    )  # fmt: skip
    return merged(highest, mass)


def numerator(
    windows: Separable, elements: Elements, z: torch.Tensor, scales: torch.Tensor, log_normalisers: torch.Tensor, relative: bool,
    real: torch.dtype, precision: str,
) -> torch.Tensor:  # fmt: skip
    """Phase 2, as `normalisers`, with its result: (B, C, H, W) float64 in the working scale."""
    parts = Parts.of(len(elements))
    kinds = parts.times(len(elements.kinds))
    reference, correction = references(log_normalisers, real)
    out = z.new_empty((parts.count * kinds.count, *z.shape), dtype=torch.float32)
    _numerator[len(z), parts.count, kinds.count](
        *_arguments(elements, z, scales, relative, real), windows.across, windows.down, windows.response_across,
        windows.response_down, reference, correction, out, len(elements), parts.size, len(elements.kinds), kinds.size, *windows.counts(),
        **_constants(windows, elements, z, relative, real, precision), PIXELS=windows.pixels,
    )  # fmt: skip
    return out.sum(0, dtype=torch.float64) / elements.unit


def _arguments(elements: Elements, z: torch.Tensor, scales: torch.Tensor, relative: bool, real: torch.dtype) -> tuple:
    admitted = elements.kinds if elements.admitted is None else elements.admitted  # not read where all are admitted
    noisy = (2 * z if relative else z).to(real).contiguous()
    return (
        elements.images, elements.indices, elements.log_priors.to(real), elements.kinds, admitted, noisy, scales.to(real),
    )  # fmt: skip


def _constants(
    windows: Separable, elements: Elements, z: torch.Tensor, relative: bool, real: torch.dtype, precision: str
) -> dict:
    return {
        "C": z.shape[1],
        **windows.sizes(),
        "OFFSET": elements.offset,
        "MOVED": elements.moved,
        "ADMITS": elements.admitted is not None,
        "RELATIVE": relative,
        "REAL": tl.float64 if real == torch.float64 else tl.float32,
        "PRECISION": precision,
        "num_warps": windows.warps(real),
    }


def _padded(matrix: torch.Tensor, rows: int, columns: int, device: torch.device) -> torch.Tensor:
    out = torch.zeros(rows, columns, dtype=torch.float64)
    out[: matrix.shape[0], : matrix.shape[1]] = matrix
    return out.to(device)


def _is_identity(matrix: torch.Tensor) -> bool:
    return matrix.shape[0] == matrix.shape[1] and torch.equal(matrix, torch.eye(len(matrix), dtype=matrix.dtype))
