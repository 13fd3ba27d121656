"""The `numba` backend: compiled loops on the CPU for boxes at the same place (`Full`, `Crops`, `Centred`), on threads.

Geometry and merging are here, the loops in `kernels`. A flip is done to z instead of to every image: the distance between z and the
flipped image is that between the flipped z and the image, so a source with flips costs twice, and no image is moved.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from smalti.engine import kernels
from smalti.engine.backend import Backend
from smalti.engine.elements import Selection
from smalti.engine.kernels import LANES
from smalti.engine.precision import FULL_ERROR, WINDOW_ERROR, double
from smalti.engine.threads import in_order
from smalti.engine.torch_backend import TorchBackend
from smalti.engine.windows import Boxes, Full

if TYPE_CHECKING:
    from smalti.engine.collection import PosteriorMeanCollection

__all__ = ["NumbaBackend"]

CHUNK = 1024  # images; fixed, so that results do not depend on the number of threads
SAMPLE = 32  # images that the mean square is taken of
LOG2E = 1 / math.log(2)
LOWEST = -126.0  # bits: weights below are 0
TRUSTED_GAP = (
    40.0  # bits: a float32 error below this cannot turn a weight that underflows (126 bits) into one that matters
)


class _Geometry:
    """Where everything lies in planes and on the canvas (see `kernels`): queries `box`, responses `reply`, on one grid of anchors."""

    def __init__(self, box: Boxes, reply: Boxes, shape: tuple[int, int, int]) -> None:
        _, self.height, self.width = shape
        self.box, self.reply = box, reply
        rows, columns = box.rows, box.columns
        top = max(0, -box.top, -reply.top)
        left = max(0, -box.left, -reply.left)
        right = max(0, columns - 1 + max(box.right, reply.right) - self.width)
        bottom = max(0, rows - 1 + max(box.bottom, reply.bottom) - self.height)
        # wide enough that what leaves a row on one side meets only zeros, for window sums and for their transposes
        self.stride = max(
            self.width + max(left, right),
            columns + max(box.right, reply.right) - 1,
            self.width - min(box.left, reply.left),
        )
        self.first = left + top * self.stride
        self.windows = _padded((rows - 1) * self.stride + columns)
        self.plane = _padded(self.height * self.width)
        reach = [
            self._start(b) + _padded(self.windows + (b.bottom - b.top - 1) * self.stride + b.right - b.left - 1)
            for b in (box, reply)
        ]
        below = self.first + max(self.plane, (self.height + bottom) * self.stride)
        self.layout = (
            self.height,
            self.width,
            self.stride,
            self.first,
            _padded(max(*reach, below)) + 2 * LANES,
            box.bottom - box.top,
            box.right - box.left,
            self._start(box),
            self.windows,
        )

    def _start(self, box: Boxes) -> int:
        """Where the box of the first anchor begins on the canvas."""
        return self.first + box.top * self.stride + box.left

    def inner(self, box: Boxes) -> tuple[int, int, int]:
        return box.bottom - box.top, box.right - box.left, self._start(box)

    def outer(self, box: Boxes) -> tuple[int, int, int, int]:
        """Box sides; where a weight spread over them is read: pixel q collects the windows q - (top .. bottom - 1, left .. right - 1).

        Spread from its window k over its box, a weight lies at k + (0 .. bottom - top - 1, ...); pixel k + (top, left) is that first
        place. The last two numbers are how far pixel 0 lies after (`lead`) or before (`before`) window 0's first place.
        """
        shift = -(box.top * self.stride + box.left)
        return box.bottom - box.top, box.right - box.left, max(shift, 0), max(-shift, 0)

    def planes(self, images: np.ndarray, dtype: type) -> np.ndarray:
        """(B, C, H, W) -> (B, C, plane)."""
        out = _aligned((*images.shape[:2], self.plane), dtype)
        out[..., : self.height * self.width] = images.reshape(*images.shape[:2], -1)
        return out

    def spread(self, values: np.ndarray, fill: float) -> np.ndarray:
        """(B, K) -> (B, windows): windows at their places, `fill` between the rows and after them."""
        grid = np.full((len(values), self.box.rows, self.stride), fill)
        grid[..., : self.box.columns] = values.reshape(len(values), self.box.rows, self.box.columns)
        out = np.full((len(values), self.windows), fill)
        used = min(self.windows, self.box.rows * self.stride)
        out[:, :used] = grid.reshape(len(values), -1)[:, :used]
        return out

    def gather(self, values: np.ndarray) -> np.ndarray:
        """(B, windows) -> (B, K)."""
        grid = np.zeros((len(values), max(self.windows, self.box.rows * self.stride)), values.dtype)
        grid[:, : self.windows] = values
        grid = grid[:, : self.box.rows * self.stride].reshape(len(values), self.box.rows, self.stride)
        return grid[..., : self.box.columns].reshape(len(values), -1)

    def images(self, planes: np.ndarray) -> np.ndarray:
        """(B, C, plane) -> (B, C, H, W)."""
        return planes[..., : self.height * self.width].reshape(*planes.shape[:2], self.height, self.width)

    def mirror(self, values: np.ndarray) -> np.ndarray:
        """(B, K) of the flipped image -> (B, K) in the places of the unflipped windows."""
        return values.reshape(len(values), self.box.rows, self.box.columns)[..., ::-1].reshape(len(values), -1)


class NumbaBackend(Backend):
    name = "numba"

    def unsupported(self, collection: PosteriorMeanCollection, device: torch.device) -> str | None:
        if device.type != "cpu":
            return f"it computes on the CPU, and z is on {device}"
        boxes = collection.queries.boxes(collection.shape), collection.responses.boxes(collection.shape)
        if boxes[0] is None or boxes[1] is None:
            return "it knows boxes only (Full, Crops, Centred)"
        if (boxes[0].rows, boxes[0].columns) != (boxes[1].rows, boxes[1].columns):
            return "its queries and responses must lie on one grid"
        if collection.shifts != [(0, 0)]:
            return "it compares the same place only"
        if collection.source.hflip and not all(box.mirrored(collection.shape[2]) for box in boxes if box):
            return "these windows are not symmetric under the flips of the source"
        return None

    def log_normalisers(
        self, collection: PosteriorMeanCollection, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> torch.Tensor:
        return torch.from_numpy(_program(collection, z, sigma, selection).normalisers())

    def numerator(
        self,
        collection: PosteriorMeanCollection,
        z: torch.Tensor,
        sigma: torch.Tensor,
        log_normalisers: torch.Tensor,
        selection: Selection,
    ) -> torch.Tensor:
        program = _program(collection, z, sigma, selection)
        return torch.from_numpy(program.numerator(log_normalisers.double().cpu().numpy()))

    def both_phases(
        self, collection: PosteriorMeanCollection, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> torch.Tensor:
        program = _program(collection, z, sigma, selection)
        return torch.from_numpy(program.both_phases())

    def covariance_product(
        self,
        collection: PosteriorMeanCollection,
        z: torch.Tensor,
        sigma: torch.Tensor,
        direction: torch.Tensor,
        selection: Selection,
        transpose: bool,
    ) -> torch.Tensor:
        program = _program(collection, z, sigma, selection)
        if not isinstance(program, _BoxProgram):  # one window: plain matrix products are as fast
            return TorchBackend().covariance_product(collection, z, sigma, direction, selection, transpose)
        return torch.from_numpy(program.covariance_product(direction.detach().double().numpy(), transpose))


def _program(
    collection: PosteriorMeanCollection, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
) -> _BoxProgram | _FullProgram:
    box, reply = collection.queries.boxes(collection.shape), collection.responses.boxes(collection.shape)
    assert box is not None
    assert reply is not None
    whole = (box.rows, box.columns) == (1, 1) and box == reply == Full().boxes(collection.shape)
    return (_FullProgram if whole else _BoxProgram)(collection, z, sigma, selection)


class _Program:
    """What the two kinds share: z with its flips in stored units, scales, chunks.

    Stored units: uint8 images count as u - 127.5 = 127.5 x, float32 ones as they are; both are multiples of the working scale.
    """

    def __init__(
        self, collection: PosteriorMeanCollection, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> None:
        self.collection, self.selection = collection, selection
        self.flips = 2 if collection.source.hflip else 1
        self.batch = len(z)
        images = np.asarray(collection.source.images)
        self.unit = self.offset = 127.5 if images.dtype == np.uint8 else 1.0
        if images.dtype != np.uint8:
            self.offset = 0.0
        self.images = images.reshape(len(images), images.shape[1], -1)
        self.images.flags.writeable = False  # one compiled type for arrays in memory and on disk
        self.z = self.with_flips(z.detach().double().numpy() * self.unit)
        self.scales = np.tile(LOG2E / (2 * sigma.numpy() ** 2 * self.unit**2), self.flips)
        self.log_priors = selection.log_priors * LOG2E
        some = self.images[selection.indices[:: max(1, len(selection) // SAMPLE)]].astype(np.float64) - self.offset
        # (flips B,): whether noise is most of the distances, sigma^2 against the images' mean square, in stored units
        self.noisy = LOG2E / (2 * self.scales) >= (some**2).mean()

    def with_flips(self, images: np.ndarray) -> np.ndarray:
        """(B, C, H, W) -> (flips B, C, H, W): the images, then their mirror images."""
        return np.concatenate([images, images[..., ::-1]]) if self.flips == 2 else images

    def fold(self, images: np.ndarray) -> np.ndarray:
        """The transpose of `with_flips`: (flips B, C, H, W) -> (B, C, H, W), mirrored back and added."""
        return images[: self.batch] + images[self.batch :, ..., ::-1] if self.flips == 2 else images

    def both_flips(self, b: np.ndarray) -> np.ndarray:
        """Numbers of some z and, with flips, of their mirror images."""
        return np.concatenate([b, b + self.batch]) if self.flips == 2 else b


def _aligned(shape: tuple[int, ...], dtype: type | np.dtype) -> np.ndarray:
    """Zeros that begin at a cache line, as `kernels.scratch`."""
    size = np.dtype(dtype).itemsize
    flat = np.zeros(int(np.prod(shape)) + kernels.ALIGNMENT // size, dtype)
    start = -flat.ctypes.data % kernels.ALIGNMENT // size
    return flat[start : start + int(np.prod(shape))].reshape(shape)


def _aligned_copy(values: np.ndarray, dtype: type) -> np.ndarray:
    out = _aligned(values.shape, dtype)
    out[...] = values
    return out


def _padded(n: int) -> int:
    """As `kernels.padded`."""
    return -(-n // LANES) * LANES


def _chunks(elements: np.ndarray) -> list[np.ndarray]:
    return [elements[i : i + CHUNK] for i in range(0, len(elements), CHUNK)]


@dataclass(frozen=True)
class _Normalisers:
    """Base-2 log-normalisers in two parts, highest + log2(mass): what a sum of thousands of bits would lose to rounding is kept."""

    highest: np.ndarray
    mass: np.ndarray

    def merged(self, other: _Normalisers) -> _Normalisers:
        top = np.maximum(self.highest, other.highest)
        return _Normalisers(top, self.mass * np.exp2(self.highest - top) + other.mass * np.exp2(other.highest - top))

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> _Normalisers:
        return _Normalisers(function(self.highest), function(self.mass))

    def natural(self) -> np.ndarray:
        return (self.highest + np.log2(self.mass)) / LOG2E

    @classmethod
    def of_natural(cls, values: np.ndarray) -> _Normalisers:
        base2 = values * LOG2E
        highest = base2.astype(np.float32).astype(np.float64)
        return cls(highest, np.exp2(base2 - highest))


class _BoxProgram(_Program):
    def __init__(
        self, collection: PosteriorMeanCollection, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> None:
        super().__init__(collection, z, sigma, selection)
        box, reply = collection.queries.boxes(collection.shape), collection.responses.boxes(collection.shape)
        assert box is not None
        assert reply is not None
        self.geometry = _Geometry(box, reply, collection.shape)
        # from phase 1 to phase 2: which images weigh anything
        self.alive = np.ones((len(self.z), len(selection)), np.uint8)
        self.baselines = self._baselines()
        factors = collection.queries.factors(collection.shape)
        assert factors is not None
        rows, columns = (factor.numpy() for factor in factors)
        images = self.baselines[:, : self.z[0, 0].size].reshape(-1, *self.z.shape[2:])
        # (flips B, K), base 2: what the baseline takes from every logit
        self.shifts = (rows @ images @ columns.T).reshape(len(images), -1) * self.scales[:, None]

    def _baselines(self) -> np.ndarray:
        """(flips B, plane): squared distances to the middle of the scale where noise is most of them, else 0 (see `precision`)."""
        planes = np.zeros((len(self.z), self.geometry.plane))
        squares = (self.z**2).sum(1).reshape(len(self.z), -1)
        planes[:, : squares.shape[1]] = np.where(self.noisy[:, None], squares, 0)
        return planes

    def _arguments(
        self, batch: np.ndarray, chosen: np.ndarray, real: type, z: np.ndarray, baselines: np.ndarray
    ) -> tuple:
        """What every kernel takes first."""
        return (
            self.images,
            real(self.offset),
            self.selection.indices[chosen],
            self.log_priors[chosen].astype(real),
            z,
            baselines,
            self.scales[batch].astype(real),
            self.geometry.layout,
        )

    def _inputs(self, batch: np.ndarray, real: type) -> tuple[np.ndarray, np.ndarray]:
        return self.geometry.planes(self.z[batch], real), _aligned_copy(self.baselines[batch], real)

    def normalisers(self) -> np.ndarray:
        """Phase 1: (B, K) natural log-normalisers."""
        found = self.relative_normalisers()
        return _Normalisers(found.highest - self._own(self.shifts), found.mass).natural()

    def _own(self, values: np.ndarray) -> np.ndarray:
        """The part of (flips B, ...) that belongs to the z themselves."""
        return values[: self.batch]

    def relative_normalisers(self) -> _Normalisers:
        """Phase 1, relative to the baseline: (B, K); float64 distances where float32 would not do."""
        everything = np.arange(len(self.selection))
        shape = len(self.z), self.geometry.box.rows * self.geometry.box.columns
        found = _Normalisers(np.empty(shape), np.empty(shape))
        self._phase_one(np.arange(len(self.z)), everything, np.float32, found)
        largest = np.abs(self._join(found).highest).max(1)
        for b in np.flatnonzero(double(largest / LOG2E, WINDOW_ERROR)):
            both = self.both_flips(np.array([b]))
            trusted = largest[b] * WINDOW_ERROR * 4 < TRUSTED_GAP
            elements = np.flatnonzero(self.alive[both].any(0)) if trusted else everything
            self._phase_one(both, elements, np.float64, found)
        return self._join(found)

    def _join(self, values: _Normalisers) -> _Normalisers:
        """Normalisers of both flips as one."""
        if self.flips == 1:
            return values
        return values.map(self._own).merged(values.map(lambda v: self.geometry.mirror(v[self.batch :])))

    def _phase_one(self, batch: np.ndarray, elements: np.ndarray, real: type, out: _Normalisers) -> None:
        """Relative normalisers of the z numbered `batch` over `elements` of the selection, into the rows `batch` of out."""
        geometry = self.geometry
        z, baselines = self._inputs(batch, real)
        chunks = _chunks(elements)
        alive = np.zeros((len(batch), len(self.selection)), np.uint8)

        def work(number: int) -> _Normalisers:
            chosen = chunks[number]
            highest = _aligned((len(batch), geometry.windows), real)
            highest[...] = -np.inf
            totals = _aligned(highest.shape, real)
            flags = np.zeros((len(batch), len(chosen)), np.uint8)
            kernels.box_normalisers(*self._arguments(batch, chosen, real, z, baselines), highest, totals, flags)
            alive[:, chosen] = flags
            return _Normalisers(highest.astype(np.float64), totals.astype(np.float64))

        found = functools.reduce(_Normalisers.merged, in_order(work, len(chunks))).map(geometry.gather)
        out.highest[batch], out.mass[batch] = found.highest, found.mass
        self.alive[batch] = alive

    def numerator(self, log_normalisers: np.ndarray) -> np.ndarray:
        """Phase 2: (B, C, H, W) in the working scale, from (B, K) natural log-normalisers."""
        return self.relative_numerator(_Normalisers.of_natural(log_normalisers + self._own(self.shifts) / LOG2E))

    def both_phases(self) -> np.ndarray:
        return self.relative_numerator(self.relative_normalisers())

    def _spread(self, normalisers: _Normalisers) -> tuple[np.ndarray, np.ndarray]:
        """References and corrections for the kernels, (flips B, windows); no weight where there is no window."""
        with np.errstate(divide="ignore"):
            corrections = np.where(normalisers.mass > 0, 1 / normalisers.mass, 0)
        pair = normalisers.highest, corrections
        if self.flips == 2:
            pair = tuple(np.concatenate([v, self.geometry.mirror(v)]) for v in pair)  # type: ignore[assignment]
        return self.geometry.spread(pair[0], np.inf), self.geometry.spread(pair[1], 0.0)

    def relative_numerator(self, normalisers: _Normalisers) -> np.ndarray:
        geometry = self.geometry
        references, corrections = self._spread(normalisers)
        needed = np.tile(double(np.abs(normalisers.highest).max(1) / LOG2E, WINDOW_ERROR), self.flips)
        total = np.zeros((len(self.z), self.z.shape[1], geometry.plane))
        for batch, real in ((np.flatnonzero(~needed), np.float32), (np.flatnonzero(needed), np.float64)):
            if len(batch):
                pair = _aligned_copy(references[batch], real), _aligned_copy(corrections[batch], real)
                total[batch] = self._phase_two(batch, real, *pair)
        return self.fold(geometry.images(total)) / self.unit

    def _phase_two(self, batch: np.ndarray, real: type, references: np.ndarray, corrections: np.ndarray) -> np.ndarray:
        geometry = self.geometry
        z, baselines = self._inputs(batch, real)
        chunks = _chunks(np.flatnonzero(self.alive[batch].any(0)))

        def work(number: int) -> np.ndarray:
            chosen = chunks[number]
            numerator = _aligned((len(batch), z.shape[1], geometry.plane), real)
            alive = np.ascontiguousarray(self.alive[np.ix_(batch, chosen)])
            arguments = self._arguments(batch, chosen, real, z, baselines)
            outer = geometry.outer(geometry.reply)
            kernels.box_numerator(*arguments, outer, references, corrections, alive, numerator)
            return numerator

        return sum(in_order(work, len(chunks)), np.zeros((len(batch), z.shape[1], geometry.plane)))

    def covariance_product(self, direction: np.ndarray, transpose: bool) -> np.ndarray:
        """sum_k outer_k * Cov_k(x, x) (inner_k * direction): (B, C, H, W) float64, working scale."""
        geometry = self.geometry
        inner, outer = (geometry.reply, geometry.box) if transpose else (geometry.box, geometry.reply)
        references, corrections = self._spread(self.relative_normalisers())
        everyone = np.arange(len(self.z))
        z, baselines = self._inputs(everyone, np.float64)
        along = geometry.planes(self.with_flips(direction), np.float64)
        chunks = _chunks(np.flatnonzero(self.alive.any(0)))
        means = np.zeros((len(self.z), geometry.windows))

        def work(number: int, centred: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            mean = means if centred else np.zeros_like(means)
            mass = np.zeros_like(means)
            numerator = np.zeros((*self.z.shape[:2], geometry.plane))
            kernels.box_covariance(
                *self._arguments(everyone, chunks[number], np.float64, z, baselines),
                geometry.inner(inner),
                geometry.outer(outer),
                along,
                references,
                corrections,
                mean,
                centred,
                mass,
                numerator,
            )
            return mass, mean, numerator

        mass, mean = np.zeros_like(means), np.zeros_like(means)
        for part in in_order(lambda number: work(number, False), len(chunks)):
            mass += part[0]
            mean += part[1]
        if self.flips == 2:  # one posterior over images and their flips
            mass, mean = (self._of_both(values) for values in (mass, mean))
        means[:] = mean / np.where(mass > 0, mass, 1)
        total = np.zeros((*self.z.shape[:2], geometry.plane))
        for part in in_order(lambda number: work(number, True), len(chunks)):
            total += part[2]
        return self.fold(geometry.images(total)) / self.unit**2

    def _of_both(self, values: np.ndarray) -> np.ndarray:
        """(2 B, windows) sums over images and over flipped images -> their sum, at the places of each."""
        compact = self.geometry.gather(values)
        joined = compact[: self.batch] + self.geometry.mirror(compact[self.batch :])
        return self.geometry.spread(np.concatenate([joined, self.geometry.mirror(joined)]), 0.0)


class _FullProgram(_Program):
    """One window, all of the image: one distance per image, kept from phase 1 to phase 2."""

    def __init__(
        self, collection: PosteriorMeanCollection, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> None:
        super().__init__(collection, z, sigma, selection)
        self.flat = self.images.reshape(len(self.images), -1)
        self.points = self.z.reshape(len(self.z), -1)
        # (flips B, 1), base 2: what relative distances take from every logit
        self.shifts = (np.where(self.noisy, (self.points**2).sum(1), 0) * self.scales)[:, None]
        self._logits: np.ndarray | None = None

    def logits(self) -> np.ndarray:
        """(flips B, n) base 2, float64, relative to `shifts`; from float64 distances where they matter and float32 would not do."""
        if self._logits is None:
            everyone = np.arange(len(self.z))
            values = self._distances(everyone, np.arange(len(self.selection)), np.float32)
            values *= -self.scales[:, None]
            values += self.log_priors
            best = np.abs(values.max(1))
            for b in np.flatnonzero(double(best / LOG2E, FULL_ERROR)):
                close = np.flatnonzero(values[b] > values[b].max() - 2.0**-20 * best[b] - 128)
                exact = self._distances(np.array([b]), close, np.float64)[0]
                values[b, close] = self.log_priors[close] - exact * self.scales[b]
            self._logits = values
        return self._logits

    def _distances(self, batch: np.ndarray, elements: np.ndarray, real: type) -> np.ndarray:
        relative = self.noisy[batch]
        z = (self.points[batch] * np.where(relative, 2, 1)[:, None]).astype(real)
        chunks = _chunks(elements)
        distances = np.empty((len(batch), len(elements)))

        def work(number: int) -> np.ndarray:
            part = np.empty((len(batch), len(chunks[number])))
            indices = self.selection.indices[chunks[number]]
            kernels.full_distances(self.flat, real(self.offset), indices, z, relative.astype(np.uint8), part)
            return part

        for number, part in enumerate(in_order(work, len(chunks))):
            distances[:, number * CHUNK : number * CHUNK + part.shape[1]] = part
        return distances

    def normalisers(self) -> np.ndarray:
        """Phase 1: (B, 1) natural log-normalisers."""
        found = self.relative_normalisers()
        return _Normalisers(found.highest - self.shifts[: self.batch], found.mass).natural()

    def relative_normalisers(self) -> _Normalisers:
        logits = self.logits()
        highest = logits.max(1, keepdims=True)
        found = _Normalisers(highest, np.exp2(logits - highest).sum(1, keepdims=True))
        if self.flips == 1:
            return found
        return found.map(lambda v: v[: self.batch]).merged(found.map(lambda v: v[self.batch :]))

    def numerator(self, log_normalisers: np.ndarray) -> np.ndarray:
        """Phase 2: (B, C, H, W) in the working scale, from (B, 1) natural log-normalisers."""
        return self.relative_numerator(_Normalisers.of_natural(log_normalisers + self.shifts[: self.batch] / LOG2E))

    def both_phases(self) -> np.ndarray:
        return self.relative_numerator(self.relative_normalisers())

    def relative_numerator(self, normalisers: _Normalisers) -> np.ndarray:
        logits = self.logits()
        highest, mass = (np.tile(v, (self.flips, 1)) for v in (normalisers.highest, normalisers.mass))
        needed = np.flatnonzero((logits - highest).max(0) >= LOWEST)
        chunks = _chunks(needed)

        def work(number: int) -> np.ndarray:
            gaps = np.minimum(logits[:, chunks[number]] - highest, kernels.GAP_LIMIT).astype(np.float32)
            weights = np.where(gaps >= LOWEST, np.exp2(gaps), 0) / mass
            numerator = np.zeros(self.points.shape, np.float32)
            indices = self.selection.indices[chunks[number]]
            kernels.full_numerator(self.flat, np.float32(self.offset), indices, weights.astype(np.float32), numerator)
            return numerator

        total = sum(in_order(work, len(chunks)), np.zeros(self.points.shape))
        return self.fold(total.reshape(len(total), *self.collection.shape)) / self.unit
