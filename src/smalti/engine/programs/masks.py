"""Both phases for windows of any form at the same place: sparse sums with images in lanes."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from smalti.engine.compiled import mask_kernels
from smalti.engine.compiled.kernels import LOWEST_LOGIT
from smalti.engine.compiled.records import MaskSums, Means, Noisy, Normaliser
from smalti.engine.elements import Selection
from smalti.engine.precision import PRODUCT_ERROR, by_precision
from smalti.engine.problem import Problem
from smalti.engine.programs.atoms import Atoms, grouped, make_atoms
from smalti.engine.programs.base import Program, chunks_of
from smalti.engine.programs.one_pass import OnePassProgram, images_of, single_entries
from smalti.engine.running import LOG2E, Normalisers, Running, merged
from smalti.engine.threads import in_order

__all__ = ["EntryProgram", "MaskProgram", "Masks", "MasksLayout", "answers_are_entries", "flat_masks"]


@dataclass(frozen=True)
class MasksLayout:
    """The windows of a problem as the kernels read them.

    Attributes:
        queries: one for each flip: of the windows, and of their mirror images.
        responses: the same of the responses, in the same groups.
        order: (K,) query number k of the kernels is query order[k] of the problem.
        summed, responses_summed: whether masks are the same in all channels.
        own: (K, entries) float64 queries in the kernels' order, for the sums of |z|^2.
        entries: one for each flip: (K, M) entries, times LANES, that a query responds with, where these are single pixels or entries;
            else none.
    """

    queries: list[Atoms]
    responses: list[Atoms]
    order: np.ndarray
    summed: bool
    responses_summed: bool
    own: np.ndarray
    entries: list[np.ndarray]

    @classmethod
    def of(cls, problem: Problem) -> MasksLayout:
        shape = problem.shape
        queries, responses = (w.masks(shape).numpy() for w in (problem.queries, problem.responses))
        order, groups = grouped(queries, problem.queries.anchors(shape).numpy())
        queries, responses = queries[order], responses[order]
        flips = range(problem.flips)
        single = single_entries(responses, shape, problem.flips)
        return cls(
            [make_atoms(flat_masks(queries, flip), groups) for flip in flips],
            [] if single is not None else [make_atoms(flat_masks(responses, flip), groups) for flip in flips],
            order,
            queries.shape[1] == 1,
            responses.shape[1] == 1,
            flat_masks(queries, 0),
            [] if single is None else [entries * mask_kernels.LANES for entries in single],
        )


class Masks(Program):
    """What both have. With flips, z is flipped and the windows too, so that no image is moved."""

    relative_error = PRODUCT_ERROR

    def __init__(self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection) -> None:
        super().__init__(problem, z, sigma, selection)
        self.layout = problem.planned(MasksLayout.of)
        self.flat = self.images.reshape(len(self.images), -1)
        self.points = self.z.reshape(len(self.z), -1)
        # (B, K), base 2: what relative distances take from every logit; the same for z and its flip
        squares = np.where(self.noisy[:, None, None, None], self.z**2, 0)[: self.batch]
        squares = squares.sum(1) if self.layout.summed else squares
        self.shifts = squares.reshape(self.batch, -1) @ self.layout.own.T * self.scales[: self.batch, None]

    def _noisy(self, rows: np.ndarray, real: type) -> Noisy:
        """z of the kernels: doubled where distances are relative."""
        doubled = np.where(self.noisy[rows], 2, 1)[:, None]
        return Noisy((self.points[rows] * doubled).astype(real), self.noisy[rows], self.scales[rows].astype(real))

    def _sums(self, atoms: Atoms, summed: bool, real: type) -> MaskSums:
        """Windows or responses of the kernels; `summed`: whether they are the same in all channels."""
        return atoms.sums(real, self.z.shape[1] if summed else 1)


def answers_are_entries(problem: Problem) -> bool:
    """Whether every response is one pixel or entry of weight 1."""
    return bool(problem.planned(MasksLayout.of).entries)


class EntryProgram(Masks, OnePassProgram):  # type: ignore[misc]
    """Responses that are single pixels or entries, of soft masks (of hard ones: `TreeProgram`); see `mask_kernels.mask_means`."""

    def __init__(self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection) -> None:
        super().__init__(problem, z, sigma, selection)
        self.shifts = _in_order(self.shifts, self.layout.order)

    def scan(self, batch: np.ndarray, elements: np.ndarray, real: type, alive: np.ndarray) -> Running:
        out: Running = np.empty((len(batch), 2 + self.layout.entries[0].shape[1], len(self.layout.order)))
        for flip in range(self.flips):
            rows = np.flatnonzero(batch // self.batch == flip)
            out[rows] = self._scan_of(flip, batch[rows], elements, real, alive, rows)
        return out

    def _scan_of(
        self, flip: int, batch: np.ndarray, elements: np.ndarray, real: type, alive: np.ndarray, rows: np.ndarray
    ) -> Running:
        windows, entries = self._sums(self.layout.queries[flip], self.layout.summed, real), self.layout.entries[flip]
        noisy = self._noisy(batch, real)
        chunks = chunks_of(elements)
        shape = len(batch), len(self.layout.order)

        def work(number: int) -> Running:
            chosen = chunks[number]
            highest: np.ndarray = np.full(shape, LOWEST_LOGIT, real)
            totals: np.ndarray = np.zeros(shape, real)
            means = Means(highest, totals, np.zeros((shape[0], entries.shape[1], shape[1])))
            flags = np.zeros((len(batch), len(chosen)), np.uint8)
            mask_kernels.mask_means(self.chunk(chosen, real, self.flat), noisy, windows, entries, means, flags)
            alive[np.ix_(rows, chosen)] = flags
            return np.concatenate(
                [highest[:, None].astype(np.float64), totals[:, None].astype(np.float64), means.sums], 1
            )

        return functools.reduce(merged, in_order(work, len(chunks)))

    def joined(self, running: Running) -> Running:
        ordered = _in_order(running, self.layout.order)
        return ordered if self.flips == 1 else merged(ordered[: self.batch], ordered[self.batch :])

    def as_images(self, means: np.ndarray) -> np.ndarray:
        entries = np.empty_like(self.layout.entries[0])
        entries[self.layout.order] = self.layout.entries[0] // mask_kernels.LANES
        return images_of(means, entries, self.points.shape[1]).reshape(self.batch, *self.z.shape[1:])


class MaskProgram(Masks):
    """Responses of any form; see `mask_kernels`."""

    def __init__(self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection) -> None:
        super().__init__(problem, z, sigma, selection)
        self.alive = np.ones((len(self.z), len(selection)), np.uint8)

    def normalisers(self) -> np.ndarray:
        """Phase 1: (B, K) natural log-normalisers."""
        found = self.relative_normalisers()
        out = np.empty_like(found.highest)
        out[:, self.layout.order] = Normalisers(found.highest - self.shifts, found.mass).natural()
        return out

    def relative_normalisers(self) -> Normalisers:
        """Phase 1 in the kernels' order, relative to `shifts`: (B, K)."""
        everything = np.arange(len(self.selection))
        found = self._phase_one(np.arange(self.batch), everything, np.float32)

        def again(rows: np.ndarray, elements: np.ndarray) -> None:
            exact = self._phase_one(rows[:1], elements, np.float64)
            found.highest[rows[0]], found.mass[rows[0]] = exact.highest[0], exact.mass[0]

        self.again_in_float64(found.highest, self.alive, again)
        return found

    def _phase_one(self, batch: np.ndarray, elements: np.ndarray, real: type) -> Normalisers:
        parts = [self._phase_one_of(flip, batch + flip * self.batch, elements, real) for flip in range(self.flips)]
        return functools.reduce(Normalisers.merged, parts)

    def _phase_one_of(self, flip: int, rows: np.ndarray, elements: np.ndarray, real: type) -> Normalisers:
        windows, noisy = self._sums(self.layout.queries[flip], self.layout.summed, real), self._noisy(rows, real)
        chunks = chunks_of(elements)
        shape = len(rows), len(self.layout.order)

        def work(number: int) -> Normalisers:
            chosen = chunks[number]
            highest: np.ndarray = np.full(shape, -np.inf, real)
            totals: np.ndarray = np.zeros(shape, real)
            flags = np.zeros((len(rows), len(chosen)), np.uint8)
            mask_kernels.mask_normalisers(self.chunk(chosen, real, self.flat), noisy, windows, highest, totals, flags)
            self.alive[np.ix_(rows, chosen)] = flags
            return Normalisers(highest.astype(np.float64), totals.astype(np.float64))

        return functools.reduce(Normalisers.merged, in_order(work, len(chunks)))

    def numerator(self, log_normalisers: np.ndarray) -> np.ndarray:
        """Phase 2: (B, C, H, W) in the working scale, from (B, K) natural log-normalisers."""
        relative = log_normalisers[:, self.layout.order] + self.shifts / LOG2E
        return self.relative_numerator(Normalisers.of_natural(relative))

    def both_phases(self) -> np.ndarray:
        return self.relative_numerator(self.relative_normalisers())

    def relative_numerator(self, normalisers: Normalisers) -> np.ndarray:
        with np.errstate(divide="ignore"):
            corrections = np.where(normalisers.mass > 0, 1 / normalisers.mass, 0)
        references = np.where(normalisers.mass > 0, normalisers.highest, np.inf)
        total = np.zeros(self.points.shape)
        for batch, real in by_precision(self.exact(normalisers.highest)):
            for flip in range(self.flips):
                normaliser = Normaliser(references[batch].astype(real), corrections[batch].astype(real))
                total[batch + flip * self.batch] = self._phase_two(flip, batch + flip * self.batch, real, normaliser)
        return self.fold(total.reshape(self.z.shape)) / self.unit

    def _phase_two(self, flip: int, rows: np.ndarray, real: type, normaliser: Normaliser) -> np.ndarray:
        layout, noisy = self.layout, self._noisy(rows, real)
        windows = self._sums(layout.queries[flip], layout.summed, real)
        responses = self._sums(layout.responses[flip], layout.responses_summed, real)
        chunks = chunks_of(np.flatnonzero(self.alive[rows].any(0)))
        gap = np.float32(self.gap(self.flips * len(self.images)))

        def work(number: int) -> np.ndarray:
            chosen = chunks[number]
            numerator = np.zeros((len(rows), self.points.shape[1]))
            mask_kernels.mask_numerator(
                self.chunk(chosen, real, self.flat),
                noisy,
                windows,
                responses,
                normaliser,
                gap,
                np.ascontiguousarray(self.alive[np.ix_(rows, chosen)]),
                numerator,
            )
            return numerator

        return sum(in_order(work, len(chunks)), np.zeros((len(rows), self.points.shape[1])))


def flat_masks(masks: np.ndarray, flip: int) -> np.ndarray:
    return (masks[..., ::-1] if flip else masks).reshape(len(masks), -1)


def _in_order(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(..., K) in the kernels' order -> in the problem's."""
    out = np.empty_like(values)
    out[..., order] = values
    return out
