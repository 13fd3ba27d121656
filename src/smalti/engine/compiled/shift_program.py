"""Posterior means of single pixels over all admitted shifts: one pass over the source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from smalti.engine.compiled import shift_kernels
from smalti.engine.compiled.memory import aligned, padded
from smalti.engine.compiled.one_pass import OnePassProgram, Running, merged
from smalti.engine.elements import Selection
from smalti.engine.match import EveryPlace, SameBorderDistance
from smalti.engine.precision import WINDOW_ERROR
from smalti.engine.threads import in_order
from smalti.engine.windows import Centred

if TYPE_CHECKING:
    from smalti.engine.collection import PosteriorMeanCollection

__all__ = ["ShiftProgram"]

CHUNK = 64  # images; each takes as long as a thousand at one place


class ShiftProgram(OnePassProgram):
    """See `shift_kernels`."""

    relative_error = WINDOW_ERROR

    def __init__(
        self, collection: PosteriorMeanCollection, z: torch.Tensor, sigma: torch.Tensor, selection: Selection
    ) -> None:
        super().__init__(collection, z, sigma, selection)
        queries = collection.queries
        assert isinstance(queries, Centred)
        self.channels, self.height, self.width = collection.shape
        self.radius, self.wrap = queries.size // 2, queries.wrap
        self.stride = self.width + 2 * self.radius
        self.plane = (self.height + 2 * self.radius) * self.stride
        self.windows = padded((self.height - 1) * self.stride + self.width)
        admitted = collection.admitted
        assert admitted is not None
        table = admitted.numpy().reshape(self.height, self.width, self.height, self.width)  # row, column, sy, sx
        rows, columns = table.any((1, 3)), table.any((0, 2))  # (row, sy), (column, sx)
        self.rows_allowed = np.ascontiguousarray(rows.T).astype(np.uint8)
        grid = np.full((self.width, self.height, self.stride), float(shift_kernels.PENALTY))
        grid[:, :, : self.width] = np.where(columns.T[:, None, :], 0, float(shift_kernels.PENALTY))
        self.penalties = np.full((self.width, self.windows), float(shift_kernels.PENALTY))
        used = min(self.windows, self.height * self.stride)
        self.penalties[:, :used] = grid.reshape(self.width, -1)[:, :used]
        inside = np.zeros((self.height + 2 * self.radius, self.stride))
        inside[self.radius : self.radius + self.height, self.radius : self.radius + self.width] = 1
        self.inside = inside.reshape(-1)
        over_rows, over_columns = (factor.numpy() for factor in queries.factors(collection.shape))
        # (B, K), base 2: what relative distances take from every logit, the windows' sums of |z|^2
        squares = np.where(self.noisy[:, None, None], (self.z**2).sum(1), 0)
        shifts = (over_rows @ squares @ over_columns.T).reshape(len(squares), -1) * self.scales[:, None]
        self.shifts = shifts[: self.batch]

    @staticmethod
    def covers(collection: PosteriorMeanCollection) -> bool:
        """Whether queries are centred boxes that shifts never cut, and responses their pixels."""
        queries, match = collection.queries, collection.match
        if not isinstance(queries, Centred) or collection.responses != Centred(1):
            return False
        if isinstance(match, SameBorderDistance):
            return not queries.wrap and (match.border is None or match.border >= queries.size // 2)
        return type(match) is EveryPlace and queries.wrap

    def as_images(self, means: np.ndarray) -> np.ndarray:
        return means.reshape(self.batch, self.channels, self.height, self.width)

    def scan(self, batch: np.ndarray, elements: np.ndarray, real: type, alive: np.ndarray) -> Running:
        """(rows, 2 + C, windows) of the kernels' canvas."""
        doubled = np.where(self.noisy[batch], 2, 1)[:, None, None, None]
        extended = self._extended(self.z[batch] * doubled).reshape(len(batch), -1)
        z: np.ndarray = np.zeros((len(batch), extended.shape[1] + 64), real)  # vectors may read beyond
        z[:, : extended.shape[1]] = extended
        layout = (self.height, self.width, self.radius, self.stride, self.plane, self.windows, int(self.wrap))
        chunks = [elements[i : i + CHUNK] for i in range(0, len(elements), CHUNK)]

        def work(number: int) -> np.ndarray:
            chosen = chunks[number]
            state = aligned((len(batch), (2 + self.channels) * self.windows), real)
            state[:, : self.windows] = shift_kernels.LOWEST_LOGIT
            flags = np.zeros((len(batch), len(chosen)), np.uint8)
            shift_kernels.shift_pass(
                self.images,
                real(self.offset),
                self.selection.indices[chosen],
                self.log_priors[chosen].astype(real),
                z,
                self.noisy[batch],
                self.scales[batch].astype(real),
                layout,
                self.rows_allowed,
                self.penalties.astype(real).reshape(-1),
                self.inside.astype(real),
                state,
                flags,
            )
            alive[:, chosen] = flags
            return state.reshape(len(batch), 2 + self.channels, self.windows).astype(np.float64)

        total: Running | None = None
        for part in in_order(work, len(chunks)):
            total = part if total is None else merged(total, part)
        assert total is not None
        return total

    def _extended(self, images: np.ndarray) -> np.ndarray:
        r = self.radius
        return np.pad(images, ((0, 0), (0, 0), (r, r), (r, r)), "wrap" if self.wrap else "constant")

    def joined(self, running: Running) -> Running:
        """(flips B, 2 + C, windows) -> (B, 2 + C, K)."""
        used = self.height * self.stride
        grid = np.zeros((*running.shape[:2], max(used, self.windows)))
        grid[..., : self.windows] = running
        grid = grid[..., :used].reshape(*running.shape[:2], self.height, self.stride)[..., : self.width]
        own = grid[: self.batch].reshape(self.batch, running.shape[1], -1)
        if self.flips == 1:
            return own
        return merged(own, grid[self.batch :, ..., ::-1].reshape(self.batch, running.shape[1], -1))
