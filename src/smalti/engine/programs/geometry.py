"""Where images, windows and boxes lie in the kernels' flat arrays."""

from __future__ import annotations

import numpy as np

from smalti.engine.compiled.kernels import LANES
from smalti.engine.compiled.records import Box, BoxLayout, Inner
from smalti.engine.programs.memory import aligned, padded
from smalti.engine.windows import Boxes

__all__ = ["Geometry"]


class Geometry:
    """Where everything lies in planes and on the canvas (see `kernels`): queries `box`, responses `response`, on one grid of anchors."""

    def __init__(self, box: Boxes, response: Boxes, shape: tuple[int, int, int]) -> None:
        _, self.height, self.width = shape
        self.box, self.response = box, response
        rows, columns = box.rows, box.columns
        top = max(0, -box.top, -response.top)
        left = max(0, -box.left, -response.left)
        right = max(0, columns - 1 + max(box.right, response.right) - self.width)
        bottom = max(0, rows - 1 + max(box.bottom, response.bottom) - self.height)
        # wide enough that what leaves a row on one side meets only zeros, for window sums and for their transposes
        self.stride = max(
            self.width + max(left, right),
            columns + max(box.right, response.right, 1) - 1,
            self.width - min(box.left, response.left),
        )
        self.first = left + top * self.stride
        self.windows = padded((rows - 1) * self.stride + columns)
        self.plane = padded(self.height * self.width)
        reach = [
            self._start(b) + padded(self.windows + (b.bottom - b.top - 1) * self.stride + b.right - b.left - 1)
            for b in (box, response)
        ]
        below = self.first + max(self.plane, (self.height + bottom) * self.stride)
        self.layout = BoxLayout(
            self.height,
            self.width,
            self.stride,
            self.first,
            padded(max(*reach, below)) + 2 * LANES,
            box.bottom - box.top,
            box.right - box.left,
            self._start(box),
            self.windows,
        )

    def _start(self, box: Boxes) -> int:
        """Where the box of the first anchor begins on the canvas."""
        return self.first + box.top * self.stride + box.left

    def inner(self, box: Boxes) -> Inner:
        return Inner(box.bottom - box.top, box.right - box.left, self._start(box))

    def outer(self, box: Boxes) -> Box:
        """Box sides; where a weight spread over them is read: pixel q collects the windows q - (top .. bottom - 1, left .. right - 1).

        Spread from its window k over its box, a weight lies at k + (0 .. bottom - top - 1, ...); pixel k + (top, left) is that first
        place. The last two numbers are how far pixel 0 lies after (`lead`) or before (`before`) window 0's first place.
        """
        shift = -(box.top * self.stride + box.left)
        return Box(box.bottom - box.top, box.right - box.left, max(shift, 0), max(-shift, 0))

    def planes(self, images: np.ndarray, dtype: type) -> np.ndarray:
        """(B, C, H, W) -> (B, C, plane)."""
        out = aligned((*images.shape[:2], self.plane), dtype)
        out[..., : self.height * self.width] = images.reshape(*images.shape[:2], -1)
        return out

    def spread(self, values: np.ndarray, fill: float) -> np.ndarray:
        """(B, K) -> (B, windows): windows at their places, `fill` between the rows and after them."""
        grid = np.full((len(values), self.box.rows, self.stride), fill)
        grid[..., : self.box.columns] = values.reshape(len(values), self.box.rows, self.box.columns)
        out = np.full((len(values), self.windows), fill)
        used = min(self.windows, self.box.rows * self.stride)
        out[:, :used] = grid.reshape(len(values), -1)[:, :used]
        return out

    def gather(self, values: np.ndarray) -> np.ndarray:
        """(B, windows) -> (B, K)."""
        grid = np.zeros((len(values), max(self.windows, self.box.rows * self.stride)), values.dtype)
        grid[:, : self.windows] = values
        grid = grid[:, : self.box.rows * self.stride].reshape(len(values), self.box.rows, self.stride)
        return grid[..., : self.box.columns].reshape(len(values), -1)

    def images(self, planes: np.ndarray) -> np.ndarray:
        """(B, C, plane) -> (B, C, H, W)."""
        return planes[..., : self.height * self.width].reshape(*planes.shape[:2], self.height, self.width)

    def mirror(self, values: np.ndarray) -> np.ndarray:
        """(B, K) of the flipped image -> (B, K) in the places of the unflipped windows."""
        return values.reshape(len(values), self.box.rows, self.box.columns)[..., ::-1].reshape(len(values), -1)
