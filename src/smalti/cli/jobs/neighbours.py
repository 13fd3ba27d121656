"""The nearest training image of each sample, as arrays and as pictures; with flips, the nearer orientation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from smalti.engine.neighbours import nearest
from smalti.source import Source

__all__ = ["Neighbours", "find_neighbours"]


@dataclass(frozen=True)
class Neighbours:
    """Nearest stored images of n samples.

    Attributes:
        indices: (n,) int64, into the source.
        distances: (n,) float64, squared L2, working scale.
        flipped: (n,) bool, whether the mirror image is the nearer one (only where the source counts flips in).
    """

    indices: np.ndarray
    distances: np.ndarray
    flipped: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """As they are stored in samples.npz."""
        return {f"neighbour_{name}": getattr(self, name) for name in ("indices", "distances", "flipped")}

    def images(self, source: Source) -> torch.Tensor:
        """(n, C, H, W) float32, as they are nearest."""
        images = source.working(self.indices)
        return torch.where(torch.from_numpy(self.flipped)[:, None, None, None], images.flip(-1), images)


def find_neighbours(source: Source, x: torch.Tensor) -> Neighbours:
    """The nearest stored image of each x (n, C, H, W), working scale."""
    indices, distances = nearest(source, x)
    images, points = source.working(indices[:, 0].numpy()).double(), x.double()
    straight, mirrored = ((points - y).square().flatten(1).sum(1) for y in (images, images.flip(-1)))
    flipped = (mirrored < straight) & source.hflip
    return Neighbours(indices[:, 0].numpy(), distances[:, 0].numpy(), flipped.numpy())
