"""What programs share whose responses are few entries: posterior means fit beside the normalisers, and one pass over the source does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from smalti.engine.compiled.normalisers import LOG2E, Normalisers
from smalti.engine.compiled.program import Program, worth_float64
from smalti.engine.elements import Selection
from smalti.engine.precision import double

if TYPE_CHECKING:
    from smalti.engine.collection import PosteriorMeanCollection

__all__ = ["OnePassProgram", "PixelMeansProgram", "Running", "merged"]

# (rows, 2 + M, K) float64: maximum of the logits, sum of 2^(logit - maximum), sums of that times M entries
Running = np.ndarray


class OnePassProgram(Program):
    """A subclass sets `relative_error`, `shifts` (B, K) base 2, and defines `scan`, `joined` and `as_images`."""

    relative_error: float
    shifts: np.ndarray
    _found: Running | None = None

    def scan(self, batch: np.ndarray, elements: np.ndarray, real: type, alive: np.ndarray) -> Running:
        """One pass for the rows `batch` of (flips B,) over `elements` of the selection; fills alive[:, elements] (batch, n)."""
        raise NotImplementedError

    def joined(self, running: Running) -> Running:
        """Both flips (flips B, ...) as one (B, ...)."""
        raise NotImplementedError

    def as_images(self, means: np.ndarray) -> np.ndarray:
        """(B, M, K) sums of weighted entries -> (B, C, H, W), in stored units."""
        raise NotImplementedError

    def posteriors(self) -> Running:
        """(B, 2 + M, K) relative to `shifts`; float64 distances where float32 would not do."""
        if self._found is None:
            everyone, everything = np.arange(len(self.z)), np.arange(len(self.selection))
            alive = np.zeros((len(self.z), len(self.selection)), np.uint8)
            running = self.scan(everyone, everything, np.float32, alive)
            largest = np.abs(self.joined(running)[:, 0]).max(1)
            for b in np.flatnonzero(double(largest / LOG2E, self.relative_error)):
                both = self.both_flips(np.array([b]))
                elements = worth_float64(alive[both], largest[b], self.relative_error)
                running[both] = self.scan(both, elements, np.float64, np.zeros_like(alive[both]))
            self._found = self.joined(running)
        return self._found

    def normalisers(self) -> np.ndarray:
        """Phase 1: (B, K) natural log-normalisers."""
        found = self.posteriors()
        return Normalisers(found[:, 0] - self.shifts, found[:, 1]).natural()

    def numerator(self, log_normalisers: np.ndarray) -> np.ndarray:
        """Phase 2: (B, C, H, W) in the working scale, from (B, K) natural log-normalisers."""
        found = self.posteriors()
        given = Normalisers.of_natural(log_normalisers + self.shifts / LOG2E)
        factor = np.exp2(found[:, 0] - given.highest) / given.mass
        return self.as_images(found[:, 2:] * factor[:, None]) / self.unit

    def both_phases(self) -> np.ndarray:
        found = self.posteriors()
        return self.as_images(found[:, 2:] / found[:, 1:2]) / self.unit


class PixelMeansProgram(OnePassProgram):
    """A window for every pixel, in row-major order, that answers with it: K = H W, M = C."""

    def __init__(
        self, collection: PosteriorMeanCollection, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> None:
        super().__init__(collection, z, sigma, selection)
        self.channels, self.height, self.width = collection.shape

    def as_images(self, means: np.ndarray) -> np.ndarray:
        return means.reshape(self.batch, self.channels, self.height, self.width)

    def joined(self, running: Running) -> Running:
        own = running[: self.batch]
        if self.flips == 1:
            return own
        grid = running[self.batch :].reshape(*own.shape[:2], self.height, self.width)
        return merged(own, grid[..., ::-1].reshape(own.shape))


def merged(a: Running, b: Running) -> Running:
    """Two running posteriors as one."""
    top = np.maximum(a[:, :1], b[:, :1])
    return np.concatenate([top, a[:, 1:] * np.exp2(a[:, :1] - top) + b[:, 1:] * np.exp2(b[:, :1] - top)], 1)
