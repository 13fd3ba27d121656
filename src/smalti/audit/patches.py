"""The training patch that is most like each patch of an image: at its place or a few pixels beside it, mirrored or not.

For a p x p patch z of an image and a patch x of a training image, with the mean of each channel taken away from both (z', x'),

    likeness(z, x) = <z', x'> / (max(|z'|, sqrt(n) f) max(|x'|, sqrt(n) f)),   n = C p^2,  f = 0.1 (13 of 255 grey levels)

which is their correlation, but for the floor f: 1 for a copy, whatever its brightness and contrast. Patches with a smaller standard
deviation than f count the less the flatter they are, since flat patches are like each other everywhere. Negative likeness counts as 0.
Patches begin at every `step`-th row and column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from smalti.core.errors import InputError
from smalti.core.pieces import Arrays, Batch, Pieces
from smalti.core.validation import check_count, check_integer
from smalti.engine.elements import stored, units
from smalti.engine.threads import in_order
from smalti.source import Source

__all__ = ["FLOOR", "PatchMatches", "best_patches", "default_side", "likeness_of", "step_of"]

FLOOR = 0.1  # standard deviation, working scale
BATCH = 16  # images that are searched for, and kept, together
BLOCK = 256  # training images in memory at a time
KEPT = 1 << 30  # bytes of training images and their sums that stay in memory
NONE = -1  # where nothing is alike

Advance = Callable[[int], object]


@dataclass(frozen=True)
class PatchMatches:
    """For n images, R x K patches each, the most alike training patch.

    Attributes:
        side: p.
        rows, columns: (R,), (K,) int64, where patches begin.
        likeness: (n, R, K) float64, 0 to 1.
        images: (n, R, K) int64, the stored images; -1 where nothing is alike at all.
        places: (n, R, K, 2) int64, (row, column) where the patch begins in the stored image.
        mirrored: (n, R, K) bool, whether it is alike after a horizontal flip.
        shape: (H, W) of the images.
    """

    side: int
    rows: np.ndarray
    columns: np.ndarray
    likeness: np.ndarray
    images: np.ndarray
    places: np.ndarray
    mirrored: np.ndarray
    shape: tuple[int, int]

    def __len__(self) -> int:
        return len(self.likeness)

    def reached(self, share: float) -> np.ndarray:
        """(n,) the likeness that a share of an image's patches reach or exceed, 0 < share <= 1."""
        flat = np.sort(self.likeness.reshape(len(self), -1), axis=1)
        return flat[:, -max(1, math.ceil(share * flat.shape[1]))]

    def covered(self, number: int, limit: float) -> np.ndarray:
        """(H, W) bool: the pixels of image `number` in patches of more than this likeness."""
        mask = np.zeros(self.shape, bool)
        for r, k in zip(*np.nonzero(self.likeness[number] > limit), strict=True):
            top, left = self.rows[r], self.columns[k]
            mask[top : top + self.side, left : left + self.side] = True
        return mask

    def owners(self, number: int) -> np.ndarray:
        """(H, W) int64: for each pixel of image `number` which patch (r K + k) that covers it is most like training; -1 for none."""
        owner = np.full(self.shape, NONE)
        likeness = self.likeness[number].ravel()
        for flat in np.argsort(likeness, kind="stable"):
            if self.images[number].ravel()[flat] != NONE:
                top, left = self.rows[flat // len(self.columns)], self.columns[flat % len(self.columns)]
                owner[top : top + self.side, left : left + self.side] = flat
        return owner

    def rebuilt(self, number: int, source: Source) -> torch.Tensor:
        """Image `number` out of its most alike training patches, brightness and contrast as theirs: (C, H, W); black where none is."""
        found = self.by_pixel(number)
        alike = found["images"] != NONE
        y, x = np.indices(self.shape)
        down, right = y - found["tops"], x - found["lefts"]
        right = np.where(found["mirrored"], self.side - 1 - right, right)
        stored = np.unique(found["images"][alike])
        out = torch.full((source.shape[0], *self.shape), -1.0)
        if len(stored):
            pixels = source.working(stored)
            which = np.searchsorted(stored, found["images"][alike])
            rows, columns = (found["rows"] + down)[alike], (found["columns"] + right)[alike]
            out[:, torch.from_numpy(alike)] = pixels[which, :, rows, columns].T
        return out

    def by_pixel(self, number: int) -> dict[str, np.ndarray]:
        """For each pixel of image `number` its most alike patch, (H, W) each: "likeness", "images", "tops" and "lefts" of the patch in the
        image, "rows" and "columns" of its partner in the training image, and "mirrored"; likeness 0 and image -1 for none."""
        owner = self.owners(number)
        flat = np.maximum(owner, 0)
        r, k = np.divmod(flat, len(self.columns))
        places = self.places[number][r, k]
        return {
            "likeness": np.where(owner == NONE, 0, self.likeness[number][r, k]),
            "images": np.where(owner == NONE, NONE, self.images[number][r, k]),
            "tops": self.rows[r],
            "lefts": self.columns[k],
            "rows": places[..., 0],
            "columns": places[..., 1],
            "mirrored": self.mirrored[number][r, k],
        }

    def best(self, number: int) -> tuple[int, int]:
        """(r, k) of the most alike patch of image `number`; of equals the first."""
        r, k = np.unravel_index(int(np.argmax(self.likeness[number])), self.likeness.shape[1:])
        return int(r), int(k)


def default_side(shape: tuple[int, ...]) -> int:
    """About a quarter of the shorter side of (C, H, W) images, at least 3; from 8 on a multiple of four."""
    side = min(shape[1:]) // 4
    return min(max(3, side - side % 4 if side >= 8 else side), *shape[1:])


def likeness_of(z: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The likeness of pairs of patches (..., C, p, p), working scale: (...) float64, by its definition."""
    z, x = (patch.astype(np.float64) - patch.mean((-2, -1), keepdims=True, dtype=np.float64) for patch in (z, x))
    least = FLOOR**2 * np.prod(z.shape[-3:])
    norms = [np.maximum((patch**2).sum((-3, -2, -1)), least) for patch in (z, x)]
    return np.clip((z * x).sum((-3, -2, -1)) / np.sqrt(norms[0] * norms[1]), 0, 1)


def best_patches(
    source: Source,
    images: torch.Tensor,
    side: int | None = None,
    shift: int = 2,
    advance: Advance | None = None,
    keep: Pieces | None = None,
) -> PatchMatches:
    """The most alike training patch for the patches of each image.

    Args:
        source: the training images; mirrored ones count where they count in it.
        images: (n, C, H, W), working scale.
        side: of the patches, 1 <= side <= H, W; a quarter of the shorter side by default.
        shift: how far beside its place a patch is looked for, in pixels, >= 0.
        advance: called with numbers of images done.
        keep: where finished batches are kept.

    Raises:
        InputError: a patch that does not fit, a negative shift, images of another shape, or none.
    """
    if images.ndim != 4 or tuple(images.shape[1:]) != source.shape or not len(images):
        raise InputError(f"images have shape {tuple(images.shape)}; the training images have {source.shape}")
    p = default_side(source.shape) if side is None else check_count("the side of a patch", side)
    _, height, width = source.shape
    if p > min(height, width):
        raise InputError(f"a patch of {p} does not fit {height} x {width} images")
    if check_integer("shift", shift) < 0:
        raise InputError(f"shift must not be negative, not {shift}")
    search = _Search(source, p, min(shift, max(height, width) - p))

    def compute(batch: Batch) -> Arrays:
        return search.run(images[batch.rows].double().numpy())

    batches = (keep or Pieces()).batches("patches", len(images), BATCH, compute, advance or (lambda units: None))
    parts = [arrays for _, arrays in batches]
    names = ("likeness", "images", "places", "mirrored")
    found = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return PatchMatches(p, search.rows, search.columns, **found, shape=(height, width))


def step_of(side: int) -> int:
    """How far apart patches of a side begin: its largest divisor up to a quarter of it."""
    return max((step for step in range(1, side // 4 + 1) if side % step == 0), default=1)


def _begins(length: int, side: int) -> np.ndarray:
    """Where patches begin along an axis: every so many pixels, and the last that fits."""
    last = length - side
    return np.union1d(np.arange(0, last + 1, step_of(side)), [last])


@dataclass(frozen=True)
class _Block:
    """Some training images, in units in which stored bytes are half numbers, with the sums of their windows."""

    first: int
    count: int
    pixels: np.ndarray  # flat float32, `shift` more before and after
    sums: np.ndarray  # (M, C, R, K) float32, divided by p
    weights: np.ndarray  # (M, R, K) float32


class _Search:
    def __init__(self, source: Source, side: int, shift: int) -> None:
        self.source, self.side, self.shift = source, side, shift
        self.unit, _ = units(np.asarray(source.images))
        channels, height, width = source.shape
        self.step = step_of(side)
        self.rows, self.columns = _begins(height, side), _begins(width, side)
        bytes_each = 4 * (channels * height * width + (channels + 1) * (height - side + 1) * (width - side + 1))
        self.kept: list[_Block] | None = [] if bytes_each * len(source) <= KEPT else None

    def run(self, images: np.ndarray) -> Arrays:
        """The patches of images (n, C, H, W) float64, working scale."""
        views = (False, True) if self.source.hflip else (False,)
        columns = self.source.shape[2] - self.side + 1
        subjects = [(number, flip) for number in range(len(images)) for flip in views]
        best = np.zeros((len(subjects), len(self.rows), columns), np.float32)
        which = np.full(best.shape, NONE, np.int64)
        seen = [images[number][..., ::-1] if flip else images[number] for number, flip in subjects]
        pixels = [np.ascontiguousarray(view * self.unit, np.float32) for view in seen]
        sums, _ = _windows(np.stack(pixels), self.side)
        sums = np.ascontiguousarray(sums[:, :, self.rows])
        for block in self._blocks():

            def work(n: int, block: _Block = block) -> None:
                self._search(block, pixels[n], sums[n], best[n], which[n])

            for _ in in_order(work, len(subjects)):
                pass
        return self._results(images, views, best, which)

    def _search(self, block: _Block, z: np.ndarray, sums: np.ndarray, best: np.ndarray, which: np.ndarray) -> None:
        from smalti.audit.patch_kernels import search_patches

        here, code = np.zeros_like(best), np.full(best.shape, NONE, np.int32)
        np.copyto(here, best)
        search_patches(
            z.reshape(-1), sums.reshape(-1), block.pixels, block.sums.reshape(-1), block.weights.reshape(-1),
            (block.count, *self.source.shape), self.side, self.step, self.shift, self.rows, here.reshape(-1), code.reshape(-1),
        )  # fmt: skip
        better = code != NONE
        best[better] = here[better]
        which[better] = block.first * (2 * self.shift + 1) ** 2 + code[better].astype(np.int64)

    def _blocks(self) -> Iterator[_Block]:
        if self.kept:
            yield from self.kept
            return
        for first in range(0, len(self.source), BLOCK):
            block = self._block(first, min(BLOCK, len(self.source) - first))
            if self.kept is not None:
                self.kept.append(block)
            yield block

    def _block(self, first: int, count: int) -> _Block:
        pixels = stored(self.source.images, np.arange(first, first + count), torch.float64, torch.device("cpu")).numpy()
        pixels = (pixels * self.unit).astype(np.float32)
        sums, spread = _windows(pixels, self.side)
        least = (FLOOR * self.unit) ** 2 * self.source.shape[0] * self.side**2
        flat = np.pad(pixels.reshape(-1), self.shift)
        return _Block(first, count, flat, sums, (1 / np.sqrt(np.maximum(spread, least))).astype(np.float32))

    def _results(self, images: np.ndarray, views: tuple[bool, ...], best: np.ndarray, which: np.ndarray) -> Arrays:
        """The better view for each patch, and its likeness in float64."""
        count, span, last = len(images), 2 * self.shift + 1, self.source.shape[2] - self.side
        best = best.reshape(count, len(views), *best.shape[1:])
        which = which.reshape(best.shape)
        grid = {False: self.columns, True: last - self.columns}
        scores = np.stack([best[:, v][..., grid[flip]] for v, flip in enumerate(views)], 1)
        codes = np.stack([which[:, v][..., grid[flip]] for v, flip in enumerate(views)], 1)
        chosen = scores.argmax(1)[:, None]
        code = np.take_along_axis(codes, chosen, 1)[:, 0]
        mirrored = np.array(views)[chosen[:, 0]] & (code != NONE)
        number, shift_code = np.divmod(np.maximum(code, 0), span * span)
        down, right = np.divmod(shift_code, span)
        begins = np.where(mirrored, last - self.columns, self.columns)
        places = np.stack([self.rows[:, None] + down - self.shift, begins + right - self.shift], -1)
        none = code == NONE
        places[none] = 0
        windows = np.lib.stride_tricks.sliding_window_view(images, (self.side, self.side), (2, 3))
        training = np.lib.stride_tricks.sliding_window_view(
            np.asarray(self.source.images), (self.side, self.side), (2, 3)
        )
        likeness = np.zeros(code.shape)
        for n in range(count):
            z = windows[n][:, self.rows[:, None], self.columns].transpose(1, 2, 0, 3, 4)
            z = np.where(mirrored[n][..., None, None, None], z[..., ::-1], z)
            x = training[number[n], :, places[n, ..., 0], places[n, ..., 1]]
            likeness[n] = likeness_of(z, x / 127.5 - 1 if x.dtype == np.uint8 else x)
        likeness[none] = 0
        return {"likeness": likeness, "images": np.where(none, NONE, number), "places": places, "mirrored": mirrored}


def _windows(images: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Of images (M, C, H, W): sums over windows (M, C, R, K) float32, divided by p, and sums of squares about the means (M, R, K)."""
    sums = _box(images.astype(np.float64), side)
    squares = _box(images.astype(np.float64) ** 2, side)
    spread = np.maximum(0, (squares - sums**2 / side**2).sum(1))
    return (sums / side).astype(np.float32), spread


def _box(values: np.ndarray, side: int) -> np.ndarray:
    for axis in (-2, -1):
        total = np.cumsum(values, axis)
        total = np.concatenate([np.zeros_like(total.take([0], axis)), total], axis)
        values = total.take(range(side, total.shape[axis]), axis) - total.take(range(total.shape[axis] - side), axis)
    return values
