"""Matches: which source elements a query may be compared with, and their prior weights.

An element is (image, flip, shift); shifted by s = (sy, sx) an image is x^s(q) = x(q + s), wrapped around. Query k may be compared
with it if the match admits (k, s).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from smalti.core.errors import InputError
from smalti.engine.windows import Centred, Shape, Windows

__all__ = ["EveryPlace", "Match", "SameBorderDistance", "SamePlace"]


@dataclass(frozen=True, eq=False)
class Match:
    """Base of matches.

    Args:
        weights: (N,) prior weight >= 0 of each stored image (0 leaves it out); None weighs all images alike.
    """

    weights: torch.Tensor | np.ndarray | None = None

    def check(self, shape: Shape, count: int) -> None:
        """Raise InputError if the match does not fit `count` images of `shape`."""
        if self.weights is None:
            return
        weights = torch.as_tensor(self.weights)
        if tuple(weights.shape) != (count,):
            raise InputError(
                f"the match has weights of shape {tuple(weights.shape)} for {count} images; give ({count},)"
            )
        if not bool((torch.isfinite(weights) & (weights >= 0)).all()) or not bool((weights > 0).any()):
            raise InputError("the weights of images must be finite, not negative, and not all 0")

    def shifts(self, shape: Shape) -> list[tuple[int, int]]:
        """The shifts (sy, sx) that any query may be compared with; 0 <= sy < H, 0 <= sx < W."""
        return [(0, 0)]

    def admitted(self, queries: Windows, responses: Windows, shape: Shape) -> torch.Tensor | None:
        """(K, number of shifts) bool, or None where every query admits every shift."""
        return None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.weights is None else 'weights=...'})"


class SamePlace(Match):
    """The same place in every image."""


class EveryPlace(Match):
    """Every place: all shifts at which the window (query and response) lies inside the image (Kamb & Ganguli's ELS)."""

    def shifts(self, shape: Shape) -> list[tuple[int, int]]:
        return [(y, x) for y in range(shape[1]) for x in range(shape[2])]

    def admitted(self, queries: Windows, responses: Windows, shape: Shape) -> torch.Tensor:
        query, response = queries.extents(shape), responses.extents(shape)
        first = torch.minimum(query[:, 0::2], response[:, 0::2])
        last = torch.maximum(query[:, 1::2], response[:, 1::2])
        axes = [
            (first[:, axis, None] + torch.arange(size)) % size + (last - first)[:, axis, None] <= size
            for axis, size in enumerate(shape[1:])
        ]
        return (axes[0][:, :, None] & axes[1][:, None, :]).flatten(1)


@dataclass(frozen=True, eq=False, repr=False)
class SameBorderDistance(EveryPlace):
    """Places at the same distance from the border: a query whose anchor lies less than `border` rows (columns) from a border is
    compared with exactly that row (column), all others with all others (Kamb & Ganguli's border-aware ELS).

    Args:
        weights: as for every match.
        border: in pixels >= 0; by default half the largest window's side.
    """

    border: int | None = None

    def admitted(self, queries: Windows, responses: Windows, shape: Shape) -> torch.Tensor:
        border = _reach(queries, shape) if self.border is None else self.border
        axes = []
        for axis, size in enumerate(shape[1:]):
            anchor = queries.anchors(shape)[:, axis, None]
            place = (anchor + torch.arange(size)) % size
            inner = (border <= anchor) & (anchor < size - border)
            axes.append(torch.where(inner, (border <= place) & (place < size - border), place == anchor))
        return (axes[0][:, :, None] & axes[1][:, None, :]).flatten(1)


def _reach(queries: Windows, shape: Shape) -> int:
    """Half a window's side, as it is where no border cuts it."""
    if isinstance(queries, Centred):
        return queries.size // 2
    extents = queries.extents(shape)
    return int(torch.maximum(extents[:, 1] - extents[:, 0], extents[:, 3] - extents[:, 2]).max()) // 2
