"""Both phases for one window, the whole image (`Full`): one distance per image."""

from __future__ import annotations

import numpy as np
import torch

from smalti.engine.compiled import kernels
from smalti.engine.elements import Selection
from smalti.engine.precision import FULL_ERROR
from smalti.engine.problem import Problem
from smalti.engine.programs.base import LOWEST, Program, chunks_of
from smalti.engine.running import LOG2E, Normalisers
from smalti.engine.threads import in_order

__all__ = ["WholeProgram"]

ROUNDING = 2.0**-20  # of a float32 logit, relative, and with room


class WholeProgram(Program):
    """One window, all of the image: one distance per image, kept from phase 1 to phase 2."""

    relative_error = FULL_ERROR

    def __init__(self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection) -> None:
        super().__init__(problem, z, sigma, selection)
        self.flat = self.images.reshape(len(self.images), -1)
        self.points = self.z.reshape(len(self.z), -1)
        # (flips B, 1), base 2: what relative distances take from every logit
        self.shifts = (np.where(self.noisy, (self.points**2).sum(1), 0) * self.scales)[:, None]
        self.tiles = _tiles(self.flat.shape[1])
        self.bits, _ = self.gaps()
        self._logits: np.ndarray | None = None

    def logits(self) -> np.ndarray:
        """(flips B, n) base 2, float64, relative to `shifts`; from float64 distances where they matter and float32 would not do.

        -infinity where a logit is certainly too far below the largest to matter.
        """
        if self._logits is None:
            values = self._pruned_distances()
            values *= -self.scales[:, None]
            values += self.log_priors
            best = np.abs(values.max(1))
            for b in np.flatnonzero(self.exact(best[:, None])):
                close = np.flatnonzero(values[b] > values[b].max() - ROUNDING * best[b] + LOWEST)
                exact = self._distances(np.array([b]), close, np.float64, self.tiles)[0]
                values[b, close] = self.log_priors[close] - exact * self.scales[b]
            self._logits = values
        return self._logits

    def _pruned_distances(self) -> np.ndarray:
        """Squared distances in float32, infinite where some pixels show that an image is too far away to matter.

        First a tile of every image; then all of those that are nearest by it, one in each chunk; then the rest of the others, as far
        as they are still in question. Relative distances do not only grow: of them nothing is left out.
        """
        everyone, everything = np.arange(len(self.z)), np.arange(len(self.selection))
        if self.noisy.all() or len(self.tiles) == 1:
            return self._distances(everyone, everything, np.float32, self.tiles)
        found = self._distances(everyone, everything, np.float32, self.tiles[:1])
        parts = chunks_of(everything)
        near = [part[(found[:, part] * self.scales[:, None] - self.log_priors[part]).argmin(1)] for part in parts]
        some = np.unique(np.concatenate(near))
        logits = self.log_priors[some] - self._distances(everyone, some, np.float32, self.tiles) * self.scales[:, None]
        best = logits.max(1)
        least = np.where(self.noisy, -np.inf, best - self.bits - ROUNDING * np.abs(best))
        return self._distances(everyone, everything, np.float32, self.tiles[1:], least, found)

    def _distances(
        self,
        batch: np.ndarray,
        elements: np.ndarray,
        real: type,
        tiles: np.ndarray,
        least: np.ndarray | None = None,
        before: np.ndarray | None = None,
    ) -> np.ndarray:
        """(len(batch), len(elements)) sums over some tiles, and those of tiles `before`; infinite for logits below `least`."""
        relative = self.noisy[batch]
        z = (self.points[batch] * np.where(relative, 2, 1)[:, None]).astype(real)
        chunks = chunks_of(np.arange(len(elements)))
        distances = np.zeros((len(batch), len(elements))) if before is None else before
        lowest = np.full(len(batch), -np.inf) if least is None else least

        def work(number: int) -> None:
            part = chunks[number]
            kernels.bounded_distances(
                self.flat,
                real(self.offset),
                self.selection.indices[elements[part]],
                z,
                relative.astype(np.uint8),
                tiles,
                self.log_priors[elements[part]],
                self.scales[batch],
                lowest,
                distances[:, part[0] : part[-1] + 1],
            )

        for _ in in_order(work, len(chunks)):
            pass
        return distances

    def normalisers(self) -> np.ndarray:
        """Phase 1: (B, 1) natural log-normalisers."""
        found = self.relative_normalisers()
        return Normalisers(found.highest - self.shifts[: self.batch], found.mass).natural()

    def relative_normalisers(self) -> Normalisers:
        logits = self.logits()
        highest = logits.max(1, keepdims=True)
        found = Normalisers(highest, np.exp2(logits - highest).sum(1, keepdims=True))
        if self.flips == 1:
            return found
        return found.map(lambda v: v[: self.batch]).merged(found.map(lambda v: v[self.batch :]))

    def numerator(self, log_normalisers: np.ndarray) -> np.ndarray:
        """Phase 2: (B, C, H, W) in the working scale, from (B, 1) natural log-normalisers."""
        return self.relative_numerator(Normalisers.of_natural(log_normalisers + self.shifts[: self.batch] / LOG2E))

    def both_phases(self) -> np.ndarray:
        return self.relative_numerator(self.relative_normalisers())

    def relative_numerator(self, normalisers: Normalisers) -> np.ndarray:
        logits = self.logits()
        highest, mass = (np.tile(v, (self.flips, 1)) for v in (normalisers.highest, normalisers.mass))
        needed = np.flatnonzero((logits - highest).max(0) >= -self.bits)
        chunks = chunks_of(needed)

        def work(number: int) -> np.ndarray:
            gaps = np.minimum(logits[:, chunks[number]] - highest, kernels.GAP_LIMIT).astype(np.float32)
            weights = np.where(gaps >= -self.bits, np.exp2(gaps), 0) / mass
            numerator = np.zeros(self.points.shape, np.float32)
            indices = self.selection.indices[chunks[number]]
            kernels.full_numerator(self.flat, np.float32(self.offset), indices, weights.astype(np.float32), numerator)
            return numerator

        total = sum(in_order(work, len(chunks)), np.zeros(self.points.shape))
        return self.fold(total.reshape(len(total), *self.problem.shape)) / self.unit

    def covariance_product(self, direction: np.ndarray, transpose: bool) -> tuple[np.ndarray, np.ndarray]:
        """Cov(x, x) direction, (B, C, H, W), and w^i <direction, x^i - E> of each selected image, (B, n): float64, working scale.

        Query and response are the image, so `transpose` makes no difference. Leaves out nothing.
        """
        self.bits = -LOWEST
        found = self.relative_normalisers()
        highest, mass = (np.tile(v, (self.flips, 1)) for v in (found.highest, found.mass))
        weights = np.exp2(np.maximum(self.logits() - highest, 2 * LOWEST)) / mass
        weights[self.logits() - highest < LOWEST] = 0
        needed = np.flatnonzero((weights > 0).any(0))
        along = self.with_flips(direction).reshape(len(self.z), -1)
        chunks = chunks_of(needed)
        products = np.zeros_like(weights)

        def inner(number: int) -> None:
            indices = self.selection.indices[chunks[number]]
            both = np.zeros((len(along) + 1, len(indices)))  # sum v (v - a) for each direction a, and sum v^2
            points = np.concatenate([along, np.zeros((1, along.shape[1]))])
            relative = np.ones(len(points), np.uint8)
            kernels.full_distances(self.flat, self.offset, indices, points, relative, both)
            products[:, chunks[number]] = both[-1] - both[:-1]

        for _ in in_order(inner, len(chunks)):
            pass
        means = (weights * products).sum(1).reshape(self.flips, self.batch).sum(0)
        weights *= products - np.tile(means, self.flips)[:, None]

        def outer(number: int) -> np.ndarray:
            indices, signed = self.selection.indices[chunks[number]], weights[:, chunks[number]]
            total = np.zeros((2, *self.points.shape))
            for sign, part in ((1, total[0]), (-1, total[1])):  # the kernel takes weights > 0
                kernels.full_numerator(self.flat, self.offset, indices, np.maximum(sign * signed, 0), part)
            return total[0] - total[1]

        total = sum(in_order(outer, len(chunks)), np.zeros(self.points.shape))
        moved = weights.reshape(self.flips, self.batch, -1).sum(0) / self.unit
        return self.fold(total.reshape(len(total), *self.problem.shape)) / self.unit**2, moved

    def _weights(self, normalisers: Normalisers) -> np.ndarray:
        """(flips B, n) float64, those of both flips together sum to 1; 0 for what may be left out."""
        highest, mass = (np.tile(v, (self.flips, 1)) for v in (normalisers.highest, normalisers.mass))
        gaps = np.minimum(self.logits() - highest, kernels.GAP_LIMIT)
        return np.where(gaps >= -self.bits, np.exp2(np.maximum(gaps, 2 * LOWEST)), 0) / mass

    def pullback(self, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`covariance_product` to the precision of a call: products in float32, without what certainly weighs little."""
        weights = self._weights(self.relative_normalisers())
        along = self.with_flips(direction).reshape(len(self.z), -1).astype(np.float32)
        chunks = chunks_of(np.flatnonzero((weights > 0).any(0)))
        products, offset = np.zeros_like(weights), np.float32(self.offset)

        def inner(number: int) -> None:
            found = np.empty((len(along), len(chunks[number])))
            kernels.full_products(self.flat, offset, self.selection.indices[chunks[number]], along, found)
            products[:, chunks[number]] = found

        for _ in in_order(inner, len(chunks)):
            pass
        means = (weights * products).sum(1).reshape(self.flips, self.batch).sum(0)
        weights *= products - np.tile(means, self.flips)[:, None]

        def outer(number: int) -> np.ndarray:
            numerator = np.zeros(self.points.shape, np.float32)
            some = weights[:, chunks[number]].astype(np.float32)
            kernels.full_numerator(self.flat, offset, self.selection.indices[chunks[number]], some, numerator)
            return numerator

        total = sum(in_order(outer, len(chunks)), np.zeros(self.points.shape))
        moved = weights.reshape(self.flips, self.batch, -1).sum(0) / self.unit
        return self.fold(total.reshape(len(total), *self.problem.shape)) / self.unit**2, moved

    def shares(self, pixels: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `smalti.engine.backend.Shares`, for pixels (P, 2): the same in all of them."""
        weights = self._weights(self.relative_normalisers()).reshape(self.flips, self.batch, -1)
        by_image = weights.sum(0)
        entropy = -(by_image * np.log(np.where(by_image > 0, by_image, 1))).sum(1)
        by_element = weights.transpose(1, 2, 0).reshape(self.batch, -1)  # both flips of an image follow one another
        listed = min(top, by_element.shape[1])
        shares, numbers = np.zeros((self.batch, top)), np.zeros((self.batch, top), np.int64)
        for b, found in enumerate(by_element):
            least = np.partition(found, -listed)[-listed]
            candidates = np.flatnonzero(found >= max(least, np.finfo(np.float64).tiny))
            best = candidates[np.argsort(-found[candidates], kind="stable")[:listed]]
            shares[b, : len(best)] = found[best]
            position, flip = np.divmod(best, self.flips)
            numbers[b, : len(best)] = self.selection.indices[position] * self.flips + flip
        of_pixel = np.zeros((1, len(pixels), 1))
        return (
            shares[:, None, :, None] + of_pixel[..., None],
            numbers[:, None] + of_pixel.astype(np.int64),
            entropy[:, None] + of_pixel[..., 0],
        )


def _tiles(dimension: int) -> np.ndarray:
    """(T, 2) pieces of 0 .. dimension, of at most TILE entries; in order, for memory is read ahead (another order takes twice as long)."""
    return np.array([(at, min(at + kernels.TILE, dimension)) for at in range(0, dimension, kernels.TILE)])
