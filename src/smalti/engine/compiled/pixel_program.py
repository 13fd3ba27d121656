"""Posterior means of single pixels from centred boxes at the same place: one pass over the source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from smalti.engine.compiled import kernels, pixel_kernels
from smalti.engine.compiled.leaving_out import gaps, seeds
from smalti.engine.compiled.memory import aligned, padded
from smalti.engine.compiled.one_pass import PixelMeansProgram, Running
from smalti.engine.compiled.program import chunks_of
from smalti.engine.elements import Selection
from smalti.engine.precision import WINDOW_ERROR
from smalti.engine.threads import WAVE, in_order
from smalti.engine.windows import Boxes

if TYPE_CHECKING:
    from smalti.engine.collection import PosteriorMeanCollection

__all__ = ["PixelProgram"]


class PixelProgram(PixelMeansProgram):
    """See `pixel_kernels`."""

    relative_error = WINDOW_ERROR

    def __init__(
        self, collection: PosteriorMeanCollection, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> None:
        super().__init__(collection, z, sigma, selection)
        box = collection.queries.boxes(collection.shape)
        assert box is not None
        self.radius, self.plane = -box.top, padded(self.height * self.width)
        self.shifts = self.where_relative(self.window_squares())[: self.batch]

    @staticmethod
    def covers(collection: PosteriorMeanCollection) -> bool:
        """Whether queries are boxes centred on every pixel, and responses their pixels."""
        _, height, width = collection.shape
        box, reply = collection.queries.boxes(collection.shape), collection.responses.boxes(collection.shape)
        if box is None or reply != Boxes(height, width, 0, 1, 0, 1) or collection.shifts != [(0, 0)]:
            return False
        return box == Boxes(height, width, box.top, 1 - box.top, box.top, 1 - box.top)

    def scan(self, batch: np.ndarray, elements: np.ndarray, real: type, alive: np.ndarray) -> Running:
        doubled = np.where(self.noisy[batch], 2, 1)[:, None, None]
        z = aligned((len(batch), self.channels, self.plane), real)
        z[..., : self.height * self.width] = (self.z[batch]).reshape(*z.shape[:2], -1) * doubled
        gap, wide = gaps(self)

        def work(chosen: np.ndarray, highest: np.ndarray) -> np.ndarray:
            state = aligned((len(batch), (2 + self.channels) * self.plane), real)
            state[:, : self.plane] = highest
            flags = np.zeros((len(batch), len(chosen)), np.uint8)
            pixel_kernels.pixel_pass(
                self.images,
                real(self.offset),
                self.selection.indices[chosen],
                self.log_priors[chosen].astype(real),
                z,
                self.noisy[batch],
                self.scales[batch].astype(real),
                (self.height, self.width, self.radius),
                real(gap),
                real(wide),
                state,
                flags,
            )
            alive[:, chosen] = flags
            return state.reshape(len(batch), 2 + self.channels, self.plane)

        highest = work(seeds(elements), np.full((len(batch), self.plane), kernels.LOWEST_LOGIT))[:, 0]
        chunks = chunks_of(elements)
        total = _sum(in_order(lambda number: work(chunks[number], highest), len(chunks)))
        return total[..., : self.height * self.width]


def _sum(parts: Iterator[np.ndarray]) -> Running:
    """Running posteriors (B, 2 + C, plane) of chunks as one, float64."""
    total: list[np.ndarray] = []
    for part in parts:
        total.append(part)
        if len(total) == WAVE:
            total = [_sum_of(total)]
    return _sum_of(total)


def _sum_of(parts: list[np.ndarray]) -> Running:
    together = np.stack(parts)
    highest = together[:, :, 0].max(0)
    factors = np.exp2(together[:, :, 0] - highest)
    sums = np.einsum("nbk,nbmk->bmk", factors, together[:, :, 1:], dtype=np.float64)
    return np.concatenate([highest[:, None], sums], 1)
