"""The elements that take part in one call: which stored images, with what prior, and their flips and shifts.

Blocks of them are made when they are needed, in a fixed order (image block, flip, shift), and never all at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from smalti.engine.problem import Problem

__all__ = ["Block", "Selection", "blocks", "stored", "units"]


@dataclass(frozen=True)
class Selection:
    """Stored images that take part: `indices` (n,) int64 ascending, `log_priors` (n,) float64 natural logs, all finite."""

    indices: np.ndarray
    log_priors: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True)
class Block:
    """Some elements with the same flip and shift.

    Attributes:
        images: (n, C, H, W), flipped and shifted, working scale.
        positions: which of the selection these are, a slice without a step.
        indices: (n,) int64 numpy, the stored images.
        log_priors: (n,) tensor.
        flip, shift: what was done to them.
        admitted: (K,) bool, which queries may be compared with them, or None for all.
    """

    images: torch.Tensor
    positions: slice
    indices: np.ndarray
    log_priors: torch.Tensor
    flip: bool
    shift: tuple[int, int]
    admitted: torch.Tensor | None


def blocks(
    problem: Problem, selection: Selection, size: int, dtype: torch.dtype, device: torch.device
) -> Iterator[Block]:
    """The selected elements in blocks of at most `size` images."""
    source = problem.source
    for start in range(0, len(selection), size):
        indices = selection.indices[start : start + size]
        images = stored(source.images, indices, dtype, device)
        log_priors = torch.from_numpy(selection.log_priors[start : start + size]).to(device, dtype)
        for flip in (False, True) if source.hflip else (False,):
            flipped = images.flip(-1) if flip else images
            for number, (sy, sx) in enumerate(problem.shifts):
                admitted = None
                if problem.admitted is not None:
                    admitted = problem.admitted[:, number]
                    if not bool(admitted.any()):
                        continue
                    admitted = admitted.to(device)
                shifted = flipped if (sy, sx) == (0, 0) else flipped.roll((-sy, -sx), (-2, -1))
                yield Block(shifted, slice(start, start + len(indices)), indices, log_priors, flip, (sy, sx), admitted)


def units(images: np.ndarray) -> tuple[float, float]:
    """(unit, offset) of a stored array: stored value - offset = unit * working value; (127.5, 127.5) for uint8, (1, 0) for floats."""
    return (127.5, 127.5) if images.dtype == np.uint8 else (1.0, 0.0)


def stored(images: np.ndarray, indices: np.ndarray, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Stored images in the working scale: uint8 u becomes u/127.5 - 1; floats are in it already."""
    contiguous = len(indices) > 0 and bool((np.diff(indices) == 1).all())
    rows = images[indices[0] : indices[-1] + 1] if contiguous else images[indices]
    tensor = torch.from_numpy(np.array(rows)).to(device)
    return tensor.to(dtype) / 127.5 - 1 if tensor.dtype == torch.uint8 else tensor.to(dtype)
