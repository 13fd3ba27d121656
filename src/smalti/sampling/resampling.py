"""Exact resampling between the scales of a pyramid: down averages areas, up is its smoothest right inverse.

Along one axis of H pixels, h <= H:

    down   A (h, H)    A[i, j] = h/H |[i H/h, (i+1) H/h] ∩ [j, j+1]|       the mean of each pixel's area; rows sum to 1
    up     U (H, h)    U c = argmin_x { sum_j (x[j+1] - x[j])^2 : A x = c }  the smoothest signal that has these means

Where images wrap around, the difference of the last and the first pixel is in that sum too. U is linear and exact: A U = I, constants
stay constants, and x - U A x has no means (A (x - U A x) = 0). So an image whose low frequencies are replaced, U c + x - U A x,
averages down to c exactly. In closed form, by the conditions of Lagrange, with the matrix G of differences:
[G'G A'; A 0] [x; y] = [0; c]. Images are resampled along both axes, A_rows x A_columns'.

The adjoint of down is A', spreading each value evenly over its area (area_adjoint): <A x, c> = <x, A' c>.
"""

from __future__ import annotations

import functools

import torch

from smalti.core.errors import InputError

__all__ = ["area_adjoint", "area_down", "replace_low", "smooth_up"]

Size = tuple[int, int]


def area_down(images: torch.Tensor, size: Size) -> torch.Tensor:
    """Area means.

    Args:
        images: (..., H, W) floating.
        size: (h, w), h <= H, w <= W; any sizes, areas are cut where they do not divide.

    Returns:
        (..., h, w), in the dtype and on the device of `images`.

    Raises:
        InputError: a size that is larger, or not positive.
    """
    return _both(images, size, _averaging, images.shape[-2:], size)


def smooth_up(images: torch.Tensor, size: Size, wrap: bool = False) -> torch.Tensor:
    """The smoothest images whose area means are `images`: area_down(smooth_up(c, size), c's size) = c.

    Args:
        images: (..., h, w) floating.
        size: (H, W), H >= h, W >= w.
        wrap: whether the images wrap around.

    Returns:
        (..., H, W), in the dtype and on the device of `images`.

    Raises:
        InputError: a size that is smaller.
    """
    return _both(images, size, functools.partial(_smoothing, wrap=wrap), size, images.shape[-2:])


def area_adjoint(images: torch.Tensor, size: Size) -> torch.Tensor:
    """The adjoint of `area_down` to images of `size`: (..., h, w) to (..., H, W). As `smooth_up`."""
    return _both(images, size, lambda large, small: _averaging(large, small).T, size, images.shape[-2:])


def replace_low(images: torch.Tensor, coarser: torch.Tensor, wrap: bool = False) -> torch.Tensor:
    """`images` (..., H, W) with the low frequencies of `coarser` (..., h, w): up(coarser) + images - up(down(images))."""
    low = coarser - area_down(images, (coarser.shape[-2], coarser.shape[-1]))
    return images + smooth_up(low, (images.shape[-2], images.shape[-1]), wrap)


def _both(images: torch.Tensor, size: Size, matrix, large, small) -> torch.Tensor:  # type: ignore[no-untyped-def]
    for axis, name in enumerate(("rows", "columns")):
        if not 1 <= small[axis] <= large[axis]:
            raise InputError(f"{large[axis]} {name} cannot be averaged to {small[axis]}; choose 1 to {large[axis]}")
    rows, columns = (matrix(int(large[axis]), int(small[axis])).to(images) for axis in (0, 1))
    return torch.einsum("ay,...yx,bx->...ab", rows, images, columns)


@functools.lru_cache(maxsize=64)
def _averaging(large: int, small: int) -> torch.Tensor:
    """A, (small, large) float64."""
    edges = torch.arange(small + 1, dtype=torch.float64) * large / small
    pixels = torch.arange(large, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], pixels + 1) - torch.maximum(edges[:-1, None], pixels)
    overlap = overlap.clamp(min=0)
    return overlap / overlap.sum(1, keepdim=True)


@functools.lru_cache(maxsize=64)
def _smoothing(large: int, small: int, wrap: bool = False) -> torch.Tensor:
    """U, (large, small) float64."""
    averaging = _averaging(large, small)
    pixels = torch.eye(large, dtype=torch.float64)
    differences = pixels.roll(-1, 0) - pixels if wrap else pixels.diff(dim=0)
    system = torch.zeros(large + small, large + small, dtype=torch.float64)
    system[:large, :large] = differences.T @ differences
    system[:large, large:] = averaging.T
    system[large:, :large] = averaging
    right = torch.zeros(large + small, small, dtype=torch.float64)
    right[large:] = torch.eye(small, dtype=torch.float64)
    return torch.linalg.solve(system, right)[:large]
