"""The nearest training image: what every posterior mean over whole images becomes as sigma goes to 0.

D(z, sigma) = x^i,  i = argmin |z - x^i|   (the first of equals; with flips, the nearer of an image and its mirror image)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from smalti.core.denoiser import Denoiser
from smalti.core.surroundings import no_vmap
from smalti.denoisers.base import check_source, images_of_class
from smalti.engine.neighbours import nearest
from smalti.source import Source

__all__ = ["Nearest"]


class _Stored(torch.autograd.Function):
    """Images of the source: a step function of z. A function of its own, so that `torch.func` hands it plain tensors."""

    @staticmethod
    def forward(z: torch.Tensor, labels: torch.Tensor | None, denoiser: Nearest) -> torch.Tensor:
        return denoiser.found(z.detach(), labels)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: torch.Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore[override]
        return torch.zeros_like(grad), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: torch.Tensor, *_: Any) -> torch.Tensor:  # type: ignore[override]
        return torch.zeros_like(tangent)

    vmap = staticmethod(no_vmap)


class Nearest(Denoiser):
    """The nearest training image, at every noise level. Its Jacobian is 0 wherever it exists, and that is the gradient given.

    Args:
        source: the training images.
    """

    name = "nearest"
    paper = "the limit of Niedoba et al., Eq. 4, as sigma goes to 0"
    opt_outs = {
        "large_sigma_gives_the_mean": "it does not depend on sigma",
    }

    def __init__(self, source: Source) -> None:
        self.source = source
        check_source(source)
        self.shape, self.num_classes = source.shape, source.num_classes

    def denoise(self, z: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        return _Stored.apply(z, labels, self)

    def found(self, z: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """The images nearest to z, (B, C, H, W), on checked input."""
        out = torch.empty_like(z)
        for label in [None] if labels is None else labels.unique().tolist():
            rows = torch.arange(len(z)) if label is None else (labels == label).nonzero()[:, 0]  # type: ignore[union-attr]
            here = rows.to(z.device)
            out = out.index_copy(0, here, self._nearest(z[here], label).to(z))
        return out

    def jacobian_rows(
        self, z: torch.Tensor, sigma: float, pixels: torch.Tensor, labels: torch.Tensor | None = None
    ) -> Iterator[torch.Tensor]:
        """Zeros, at every z the same: (1, 1, C, C, H, W) float64 for each of the pixels (P, 2)."""
        return (torch.zeros(1, 1, self.shape[0], *self.shape, dtype=torch.float64) for _ in pixels)

    def _nearest(self, z: torch.Tensor, label: int | None) -> torch.Tensor:
        found = nearest(self.source, z, 1, images_of_class(self.source, label))[0][:, 0].numpy()
        images = self.source.working(found).to(z.device, z.dtype)
        if not self.source.hflip:
            return images
        mirrored = images.flip(-1)
        nearer = (z - mirrored).double().square().flatten(1).sum(1) < (z - images).double().square().flatten(1).sum(1)
        return torch.where(nearer[:, None, None, None], mirrored, images)
