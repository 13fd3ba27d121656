"""Posterior means of single pixels from centred boxes at the same place: one pass over the source."""

from __future__ import annotations

import numpy as np
import torch

from smalti.engine.compiled import kernels, pixel_kernels
from smalti.engine.compiled.records import Noisy
from smalti.engine.elements import Selection
from smalti.engine.precision import WINDOW_ERROR
from smalti.engine.problem import Problem
from smalti.engine.programs.base import chunks_of, seeds
from smalti.engine.programs.memory import aligned, padded
from smalti.engine.programs.one_pass import PixelMeansProgram
from smalti.engine.running import Running, merged_all
from smalti.engine.threads import in_order

__all__ = ["PixelProgram"]


class PixelProgram(PixelMeansProgram):
    """See `pixel_kernels`."""

    relative_error = WINDOW_ERROR

    def __init__(self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection) -> None:
        super().__init__(problem, z, sigma, selection)
        box = problem.queries.boxes(problem.shape)
        assert box is not None
        self.radius, self.plane = -box.top, padded(self.height * self.width)
        self.shifts = self.where_relative(self.window_squares())[: self.batch]

    def scan(self, batch: np.ndarray, elements: np.ndarray, real: type, alive: np.ndarray) -> Running:
        doubled = np.where(self.noisy[batch], 2, 1)[:, None, None]
        z = aligned((len(batch), self.channels, self.plane), real)
        z[..., : self.height * self.width] = (self.z[batch]).reshape(*z.shape[:2], -1) * doubled
        noisy = Noisy(z, self.noisy[batch], self.scales[batch].astype(real))
        gap, wide = self.gaps()

        def work(chosen: np.ndarray, highest: np.ndarray) -> np.ndarray:
            state = aligned((len(batch), (2 + self.channels) * self.plane), real)
            state[:, : self.plane] = highest
            flags = np.zeros((len(batch), len(chosen)), np.uint8)
            pixel_kernels.pixel_pass(
                self.chunk(chosen, real),
                noisy,
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
        total = merged_all(in_order(lambda number: work(chunks[number], highest), len(chunks)))
        return total[..., : self.height * self.width]
