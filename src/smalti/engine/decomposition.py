"""What a composite is made of: the share of every element in every pixel, exactly, streamed over the source.

    W_i(q) = sum_k R_k(q) w_k^i / sum_k R_k(q)         the share of element i in pixel q;  sum_i W_i(q) = 1
    D(z)(q) = sum_i W_i(q) x^i(q)                      and so the shares rebuild the denoised image

The largest shares of a pixel are kept with their elements (image, place, flip), the others are added up. Where responses differ between
channels, a share is the mean over channels, and values keep the channels apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from smalti.core.errors import InputError
from smalti.engine.backend import Shares
from smalti.engine.elements import units
from smalti.engine.problem import Problem

__all__ = ["Attribution", "Largest", "attribution", "check_pixels"]


@dataclass(frozen=True)
class Attribution:
    """Shares of training images in P pixels of B denoised images; T elements are listed for each.

    Attributes:
        pixels: (P, 2) int64, (row, column).
        images: (B, P, T) int64, stored images, largest share first.
        shares: (B, P, T) float64, in [0, 1]; 0 where there are fewer elements.
        values: (B, P, T, C) float64, share times pixel, working scale; with `rest_values` they add up to `total`.
        places: (B, P, T, 3) int64, (dy, dx, flip): the element's pixel is that of the stored image, mirrored where flip is 1, at
            (row + dy, column + dx), wrapped around.
        rest: (B, P) float64, the share of all other elements.
        rest_values: (B, P, C) float64, their part of the pixel.
        effective: (B, P) float64, exp(entropy) of the shares of images (flips and places of an image together), 1 to N.
        total: (B, P, C) float64, D there.
    """

    pixels: torch.Tensor
    images: torch.Tensor
    shares: torch.Tensor
    values: torch.Tensor
    places: torch.Tensor
    rest: torch.Tensor
    rest_values: torch.Tensor
    effective: torch.Tensor
    total: torch.Tensor

    def __repr__(self) -> str:
        batch, pixels, top = self.shares.shape
        return (
            f"Attribution(of {batch} image{'s' if batch > 1 else ''}, {pixels} pixels each, the {top} largest shares)"
        )

    @staticmethod
    def stacked(parts: Iterable[tuple[torch.Tensor, Attribution]], batch: int) -> Attribution:
        """Attributions of groups of rows as one, in the order of the batch."""
        rows, found = zip(*parts, strict=True)
        order = torch.argsort(torch.cat([torch.as_tensor(r) for r in rows]))
        assert len(order) == batch

        def joined(name: str) -> torch.Tensor:
            return torch.cat([getattr(part, name) for part in found])[order]

        names = [field.name for field in fields(Attribution) if field.name != "pixels"]
        return Attribution(found[0].pixels, **{name: joined(name) for name in names})


class Largest:
    """The `top` largest of the shares that stream by, with their elements; of equals, the first.

    Attributes:
        shares: (B, P, top, C or 1) float64, descending by their mean over channels; 0 where there are fewer.
        elements: (B, P, top) int64.
    """

    def __init__(self, batch: int, pixels: int, top: int, channels: int) -> None:
        self.shares = torch.zeros((batch, pixels, top, channels), dtype=torch.float64)
        self.elements = torch.zeros((batch, pixels, top), dtype=torch.int64)

    def add(self, shares: torch.Tensor, elements: torch.Tensor) -> None:
        """More: shares (B, P, n, C or 1) of elements (n,)."""
        top = self.elements.shape[-1]
        best, where = shares.mean(-1).topk(min(top, shares.shape[2]), dim=-1)
        if not bool((best[..., 0] > self.shares[..., -1, :].mean(-1)).any()):
            return
        both = torch.cat([self.shares, _at(shares.double(), where)], 2)
        numbers = torch.cat([self.elements, elements[where]], -1)
        order = both.mean(-1).sort(dim=-1, descending=True, stable=True).indices[..., :top]
        self.shares, self.elements = _at(both, order), numbers.gather(-1, order)


def _at(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """values (B, P, n, C) at where (B, P, m): (B, P, m, C)."""
    return values.gather(2, where[..., None].expand(-1, -1, -1, values.shape[-1]))


def attribution(problem: Problem, shares: Shares, pixels: torch.Tensor, denoised: torch.Tensor) -> Attribution:
    """Shares with the pixels that they are of, and what is left.

    Args:
        problem: what was computed.
        shares: of the pixels.
        pixels: (P, 2).
        denoised: (B, C, H, W), D.
    """
    images, mirrored, shifts = problem.element(shares.elements)
    _, height, width = problem.shape
    rows = (pixels[:, 0, None] + shifts[..., 0]) % height
    columns = (pixels[:, 1, None] + shifts[..., 1]) % width
    columns = torch.where(mirrored, width - 1 - columns, columns)
    stored = problem.source.images
    found = stored[
        images.numpy()[..., None], np.arange(problem.shape[0]), rows.numpy()[..., None], columns.numpy()[..., None]
    ]
    unit, offset = units(stored)
    values = shares.largest * (torch.from_numpy(found.astype(np.float64)) - offset) / unit
    total = denoised.double().cpu()[:, :, pixels[:, 0], pixels[:, 1]].transpose(1, 2)
    listed = shares.largest.mean(-1)
    return Attribution(
        pixels=pixels,
        images=images,
        shares=listed,
        values=values,
        places=torch.cat([shifts, mirrored[..., None].long()], -1),
        rest=(1 - listed.sum(-1)).clamp_min(0),
        rest_values=total - values.sum(2),
        effective=shares.entropy.exp(),
        total=total,
    )


def check_pixels(pixels: Any, shape: tuple[int, int, int]) -> torch.Tensor:
    """(P, 2) int64 of (row, column) pairs, a mask (H, W), or None for all pixels, row by row.

    Raises:
        InputError: none, one outside the image, another shape.
    """
    _, height, width = shape
    if pixels is None:
        return torch.cartesian_prod(torch.arange(height), torch.arange(width))
    try:
        given = torch.as_tensor(np.asarray(pixels))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"pixels must be (row, column) pairs, or a mask ({height}, {width}): {error}") from None
    if given.dtype == torch.bool:
        if tuple(given.shape) != (height, width):
            raise InputError(f"the mask of pixels has shape {tuple(given.shape)}; the images are {height} x {width}")
        given = given.nonzero()
    if not given.numel():
        raise InputError("there is no pixel to look at; give (row, column) pairs, or a mask with some")
    if given.ndim != 2 or given.shape[1] != 2 or given.dtype.is_floating_point:
        raise InputError(
            f"pixels must be whole (row, column) pairs, or a mask ({height}, {width}), not {tuple(given.shape)}"
        )
    given = given.long()
    outside = ((given < 0) | (given >= torch.tensor([height, width]))).any(1)
    if bool(outside.any()):
        raise InputError(f"pixel {tuple(given[outside][0].tolist())} lies outside {height} x {width} images")
    return given
