"""Descriptors of images made of their patches: whitened principal components of small patches, rectified and pooled over a grid.

    p            every s x s patch of an image, all channels, less its own mean over the patch (for each channel)
    f            (p - m) V diag(v + eps)^-1/2                   PCA whitening fitted on patches of training images
    g            (max(f, 0), max(-f, 0))                        both signs apart (Coates & Ng 2011, "split" encoding)
    descriptor   g averaged over each cell of a G x G grid, less its mean over training images, divided by its length

So two images are alike where they have the same kinds of local structure (edges, corners, texture) in the same quarters, whatever their
brightness. It learns nothing but second moments, and stands in where a trained descriptor such as SSCD is not at hand; its cosines are not
SSCD's and are not comparable with them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from smalti.core.errors import InputError
from smalti.source import Source

__all__ = ["PatchFeatures"]

FITTED_ON = 2000  # images, evenly spaced
COMPONENTS = 32
FLOOR = 0.01  # eps: of the largest eigenvalue


@dataclass(frozen=True, eq=False)
class PatchFeatures:
    """Fitted descriptors.

    Attributes:
        side: s, of the patches: 3 for images under 16 pixels, else 5.
        cells: G, the grid: 2 for images under 16 pixels, else 4.
        middle: (d,) float64, m; d = C s^2.
        whitening: (d, K) float64, V diag(v + eps)^-1/2, K the number of components, at most 32.
        centre: (2 K G^2,) float64, mean descriptor of the training images before it is scaled.
    """

    side: int
    cells: int
    middle: torch.Tensor
    whitening: torch.Tensor
    centre: torch.Tensor

    @classmethod
    def fit(cls, source: Source) -> PatchFeatures:
        """Fit on at most 2000 images, evenly spaced; the same source gives the same features.

        Raises:
            InputError: images smaller than 3 x 3.
        """
        smallest = min(source.shape[1:])
        if smallest < 3:
            raise InputError(f"patch features need images of at least 3 x 3 pixels, not {source.shape}")
        side, cells = (3, 2) if smallest < 16 else (5, 4)
        chosen = np.unique(np.linspace(0, len(source) - 1, min(FITTED_ON, len(source))).astype(np.int64))
        images = source.working(chosen)
        patches = _patches(images, side).transpose(1, 2).flatten(0, 1)  # (patches, d)
        middle = patches.mean(0)
        values, vectors = torch.linalg.eigh((patches - middle).T @ (patches - middle) / len(patches))
        count = min(COMPONENTS, patches.shape[1] - source.shape[0])  # a patch's own mean takes one a channel
        values, vectors = values[-count:].flip(0), vectors[:, -count:].flip(1)
        scale = (values + FLOOR * values[0].clamp_min(torch.finfo(torch.float64).tiny)).rsqrt()
        unscaled = cls(side, cells, middle, vectors * scale, torch.zeros(2 * count * cells**2, dtype=torch.float64))
        return cls(side, cells, middle, vectors * scale, unscaled._pooled(images).mean(0))

    def descriptors(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W), working scale, clipped to [-1, 1], -> (B, 2 K G^2) float64 of length 1 (0 for an image at the mean)."""
        return F.normalize(self._pooled(images) - self.centre, dim=1)

    def _pooled(self, images: torch.Tensor) -> torch.Tensor:
        height, width = (size - self.side + 1 for size in images.shape[2:])
        responses = (_patches(images, self.side).transpose(1, 2) - self.middle) @ self.whitening  # (B, patches, K)
        split = torch.cat([responses.clamp_min(0), (-responses).clamp_min(0)], 2).transpose(1, 2)
        return F.adaptive_avg_pool2d(split.unflatten(2, (height, width)), self.cells).flatten(1)


def _patches(images: torch.Tensor, side: int) -> torch.Tensor:
    """(B, C s^2, number of patches) float64, each less its mean over its pixels."""
    columns = F.unfold(images.double().clamp(-1, 1), side).unflatten(1, (images.shape[1], side**2))
    return (columns - columns.mean(2, keepdim=True)).flatten(1, 2)
