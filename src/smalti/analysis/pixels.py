"""Which output pixels are looked at: all, a centre and an edge, a grid, or any that are named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from smalti.core.errors import InputError
from smalti.core.validation import check_integer

__all__ = ["Pixels", "centre_and_edge", "choose_pixels"]

Pixels = str | int | Sequence[tuple[int, int]] | np.ndarray | torch.Tensor | None


def centre_and_edge(height: int, width: int) -> list[tuple[int, int]]:
    """The central pixel ((H-1)//2, (W-1)//2), which is the papers' (15, 15) at 32 x 32, and the left edge's ((H-1)//2, 0)."""
    middle = (height - 1) // 2
    return list(dict.fromkeys([(middle, (width - 1) // 2), (middle, 0)]))


def choose_pixels(pixels: Pixels, height: int, width: int) -> torch.Tensor:
    """Output pixels of H x W images.

    Args:
        pixels: None or "all" for every pixel in row-major order; "centre-edge" (`centre_and_edge`); a number g or
            "grid:g" for the g x g grid of the pixels (floor((2a+1) H/(2g)), floor((2b+1) W/(2g))), 0 <= a, b < g, the middles of g x g
            equal cells (all pixels if g = H = W); or pairs (row, column).

    Returns:
        (P, 2) int64.

    Raises:
        InputError: none of these; a pixel outside the images or named twice; a grid finer than the images.
    """
    if pixels is None or (isinstance(pixels, str) and pixels == "all"):
        chosen = [(y, x) for y in range(height) for x in range(width)]
    elif isinstance(pixels, str) and pixels == "centre-edge":
        chosen = centre_and_edge(height, width)
    elif isinstance(pixels, str):
        number = re.fullmatch(r"grid:([0-9]+)", pixels)
        if number is None:
            raise InputError(f"pixels must be all, centre-edge, grid:G or pairs (row, column), not {pixels!r}")
        chosen = _grid(int(number[1]), height, width)
    elif np.ndim(pixels) == 0:  # type: ignore[arg-type]
        chosen = _grid(check_integer("the number of pixels along a side of the grid", pixels), height, width)
    else:
        chosen = _pairs(pixels, height, width)
    return torch.tensor(chosen, dtype=torch.int64)


def _grid(g: int, height: int, width: int) -> list[tuple[int, int]]:
    if not 1 <= g <= min(height, width):
        raise InputError(f"a grid of pixels has 1 to {min(height, width)} along a side, not {g}")
    rows, columns = ([(2 * a + 1) * size // (2 * g) for a in range(g)] for size in (height, width))
    return [(y, x) for y in rows for x in columns]


def _pairs(pixels: Any, height: int, width: int) -> list[tuple[int, int]]:
    try:
        chosen = [(check_integer("a row", y), check_integer("a column", x)) for y, x in pixels]
    except (TypeError, ValueError) as error:
        raise InputError("pixels must be pairs of whole numbers (row, column), such as [(15, 15), (15, 0)]") from error
    if not chosen:
        raise InputError("no pixels are named; give at least one (row, column), or None for all")
    for y, x in chosen:
        if not (0 <= y < height and 0 <= x < width):
            raise InputError(f"pixel (row {y}, column {x}) lies outside the {height} x {width} images")
    if len(set(chosen)) < len(chosen):
        raise InputError("a pixel is named twice; name each once")
    return chosen
