"""The search for what can matter, where little can: which windows are compared, in which order, and whether it pays.

Most windows of most images are certified to weigh nothing at low noise. All of them are compared by short sketches (see `sketches`), the
few that are left by longer ones, then one by one. That is several times less work than all distances as long as few are left, so how many
are is measured on the way, and a z that too many are left for is handed back.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from smalti.engine.compiled import search_kernels
from smalti.engine.compiled.kernels import LOWEST_LOGIT
from smalti.engine.compiled.records import Chunk, Directions, Places, Sketched
from smalti.engine.compiled.sketch_rows import COARSE, FINE, QUERIES
from smalti.engine.compiled.vectors import VECTOR
from smalti.engine.elements import units
from smalti.engine.neighbours import rough_distances
from smalti.engine.problem import Problem
from smalti.engine.programs.base import Program
from smalti.engine.programs.memory import aligned, aligned_copy
from smalti.engine.programs.sketches import Sketches
from smalti.engine.pruning import extent
from smalti.engine.running import Running, merged
from smalti.engine.threads import in_order
from smalti.engine.windows import Centred

__all__ = ["Search", "SearchPlan", "searched"]

LANES = VECTOR // 4
CHUNK = 64  # images
DIRECTIONS = 32  # images that the directions of sketches are made for
TRIAL = 8  # images that the first estimate is made on
NEAREST = 2  # images for each z that are looked at first
HOPEFUL, PATIENCE = (
    2.0,
    1 / 32,
)  # a search that costs up to so many times more may go on for this share of the images: best logits rise
EVERYTHING = 2**62  # pairs that may be left
ROUNDED = 2.0**-6  # bits: more than float64 logits are off
# nanoseconds, measured on two threads of one core of a Zen 4: for a multiplication of the sketches' filters; for a pair of short and of
# long sketches; for a window to be compared and for each of its rows; for one that matters
FILTER_COST, SHORT_COST, LONG_COST, WINDOW_COST, ROW_COST, MATTERS_COST = 0.17, 0.08, 6.0, 7.0, 0.85, 25.0


class SearchPlan(NamedTuple):
    """What a search is that depends on the problem alone.

    Attributes:
        wrap: whether z wraps around; then only windows inside an image are places, else those that its border cuts too.
        side: of the windows.
        places: of an image's windows.
        pairs: of a query and a place that are compared for each image.
        sketches: at most FINE - 1 directions.
    """

    wrap: bool
    side: int
    places: Places
    pairs: int
    sketches: Sketches

    @staticmethod
    def of(problem: Problem) -> SearchPlan:
        """For queries `Centred`; the directions are made for some of the images, in stored units."""
        assert isinstance(problem.queries, Centred)
        assert problem.admitted is not None
        side, wrap = 2 * (problem.queries.size // 2) + 1, problem.queries.wrap
        images = np.asarray(problem.source.images)
        some = images[:: max(1, len(images) // DIRECTIONS)].astype(np.float64) - units(images)[1]
        channels, height, width = problem.shape
        margin = 0 if wrap else side // 2
        tall, wide = height + 2 * margin, width + 2 * margin
        grid = (tall, wide, tall - side + 1, wide - side + 1)
        inside = side // 2 if wrap else 0  # how far the first place's pixel lies from the border
        table = _places(problem.admitted.numpy(), height, width, inside, grid)
        _, first, number = np.unique(table, axis=0, return_index=True, return_inverse=True)
        entries, slots, classes, pairs = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [], 0
        for m in range(len(first)):
            places, queries = np.flatnonzero(table[first[m]]), np.flatnonzero(number.reshape(-1) == m)
            if len(places):
                begin, low = sum(map(len, entries)), sum(map(len, slots))
                entries.append(_filled(places, LANES))
                slots.append(_filled(queries, QUERIES))
                classes.append((begin, len(entries[-1]), low, low + len(slots[-1])))
                pairs += len(places) * len(queries)
        padded = np.pad(some, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
        return SearchPlan(
            wrap,
            side,
            Places(
                (height, width, margin, wide, tall * wide),
                grid,
                _rows_of_windows(channels, side, tall * wide, wide),
                np.concatenate(entries),
                np.array(classes, np.int64),
                np.concatenate(slots),
            ),
            pairs,
            Sketches.of(padded, side, FINE - 1),
        )

    def cost(self, left: np.ndarray, fine: bool) -> np.ndarray:
        """Nanoseconds an image of one thread, from how many pairs are left (..., 3) after short sketches, long ones, float32."""
        short, long, matters = left[..., 0], left[..., 1], left[..., 2]
        fine = fine and len(self.sketches.directions) >= COARSE
        sketches = self.sketches if fine else self.sketches.first(COARSE - 1)
        tall, _, rows, columns = self.places.grid
        filters = (1 + len(sketches.passes)) * tall * columns + (1 + len(sketches.directions)) * rows * columns
        window = WINDOW_COST + ROW_COST * self.side * len(self.sketches.axes)
        found = LONG_COST * short + window * long if fine else window * short
        return FILTER_COST * self.side * filters + SHORT_COST * self.pairs + found + MATTERS_COST * matters


def _rows_of_windows(channels: int, side: int, plane: int, step: int) -> np.ndarray:
    """(C p,): where the rows of a window lie on a canvas of such planes and rows, from its first pixel on."""
    return (np.arange(channels)[:, None] * plane + np.arange(side) * step).reshape(-1)


def _filled(numbers: np.ndarray, size: int) -> np.ndarray:
    """Followed by -1 up to a multiple of `size`."""
    return np.concatenate([numbers, np.full(-len(numbers) % size, -1)]).astype(np.int64)


def _places(admitted: np.ndarray, height: int, width: int, inside: int, grid: tuple[int, ...]) -> np.ndarray:
    """Which places each query may be compared with, (K, places) bool, of (K, shifts); the first place's pixel is `inside` the border."""
    table = admitted.reshape(height, width, height, width)
    rows, columns = np.any(table, (1, 3)), np.any(table, (0, 2))  # (row, shift), (column, shift)
    sides = []
    for axis, size, count in ((rows, height, grid[2]), (columns, width, grid[3])):
        shift = (np.arange(count)[None] + inside - np.arange(size)[:, None]) % size
        sides.append(np.take_along_axis(axis, shift, 1))
    return (sides[0][:, None, :, None] & sides[1][None, :, None, :]).reshape(height * width, -1)


class Search:
    """A search for some z: sketches of their windows, and where they lie.

    Args:
        program: the call.
        plan: of its problem.
        batch: (rows,) which of its (flips B,) z.
        fine: whether long sketches are made as well as short ones.
        compared: elements that each query compares, of which any may be left out (see `smalti.engine.pruning`).
    """

    def __init__(self, program: Program, plan: SearchPlan, batch: np.ndarray, fine: bool, compared: int) -> None:
        self.program, self.plan, self.batch, self.fine, self.compared = program, plan, batch, fine, compared
        self.sketches = plan.sketches if fine else plan.sketches.first(COARSE - 1)
        side, radius = plan.side, plan.side // 2
        z = program.z[batch]
        margins = ((0, 0), (0, 0), (radius, radius), (radius, radius))
        wide = np.pad(z, margins, "wrap" if plan.wrap else "constant")
        count, channels, tall, step = wide.shape
        exact = aligned((count, channels * tall * step + 2 * LANES), np.float64)
        exact[:, : channels * tall * step] = wide.reshape(count, -1)
        starts = (np.arange(z.shape[2])[:, None] * step + np.arange(z.shape[3])).reshape(-1)
        short, long, norms = self._sketched(wide)
        numbers = channels * side**2
        largest = program.offset if program.images.dtype == np.uint8 else extent(program.problem.source)
        reach = self.sketches.rounding() * (norms + largest * numbers**0.5)
        self.z = Sketched(
            short,
            long,
            aligned_copy(exact, np.float32),
            exact,
            _rows_of_windows(channels, side, tall * step, step),
            starts,
            program.scales[batch],
            np.full(count, program.gap(compared) + ROUNDED),
            np.stack([reach, np.full(count, 1 + 2.0**-22 * (numbers + FINE))], 1),
        )

    def _sketched(self, wide: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Short sketches (rows, COARSE slots) and long ones (rows, slots FINE), and each z's largest norm of a window."""
        count, slots = len(wide), self.plan.places.slots
        short, long = np.zeros((count, COARSE, len(slots))), np.zeros((count, len(slots), FINE))
        norms = np.empty(count)
        for row, image in enumerate(wide):
            found, squares = self.sketches.coordinates(image)[:, slots], self.sketches.squares(image)[slots]
            norms[row] = np.sqrt(squares.max())
            known = min(len(found), COARSE - 1)
            short[row, :known], long[row, :, : len(found)] = found[:known], found.T
            for sketch, few in ((short[row, -1], found[:known]), (long[row, :, -1], found)):
                sketch[:] = np.sqrt(np.maximum(squares - (few**2).sum(0), 0))
        flat = [aligned_copy(each.reshape(count, -1), np.float32) for each in (short, long)]
        return flat[0], flat[1], norms

    def __call__(self, elements: np.ndarray, seen: np.ndarray, most: int = EVERYTHING) -> tuple[Running, np.ndarray]:
        """One pass over `elements` of the selection.

        Args:
            elements: numbers of images.
            seen: (rows, K) logits of some of the elements that are compared, at most the largest.
            most: pairs; a z that more than these are left for is given up, and what is returned for it means nothing.

        Returns:
            (rows, 2 + C, K) running posteriors of what can matter; (rows, 3) how many pairs were left after short sketches, long ones,
            and float32.
        """
        program = self.program
        count, channels = len(self.batch), program.images.shape[1]
        state = np.zeros((count, len(self.z.starts), 2 + channels))
        state[..., 0] = LOWEST_LOGIT
        left = np.zeros((count, 3), np.int64)
        search_kernels.search_pass(
            Chunk(
                program.images,
                np.float32(program.offset),
                program.selection.indices[elements],
                program.log_priors[elements],
            ),
            self.plan.places,
            Directions(*self.sketches[1:]),
            self.z,
            most,
            seen.copy(),
            state.reshape(count, -1),
            left,
        )
        return state.transpose(0, 2, 1), left

    def among(self, kept: np.ndarray, fine: bool) -> Search:
        """The same for fewer of the z, (rows,) bool, and maybe with short sketches alone."""
        if kept.all() and fine == self.fine:
            return self
        return Search(self.program, self.plan, self.batch[kept], fine, self.compared)


def searched(
    program: Program, plan: SearchPlan, batch: np.ndarray, seen: np.ndarray, compared: int, otherwise: float
) -> dict[int, np.ndarray]:
    """Running posteriors of those z that a search pays for.

    Each z begins with the best logits of the images that are near it as wholes. Chunks are searched in waves, each as large as all before
    it, with the best logits of the waves before. So a z's result depends neither on others, nor on threads, nor on time.

    Args:
        program: the call.
        plan: of its problem.
        batch: (rows,) which of its (flips B,) z; their distances are not relative.
        seen: (rows, K) logits of some of the elements that are compared, at most the largest.
        compared: elements that each query compares.
        otherwise: nanoseconds an image takes one thread without a search.

    Returns:
        (2 + C, K) for each number in `batch` that was searched for.
    """
    elements = np.arange(len(program.selection))
    number = -(-len(elements) // CHUNK)
    chunks = [elements[i::number] for i in range(number)]
    chunks[:1] = [part for part in (chunks[0][:TRIAL], chunks[0][TRIAL:]) if len(part)]
    search = Search(program, plan, batch, True, compared)
    groups = [_Group(search, _near(search, seen), 0, None)]
    found: dict[int, np.ndarray] = {}
    while groups:
        search, best, low, total = groups.pop()
        high = min(max(2 * low, low + 1), len(chunks))
        images = sum(map(len, chunks[low:high]))
        most = int(otherwise * HOPEFUL / LONG_COST * images) if low == 0 else EVERYTHING
        left = np.zeros((len(search.batch), 3))
        for part, pairs in in_order(partial(_one, search, chunks[low:high], best, most), high - low):
            total, left = part if total is None else merged(total, part), left + pairs / images
        assert total is not None
        if high == len(chunks):
            found.update(zip(search.batch.tolist(), total, strict=True))
            continue
        best = np.maximum(best, total[:, 0])
        short, long = plan.cost(left, False), plan.cost(left, True) if search.fine else np.inf
        hope = HOPEFUL if sum(map(len, chunks[:high])) < PATIENCE * len(elements) else 1.0
        pays = np.minimum(short, long) < hope * otherwise
        for fine in (False, True):
            kept = pays & ((long < short) == fine)
            if kept.any():
                groups.append(_Group(search.among(kept, fine), best[kept], high, total[kept]))
    return found


class _Group(NamedTuple):
    """Some z that are searched for together: the search, its best logits, the next chunk, what was found before."""

    search: Search
    best: np.ndarray
    chunk: int
    total: Running | None


def _one(
    search: Search, chunks: list[np.ndarray], best: np.ndarray, most: int, number: int
) -> tuple[Running, np.ndarray]:
    return search(chunks[number], best, most)


def _near(search: Search, seen: np.ndarray) -> np.ndarray:
    """`seen`, or the best logits of the images that are nearest as wholes, where those are larger."""
    program, best = search.program, seen.copy()
    views = torch.from_numpy(program.z[search.batch].reshape(len(search.batch), -1) / program.unit)
    distances = rough_distances(program.problem.source, [views], program.selection.indices)
    few = min(NEAREST, distances.shape[1])
    for row, near in enumerate(np.argpartition(distances, few - 1, 1)[:, :few]):
        alone = search.among(np.arange(len(best)) == row, True)
        best[row] = np.maximum(best[row], alone(near, seen[row : row + 1])[0][0, 0])
    return best
