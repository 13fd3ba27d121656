"""What is to be computed: a source, queries, responses and a match, and what follows from them.

Backends, programs, posteriors and derivatives read this record; the denoiser that stands on it is `PosteriorMeanCollection`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch

from smalti.core.errors import InputError
from smalti.core.surroundings import outside
from smalti.engine.match import Match
from smalti.engine.windows import Windows
from smalti.source import Source

__all__ = ["Problem"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Problem:
    """A collection of filtered posterior means, for any z, sigma and classes; `Problem.of` makes and checks one.

    Attributes:
        source: the images.
        queries: K windows Q_k.
        responses: K windows R_k.
        match: which elements a query may be compared with, and their prior weights.
        tolerance: what a pixel of D may be off for elements that are left out, working scale; see `smalti.engine.pruning`.
        shape: (C, H, W) of an image.
        count: K.
        shifts: (sy, sx) that any query may be compared with.
        admitted: (K, shifts) bool, or None where every query admits every shift.
        coverage: sum_k R_k, (C or 1, H, W) float64, > 0.
    """

    source: Source
    queries: Windows
    responses: Windows
    match: Match
    tolerance: float
    shape: tuple[int, int, int]
    count: int
    shifts: list[tuple[int, int]]
    admitted: torch.Tensor | None
    coverage: torch.Tensor
    _plans: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, source: Source, queries: Windows, responses: Windows, match: Match, tolerance: float) -> Problem:
        """
        Raises:
            InputError: windows that do not fit the images, different numbers of queries and responses, a pixel that no response
                covers (named), a query that no element is admitted to.
        """
        shape = source.shape
        queries.check(shape)
        responses.check(shape)
        match.check(shape, len(source))
        count, answers = len(queries.anchors(shape)), len(responses.anchors(shape))
        if answers != count:
            raise InputError(f"{count} queries but {answers} responses; give one response window for each query")
        admitted = match.admitted(queries, responses, shape)
        if admitted is not None and not bool(admitted.any(1).all()):
            alone = int((~admitted.any(1)).nonzero()[0])
            raise InputError(f"the match admits no place for query {alone}; use a smaller window")
        coverage = _coverage(responses, shape)
        uncovered = (coverage.expand(shape) <= 0).nonzero()
        if len(uncovered):
            channel, y, x = uncovered[0].tolist()
            raise InputError(
                f"no response covers pixel (row {y}, column {x}, channel {channel}), nor {len(uncovered) - 1} others; "
                "every pixel needs a window with R > 0"
            )
        shifts = match.shifts(shape)
        return cls(source, queries, responses, match, tolerance, shape, count, shifts, admitted, coverage)

    @property
    def flips(self) -> int:
        """1, or 2 where every image's mirror image counts too."""
        return 2 if self.source.hflip else 1

    @property
    def elements(self) -> int:
        """Elements of the source: images, with their flips and shifts."""
        return len(self.source) * self.flips * len(self.shifts)

    def numbered(self, images: np.ndarray, flip: bool, shift: tuple[int, int]) -> torch.Tensor:
        """Numbers of elements, int64: stored images with one flip and shift; `element` reads them."""
        number = self.planned(_shift_numbers)[shift]
        return (torch.from_numpy(np.asarray(images, np.int64)) * self.flips + flip) * len(self.shifts) + number

    def element(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of numbers (...): stored images (...) int64, flips (...) bool, shifts (..., 2) int64."""
        images, kinds = numbers // (self.flips * len(self.shifts)), numbers % (self.flips * len(self.shifts))
        return images, kinds >= len(self.shifts), torch.tensor(self.shifts)[kinds % len(self.shifts)]

    def planned(self, make: Callable[[Problem], T]) -> T:
        """`make(self)`, made once and kept with the problem: what a program prepares that no call changes, and no mode of torch around one.

        Args:
            make: a function of a module, or of a class; it is the key.
        """
        if make not in self._plans:
            self._plans[make] = outside(make, self)
        return self._plans[make]

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles make their own plans."""
        return {**self.__dict__, "_plans": {}}


def _shift_numbers(problem: Problem) -> dict[tuple[int, int], int]:
    return {shift: number for number, shift in enumerate(problem.shifts)}


def _coverage(responses: Windows, shape: tuple[int, int, int]) -> torch.Tensor:
    factors = responses.factors(shape)
    if factors is not None:
        return torch.outer(factors[0].sum(0), factors[1].sum(0))[None]
    return responses.masks(shape).sum(0)
