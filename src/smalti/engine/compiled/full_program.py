"""Both phases for one window, the whole image (`Full`): one distance per image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from smalti.engine.compiled import kernels
from smalti.engine.compiled.normalisers import LOG2E, Normalisers
from smalti.engine.compiled.program import LOWEST, Program, chunks_of
from smalti.engine.elements import Selection
from smalti.engine.precision import FULL_ERROR, double
from smalti.engine.threads import in_order

if TYPE_CHECKING:
    from smalti.engine.collection import PosteriorMeanCollection

__all__ = ["FullProgram"]


class FullProgram(Program):
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
        chunks = chunks_of(elements)
        distances = np.empty((len(batch), len(elements)))

        def work(number: int) -> np.ndarray:
            part = np.empty((len(batch), len(chunks[number])))
            indices = self.selection.indices[chunks[number]]
            kernels.full_distances(self.flat, real(self.offset), indices, z, relative.astype(np.uint8), part)
            return part

        done = 0
        for part in in_order(work, len(chunks)):
            distances[:, done : done + part.shape[1]] = part
            done += part.shape[1]
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
        needed = np.flatnonzero((logits - highest).max(0) >= LOWEST)
        chunks = chunks_of(needed)

        def work(number: int) -> np.ndarray:
            gaps = np.minimum(logits[:, chunks[number]] - highest, kernels.GAP_LIMIT).astype(np.float32)
            weights = np.where(gaps >= LOWEST, np.exp2(gaps), 0) / mass
            numerator = np.zeros(self.points.shape, np.float32)
            indices = self.selection.indices[chunks[number]]
            kernels.full_numerator(self.flat, np.float32(self.offset), indices, weights.astype(np.float32), numerator)
            return numerator

        total = sum(in_order(work, len(chunks)), np.zeros(self.points.shape))
        return self.fold(total.reshape(len(total), *self.collection.shape)) / self.unit
