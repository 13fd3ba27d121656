"""Hard masks whose responses are single pixels or entries: exact sums of whole numbers along a tree of masks; see `tree_kernels`.

The terms that a posterior sums, (x - z)^2, are taken less what is the same for all images,

    x^2 - 2 x z - c_p,    c_p the middle of the range of x^2 - 2 x z over the pixels that the source may have,

and in whole multiples of a quantum, the smallest with which no sum leaves int32. Where that is too coarse (`precision.rounding_error`),
the whole numbers are 2^21 times finer, in float64. A fixed dither, the same for all images, makes what is rounded off
independent from entry to entry.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch

from smalti.engine.compiled import tree_kernels
from smalti.engine.compiled.records import Means, Terms, Tree
from smalti.engine.elements import Selection
from smalti.engine.precision import TOLERATED, rounding_error
from smalti.engine.problem import Problem
from smalti.engine.programs.base import chunks_of
from smalti.engine.programs.mask_tree import MaskTree, mask_tree
from smalti.engine.programs.one_pass import OnePassProgram, images_of, single_entries
from smalti.engine.running import LOG2E, Running, merged
from smalti.engine.threads import in_order

__all__ = ["TreeProgram", "has_tree"]

LARGEST: dict[type, float] = {np.int32: 0.999 * 2**31, np.float64: 0.999 * 2**52}  # sums stay below, in quanta
BEYOND: dict[type, float] = {np.int32: np.iinfo(np.int32).max, np.float64: np.inf}
SEED = 0  # of the dither


@dataclass(frozen=True)
class _Layout:
    """The windows of a problem as the kernel reads them.

    Attributes:
        trees: one for each flip: of the masks, and of their mirror images.
        entries: the same: (K, M) entries that a mask responds with, in the tree's order.
        weight: of all entries of all masks.
        summed: whether masks are the same in all channels.
        dither: (entries,) in quanta.
    """

    trees: list[MaskTree]
    entries: list[np.ndarray]
    weight: float
    summed: bool
    dither: np.ndarray


LEAST_REACH = 1e-6  # bits; of a source whose images are all alike it would be 0


def has_tree(problem: Problem) -> bool:
    """Whether all weights of the queries are one number, or 0, and every response is one pixel or entry."""
    return problem.planned(_layout) is not None


class TreeProgram(OnePassProgram):
    """Posteriors in one pass; each z in int32 or float64 by itself, so that the result cannot depend on the batch."""

    def __init__(self, problem: Problem, z: torch.Tensor, sigma: torch.Tensor, selection: Selection) -> None:
        super().__init__(problem, z, sigma, selection)
        layout = problem.planned(_layout)
        assert layout is not None
        self.layout = layout
        self.flat = self.images.reshape(len(self.images), -1)
        self.points = self.z.reshape(len(self.z), -1)
        self.order = layout.trees[0].order
        self.shifts = np.zeros((self.batch, len(self.order)))  # logits are whole here
        self.bits = self.scales * layout.weight  # of a distance in stored units
        self.middles, halves = self._ranges()
        flips = np.arange(len(self.z)) // self.batch
        reach = np.array([layout.trees[f].sums(h[None])[0].max() for f, h in zip(flips, halves, strict=True)])
        self.level = (self.log_priors.max() + self.log_priors.min()) / 2
        reach = reach * self.bits + self.log_priors.max() - self.level  # bits that a sum may differ from 0
        self.reach = np.maximum(reach, LEAST_REACH)
        quantum = self.reach / LARGEST[np.int32] / LOG2E
        self.coarse = rounding_error(quantum, layout.trees[0].largest) <= TOLERATED  # (rows,): int32 will do

    def posteriors(self) -> Running:
        if self._found is None:
            running: Running = np.empty((len(self.z), 2 + self.layout.entries[0].shape[1], len(self.order)))
            for flip in range(self.flips):
                for real in LARGEST:
                    fits = self.coarse if real is np.int32 else ~self.coarse
                    rows = np.flatnonzero(fits & (np.arange(len(self.z)) // self.batch == flip))
                    if len(rows):
                        running[rows] = self._scan(flip, rows, real)
            ordered = np.empty_like(running)
            ordered[..., self.order] = running
            self._found = ordered if self.flips == 1 else merged(ordered[: self.batch], ordered[self.batch :])
        return self._found

    def as_images(self, means: np.ndarray) -> np.ndarray:
        entries = np.empty_like(self.layout.entries[0])
        entries[self.order] = self.layout.entries[0]
        return images_of(means, entries, self.points.shape[1]).reshape(self.batch, *self.z.shape[1:])

    def _ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """Middles and half widths of the ranges of a term, x^2 - 2 x z: (rows, entries)."""
        low, high = np.array([0.0]), np.array([255.0])  # of uint8
        if self.images.dtype != np.uint8:
            low, high = (bound.reshape(-1).astype(np.float64) for bound in self.problem.source.stored_range())
        low, high = low - self.offset, high - self.offset
        ends = [x * (x - 2 * self.points) for x in (low, high, np.clip(self.points, low, high))]
        most, least = np.maximum(ends[0], ends[1]), ends[2]
        parts = ((most + least) / 2, (most - least) / 2)
        if not self.layout.summed:
            return parts
        middles, halves = (part.reshape(len(part), self.z.shape[1], -1).sum(1) for part in parts)
        return middles, halves

    def _scan(self, flip: int, rows: np.ndarray, real: type) -> Running:
        tree, entries = self.layout.trees[flip], self.layout.entries[flip]
        quanta = self.reach[rows] / LARGEST[real]  # bits
        factors = self.bits[rows] / quanta
        constants = self.layout.dither - self.middles[rows] * factors[:, None]
        chunks = chunks_of(np.arange(len(self.selection)))
        shape = len(rows), len(tree.order)

        def work(number: int) -> Running:
            chosen = chunks[number]
            best: np.ndarray = np.full(shape, BEYOND[real], real)
            masses = np.zeros(shape)
            sums = np.zeros((shape[0], entries.shape[1], shape[1]))
            origins = np.rint((self.level - self.log_priors[chosen]) / quanta[:, None]).astype(real)
            tree_kernels.tree_means(
                self.flat,
                self.offset,
                self.selection.indices[chosen],
                Terms(origins, -2 * self.points[rows], constants, factors, quanta.astype(np.float32)),
                np.float32(self.gap(len(chosen))),
                Tree(tree.places, tree.starts, tree.entries, tree.rows),
                entries,
                Means(best, masses, sums),
            )
            return np.concatenate([(-best * quanta[:, None])[:, None], masses[:, None], sums], 1)

        found = functools.reduce(merged, in_order(work, len(chunks)))
        squares = self.points[rows] ** 2
        if self.layout.summed:
            squares = squares.reshape(len(rows), self.z.shape[1], -1).sum(1)
        found[:, 0] += self.level - tree.sums(self.middles[rows] + squares) * self.bits[rows, None]
        return found


def _layout(problem: Problem) -> _Layout | None:
    shape = problem.shape
    entries = single_entries(problem.responses.masks(shape).numpy(), shape, problem.flips)
    if entries is None:
        return None
    queries = problem.queries.masks(shape).numpy()
    masks, weight = queries > 0, float(queries.max())
    if not (queries[masks] == weight).all():
        return None
    tree = mask_tree(masks.reshape(len(masks), -1))
    trees = [tree, tree.mirrored(shape[2])][: problem.flips]
    dither = np.random.default_rng(SEED).uniform(-0.5, 0.5, masks[0].size)
    return _Layout(trees, [own[tree.order] for own in entries], weight, masks.shape[1] == 1, dither)
