"""What programs share whose responses are few entries: posterior means fit beside the normalisers, and one pass over the source does."""

from __future__ import annotations

import numpy as np
import torch

from smalti.engine.elements import Selection
from smalti.engine.problem import Problem
from smalti.engine.programs.base import Program
from smalti.engine.running import LOG2E, Normalisers, Running, merged

__all__ = ["OnePassProgram", "PixelMeansProgram", "images_of", "single_entries"]


class OnePassProgram(Program):
    """A subclass sets `shifts` (B, K) base 2, and defines `scan`, `joined` and `as_images`."""

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

            def again(rows: np.ndarray, elements: np.ndarray) -> None:
                running[rows] = self.scan(rows, elements, np.float64, np.zeros_like(alive[rows]))

            self.again_in_float64(self.joined(running)[:, 0], alive, again)
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

    def __init__(self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection) -> None:
        super().__init__(problem, z, sigma, selection)
        self.channels, self.height, self.width = problem.shape

    def as_images(self, means: np.ndarray) -> np.ndarray:
        return means.reshape(self.batch, self.channels, self.height, self.width)

    def joined(self, running: Running) -> Running:
        own = running[: self.batch]
        if self.flips == 1:
            return own
        grid = running[self.batch :].reshape(*own.shape[:2], self.height, self.width)
        return merged(own, grid[..., ::-1].reshape(own.shape))


def single_entries(responses: np.ndarray, shape: tuple[int, int, int], flips: int) -> list[np.ndarray] | None:
    """(K, M) entries, for each flip, if every response (K, C or 1, H, W) is one pixel (M = C) or one entry (M = 1) of weight 1."""
    channels, height, width = shape
    flat = responses.reshape(len(responses), -1)
    if not ((flat != 0).sum(1) == 1).all() or not (flat.max(1) == 1).all():
        return None
    place = flat.argmax(1)
    row, column = np.divmod(place % (height * width), width)
    first = place // (height * width) * height * width
    found = []
    for flip in range(flips):
        entry = first + row * width + (width - 1 - column if flip else column)
        over = np.arange(channels) * height * width if responses.shape[1] == 1 else np.zeros(1, np.int64)
        found.append(np.ascontiguousarray(entry[:, None] + over))
    return found


def images_of(means: np.ndarray, entries: np.ndarray, size: int) -> np.ndarray:
    """(B, M, K) sums of entries (K, M), added up where they belong: (B, size)."""
    out = np.zeros((len(means), size))
    np.add.at(out.T, entries.T, means.transpose(1, 2, 0))
    return out
