"""Windows: families of non-negative weights on the image, used as queries (what a posterior looks at) and responses (what its
mean contributes to).

A family is K windows, one for each of its anchors in row-major order. Each family lowers to explicit masks, on which the
reference runs; some also say that they are separable (two small matrices) or that they are boxes, which fast backends use.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from smalti.core.errors import InputError
from smalti.core.validation import check_integer

__all__ = ["Boxes", "Centred", "Crops", "Entries", "Full", "GaussianWindows", "Masks", "PackedMasks", "Windows"]

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Boxes:
    """A grid of equal boxes: box (ay, ax) covers rows ay + top .. ay + bottom - 1, columns ax + left .. ax + right - 1,
    0 <= ay < rows, 0 <= ax < columns, clipped to the image."""

    rows: int
    columns: int
    top: int
    bottom: int
    left: int
    right: int

    def mirrored(self, width: int) -> bool:
        """Whether flipping the image left to right maps box (ay, ax) onto box (ay, columns - 1 - ax)."""
        return width == self.columns - 1 + self.left + self.right


class Windows:
    """Base of window families. A subclass defines `factors` (separable windows) or `masks`, and `anchors`."""

    def check(self, shape: Shape) -> None:
        """Raise InputError if the family does not fit images of `shape` (C, H, W)."""

    def anchors(self, shape: Shape) -> torch.Tensor:
        """(K, 2) int64: the pixel (row, column) that each window belongs to."""
        raise NotImplementedError

    def factors(self, shape: Shape) -> tuple[torch.Tensor, torch.Tensor] | None:
        """(A, H) and (E, W) float64 with window (a, e)(y, x) = rows[a, y] columns[e, x], K = A E; None if not separable."""
        return None

    def masks(self, shape: Shape) -> torch.Tensor:
        """The windows written out: (K, 1, H, W), or (K, C, H, W) where they differ between channels; float64, >= 0."""
        factors = self.factors(shape)
        assert factors is not None, "a family that is not separable defines masks"
        rows, columns = factors
        return torch.einsum("ay,ex->aeyx", rows, columns).reshape(-1, 1, *shape[1:])

    def some_masks(self, shape: Shape, numbers: torch.Tensor) -> torch.Tensor:
        """The masks of some windows only: (len(numbers), C or 1, H, W) float64."""
        factors = self.factors(shape)
        if factors is None:
            return self.masks(shape)[numbers]
        rows, columns = factors
        return torch.einsum("ky,kx->kyx", rows[numbers // len(columns)], columns[numbers % len(columns)])[:, None]

    def boxes(self, shape: Shape) -> Boxes | None:
        """The family as a grid of clipped boxes, or None."""
        return None

    def extents(self, shape: Shape) -> torch.Tensor:
        """(K, 4) int64: first row, row after the last, first column, column after the last that a window covers. A window that
        wraps around is given unwrapped, so that the numbers may lie outside the image."""
        support = (self.masks(shape) > 0).any(1)
        rows, columns = support.any(2).int(), support.any(1).int()
        height, width = shape[1:]
        return torch.stack(
            [rows.argmax(1), height - rows.flip(1).argmax(1), columns.argmax(1), width - columns.flip(1).argmax(1)], 1
        )


def _grid(rows: int, columns: int) -> torch.Tensor:
    return torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).reshape(-1, 2)


def _interval_factor(anchors: int, first: int, last: int, size: int, wrap: bool = False) -> torch.Tensor:
    """(anchors, size): 1 where first <= position - anchor < last (modulo size if `wrap`)."""
    offset = torch.arange(size)[None, :] - torch.arange(anchors)[:, None]
    if wrap:
        offset = (offset - first) % size + first
    return ((offset >= first) & (offset < last)).double()


@dataclass(frozen=True)
class Full(Windows):
    """One window, the whole image."""

    def anchors(self, shape: Shape) -> torch.Tensor:
        return _grid(1, 1)

    def factors(self, shape: Shape) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ones(1, shape[1], dtype=torch.float64), torch.ones(1, shape[2], dtype=torch.float64)

    def boxes(self, shape: Shape) -> Boxes:
        return Boxes(1, 1, 0, shape[1], 0, shape[2])


@dataclass(frozen=True)
class Crops(Windows):
    """Every p x p crop inside the image (workshop paper, Eq. 5): (H - p + 1)(W - p + 1) windows, anchored at their first pixel.

    Args:
        size: side p, or (height, width); 1 <= p <= H, W.
    """

    size: int | tuple[int, int]

    def _sides(self) -> tuple[int, int]:
        sides = self.size if isinstance(self.size, (tuple, list)) else (self.size, self.size)
        if len(sides) != 2:
            raise InputError(f"a patch has one side or two, (height, width), not {self.size!r}")
        return check_integer("the patch size", sides[0]), check_integer("the patch size", sides[1])

    def check(self, shape: Shape) -> None:
        height, width = self._sides()
        if height < 1 or width < 1:
            raise InputError(f"the patch size must be at least 1, not {self.size}")
        if height > shape[1] or width > shape[2]:
            raise InputError(
                f"a {height} x {width} patch does not fit the {shape[1]} x {shape[2]} images; "
                f"the largest square patch is {min(shape[1:])}"
            )

    def anchors(self, shape: Shape) -> torch.Tensor:
        height, width = self._sides()
        return _grid(shape[1] - height + 1, shape[2] - width + 1)

    def factors(self, shape: Shape) -> tuple[torch.Tensor, torch.Tensor]:
        height, width = self._sides()
        return (
            _interval_factor(shape[1] - height + 1, 0, height, shape[1]),
            _interval_factor(shape[2] - width + 1, 0, width, shape[2]),
        )

    def boxes(self, shape: Shape) -> Boxes:
        height, width = self._sides()
        return Boxes(shape[1] - height + 1, shape[2] - width + 1, 0, height, 0, width)


@dataclass(frozen=True)
class Centred(Windows):
    """For every pixel, the p x p window centred on it, clipped at the borders (or wrapped around): H W windows.

    Args:
        size: odd side p >= 1. `Centred(1)` is the pixel itself.
        wrap: continue on the opposite side of the image instead of clipping; then p <= H, W.
    """

    size: int
    wrap: bool = False

    def check(self, shape: Shape) -> None:
        if check_integer("the size of a window", self.size) < 1 or self.size % 2 == 0:
            raise InputError(
                f"a centred window needs an odd size of at least 1, not {self.size}; try {max(1, self.size - 1)}"
            )
        if self.size > min(shape[1:]) and self.wrap:
            raise InputError(
                f"a window of {self.size} that wraps around does not fit the {shape[1]} x {shape[2]} images; "
                f"use at most {min(shape[1:]) - (min(shape[1:]) + 1) % 2}"
            )
        if self.size > 2 * max(shape[1:]) - 1:
            raise InputError(
                f"a window of {self.size} is larger than the {shape[1]} x {shape[2]} images need; "
                f"{2 * max(shape[1:]) - 1} already covers all of them from every pixel"
            )

    def anchors(self, shape: Shape) -> torch.Tensor:
        return _grid(shape[1], shape[2])

    def factors(self, shape: Shape) -> tuple[torch.Tensor, torch.Tensor]:
        radius = self.size // 2
        return (
            _interval_factor(shape[1], -radius, radius + 1, shape[1], self.wrap),
            _interval_factor(shape[2], -radius, radius + 1, shape[2], self.wrap),
        )

    def boxes(self, shape: Shape) -> Boxes | None:
        radius = self.size // 2
        return None if self.wrap else Boxes(shape[1], shape[2], -radius, radius + 1, -radius, radius + 1)

    def extents(self, shape: Shape) -> torch.Tensor:
        radius = self.size // 2
        y, x = self.anchors(shape).T
        extents = torch.stack([y - radius, y + radius + 1, x - radius, x + radius + 1], 1)
        if not self.wrap:
            extents[:, :2] = extents[:, :2].clamp(0, shape[1])
            extents[:, 2:] = extents[:, 2:].clamp(0, shape[2])
        return extents


@dataclass(frozen=True)
class GaussianWindows(Windows):
    """For every pixel k, the soft window exp(-|q - k|^2 / (2 width^2)): H W windows.

    Args:
        width: standard deviation in pixels, > 0.
    """

    width: float

    def check(self, shape: Shape) -> None:
        if not 0 < self.width < float("inf"):
            raise InputError(f"the width of a Gaussian window must be greater than 0, not {self.width}")

    def anchors(self, shape: Shape) -> torch.Tensor:
        return _grid(shape[1], shape[2])

    def factors(self, shape: Shape) -> tuple[torch.Tensor, torch.Tensor]:
        def factor(size: int) -> torch.Tensor:
            position = torch.arange(size, dtype=torch.float64)
            return torch.exp(-((position[:, None] - position) ** 2) / (2 * self.width**2))

        return factor(shape[1]), factor(shape[2])


@dataclass(frozen=True, eq=False)
class Masks(Windows):
    """Windows given as a tensor: hard or soft, one for each of any K queries.

    Args:
        values: (K, H, W), (K, 1, H, W) or (K, C, H, W), finite and >= 0.
        at: (K, 2) the pixel that each window belongs to; by default row-major pixels where K = H W, else the window's centre.
    """

    values: torch.Tensor
    at: torch.Tensor | None = field(default=None)

    def check(self, shape: Shape) -> None:
        values = self.values
        if not isinstance(values, torch.Tensor):
            raise InputError(
                f"masks must be a torch tensor, not {type(values).__name__}; torch.from_numpy turns an array into one"
            )
        fits = values.ndim in (3, 4) and values.shape[0] >= 1 and tuple(values.shape[-2:]) == shape[1:]
        if not fits or (values.ndim == 4 and values.shape[1] not in (1, shape[0])):
            raise InputError(
                f"masks have shape {tuple(values.shape)}; give (K, {shape[1]}, {shape[2]}) "
                f"or (K, {shape[0]}, {shape[1]}, {shape[2]})"
            )
        if not bool((torch.isfinite(values) & (values >= 0)).all()):
            raise InputError("masks must be finite and not negative")
        if self.at is not None and tuple(self.at.shape) != (values.shape[0], 2):
            raise InputError(
                f"`at` has shape {tuple(self.at.shape)}; give one (row, column) per mask, ({values.shape[0]}, 2)"
            )

    def anchors(self, shape: Shape) -> torch.Tensor:
        if self.at is not None:
            return self.at.long().cpu()
        if self.values.shape[0] == shape[1] * shape[2]:
            return _grid(shape[1], shape[2])
        extents = self.extents(shape)
        return torch.stack([(extents[:, 0] + extents[:, 1] - 1) // 2, (extents[:, 2] + extents[:, 3] - 1) // 2], 1)

    def masks(self, shape: Shape) -> torch.Tensor:
        values = self.values.detach().to("cpu", torch.float64)
        return values[:, None] if values.ndim == 3 else values

    def __repr__(self) -> str:
        return f"Masks(<{tuple(self.values.shape)}>)"


@dataclass(frozen=True)
class Entries(Windows):
    """Every single entry of the image, channel by channel: C H W windows, in row-major order (c, y, x)."""

    def anchors(self, shape: Shape) -> torch.Tensor:
        return _grid(shape[1], shape[2]).repeat(shape[0], 1)

    def masks(self, shape: Shape) -> torch.Tensor:
        return self.some_masks(shape, torch.arange(shape[0] * shape[1] * shape[2]))

    def some_masks(self, shape: Shape, numbers: torch.Tensor) -> torch.Tensor:
        masks = torch.zeros(len(numbers), shape[0] * shape[1] * shape[2], dtype=torch.float64)
        masks[torch.arange(len(numbers)), numbers.cpu()] = 1
        return masks.unflatten(1, shape)

    def extents(self, shape: Shape) -> torch.Tensor:
        y, x = self.anchors(shape).T
        return torch.stack([y, y + 1, x, x + 1], 1)


@dataclass(frozen=True, eq=False)
class PackedMasks(Windows):
    """Hard windows, one bit an entry: `weight` where the bit is set, else 0. `PackedMasks.of` makes them of a tensor.

    Windows of single channels, C H W of them, belong to the entries of the image in row-major order; others as in `Masks`.

    Args:
        bits: (K, ceil(C' H W / 8)) uint8, `numpy.packbits` of each window, row-major.
        size: (C', H, W) of a window; C' = 1 where it is the same for all channels, else C.
        weight: finite, > 0.
    """

    bits: np.ndarray
    size: Shape
    weight: float = 1.0

    @classmethod
    def of(cls, masks: torch.Tensor, weight: float = 1.0) -> PackedMasks:
        """Pack (K, C', H, W) masks: what is not 0 is set."""
        bits = np.packbits((masks != 0).flatten(1).cpu().numpy(), axis=1)
        return cls(bits, (masks.shape[1], masks.shape[2], masks.shape[3]), weight)

    def check(self, shape: Shape) -> None:
        channels, height, width = self.size
        if (height, width) != tuple(shape[1:]) or channels not in (1, shape[0]):
            raise InputError(f"packed masks of {self.size} do not fit images of {tuple(shape)}")
        wanted = -(-channels * height * width // 8)
        if self.bits.ndim != 2 or self.bits.dtype != np.uint8 or not len(self.bits) or self.bits.shape[1] != wanted:
            raise InputError(
                f"packed masks must be (K, {wanted}) uint8, not {self.bits.shape} {self.bits.dtype}; "
                "PackedMasks.of makes them"
            )
        if not 0 < self.weight < float("inf"):
            raise InputError(f"the weight of masks must be finite and greater than 0, not {self.weight}")

    def anchors(self, shape: Shape) -> torch.Tensor:
        if len(self.bits) == shape[0] * shape[1] * shape[2]:
            return _grid(shape[1], shape[2]).repeat(shape[0], 1)
        return Masks(self.masks(shape)).anchors(shape)

    def masks(self, shape: Shape) -> torch.Tensor:
        return self._unpacked(self.bits)

    def some_masks(self, shape: Shape, numbers: torch.Tensor) -> torch.Tensor:
        return self._unpacked(self.bits[numbers.cpu().numpy()])

    def _unpacked(self, bits: np.ndarray) -> torch.Tensor:
        entries = self.size[0] * self.size[1] * self.size[2]
        values = torch.from_numpy(np.unpackbits(bits, axis=1, count=entries)).double()
        return values.mul_(self.weight).unflatten(1, self.size)

    def __repr__(self) -> str:
        return f"PackedMasks(<{(len(self.bits), *self.size)}>{'' if self.weight == 1 else f', weight={self.weight:g}'})"
