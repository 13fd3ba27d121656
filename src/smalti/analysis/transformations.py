"""The five transformations of z (workshop paper, Fig. 3), on one grid of images.

    identity        T z = z
    shift-x, -y     T z moves x *and its noise* by s pixels (to the right, down; negative: left, up). What enters is fresh noise
                    N(0, sigma^2 I) around the image's edge value, which is repeated: with z = x + sigma e,
                        (T z)(i, j) = z(i, j - s)                     where j - s is inside the image
                        (T z)(i, j) = x(i, edge) + sigma e'(i, j)     where it is not
    noise-inside    z inside a box is replaced by fresh noise N(0, sigma^2 I): no image is left in it
    noise-outside   z outside the box is

Where only z is known, x is estimated by what a given denoiser makes of z.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from smalti.core.errors import InputError
from smalti.core.validation import check_count, check_integer

__all__ = ["TRANSFORMATIONS", "Box", "box_of", "kept_by_shift", "replace", "shift_image", "shift_of", "shift_z"]

TRANSFORMATIONS = ("identity", "shift-x", "shift-y", "noise-inside", "noise-outside")
PUBLISHED_SHIFT, PUBLISHED_SIDE = 5, 32


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels.

    Attributes:
        top, left: its first row and column, from 0.
        height, width: its size in pixels, at least 1.
    """

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def central(cls, height: int, width: int) -> Box:
        """The default: half the height and width of an H x W image (at least a pixel), in its middle; 16 x 16 of 32 x 32."""
        h, w = max(1, round(height / 2)), max(1, round(width / 2))
        return cls((height - h) // 2, (width - w) // 2, h, w)

    def mask(self, height: int, width: int) -> torch.Tensor:
        """(H, W) bool, True inside.

        Raises:
            InputError: it does not lie inside an H x W image, or leaves nothing outside.
        """
        for what in ("top", "left"):
            if check_integer(f"the box's {what}", getattr(self, what)) < 0:
                raise InputError(f"the box's {what} must be at least 0, not {getattr(self, what)}")
        bottom = self.top + check_count("the box's height", self.height)
        right = self.left + check_count("the box's width", self.width)
        if bottom > height or right > width:
            raise InputError(
                f"the box goes to row {bottom} and column {right} of a {height} x {width} image; make it smaller"
            )
        if (self.height, self.width) == (height, width):
            raise InputError("the box is the whole image; leave something outside")
        inside = torch.zeros((height, width), dtype=torch.bool)
        inside[self.top : bottom, self.left : right] = True
        return inside


def box_of(box: Box | tuple[int, int, int, int] | None, height: int, width: int) -> Box:
    """A box, (top, left, height, width), or None for the central one, as a box that fits an H x W image.

    Raises:
        InputError: it does not fit.
    """
    found = Box.central(height, width) if box is None else box if isinstance(box, Box) else Box(*box)
    found.mask(height, width)
    return found


def shift_of(shift: int | tuple[int, int] | None, height: int, width: int) -> tuple[int, int]:
    """(dx, dy): a shift for both, (right, down), or None for 5 at 32 x 32 and round(5 min(H, W) / 32), at least 1, for other sizes.

    Raises:
        InputError: 0, or not smaller than both sides of the image.
    """
    side = min(height, width)
    if shift is None:
        shift = max(1, round(PUBLISHED_SHIFT * side / PUBLISHED_SIDE))
    right, down = shift if isinstance(shift, (tuple, list)) else (shift, shift)
    for pixels in (right, down):
        if not 0 < abs(check_integer("the shift", pixels)) < side:
            raise InputError(f"the shift must be from 1 to {side - 1} pixels (or negative), not {pixels}")
    return int(right), int(down)


def shift_image(x: torch.Tensor, dx: int, dy: int) -> torch.Tensor:
    """(..., H, W) moved right by dx and down by dy; its edges are repeated."""
    height, width = x.shape[-2:]
    rows = (torch.arange(height) - dy).clamp(0, height - 1)
    columns = (torch.arange(width) - dx).clamp(0, width - 1)
    return x[..., rows[:, None], columns]


def kept_by_shift(height: int, width: int, dx: int, dy: int) -> torch.Tensor:
    """(H, W) bool: the pixels of a shifted image that were in the image before."""
    rows, columns = torch.arange(height) - dy, torch.arange(width) - dx
    return ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))


def shift_z(z: torch.Tensor, clean: torch.Tensor, sigma: float, fresh: torch.Tensor, dx: int, dy: int) -> torch.Tensor:
    """z moved right by dx and down by dy; entering pixels are the edge values of `clean` with sigma times `fresh` noise.

    Args:
        z, clean, fresh: (n, C, H, W): x + sigma e, x (or an estimate of it), and unit noise.
        sigma: noise level.
        dx, dy: pixels.

    Returns:
        (n, C, H, W) in the dtype of z.
    """
    entering = shift_image(clean.double(), dx, dy) + sigma * fresh
    return torch.where(kept_by_shift(z.shape[-2], z.shape[-1], dx, dy), shift_image(z, dx, dy), entering.to(z.dtype))


def replace(z: torch.Tensor, mask: torch.Tensor, sigma: float, fresh: torch.Tensor) -> torch.Tensor:
    """z with the pixels of `mask` (H, W) replaced by sigma times `fresh` noise (n, C, H, W)."""
    return torch.where(mask, (sigma * fresh).to(z.dtype), z)
