"""Both phases, and derivatives, for grids of boxes (`Crops`, `Centred`): box sums over every image."""

from __future__ import annotations

import functools

import numpy as np
import torch

from smalti.engine.compiled import kernels
from smalti.engine.compiled.records import Moments, Noisy, Normaliser, Product, Shares
from smalti.engine.compiled.share_kernels import box_shares
from smalti.engine.elements import Selection
from smalti.engine.precision import WINDOW_ERROR, by_precision
from smalti.engine.problem import Problem
from smalti.engine.programs.base import LOWEST, Program, begun_and_rest, chunks_of, lowest_known, seeds
from smalti.engine.programs.geometry import Geometry
from smalti.engine.programs.memory import aligned, aligned_copy
from smalti.engine.running import LOG2E, Normalisers, Running, merged
from smalti.engine.threads import in_order

__all__ = ["BoxProgram"]


class BoxProgram(Program):
    """See `kernels`."""

    relative_error = WINDOW_ERROR

    def __init__(self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection) -> None:
        super().__init__(problem, z, sigma, selection)
        box, response = problem.queries.boxes(problem.shape), problem.responses.boxes(problem.shape)
        assert box is not None
        assert response is not None
        self.geometry = Geometry(box, response, problem.shape)
        # from phase 1 to phase 2: which images weigh anything
        self.alive = np.full((len(self.z), len(selection)), kernels.HEAVY, np.uint8)
        self.bits = self.gaps()
        self.shifts = self.where_relative(self.window_squares())

    def _noisy(self, batch: np.ndarray, real: type) -> Noisy:
        """z of the kernels: doubled where distances are relative."""
        doubled = np.where(self.noisy[batch], 2, 1)[:, None, None, None]
        z = self.geometry.planes(self.z[batch] * doubled, real)
        return Noisy(z, self.noisy[batch], self.scales[batch].astype(real))

    def normalisers(self) -> np.ndarray:
        """Phase 1: (B, K) natural log-normalisers."""
        found = self.relative_normalisers()
        return Normalisers(found.highest - self._own(self.shifts), found.mass).natural()

    def _own(self, values: np.ndarray) -> np.ndarray:
        """The part of (flips B, ...) that belongs to the z themselves."""
        return values[: self.batch]

    def relative_normalisers(self) -> Normalisers:
        """Phase 1, relative to `shifts`: (B, K); float64 distances where float32 would not do."""
        found = self._posteriors(None)
        return Normalisers(found[:, 0], found[:, 1])

    def _posteriors(self, direction: np.ndarray | None) -> Running:
        """(B, 2, K), relative to `shifts`; (B, 3, K) with sums of <response * direction, image>, direction (flips B, C, H, W), if given."""
        everything = np.arange(len(self.selection))
        rows = 2 if direction is None else 3
        found: Running = np.empty((len(self.z), rows, self.geometry.box.rows * self.geometry.box.columns))
        self._phase_one(np.arange(len(self.z)), everything, np.float32, direction, found)
        self.again_in_float64(
            self._join(found)[:, 0],
            self.alive,
            lambda batch, elements: self._phase_one(batch, elements, np.float64, direction, found),
        )
        return self._join(found)

    def _join(self, found: Running) -> Running:
        """Both flips as one."""
        if self.flips == 1:
            return found
        mirrored = self.geometry.mirror(found[self.batch :].reshape(-1, found.shape[-1]))
        return merged(self._own(found), mirrored.reshape(self.batch, *found.shape[1:]))

    def _phase_one(
        self, batch: np.ndarray, elements: np.ndarray, real: type, direction: np.ndarray | None, out: Running
    ) -> None:
        """Relative posteriors of the z numbered `batch` over `elements` of the selection, into the rows `batch` of out."""
        geometry, noisy = self.geometry, self._noisy(batch, real)
        chunks = chunks_of(elements)
        alive = np.zeros((len(batch), len(self.selection)), np.uint8)
        along = None if direction is None else geometry.planes(direction[batch], real)
        inner = geometry.inner(geometry.response)
        gap, wide = (real(bits) for bits in self.bits)

        def work(chosen: np.ndarray, highest: np.ndarray) -> Running:
            state = aligned((len(batch), out.shape[1], geometry.windows), real)
            state[:, 0] = highest
            flags = np.zeros((len(batch), len(chosen)), np.uint8)
            chunk, rows = self.chunk(chosen, real), state.reshape(len(batch), -1)
            if along is None:
                kernels.box_normalisers(chunk, noisy, geometry.layout, gap, wide, rows, flags)
            else:
                kernels.box_moments(chunk, noisy, geometry.layout, inner, along, gap, wide, rows, flags)
            alive[:, chosen] = flags
            return state.astype(np.float64)

        highest = np.full((len(batch), geometry.windows), kernels.LOWEST_LOGIT, np.float64)
        highest = work(seeds(elements), highest)[:, 0]
        found = functools.reduce(merged, in_order(lambda number: work(chunks[number], highest), len(chunks)))
        out[batch] = geometry.gather(found.reshape(-1, geometry.windows)).reshape(len(batch), *out.shape[1:])
        self.alive[batch] = alive

    def numerator(self, log_normalisers: np.ndarray) -> np.ndarray:
        """Phase 2: (B, C, H, W) in the working scale, from (B, K) natural log-normalisers."""
        return self.relative_numerator(Normalisers.of_natural(log_normalisers + self._own(self.shifts) / LOG2E))

    def both_phases(self) -> np.ndarray:
        return self.relative_numerator(self.relative_normalisers())

    def _spread(self, normalisers: Normalisers) -> Normaliser:
        """For the kernels, (flips B, windows) float64; no weight where there is no window."""
        with np.errstate(divide="ignore"):
            corrections = np.where(normalisers.mass > 0, 1 / normalisers.mass, 0)
        pair = normalisers.highest, corrections
        if self.flips == 2:
            pair = tuple(np.concatenate([v, self.geometry.mirror(v)]) for v in pair)  # type: ignore[assignment]
        return Normaliser(self.geometry.spread(pair[0], np.inf), self.geometry.spread(pair[1], 0.0))

    def relative_numerator(self, normalisers: Normalisers) -> np.ndarray:
        geometry = self.geometry
        spread = self._spread(normalisers)
        needed = np.tile(self.exact(normalisers.highest), self.flips)
        total = np.zeros((len(self.z), self.z.shape[1], geometry.plane))
        for batch, real in by_precision(needed):
            normaliser = Normaliser(*(aligned_copy(part[batch], real) for part in spread))
            total[batch] = self._phase_two(batch, real, normaliser)
        return self.fold(geometry.images(total)) / self.unit

    def _phase_two(self, batch: np.ndarray, real: type, normaliser: Normaliser) -> np.ndarray:
        geometry, noisy = self.geometry, self._noisy(batch, real)
        shape = (len(batch), self.z.shape[1], geometry.plane)
        chunks = chunks_of(np.flatnonzero((self.alive[batch] == kernels.HEAVY).any(0)))

        def work(number: int) -> np.ndarray:
            chosen = chunks[number]
            numerator = aligned(shape, real)
            alive = np.ascontiguousarray(self.alive[np.ix_(batch, chosen)])
            kernels.box_numerator(
                self.chunk(chosen, real),
                noisy,
                geometry.layout,
                geometry.outer(geometry.response),
                normaliser,
                alive,
                np.float32(-self.bits[0]),
                numerator,
            )
            return numerator

        return sum(in_order(work, len(chunks)), np.zeros(shape))

    def covariance_product(self, direction: np.ndarray, transpose: bool) -> tuple[np.ndarray, np.ndarray]:
        """sum_k outer_k * Cov_k(x, x) (inner_k * direction), (B, C, H, W), and sum_k w_k^i <inner_k * direction, x^i - E_k> of each
        selected image, (B, n): float64, working scale. Leaves out nothing."""
        self.bits = -LOWEST, -LOWEST
        geometry = self.geometry
        inner, outer = (geometry.response, geometry.box) if transpose else (geometry.box, geometry.response)
        normaliser = self._spread(self.relative_normalisers())
        noisy = self._noisy(np.arange(len(self.z)), np.float64)
        along = geometry.planes(self.with_flips(direction), np.float64)
        product = Product(geometry.inner(inner), geometry.outer(outer), along)
        chunks = chunks_of(np.flatnonzero(self.alive.any(0)))
        means = np.zeros((len(self.z), geometry.windows))

        by_image = np.zeros((len(self.z), len(self.selection)))

        def work(number: int, centred: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            moved = np.zeros((len(self.z), len(chunks[number])))
            mean = means if centred else np.zeros_like(means)
            mass = np.zeros_like(means)
            numerator = np.zeros((*self.z.shape[:2], geometry.plane))
            kernels.box_covariance(
                self.chunk(chunks[number], np.float64),
                noisy,
                geometry.layout,
                product,
                normaliser,
                np.full((len(self.z), len(chunks[number])), kernels.HEAVY, np.uint8),
                np.float32(LOWEST),
                centred,
                Moments(mass, mean),
                numerator,
                moved,
            )
            by_image[:, chunks[number]] = moved
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
        moved = by_image.reshape(self.flips, self.batch, -1).sum(0) / self.unit
        return self.fold(geometry.images(total)) / self.unit**2, moved

    def pullback(self, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`covariance_product`, transposed, to the precision of a call: in float32 where that will do, and without what weighs little."""
        geometry, along = self.geometry, self.with_flips(direction)
        found = self._posteriors(along)
        normalisers = Normalisers(found[:, 0], found[:, 1])
        spread = self._spread(normalisers)
        mean = found[:, 2] / found[:, 1]
        means = geometry.spread(np.concatenate([mean, geometry.mirror(mean)][: self.flips]), 0.0)
        total = np.zeros((*self.z.shape[:2], geometry.plane))
        by_image = np.zeros((len(self.z), len(self.selection)))
        inner, outer = geometry.inner(geometry.response), geometry.outer(geometry.box)
        for batch, real in by_precision(np.tile(self.exact(normalisers.highest), self.flips)):
            noisy = self._noisy(batch, real)
            product = Product(inner, outer, geometry.planes(along[batch], real))
            normaliser = Normaliser(*(aligned_copy(part[batch], real) for part in spread))
            moments = Moments(aligned((1, 1), real), aligned_copy(means[batch], real))
            chunks = chunks_of(np.flatnonzero((self.alive[batch] == kernels.HEAVY).any(0)))

            def work(  # type: ignore[no-untyped-def]
                number: int,
                batch=batch,
                real=real,
                noisy=noisy,
                product=product,
                normaliser=normaliser,
                moments=moments,
                chunks=chunks,
            ):
                chosen = chunks[number]
                numerator = aligned((len(batch), self.z.shape[1], geometry.plane), real)
                moved = np.zeros((len(batch), len(chosen)))
                alive = np.ascontiguousarray(self.alive[np.ix_(batch, chosen)])
                least = np.float32(-self.bits[0])
                chunk = self.chunk(chosen, real)
                kernels.box_covariance(
                    chunk, noisy, geometry.layout, product, normaliser, alive, least, True, moments, numerator, moved
                )
                by_image[np.ix_(batch, chosen)] = moved
                return numerator

            for part in in_order(work, len(chunks)):
                total[batch] += part
        moved = by_image.reshape(self.flips, self.batch, -1).sum(0) / self.unit
        return self.fold(geometry.images(total)) / self.unit**2, moved

    def shares(self, pixels: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `smalti.engine.backend.Shares`, for pixels (P, 2)."""
        geometry, problem = self.geometry, self.problem
        found = self.relative_normalisers()
        spread = self._spread(found)
        needed = np.tile(self.exact(found.highest), self.flips)
        y, x = pixels.T
        places = np.stack([y * geometry.width + x, y * geometry.width + geometry.width - 1 - x][: self.flips])
        factors = 1 / problem.coverage.expand(problem.shape).mean(0).numpy()[y, x]
        kept = np.zeros((self.batch, top, len(pixels)), np.float32)
        numbers = np.zeros(kept.shape, np.int64)
        entropy = np.zeros((self.batch, len(pixels)))
        for batch, real in by_precision(needed):
            noisy = self._noisy(batch, real)
            normaliser = Normaliser(*(aligned_copy(part[batch], real) for part in spread))
            own = batch[: len(batch) // self.flips]
            elements = np.flatnonzero((self.alive[batch] == kernels.HEAVY).any(0))
            for chunks in begun_and_rest(elements):
                lowest = lowest_known(kept[own])

                def work(  # type: ignore[no-untyped-def]
                    number: int, batch=batch, real=real, noisy=noisy, normaliser=normaliser, own=own, chunks=chunks, lowest=lowest
                ):  # fmt: skip
                    chosen = chunks[number]
                    shape = (len(own), *kept.shape[1:])
                    shares = Shares(
                        np.zeros(shape, np.float32),
                        np.zeros(shape, np.int64),
                        np.zeros((len(own), len(pixels)), np.float32),
                        lowest.copy(),
                    )
                    alive = np.ascontiguousarray(self.alive[np.ix_(batch, chosen)])
                    box_shares(
                        self.chunk(chosen, real),
                        noisy,
                        geometry.layout,
                        geometry.outer(geometry.response),
                        normaliser,
                        alive,
                        np.float32(-self.bits[0]),
                        places,
                        factors.astype(real),
                        shares,
                    )
                    return shares

                for best, which, bits, _ in in_order(work, len(chunks)):
                    both, ids = np.concatenate([kept[own], best], 1), np.concatenate([numbers[own], which], 1)
                    order = np.argsort(-both, 1, kind="stable")[:, :top]
                    kept[own], numbers[own] = np.take_along_axis(both, order, 1), np.take_along_axis(ids, order, 1)
                    entropy[own] += bits / LOG2E
        if self.flips == 1:
            numbers //= 2
        return kept.transpose(0, 2, 1)[..., None].astype(np.float64), numbers.transpose(0, 2, 1).copy(), entropy

    def _of_both(self, values: np.ndarray) -> np.ndarray:
        """(2 B, windows) sums over images and over flipped images -> their sum, at the places of each."""
        compact = self.geometry.gather(values)
        joined = compact[: self.batch] + self.geometry.mirror(compact[self.batch :])
        return self.geometry.spread(np.concatenate([joined, self.geometry.mirror(joined)]), 0.0)
