"""Which program serves a problem: the first row that covers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch

from smalti.engine.elements import Selection
from smalti.engine.match import EveryPlace, SameBorderDistance
from smalti.engine.problem import Problem
from smalti.engine.programs.base import Program
from smalti.engine.programs.boxes import BoxProgram
from smalti.engine.programs.hard_masks import TreeProgram, has_tree
from smalti.engine.programs.mask_products import MaskProducts
from smalti.engine.programs.masks import EntryProgram, MaskProgram, answers_are_entries
from smalti.engine.programs.pixels import PixelProgram
from smalti.engine.programs.shifts import ShiftProgram
from smalti.engine.programs.whole import WholeProgram
from smalti.engine.windows import Boxes, Centred, Full

__all__ = ["TABLE", "Row", "row_for"]

Prepare = Callable[[Problem, torch.Tensor, torch.Tensor, Selection], Program]


class _PullsBack(Protocol):
    def pullback(self, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Backend.pullback`."""


class _Shares(Protocol):
    def shares(self, pixels: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `smalti.engine.backend.Shares`."""


class Row(NamedTuple):
    """One kind of problem.

    Attributes:
        name: what windows and places it is about.
        covers: whether a problem is of this kind, and of none above.
        prepare: makes the program of one call: (problem, z, sigma, selection).
        derivatives: the same for products with covariances; None where plain matrix products (the torch backend's) do as well.
        pullback, shares: the same for the backend's functions of these names; None where the torch backend's way is taken.
    """

    name: str
    covers: Callable[[Problem], bool]
    prepare: Prepare
    derivatives: Callable[[Problem, torch.Tensor, torch.Tensor, Selection], BoxProgram | WholeProgram] | None = None
    pullback: Callable[[Problem, torch.Tensor, torch.Tensor, Selection], _PullsBack] | None = None
    shares: Callable[[Problem, torch.Tensor, torch.Tensor, Selection], _Shares] | None = None


def row_for(problem: Problem) -> Row | None:
    """The row that serves a problem; None where no program does."""
    return problem.planned(_row_for)


def _row_for(problem: Problem) -> Row | None:
    return next((row for row in TABLE if row.covers(problem)), None)


def _pixels_at_every_place(problem: Problem) -> bool:
    """Queries are centred boxes that shifts never cut, and responses their pixels."""
    queries, match = problem.queries, problem.match
    if not isinstance(queries, Centred) or problem.responses != Centred(1):
        return False
    if isinstance(match, SameBorderDistance):
        return not queries.wrap and (match.border is None or match.border >= queries.size // 2)
    return type(match) is EveryPlace and queries.wrap


def _same_place(problem: Problem) -> bool:
    return problem.shifts == [(0, 0)]


def _both_boxes(problem: Problem) -> tuple[Boxes, Boxes] | None:
    """Queries and responses as boxes on one grid, which flips, if there are any, map onto itself."""
    query, response = problem.queries.boxes(problem.shape), problem.responses.boxes(problem.shape)
    if query is None or response is None or (query.rows, query.columns) != (response.rows, response.columns):
        return None
    width = problem.shape[2]
    if problem.source.hflip and not (query.mirrored(width) and response.mirrored(width)):
        return None
    return query, response


def _whole_images(problem: Problem) -> bool:
    whole = Full().boxes(problem.shape)
    return _same_place(problem) and _both_boxes(problem) == (whole, whole)


def _pixels(problem: Problem) -> bool:
    """Queries are boxes centred on every pixel, and responses their pixels."""
    found, (_, height, width) = _both_boxes(problem), problem.shape
    if found is None or not _same_place(problem):
        return False
    query, response = found
    centred = query == Boxes(height, width, query.top, 1 - query.top, query.top, 1 - query.top)
    return centred and response == Boxes(height, width, 0, 1, 0, 1)


def _boxes(problem: Problem) -> bool:
    return _same_place(problem) and _both_boxes(problem) is not None


def _masks(problem: Problem) -> bool:
    """Soft separable windows, and boxes on different grids, are matrix products, which the torch backend does."""
    return _same_place(problem) and problem.queries.factors(problem.shape) is None


def _hard_masks(problem: Problem) -> bool:
    return _masks(problem) and has_tree(problem)


def _soft_masks(problem: Problem) -> bool:
    return _masks(problem) and answers_are_entries(problem)


TABLE = (
    Row("pixels from centred boxes, at every place", _pixels_at_every_place, ShiftProgram, shares=ShiftProgram),
    Row("whole images", _whole_images, WholeProgram, WholeProgram, WholeProgram, WholeProgram),
    Row("pixels from boxes centred on them", _pixels, PixelProgram, BoxProgram, BoxProgram, BoxProgram),
    Row("boxes", _boxes, BoxProgram, BoxProgram, BoxProgram, BoxProgram),
    Row("entries from hard masks", _hard_masks, TreeProgram, pullback=MaskProducts, shares=MaskProducts),
    Row("entries from soft masks", _soft_masks, EntryProgram, pullback=MaskProducts, shares=MaskProducts),
    Row("masks", _masks, MaskProgram, pullback=MaskProducts, shares=MaskProducts),
)
