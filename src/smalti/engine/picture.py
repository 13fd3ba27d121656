"""Patches of pictures at every place: posterior means of crops of a z that may be of any size.

For every p x p crop k of z (B, C, h, w), at all places inside it, or all around where z wraps:

    l_k^i  = -1/(2 sigma^2) |z_k - x^i|^2           over all p x p patches x^i at all places of all pictures
    w_k^i  = exp(l_k^i) / sum_i exp(l_k^i)
    E_k    = sum_i w_k^i x^i                        the mean patch
    D      = sum_k R E_k / sum_k R                  each put back in its place, weighted within the crop: R(y, x) = r(y) r(x)

This is a collection of filtered posterior means with `Crops(p)` as queries and `EveryPlace` as match, in which z and the pictures need
not have the same size. `reference_composite` is the specification, in float64 on patches written out; `PictureProgram` computes the
same in two phases on box sums (`smalti.engine.compiled.picture_kernels`). At equal sizes and with r = 1 it is the collection itself.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from smalti.engine.compiled.records import EDGE, Candidates, Comparison, Heaviest, Normaliser, Picture
from smalti.engine.running import LOG2E, merged_sums
from smalti.engine.threads import in_order

__all__ = ["PictureProgram", "Places", "admitted", "gaussian_response", "mean_patch", "put_back", "reference_composite"]

LOWEST = -1e30
DOUBLE = (
    1700.0  # a logit (natural): from here on float32 sums, off by 2^-23 of them at most, could move an output by 1e-4
)
FIRST = 8  # one part of so many says what the best elements are like
FEW = 8  # elements of these that weigh as much as the best, on average: with more, there are two passes over all
ROOM = 64  # candidates a window, on average
CHUNKS = 32  # parts of the shifts of the rows, which are taken two at a time
BLOCK = 2048  # crops of z whose means the reference has in memory at a time
Sums = tuple[np.ndarray, np.ndarray, np.ndarray]  # a numerator, and what weighs most
OUTSIDE = (
    1e12  # what pixels outside a mask are: no window is near a patch that has one, at any sigma that weights depend on
)


def gaussian_response(side: int, width: float) -> torch.Tensor:
    """r: a Gaussian about the middle of a crop, (side,) float64, its largest value 1.

    Args:
        side: p.
        width: standard deviation as a share of half the side, > 0; infinity gives 1 everywhere.
    """
    if math.isinf(width):
        return torch.ones(side, dtype=torch.float64)
    offset = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    return torch.exp(-(offset**2) / (2 * (width * side / 2) ** 2))


def canvas(z: torch.Tensor, side: int, wrap: bool) -> torch.Tensor:
    """(..., h, w), continued around by p - 1 rows and columns where it wraps: its crops inside are all crops."""
    if not wrap:
        return z
    rows = torch.arange(z.shape[-2] + side - 1) % z.shape[-2]
    columns = torch.arange(z.shape[-1] + side - 1) % z.shape[-1]
    return z[..., rows[:, None], columns[None]]


def folded(values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The adjoint of `canvas`: sums on the canvas, added up where they belong."""
    for axis, length in ((-2, size[0]), (-1, size[1])):
        index = torch.arange(values.shape[axis]) % length
        shape = list(values.shape)
        shape[axis] = length
        values = torch.zeros(shape, dtype=values.dtype).index_add_(axis, index, values)
    return values


def coverage(size: tuple[int, int], response: torch.Tensor, wrap: bool) -> torch.Tensor:
    """sum_k R, (h, w) float64."""
    side = len(response)
    factors = []
    for length in size:
        windows = torch.ones(1, 1, length if wrap else length - side + 1, dtype=torch.float64)
        spread = functional.conv_transpose1d(windows, response[None, None])
        factors.append(folded(spread, (1, length))[0, 0])
    return torch.outer(factors[0], factors[1])


def admitted(mask: torch.Tensor, side: int) -> torch.Tensor:
    """Which patches lie wholly in a mask (H, W): (H - p + 1, W - p + 1) bool."""
    inside = functional.avg_pool2d((~mask).double()[None, None], side, 1)[0, 0]
    return inside == 0


def mean_patch(pictures: Sequence[torch.Tensor], masks: Sequence[torch.Tensor], side: int) -> torch.Tensor:
    """The mean of all patches that lie wholly in the masks: (C, p, p) float64."""
    total, count = torch.zeros(pictures[0].shape[0], side, side, dtype=torch.float64), 0
    for picture, mask in zip(pictures, masks, strict=True):
        inside = admitted(mask, side)
        count += int(inside.sum())
        for y in range(side):
            for x in range(side):
                part = picture.double()[:, y : y + inside.shape[0], x : x + inside.shape[1]]
                total[:, y, x] += (part * inside).sum((1, 2))
    return total / count


def put_back(patch: torch.Tensor, size: tuple[int, int], response: torch.Tensor, wrap: bool) -> torch.Tensor:
    """The composite in which every crop has the same mean patch (C, p, p): (C, h, w) float64."""
    side = len(response)
    rows, columns = (length if wrap else length - side + 1 for length in size)
    window = torch.outer(response, response).double()
    windows = torch.ones(1, 1, rows, columns, dtype=torch.float64)
    numerator = functional.conv_transpose2d(windows, (patch * window)[None])[0]
    return folded(numerator, size) / coverage(size, response.double(), wrap)


def reference_composite(
    pictures: Sequence[torch.Tensor],
    z: torch.Tensor,
    sigma: float,
    response: torch.Tensor,
    wrap: bool = False,
    masks: Sequence[torch.Tensor] | None = None,
) -> torch.Tensor:
    """D by its definition, in float64.

    Args:
        pictures: each (C, H, W), H, W >= p.
        z: (B, C, h, w), h, w >= p.
        sigma: > 0.
        response: r, (p,).
        wrap: whether z wraps around.
        masks: each (H, W) bool, for each picture; patches that are not wholly in them are left out.

    Returns:
        (B, C, h, w) float64.
    """
    side, size = len(response), (z.shape[-2], z.shape[-1])
    on_canvas = canvas(z.double(), side, wrap)
    queries = functional.unfold(on_canvas, side).transpose(1, 2)  # (B, K, C p p)
    patches = torch.cat([functional.unfold(picture.double()[None], side)[0].T for picture in pictures])
    if masks is not None:
        patches = patches[torch.cat([admitted(mask, side).flatten() for mask in masks])]
    means = []
    for rows in queries.flatten(0, 1).split(BLOCK):
        squares = torch.stack([(patches - row).square().sum(1) for row in rows])
        means.append(torch.softmax(-squares / (2 * sigma**2), 1) @ patches)
    window = torch.outer(response, response).double().flatten().repeat(z.shape[1])
    weighted = (torch.cat(means) * window).reshape(queries.shape).transpose(1, 2)
    numerator = functional.fold(weighted, on_canvas.shape[-2:], side)
    return folded(numerator, size) / coverage(size, response.double(), wrap)


@dataclass(frozen=True)
class Places:
    """Where the pixels of one z came from: of all places that its windows look at, the one that weighs most.

    Attributes:
        picture: (h, w) int64, number of the picture.
        row, column: (h, w) int64, the pixel of that picture.
        share: (h, w) float64, its weight among all, 0 to 1.
    """

    picture: np.ndarray
    row: np.ndarray
    column: np.ndarray
    share: np.ndarray


class PictureProgram:
    """Both phases on box sums, on threads; the same bits whatever their number.

    Distances are float32. Where few elements of a window can weigh (low noise), one pass finds all that may, by `gap` and by what float32
    sums can be off, from the best of an eighth of them, and their weights are computed in float64. Where many do, there are two
    passes of box sums, in float64 where logits are so large that float32 would not do.

    Args:
        pictures: each (C, H, W) floating.
        response: r, (p,).
        wrap: whether z wraps around.
        gap: bits below the best logit of a window at which an element is left out (`smalti.engine.pruning`).
        masks: each (H, W) bool, for each picture; patches that are not wholly in them are left out: at distances of 1e24, so that sigma
            must be below 1e11 where there are any.
    """

    def __init__(
        self,
        pictures: Sequence[torch.Tensor],
        response: torch.Tensor,
        wrap: bool,
        gap: float,
        masks: Sequence[torch.Tensor] | None = None,
    ) -> None:
        self.largest = max(float(picture.abs().max()) for picture in pictures)
        if masks is not None:
            pictures = [
                picture.double().masked_fill(~mask, OUTSIDE) for picture, mask in zip(pictures, masks, strict=True)
            ]
        self.pictures = [_padded(picture.double().numpy()) for picture in pictures]
        self.singles = [_single(picture) for picture in self.pictures]
        self.response, self.wrap, self.gap = response.double(), wrap, gap
        self.side = len(response)

    def composite(self, z: torch.Tensor, sigma: float) -> torch.Tensor:
        """D of (C, h, w): (C, h, w) float64."""
        return self._run(z, sigma, False)[0]

    def places(self, z: torch.Tensor, sigma: float) -> Places:
        """Where the pixels of D(z) come from, for z (C, h, w)."""
        places = self._run(z, sigma, True)[1]
        assert places is not None
        return places

    def _run(self, z: torch.Tensor, sigma: float, ask: bool) -> tuple[torch.Tensor, Places | None]:
        size = (z.shape[-2], z.shape[-1])
        precise = _padded(canvas(z.double(), self.side, self.wrap).numpy())
        single = _single(precise)
        scale = LOG2E / (2 * sigma**2)
        numbers = range(len(self._parts(single)))
        seen, rest = numbers[::FIRST], [number for number in numbers if number % FIRST]
        highest, mass = self._normalisers(single, scale, seen)
        candidates = None
        if mass.mean() <= FEW:
            candidates = self._candidates(single, precise, scale, self._limits(single, scale, highest))
        if candidates is not None:
            numerator, heaviest = self._scattered(precise, candidates, ask)
        else:
            highest, mass = merged_sums(highest, mass, *self._normalisers(single, scale, rest))
            if -highest.min() / LOG2E > DOUBLE:
                single = precise
                highest, mass = self._normalisers(single, scale, numbers)
            numerator, heaviest = self._numerator(single, scale, highest, mass, ask)
        covered = coverage(size, self.response, self.wrap)
        composite = folded(torch.from_numpy(numerator), size) / covered
        return composite, None if heaviest is None else _places(heaviest, size, covered)

    def _source(self, z: Picture) -> list[Picture]:
        """The pictures in z's type."""
        return self.singles if z.pixels.dtype == np.float32 else self.pictures

    def _parts(self, z: Picture) -> list[tuple[int, np.ndarray]]:
        """(picture, every other shift of the rows) of every chunk; neighbours in one chunk differ, so that chunks cost alike."""
        parts = []
        for number, picture in enumerate(self.pictures):
            shifts = np.arange(self.side - z.shape[1], picture.shape[1] - self.side + 1, 2)
            chunks = min(CHUNKS, len(shifts))
            parts += [(number, shifts[part::chunks]) for part in range(chunks)]
        return parts

    def _windows(self, z: Picture) -> tuple[int, int]:
        return z.shape[1] - self.side + 1, z.shape[2] - self.side + 1

    def _normalisers(self, z: Picture, scale: float, numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Phase 1 over these parts: the largest logits, and sums relative to them."""
        from smalti.engine.compiled.picture_kernels import picture_normalisers

        parts, pictures, windows = self._parts(z), self._source(z), self._windows(z)

        def work(number: int) -> tuple[np.ndarray, np.ndarray]:
            picture, shifts = parts[numbers[number]]
            highest, mass = np.full(windows, LOWEST), np.zeros(windows)
            comparison = Comparison(self.side, shifts, scale, self.gap)
            picture_normalisers(pictures[picture], z, comparison, highest, mass)
            return highest, mass

        highest, mass = np.full(windows, LOWEST), np.zeros(windows)
        for part_highest, part_mass in in_order(work, len(numbers)):
            highest, mass = merged_sums(highest, mass, part_highest, part_mass)
        return highest, mass

    def _limits(self, z: Picture, scale: float, highest: np.ndarray) -> np.ndarray:
        """The logits, in bits, from which elements are candidates: `gap` below the best, and twice what float32 logits can be off.

        A distance d of n entries is off by at most u (m d + 2 e sqrt(n d) + n u e^2): u = 2^-24, m the additions on the way to it and two
        for its logit, e the sum of the largest pixels of the two, which are rounded to float32. Here d is that of a candidate, d <= D +
        what the best is off, D = (gap - highest) / scale; since 2 u e sqrt(n d) <= d / 22 + 22 n (u e)^2, d <= 1.1 (D + 23 n (u e)^2).
        """
        entries, unit = z.shape[0] * self.side**2, 2.0**-24
        pixels = self.largest + float(np.abs(z.pixels).max())
        distance = 1.1 * ((self.gap - highest) / scale + 23 * entries * (unit * pixels) ** 2)
        additions = z.shape[0] + 3 * self.side + 4
        off = unit * (additions * distance + 2 * pixels * np.sqrt(entries * distance) + entries * unit * pixels**2)
        return np.nextafter((highest - self.gap - 2 * scale * off).astype(np.float32), np.float32(-np.inf))

    def _candidates(self, z: Picture, precise: Picture, scale: float, limits: np.ndarray) -> list[Candidates] | None:
        """What may weigh, a chunk each, with weights; None where it is too much."""
        from smalti.engine.compiled.picture_kernels import picture_candidates

        parts = self._parts(z)
        room = max(1024, 2 * ROOM * limits.size // len(parts))
        overflow = threading.Event()

        def work(number: int) -> Candidates | None:
            picture, shifts = parts[number]
            found = Candidates(np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room))
            comparison = Comparison(self.side, shifts, scale, self.gap)
            exact = (self.pictures[picture].pixels, precise.pixels)
            count = -1
            if not overflow.is_set():
                count = picture_candidates(self.singles[picture], z, comparison, limits, exact, found)
            if count < 0:
                overflow.set()
                return None
            return Candidates(*(values[:count].copy() for values in found))

        chunks = []
        for chunk in in_order(work, len(parts)):
            if chunk is None:
                return None
            chunks.append(chunk)
        highest, mass = np.full(limits.size, -np.inf), np.zeros(limits.size)
        for windows, _, logits in chunks:
            np.maximum.at(highest, windows, logits)
        heavy = []
        for chunk in chunks:
            chosen = chunk.logits >= highest[chunk.windows] - self.gap
            windows, places, logits = (values[chosen] for values in chunk)
            weights = np.exp2(logits - highest[windows])
            mass += np.bincount(windows, weights, limits.size)
            heavy.append(Candidates(windows, places, weights))
        return [Candidates(windows, places, weights / mass[windows]) for windows, places, weights in heavy]

    def _scattered(
        self, z: Picture, candidates: list[Candidates], ask: bool
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray] | None]:
        from smalti.engine.compiled.picture_kernels import picture_scatter

        parts = self._parts(z)
        response, windows_wide = self.response.numpy(), self._windows(z)[1]

        def work(number: int) -> Sums:
            picture = self.pictures[parts[number][0]]
            sums, heaviest = _results(z.shape, ask)
            meet = np.zeros(z.shape[1] * z.shape[2] + EDGE if ask else 0)
            chunk = _by_shift(candidates[number], picture.shape[2], windows_wide) if ask else candidates[number]
            picture_scatter(picture, z.shape[2], response, chunk, sums, heaviest, meet)
            return sums, *heaviest

        return self._added(z, work, ask)

    def _numerator(
        self, z: Picture, scale: float, highest: np.ndarray, mass: np.ndarray, ask: bool
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray] | None]:
        from smalti.engine.compiled.picture_kernels import picture_numerator

        parts, pictures = self._parts(z), self._source(z)
        response = self.response.numpy().astype(np.float32)
        normaliser = Normaliser(highest.astype(z.pixels.dtype), (1 / mass).astype(np.float32))

        def work(number: int) -> Sums:
            picture, shifts = parts[number]
            sums, heaviest = _results(z.shape, ask)
            comparison = Comparison(self.side, shifts, scale, self.gap)
            picture_numerator(pictures[picture], z, comparison, response, normaliser, sums, heaviest)
            return sums, *heaviest

        return self._added(z, work, ask)

    def _added(
        self, z: Picture, work: Callable[[int], Sums], ask: bool
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray] | None]:
        """What all chunks found: the sum of numerators, and of what weighs most the largest and its picture."""
        parts = self._parts(z)
        numerator, (best, where) = _results(z.shape, ask)
        which = np.zeros(best.shape, np.int64)
        for number, (sums, weight, place) in enumerate(in_order(work, len(parts))):
            numerator += sums
            heavier = weight > best
            best, where = np.where(heavier, weight, best), np.where(heavier, place, where)
            which = np.where(heavier, parts[number][0], which)
        return numerator[:-EDGE].reshape(z.shape), (best, where, which) if ask else None


def _padded(values: np.ndarray) -> Picture:
    """(C, H, W) for the kernels, which read a little beyond the first and last rows and their ends."""
    lead = 2 * values.shape[2] + EDGE
    return Picture(np.pad(values.reshape(-1), lead), lead, tuple(values.shape))


def _single(picture: Picture) -> Picture:
    return picture._replace(pixels=picture.pixels.astype(np.float32))


def _by_shift(candidates: Candidates, width: int, windows_wide: int) -> Candidates:
    """Those of one shift after another; pictures are `width` wide, and there are so many windows beside each other."""
    windows, places, _ = candidates
    order = np.lexsort((places % width - windows % windows_wide, places // width - windows // windows_wide))
    return Candidates(*(values[order] for values in candidates))


def _results(shape: tuple[int, ...], ask: bool) -> tuple[np.ndarray, Heaviest]:
    """Room for a numerator on the canvas, and for what weighs most where that is asked for."""
    asked = shape[1:] if ask else (0, 0)
    return np.zeros(math.prod(shape) + EDGE), Heaviest(np.zeros(asked, np.float32), np.zeros((2, *asked), np.int64))


def _places(
    heaviest: tuple[np.ndarray, np.ndarray, np.ndarray], size: tuple[int, int], covered: torch.Tensor
) -> Places:
    """From the canvas to z: where rows or columns are on it twice, the copy with the larger weight counts."""
    weight, where, which = heaviest
    best = np.zeros(size, np.float32)
    row, column, picture = (np.zeros(size, np.int64) for _ in range(3))
    for top in range(0, weight.shape[0], size[0]):
        for left in range(0, weight.shape[1], size[1]):
            part = (slice(top, top + size[0]), slice(left, left + size[1]))
            here = (slice(0, weight[part].shape[0]), slice(0, weight[part].shape[1]))
            heavier = weight[part] > best[here]
            for target, values in (
                (best, weight[part]),
                (row, where[0][part]),
                (column, where[1][part]),
                (picture, which[part]),
            ):
                target[here] = np.where(heavier, values, target[here])
    return Places(picture, row, column, np.minimum(1, best / covered.numpy()))
