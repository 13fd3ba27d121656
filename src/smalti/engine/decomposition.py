"""What a composite is made of: the share of every element in every pixel, exactly, streamed over the source.

    W_i(q) = sum_k R_k(q) w_k^i / sum_k R_k(q)         the share of element i in pixel q;  sum_i W_i(q) = 1
    D(z)(q) = sum_i W_i(q) x^i(q)                      and so the shares rebuild the denoised image

The largest shares of a pixel are kept with their elements (image, place, flip), the others are added up. Where responses differ between
channels, a share is the mean over channels, and values keep the channels apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import torch

__all__ = ["Attribution", "Largest"]


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
    """The `top` largest of what streams by, with what they are: (B, P, top), largest first; of equals, the first."""

    def __init__(self, batch: int, pixels: int, top: int) -> None:
        self.shares = torch.full((batch, pixels, top), -1.0, dtype=torch.float64)
        self.elements = torch.zeros((batch, pixels, top), dtype=torch.int64)

    def add(self, shares: torch.Tensor, elements: torch.Tensor) -> None:
        """More: shares (B, P, n) of elements (n,)."""
        best, where = shares.topk(min(self.shares.shape[-1], shares.shape[-1]), dim=-1)
        if not bool((best[..., 0] > self.shares[..., -1]).any()):
            return
        both = torch.cat([self.shares, best.double()], -1)
        numbers = torch.cat([self.elements, elements[where]], -1)
        self.shares, order = both.sort(dim=-1, descending=True, stable=True)
        self.shares = self.shares[..., : self.elements.shape[-1]].contiguous()
        self.elements = numbers.gather(-1, order[..., : self.elements.shape[-1]])
