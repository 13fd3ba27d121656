"""Posterior means of single pixels over all admitted shifts: one pass over the source."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from smalti.engine.compiled import kernels, search_kernels, shift_kernels
from smalti.engine.compiled.records import Chunk, Noisy, Shares, Shifts, ShiftShares, States
from smalti.engine.compiled.shift_rows import FOUR
from smalti.engine.compiled.shift_shares import shift_shares
from smalti.engine.elements import Selection
from smalti.engine.precision import WINDOW_ERROR
from smalti.engine.problem import Problem
from smalti.engine.programs.base import begun_and_rest, lowest_known
from smalti.engine.programs.memory import aligned, aligned_copy
from smalti.engine.programs.one_pass import PixelMeansProgram
from smalti.engine.programs.search import SearchPlan, searched
from smalti.engine.pruning import extent
from smalti.engine.running import LOG2E, Running, merged
from smalti.engine.threads import in_order
from smalti.engine.windows import Centred

__all__ = ["ShiftProgram"]

CHUNK = 64  # images; each takes as long as a thousand at one place
PROBE = 64  # images that tell beforehand whether float64 is needed
VECTOR = 8  # entries that canvases are rounded up to
COST = 0.25  # nanoseconds, see `_Plan.cost`; measured on two threads of one core of a Zen 4


class ShiftProgram(PixelMeansProgram):
    """See `shift_kernels`."""

    relative_error = WINDOW_ERROR

    def __init__(self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection) -> None:
        super().__init__(problem, z, sigma, selection)
        queries = problem.queries
        assert isinstance(queries, Centred)
        self.plan = problem.planned(_Plan.of)
        self.radius = queries.size // 2
        self.squares = self.window_squares()
        self.shifts = self.where_relative(self.squares)[: self.batch]

    def posteriors(self) -> Running:
        """(B, 2 + M, K) relative to `shifts`.

        At low noise a search finds the elements that matter without all distances, for the z that it pays for (see `search`). For the
        others, where float32 distances would not do for the elements that matter, those are looked at one by one in float64, and float32,
        with less arithmetic, only says which they are. Some images tell beforehand: the best logits of all images are nearer to 0.
        """
        if self._found is None:
            everyone, everything = np.arange(len(self.z)), np.arange(len(self.selection))
            some = everything[:: max(1, len(everything) // PROBE)]
            exact, left, seen = everyone < 0, everyone >= 0, None
            running: Running = np.empty((len(self.z), 2 + self.channels, self.height * self.width))
            gaps = everyone < 0
            if len(some) < len(everything):
                found = self._scan(everyone, some, False)
                exact, gaps = self._needed(found), self.noisy & ~self._needed(found, self._strip() / self._side)
                seen = self._seen(found[:, 0])
                for row, result in self._searched(everyone[~self.noisy], seen).items():
                    running[row], left[row] = result, False
            for chosen in (left & ~exact & ~gaps, left & ~exact & gaps, left & exact):
                if chosen.any():
                    how = bool(exact[chosen][0]), bool(gaps[chosen][0])
                    running[chosen] = self._scan(everyone[chosen], everything, *how, seen)
            late = self._needed(running) & left & ~exact
            if late.any():
                running[late] = self._scan(everyone[late], everything, True, False, seen)
            self._found = self.joined(running)
        return self._found

    def _seen(self, logits: np.ndarray) -> np.ndarray:
        """Lower bounds of the exact logits that a float32 scan found, (flips B, K).

        What the scan rounds, and what rounding z to float32 moves it by, as a distance: 2^-24 |z|, on top of that which was found.
        """
        factor, more = self._rounding(np.arange(len(self.z)), self.noisy, False)
        low = logits - np.abs(logits) * (factor - 1)[:, None] - more[:, None]
        scales = self.scales[:, None]
        distance = np.sqrt(np.maximum(self.log_priors.max() + self.where_relative(self.squares) - low, 0) / scales)
        moved = 2.0**-24 * np.sqrt(self.squares / scales)
        return low - scales * (2 * distance + moved) * moved

    def _searched(self, batch: np.ndarray, seen: np.ndarray) -> dict[int, np.ndarray]:
        """(2 + C, K) for each of `batch` whose elements that matter are better looked for one by one than among all distances."""
        largest = extent(self.problem.source) * self.unit * self._side * self.channels
        if not len(batch) or largest > search_kernels.LARGEST:  # of z, far smaller numbers are refused
            return {}
        compared = len(self.selection) * self.plan.places
        plan = self.problem.planned(SearchPlan.of)
        return searched(self, plan, batch, seen[batch], compared, self.plan.cost)

    def shares(self, pixels: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `smalti.engine.backend.Shares`, for pixels (P, 2); all elements are looked at, at every level."""
        found, plan = self.posteriors(), self.plan
        exact = self.exact(found[:, 0])
        gaps = self.noisy[: self.batch] & ~self.exact(found[:, 0] * self._strip() / self._side)
        turns, room = self._states()
        pixels, given = np.unique(
            pixels, axis=0, return_inverse=True
        )  # a state is of one pixel, which may be asked for twice
        slots, copies = self._slots(pixels, turns, room)
        kept = np.zeros((self.batch, top, len(pixels)), np.float32)
        numbers = np.zeros(kept.shape, np.int64)
        entropy = np.zeros((self.batch, len(pixels)))
        for own in (np.flatnonzero(some) for some in (~exact & ~gaps, ~exact & gaps, exact)):
            if not len(own):
                continue
            how = bool(exact[own][0]), bool(gaps[own][0])
            rows = np.concatenate([own + flip * self.batch for flip in range(self.flips)])
            relative = self.noisy[rows] | how[0]
            z = self._canvases(rows, relative)
            noisy = Noisy(aligned_copy(z, np.float32), relative, self.scales[rows])
            known = self._known(found, rows, relative, how[0], turns, room, slots, copies)
            slack, more = self._rounding(rows, relative, how[1])
            bits = (self.gap(len(self.selection) * plan.places) + 1 + more).astype(np.float32)
            for chunks in begun_and_rest(np.arange(len(self.selection))):
                lowest = lowest_known(kept[own])

                def work(  # type: ignore[no-untyped-def]
                    number: int, own=own, how=how, z=z, noisy=noisy, known=known, slack=slack, bits=bits, chunks=chunks, lowest=lowest
                ):  # fmt: skip
                    chosen, shape = chunks[number], (len(own), *kept.shape[1:])
                    indices, priors = self.selection.indices[chosen], self.log_priors[chosen]
                    shares = Shares(
                        np.zeros(shape, np.float32),
                        np.zeros(shape, np.int64),
                        np.zeros((len(own), len(pixels)), np.float32),
                        lowest.copy(),
                    )
                    shift_shares(
                        Chunk(self.images, np.float32(self.offset), indices, priors),
                        noisy,
                        z,
                        *how,
                        plan.shifts,
                        bits,
                        slack.astype(np.float32),
                        known,
                        shares,
                    )
                    return shares

                for best, which, part, _ in in_order(work, len(chunks)):
                    both, ids = np.concatenate([kept[own], best], 1), np.concatenate([numbers[own], which], 1)
                    order = np.argsort(-both, 1, kind="stable")[:, :top]
                    kept[own], numbers[own] = np.take_along_axis(both, order, 1), np.take_along_axis(ids, order, 1)
                    entropy[own] += part / LOG2E
        if self.flips == 1:
            places = self.height * self.width
            numbers = numbers // (2 * places) * places + numbers % places
        order = given.reshape(-1)
        shares = kept.transpose(0, 2, 1)[:, order, :, None].astype(np.float64)
        return shares, numbers.transpose(0, 2, 1)[:, order].copy(), entropy[:, order]

    def _states(self) -> tuple[int, int]:
        """Turns of the columns that have states of their own, and the entries of a plane of states."""
        turns = 2 if self.plan.wrap else 1
        size = self.height * self.width * turns
        return turns, -(-size // 16) * 16 + 16  # vectors may read and write beyond the last window

    def _slots(self, pixels: np.ndarray, turns: int, room: int) -> tuple[np.ndarray, np.ndarray]:
        """Which pixel each state is of, (flips, room), and the states of each pixel, (P, flips turns); see `ShiftShares`."""
        y, x = pixels.T
        columns = np.stack([x, self.width - 1 - x][: self.flips])  # (flips, P)
        turned = columns[:, None] + self.width * np.arange(turns)[:, None]  # (flips, turns, P)
        places = y * self.width * turns + turned
        slots = np.full((self.flips, room), -1, np.int64)
        for flip in range(self.flips):
            slots[flip, places[flip]] = np.arange(len(pixels))
        copies = places + (np.arange(self.flips) * room)[:, None, None]
        return slots, np.ascontiguousarray(copies.reshape(-1, len(pixels)).T)

    def _known(
        self,
        found: Running,
        rows: np.ndarray,
        relative: np.ndarray,
        exact: bool,
        turns: int,
        room: int,
        slots: np.ndarray,
        copies: np.ndarray,
    ) -> ShiftShares:
        """The normalisers of `rows` of (flips B,), from the posteriors of both flips together."""
        highest = np.concatenate([found[:, 0], self._mirrored(found[:, 0])][: self.flips])[rows]
        mass = np.concatenate([found[:, 1], self._mirrored(found[:, 1])][: self.flips])[rows]
        highest = highest + np.where(relative & ~self.noisy[rows], 1, 0)[:, None] * self.squares[rows]
        # exact ones are compared in float64: corrections in float32 could not make up for what large logits lose
        if not exact:
            rounded = highest.astype(np.float32).astype(np.float64)
            highest, mass = rounded, mass * np.exp2(highest - rounded)

        def turned(values: np.ndarray, fill: float) -> np.ndarray:
            grid = values.reshape(len(rows), self.height, self.width)
            out = np.full((len(rows), room), fill)
            flat = np.concatenate([grid] * turns, 2).reshape(len(rows), -1)
            out[:, : flat.shape[1]] = flat
            return out

        reference = turned(highest, np.inf)
        corrections = turned(1 / mass, 0.0).astype(np.float32)
        step = self.width * turns
        return ShiftShares(step, reference.astype(np.float32), reference, corrections, slots, copies)

    def _mirrored(self, values: np.ndarray) -> np.ndarray:
        """(B, K) of z's windows, at the places of those of its mirror image."""
        return values.reshape(-1, self.height, self.width)[..., ::-1].reshape(values.shape)

    def _needed(self, running: Running, times: float = 1.0) -> np.ndarray:
        """(flips B,) bool: which z, with their flips, need float64; or would, if sums were so many times as large."""
        return np.tile(self.exact(self.joined(running)[:, 0] * times), self.flips)

    @property
    def _side(self) -> int:
        return 2 * self.radius + 1

    def _strip(self) -> int:
        """Rows of the longest strip."""
        return int(self.plan.shifts.row_groups[:, 1].max()) + self._side - 1

    def _scan(
        self, batch: np.ndarray, elements: np.ndarray, exact: bool, gaps: bool = False, seen: np.ndarray | None = None
    ) -> Running:
        """One pass for the rows `batch` of (flips B,) over `elements` of the selection: (rows, 2 + C, K).

        Args:
            exact: in float64, what matters.
            gaps: sums down strips as gaps of running sums; for relative distances.
            seen: (flips B, K) logits of some of the elements, at most the largest: what lies the gap below them is left out from the
                first image on. Without them each chunk goes by its own.
        """
        plan = self.plan
        relative = self.noisy[batch] | exact
        z = self._canvases(batch, relative)
        noisy = Noisy(aligned_copy(z, np.float32), relative, self.scales[batch])
        # what the logits of this scan lack beside those relative to `shifts`
        less = np.where(relative & ~self.noisy[batch], 1, 0)[:, None] * self.squares[batch]
        turns, room = self._states()  # columns of z that wrap around have states of their own, so that rows stay whole
        size = self.height * self.width * turns
        chunks = [elements[i : i + CHUNK] for i in range(0, len(elements), CHUNK)]
        compared = (CHUNK if seen is None else len(elements)) * plan.places
        slack, more = self._rounding(batch, relative, gaps)
        bits = (self.gap(compared) + 1 + more).astype(np.float32)

        def work(number: int) -> np.ndarray:
            chosen = chunks[number]
            states = [aligned((len(batch), 2 + self.channels, room), real) for real in (np.float32, np.float64)]
            for state in states:
                state[:, 0] = kernels.LOWEST_LOGIT
            if seen is not None:
                grid = (seen[batch] + less).reshape(len(batch), self.height, self.width)
                states[0][:, 0, :size] = np.concatenate([grid] * turns, 2).reshape(len(batch), -1)
            shift_kernels.shift_pass(
                Chunk(self.images, np.float32(self.offset), self.selection.indices[chosen], self.log_priors[chosen]),
                noisy,
                z,
                exact,
                gaps,
                plan.shifts,
                bits,
                slack.astype(np.float32),
                States((self.width * turns, room), *(state.reshape(len(batch), -1) for state in states)),
            )
            return states[1][..., :size]

        total: Running | None = None
        for part in in_order(work, len(chunks)):
            total = part if total is None else merged(total, part)
        assert total is not None
        if plan.wrap:
            total = total.reshape(*total.shape[:2], self.height, turns, self.width)
            total = merged(total[..., 0, :], total[..., 1, :]).reshape(*total.shape[:2], -1)
        total[:, 0] -= less
        return total

    def _rounding(self, batch: np.ndarray, relative: np.ndarray, gaps: bool) -> tuple[np.ndarray, np.ndarray]:
        """How far float32 logits of a scan may be off, as (factors, bits), each (rows,): a logit l is at most |l| (factor - 1) + bits off
        what the same float32 z has exactly.

        A sum of terms is at most (number of additions on the way) 2^-24 times the sum of their magnitudes off: for squared differences
        that is the distance itself, for products at most p^2 sum_c (max |x|^2 + max |x| max |2 z|); where they are gaps of running
        sums, two of as many rows as a strip has.
        """
        side = self._side
        tall = 2 * self._strip() if gaps else side
        additions = (
            self.channels + 2 * side + 10 + (tall if gaps else 0)
        )  # of channels, rows, columns, and to the logit
        largest = self.offset if self.images.dtype == np.uint8 else extent(self.problem.source)
        terms = side * tall * self.channels * (largest**2 + 2 * largest * np.abs(self.z[batch]).max((1, 2, 3)))
        # twice, for the maximum that a logit is compared with
        return (
            np.where(relative, 1, 1 + 2 * additions * 2.0**-24),
            np.where(relative, 2 * additions * 2.0**-24 * terms * self.scales[batch], 0),
        )

    def _canvases(self, batch: np.ndarray, relative: np.ndarray) -> np.ndarray:
        """z, doubled where relative, all around the places that windows may look at: (rows, C planes) float64."""
        doubled = self.z[batch] * np.where(relative, 2, 1)[:, None, None, None]
        wide = np.pad(doubled, ((0, 0), (0, 0), *self.plan.z_margins), "wrap" if self.plan.wrap else "constant")
        canvas = np.zeros((len(batch), wide[0].size + 64))  # vectors may read beyond
        canvas[:, : wide[0].size] = wide.reshape(len(batch), -1)
        return canvas


class _Plan(NamedTuple):
    """Which rows and columns the kernel runs over."""

    wrap: bool
    places: int  # of an image that a window may be compared with, at most
    z_margins: tuple[tuple[int, int], tuple[int, int]]
    shifts: Shifts

    @property
    def cost(self) -> float:
        """Nanoseconds an image takes one thread: for each difference, and for each window, whole vectors of them."""
        rows, side, jobs = self.shifts.row_groups[:, 1], 2 * self.shifts.x_layout[2] + 1, self.shifts.column_jobs
        differences = (rows + side - 1).sum() * (jobs[:, 1] - jobs[:, 0]).sum()
        windows = rows.sum() * (-(-self.shifts.segments[:, 1] // (2 * VECTOR)) * 2 * VECTOR).sum()
        return COST * FOUR * float(differences + windows)

    @staticmethod
    def of(problem: Problem) -> _Plan:
        queries = problem.queries
        assert isinstance(queries, Centred)
        assert problem.admitted is not None
        _, height, width = problem.shape
        radius, wrap = queries.size // 2, queries.wrap
        table = problem.admitted.numpy().reshape(height, width, height, width)  # row, column, sy, sx
        rows, columns = np.any(table, (1, 3)), np.any(table, (0, 2))  # (row, sy), (column, sx)
        # where windows are cut at the border, there are zeros around image and z; shifts of rows come FOUR at a time, not all admitted
        across = 0 if wrap else radius
        top = radius + 2 * FOUR
        step = -(-(width + 2 * across) // VECTOR) * VECTOR
        x_layout = (height, width, radius, top, across, step, (height + 2 * top) * step)
        turn = (height, width) if wrap else (0, 0)  # rows and columns of z that wraps around come once more
        z_margins = ((turn[0] + top,) * 2, (turn[1] + radius + VECTOR,) * 2)
        z_step = width + sum(z_margins[1])
        z_layout = z_step, (height + sum(z_margins[0])) * z_step
        groups, penalties = [], []
        for shifts in _by_four(rows, height, wrap):
            admitted = np.stack([_admitted(rows, shift, height, wrap) for shift in shifts], 1)  # (row of z + H, q)
            used = np.flatnonzero(admitted.any(1))
            if not len(used):
                continue
            first, last = int(used[0]), int(used[-1]) + 1
            row = first - height  # of z, from -H on
            groups.append((row % height, last - first, row - radius + z_margins[0][0], row + shifts[0] - radius + top))
            penalties.append(admitted[first:last])
        row_penalties = np.full((len(groups), max(map(len, penalties)), FOUR), kernels.NOWHERE)
        for number, found in enumerate(penalties):
            row_penalties[number, : len(found)] = np.where(found, 0, kernels.NOWHERE)
        jobs: list[tuple[int, ...]] = []
        segments: list[tuple[int, int, int]] = []
        for shift in range(width) if wrap else range(1 - width, width):
            used = np.flatnonzero(_admitted(columns, shift, width, wrap))
            if not len(used):
                continue
            before = len(segments)
            for run in np.split(used, 1 + np.flatnonzero(np.diff(used) > 1)):
                column = int(run[0]) - width  # of z, from -W on
                segments.append((column + shift - radius + across, len(run), column + width if wrap else column))
            low = min(begin for begin, _, _ in segments[before:])
            high = max(begin + count for begin, count, _ in segments[before:]) + 2 * radius
            high = low - (low - high) // VECTOR * VECTOR
            jobs.append((low, high, z_margins[1][0] - across - shift, before, len(segments)))
        ends = np.zeros(width + 2 * VECTOR, np.float32)
        ends[width:] = kernels.NOWHERE
        tables = np.array(groups, np.int64), row_penalties, np.array(jobs, np.int64), np.array(segments, np.int64)
        places = int(problem.admitted.sum(1).max())
        return _Plan(wrap, places, z_margins, Shifts(x_layout, z_layout, *tables, ends))


def _by_four(table: np.ndarray, size: int, wrap: bool) -> list[range]:
    """The shifts that any row is admitted to, FOUR at a time, the last ones maybe beyond; where z does not wrap, negative ones too."""
    every = range(0 if wrap else 1 - size, size)
    used = [shift for shift in every if _admitted(table, shift, size, wrap).any()]
    return [range(first, first + FOUR) for first in range(used[0], used[-1] + 1, FOUR)]


def _admitted(table: np.ndarray, shift: int, size: int, wrap: bool) -> np.ndarray:
    """(2 size,) bool: whether row (column) r of z, from -size on, may be compared with row r + shift of an image.

    Rows before 0 are those of z that wraps around: row r + size, one turn back.
    """
    found = np.zeros(2 * size, bool)
    if abs(shift) >= size:
        return found
    for row in range(-size if wrap else 0, size):
        if 0 <= row + shift < size:
            found[row + size] = table[row % size, shift % size]
    return found
