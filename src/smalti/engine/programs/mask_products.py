"""Shares of images in pixels, and derivatives, for windows of any form at the same place; see the kernels of the same name."""

from __future__ import annotations

import functools

import numpy as np

from smalti.engine.compiled import mask_products
from smalti.engine.compiled.kernels import LOWEST_LOGIT
from smalti.engine.compiled.mask_kernels import mask_normalisers
from smalti.engine.compiled.records import MaskShares, Means, Normaliser
from smalti.engine.precision import by_precision
from smalti.engine.problem import Problem
from smalti.engine.programs.atoms import Atoms, make_atoms
from smalti.engine.programs.base import begun_and_rest, chunks_of, lowest_known
from smalti.engine.programs.masks import Masks, MasksLayout, flat_masks
from smalti.engine.running import LOG2E, Normalisers, Running, merged
from smalti.engine.threads import in_order

__all__ = ["MaskProducts"]


class MaskProducts(Masks):
    """What `masks.MaskProgram` and `masks.EntryProgram` have none of: images kept apart, and what their weights' derivatives are."""

    def pullback(self, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """sum_k Q_k * Cov_k(x, x) (R_k * direction), (B, C, H, W), and sum_k w_k^i <R_k * direction, x^i - E_k> of each selected image,
        (B, n): working scale, to the precision of a call."""
        alive = np.ones((len(self.z), len(self.selection)), np.uint8)
        along = self.with_flips(direction).reshape(len(self.z), -1)
        found = self._posteriors(along, alive)
        normalisers = Normalisers(found[:, 0], found[:, 1])
        means = found[:, 2] / found[:, 1]
        total, by_image = np.zeros(self.points.shape), np.zeros(alive.shape)
        gap = np.float32(self.gap(self.flips * len(self.images)))
        for batch, real in by_precision(self.exact(normalisers.highest)):
            normaliser, mean = _normaliser(normalisers, batch, real), means[batch].astype(real)
            for flip in range(self.flips):
                rows = batch + flip * self.batch
                windows, inner = self._windows(flip, real)
                noisy, ahead = self._noisy(rows, real), along[rows].astype(real)
                chunks = chunks_of(np.flatnonzero(alive[rows].any(0)))

                def work(  # type: ignore[no-untyped-def]
                    number: int, real=real, rows=rows, noisy=noisy, windows=windows, inner=inner, ahead=ahead, chunks=chunks,
                    normaliser=normaliser, mean=mean
                ):  # fmt: skip
                    chosen = chunks[number]
                    numerator = np.zeros((len(rows), self.points.shape[1]))
                    moved = np.zeros((len(rows), len(chosen)))
                    some = np.ascontiguousarray(alive[np.ix_(rows, chosen)])
                    chunk = self.chunk(chosen, real, self.flat)
                    mask_products.mask_pullback(
                        chunk, noisy, windows, inner, ahead, normaliser, mean, gap, some, numerator, moved
                    )
                    by_image[np.ix_(rows, chosen)] = moved
                    return numerator

                for part in in_order(work, len(chunks)):
                    total[rows] += part
        moved = by_image.reshape(self.flips, self.batch, -1).sum(0) / self.unit
        return self.fold(total.reshape(self.z.shape)) / self.unit**2, moved

    def _posteriors(self, direction: np.ndarray | None, alive: np.ndarray) -> Running:
        """(B, 2, K) in the kernels' order, relative to `shifts`; (B, 3, K) with sums of <response * direction, image>, if given; fills
        alive (flips B, n)."""

        def of(batch: np.ndarray, elements: np.ndarray, real: type) -> Running:
            parts = [
                self._phase_one(flip, batch + flip * self.batch, elements, real, direction, alive)
                for flip in range(self.flips)
            ]
            return functools.reduce(merged, parts)

        found = of(np.arange(self.batch), np.arange(len(self.selection)), np.float32)

        def again(rows: np.ndarray, elements: np.ndarray) -> None:
            found[rows[:1]] = of(rows[:1], elements, np.float64)

        self.again_in_float64(found[:, 0], alive, again)
        return found

    def _phase_one(
        self,
        flip: int,
        rows: np.ndarray,
        elements: np.ndarray,
        real: type,
        direction: np.ndarray | None,
        alive: np.ndarray,
    ) -> Running:
        windows, inner = self._windows(flip, real)
        noisy, along = self._noisy(rows, real), None if direction is None else direction[rows].astype(real)
        chunks = chunks_of(elements)
        shape = len(rows), len(self.layout.order)

        def work(number: int) -> Running:
            chosen = chunks[number]
            highest: np.ndarray = np.full(shape, LOWEST_LOGIT, real)
            totals: np.ndarray = np.zeros(shape, real)
            sums = np.zeros((shape[0], 0 if along is None else 1, shape[1]))
            flags = np.zeros((len(rows), len(chosen)), np.uint8)
            chunk = self.chunk(chosen, real, self.flat)
            if along is None:
                mask_normalisers(chunk, noisy, windows, highest, totals, flags)
            else:
                means = Means(highest, totals, sums)
                mask_products.mask_moments(chunk, noisy, windows, inner, along, means, flags)
            alive[np.ix_(rows, chosen)] = flags
            return np.concatenate([np.stack([highest, totals], 1).astype(np.float64), sums], 1)

        return functools.reduce(merged, in_order(work, len(chunks)))

    def _windows(self, flip: int, real: type):  # type: ignore[no-untyped-def]
        """Queries and responses of a flip, for the kernels."""
        responses = self.problem.planned(_responses)
        layout = self.layout
        return (
            self._sums(layout.queries[flip], layout.summed, real),
            self._sums(responses[flip], layout.responses_summed, real),
        )

    def shares(self, pixels: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `smalti.engine.backend.Shares`, for pixels (P, 2)."""
        alive = np.ones((len(self.z), len(self.selection)), np.uint8)
        found = self._posteriors(None, alive)
        normalisers = Normalisers(found[:, 0], found[:, 1])
        y, x = pixels.T
        width = self.problem.shape[2]
        places = np.stack([y * width + x, y * width + width - 1 - x][: self.flips])
        factors = 1 / self.problem.coverage.numpy()[:, y, x]
        if self.layout.responses_summed:
            factors = factors[:1]
        shape = self.batch, top, len(pixels)
        ranks, numbers = np.zeros(shape, np.float32), np.zeros(shape, np.int64)
        kept = np.zeros((*shape, len(factors)), np.float32)
        entropy = np.zeros((self.batch, len(pixels)))
        gap = np.float32(self.gap(self.flips * len(self.images)))
        for batch, real in by_precision(self.exact(normalisers.highest)):
            rows = np.concatenate([batch + flip * self.batch for flip in range(self.flips)])
            noisy, normaliser = self._noisy(rows, real), _normaliser(normalisers, batch, real)
            windows = [*self._windows(0, real), *self._windows(self.flips - 1, real)]
            for chunks in begun_and_rest(np.flatnonzero(alive[rows].any(0))):
                lowest = lowest_known(ranks[batch])

                def work(  # type: ignore[no-untyped-def]
                    number: int, batch=batch, real=real, rows=rows, noisy=noisy, normaliser=normaliser, windows=windows, chunks=chunks,
                    lowest=lowest
                ):  # fmt: skip
                    chosen = chunks[number]
                    one = len(batch), *shape[1:]
                    shares = MaskShares(
                        np.zeros(one, np.float32),
                        np.zeros((*one, len(factors)), np.float32),
                        np.zeros(one, np.int64),
                        np.zeros((len(batch), len(pixels)), np.float32),
                        lowest.copy(),
                    )
                    chunk, some = self.chunk(chosen, real, self.flat), np.ascontiguousarray(alive[np.ix_(rows, chosen)])
                    mask_products.mask_shares(
                        chunk, noisy, *windows, normaliser, gap, some, places, factors.astype(real), shares
                    )
                    return shares

                for part in in_order(work, len(chunks)):
                    together = np.concatenate([ranks[batch], part.ranks], 1)
                    order = np.argsort(-together, 1, kind="stable")[:, :top]
                    of_channel = np.concatenate([kept[batch], part.kept], 1)
                    kept[batch] = np.take_along_axis(of_channel, order[..., None], 1)
                    numbers[batch] = np.take_along_axis(np.concatenate([numbers[batch], part.numbers], 1), order, 1)
                    ranks[batch] = np.take_along_axis(together, order, 1)
                    entropy[batch] += part.entropy / LOG2E
        if self.flips == 1:
            numbers //= 2
        return kept.transpose(0, 2, 1, 3).astype(np.float64), numbers.transpose(0, 2, 1).copy(), entropy


def _normaliser(normalisers: Normalisers, batch: np.ndarray, real: type) -> Normaliser:
    """Of the z numbered `batch`, for the kernels."""
    with np.errstate(divide="ignore"):
        corrections = np.where(normalisers.mass > 0, 1 / normalisers.mass, 0)
    references = np.where(normalisers.mass > 0, normalisers.highest, np.inf)
    return Normaliser(references[batch].astype(real), corrections[batch].astype(real))


def _responses(problem: Problem) -> list[Atoms]:
    """The responses in the groups of the queries, one for each flip; single pixels too."""
    layout = problem.planned(MasksLayout.of)
    if layout.responses:
        return layout.responses
    masks = problem.responses.masks(problem.shape).numpy()[layout.order]
    groups = layout.queries[0].groups[:, :2]
    return [make_atoms(flat_masks(masks, flip), groups) for flip in range(problem.flips)]
