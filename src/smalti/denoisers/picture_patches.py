"""PicturePatches: the patches of one picture, or of a few, at all their places; z has a size of its own.

    D(z, sigma) = sum_k R E_k / sum_k R,   E_k = sum_i w_k^i x^i,   w_k^i ∝ exp(-|z_k - x^i|^2 / (2 sigma^2))

over every p x p crop k of z and all p x p patches x^i of the pictures. R is a Gaussian window within the crop. As in "Efficient and
Training-Free Single-Image Diffusion Models" (CVPR 2026), here exactly and by box sums (`smalti.engine.picture`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError, did_you_mean
from smalti.core.validation import check_count
from smalti.engine.picture import (
    PictureProgram,
    Places,
    admitted,
    gaussian_response,
    mean_patch,
    put_back,
    reference_composite,
)
from smalti.engine.pruning import TOLERANCE, check_tolerance

__all__ = ["WIDTH", "PicturePatches"]

WIDTH = 0.2  # of the response, as a share of half the side
EQUAL = 1e-7  # logits that differ by less are equal


class PicturePatches(Denoiser):
    """Posterior means of crops of z among all patches of pictures, at all places.

    Args:
        pictures: each (C, H, W), floats in the working scale; H, W >= patch_size. Flips and quarter turns are pictures too
            (`smalti.sampling.like.turned` makes them).
        patch_size: p.
        size: (h, w) of z; that of the first picture by default.
        width: standard deviation of R as a share of half the side; infinity weighs a crop's pixels alike.
        wrap: z wraps around, and so do its crops: a seamless tile.
        masks: (H, W) bool for each picture; only patches that lie wholly in them are looked at. None: all.
        backend: "auto" (compiled) or "reference" (float64, patches written out).
        tolerance: what a pixel may be off for elements that certainly weigh little (`smalti.engine.pruning`); 0 for none.

    Raises:
        InputError: a patch that does not fit, pictures of different channels, masks of other sizes or without a whole patch.
    """

    name = "picture-patches"
    paper = "Efficient and Training-Free Single-Image Diffusion Models, CVPR 2026"

    def __init__(
        self,
        pictures: Sequence[torch.Tensor],
        patch_size: int = 15,
        size: tuple[int, int] | None = None,
        width: float = WIDTH,
        wrap: bool = False,
        masks: Sequence[torch.Tensor] | None = None,
        backend: str = "auto",
        *,
        tolerance: float = TOLERANCE,
    ) -> None:
        self.pictures = [torch.as_tensor(np.asarray(picture)).detach().double() for picture in pictures]
        self.patch_size, self.width, self.wrap, self.backend = (
            check_count("the patch size", patch_size),
            width,
            wrap,
            backend,
        )
        self.tolerance = check_tolerance(tolerance)
        if backend not in ("auto", "reference"):
            raise InputError(
                f"unknown backend {backend!r}{did_you_mean(backend, ('auto', 'reference'))}; choose auto or reference"
            )
        if not width > 0:
            raise InputError(f"the width of the response must be greater than 0, not {width}")
        self._check_pictures()
        self.size = self.pictures[0].shape[1:] if size is None else size
        self.shape = (self.pictures[0].shape[0], int(self.size[0]), int(self.size[1]))
        if min(self.shape[1:]) < patch_size:
            raise InputError(f"a {patch_size} x {patch_size} patch does not fit z of {self.shape[1]} x {self.shape[2]}")
        whole = [torch.ones(picture.shape[1:], dtype=torch.bool) for picture in self.pictures]
        self.masks = masks
        self._masks = whole if masks is None else [torch.as_tensor(np.asarray(mask)).bool() for mask in masks]
        self._check_masks()
        self._response = gaussian_response(patch_size, width)
        self._elements = sum(int(admitted(mask, patch_size).sum()) for mask in self._masks)
        low = min(float(picture.min()) for picture in self.pictures)
        high = max(float(picture.max()) for picture in self.pictures)
        self._range, self._largest = high - low, max(abs(low), abs(high))
        self._program: PictureProgram | None = None
        self._mean: torch.Tensor | None = None

    def denoise(self, z: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        found = [self._one(one.detach().double().cpu(), level) for one, level in zip(z, sigma.tolist(), strict=True)]
        return torch.stack(found)

    def places(self, z: torch.Tensor, sigma: float) -> Places:
        """Where the pixels of D(z, sigma) come from, for one z (C, h, w): the place that weighs most, and its share."""
        return self._compiled().places(z.detach().double().cpu(), sigma)

    def _one(self, z: torch.Tensor, sigma: float) -> torch.Tensor:
        if self.backend == "auto" and self._equal(z, sigma):
            return self.mean()
        if self.backend == "reference":
            masks = None if self.masks is None else self._masks
            return reference_composite(self.pictures, z[None], sigma, self._response, self.wrap, masks)[0]
        return self._compiled().composite(z, sigma)

    def _equal(self, z: torch.Tensor, sigma: float) -> bool:
        """Whether all weights are equal: |z - x|^2 differs between patches by at most 2 |z| |x - y| + | |x|^2 - |y|^2 |."""
        entries = self.shape[0] * self.patch_size**2
        spread = entries * self._range * 2 * (float(z.abs().max()) + self._largest)
        return spread / (2 * sigma**2) < EQUAL

    def mean(self) -> torch.Tensor:
        """D at infinite noise, (C, h, w) float64: every crop is the mean patch."""
        if self._mean is None:
            patch = mean_patch(self.pictures, self._masks, self.patch_size)
            self._mean = put_back(patch, (self.shape[1], self.shape[2]), self._response, self.wrap)
        return self._mean

    def _compiled(self) -> PictureProgram:
        if self._program is None:
            masks = None if self.masks is None else self._masks
            gap = math.inf
            if self.tolerance:
                # where normalisers count what numerators leave out, the pixels themselves are lacking, not their differences
                extent = max(self._range, self._largest, self.tolerance)
                gap = max(0.0, math.log2(self._elements * extent / self.tolerance))
            self._program = PictureProgram(self.pictures, self._response, self.wrap, min(gap, 1e6), masks)
        return self._program

    def _check_pictures(self) -> None:
        side = self.patch_size
        if not self.pictures:
            raise InputError("at least one picture is needed")
        for picture in self.pictures:
            if picture.ndim != 3 or picture.shape[0] != self.pictures[0].shape[0]:
                raise InputError(f"pictures are (C, H, W) with the same channels, not {tuple(picture.shape)}")
            if min(picture.shape[1:]) < side:
                raise InputError(
                    f"a {side} x {side} patch does not fit a picture of {picture.shape[1]} x {picture.shape[2]}; "
                    f"use a larger picture or a patch size of at most {min(picture.shape[1:])}"
                )
            if not bool(torch.isfinite(picture).all()):
                raise InputError("a picture has NaN or infinite values")

    def _check_masks(self) -> None:
        for picture, mask in zip(self.pictures, self._masks, strict=True):
            if tuple(mask.shape) != tuple(picture.shape[1:]):
                raise InputError(f"a mask has shape {tuple(mask.shape)}; its picture is {tuple(picture.shape[1:])}")
        if not any(bool(admitted(mask, self.patch_size).any()) for mask in self._masks):
            raise InputError(f"no {self.patch_size} x {self.patch_size} patch lies wholly in what is kept; keep more")
