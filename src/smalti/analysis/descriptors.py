"""Descriptors of images, whose cosines say how alike images are: `PatchFeatures`, and `SSCD` where its file is at hand.

Descriptors of images made of their patches: whitened principal components of small patches, rectified and pooled over a grid.

    p            every s x s patch of an image, all channels, less its own mean over the patch (for each channel)
    f            (p - m) V diag(v + eps)^-1/2                   PCA whitening fitted on patches of training images
    g            (max(f, 0), max(-f, 0))                        both signs apart (Coates & Ng 2011, "split" encoding)
    descriptor   g averaged over each cell of a G x G grid, less its mean over training images, divided by its length

So two images are alike where they have the same kinds of local structure (edges, corners, texture) in the same quarters, whatever their
brightness. It learns nothing but second moments, and stands in where a trained descriptor such as SSCD is not at hand; its cosines are not
SSCD's and are not comparable with them.

SSCD, a descriptor of images for copy detection (Pizzi et al. 2022), from its authors' TorchScript file.

The file is not part of smalti. TorchScript is code: a file is loaded only where its sha256 is a known one, or where its user says that it
is trusted. Images are prepared as SSCD's documentation recommends: the small edge resized to 288 pixels, three channels in [0, 1], less
ImageNet's mean and divided by its standard deviation. Descriptors have length 1, so that their dot product is the cosine.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from smalti.core.errors import InputError, from_os_error
from smalti.source import Source

__all__ = ["KNOWN", "SMALL_EDGE", "SSCD", "PatchFeatures"]

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


KNOWN: dict[str, str] = {}  # sha256 hex -> name of a published file; none could be verified where this was written
SMALL_EDGE = 288
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 16


class SSCD:
    """A loaded descriptor. Made by `SSCD.load`.

    Attributes:
        digest: sha256 hex of its file.
        name: of the published file, or "unknown".
    """

    def __init__(self, module: torch.nn.Module, digest: str) -> None:
        self._module, self.digest, self.name = module.eval(), digest, KNOWN.get(digest, "unknown")

    @classmethod
    def load(cls, path: str | os.PathLike[str], trust: bool = False) -> SSCD:
        """Load a TorchScript file.

        Args:
            path: such as sscd_imagenet_mixup.torchscript.pt.
            trust: load it although its sha256 is not known: it may then run any code.

        Raises:
            InputError: no such file; an unknown sha256 without `trust`; no TorchScript module.
        """
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise from_os_error(error, f"read {path}") from error
        digest = hashlib.sha256(content).hexdigest()
        if not trust and digest not in KNOWN:
            known = "none is known" if not KNOWN else "not a known one"
            raise InputError(
                f"{path} is TorchScript, which is code, and its sha256 ({digest[:16]}...) cannot be verified ({known}); "
                "give --trust if you know where it comes from"
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                module = torch.jit.load(io.BytesIO(content), map_location="cpu")  # what was hashed is what is loaded
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{path} is not a TorchScript module ({' '.join(str(error).split())[:100]})") from error
        return cls(module, digest)

    @torch.no_grad()
    def descriptors(self, images: torch.Tensor) -> torch.Tensor:
        """Descriptors of images.

        Args:
            images: (B, 1 or 3, H, W), working scale.

        Returns:
            (B, D) float64 of length 1; D is 512 for the ResNet-50 models.

        Raises:
            InputError: images of another number of channels; a module that does not give (B, D) finite numbers.
        """
        found = []
        for part in images.split(BATCH):
            try:
                values = self._module(prepared(part))
            except RuntimeError as error:
                raise InputError(f"the SSCD module failed ({' '.join(str(error).split())[-100:]})") from error
            if not isinstance(values, torch.Tensor) or values.ndim != 2 or len(values) != len(part):
                raise InputError("the SSCD module does not give one descriptor an image, (B, D); is it another model?")
            if not bool(torch.isfinite(values).all()):
                raise InputError("the SSCD module gave NaN or infinite descriptors")
            found.append(F.normalize(values.double(), dim=1))
        return torch.cat(found)


def prepared(images: torch.Tensor) -> torch.Tensor:
    """(B, 1 or 3, H, W) in the working scale -> (B, 3, h, w) float32 as SSCD takes them, min(h, w) = 288."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise InputError(f"SSCD takes grey or colour images, (B, 1 or 3, H, W), not {tuple(images.shape)}")
    unit = ((images.float().clamp(-1, 1) + 1) / 2).expand(-1, 3, -1, -1)
    factor = SMALL_EDGE / min(images.shape[2:])
    size = [max(SMALL_EDGE, int(edge * factor)) for edge in images.shape[2:]]
    resized = F.interpolate(unit, size, mode="bilinear", antialias=True, align_corners=False)
    return (resized - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]
