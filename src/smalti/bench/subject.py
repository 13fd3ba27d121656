"""What is measured on: a source and noisy images of it."""

from __future__ import annotations

import numpy as np
import torch

from smalti.core.noise import standard_normal
from smalti.source import Source

__all__ = ["noisy", "synthetic"]


def synthetic(count: int) -> Source:
    """Smooth random 32 x 32 colour images for a benchmark without data: uint8, seeded."""
    rng = np.random.default_rng(0)
    images = np.empty((count, 3, 32, 32), np.uint8)
    for start in range(0, count, 1000):
        coarse = torch.from_numpy(rng.standard_normal((min(1000, count - start), 3, 5, 5), dtype=np.float32))
        smooth = torch.nn.functional.interpolate(coarse, size=32, mode="bicubic", align_corners=True)
        images[start : start + 1000] = ((smooth * 0.5 + 1) * 127.5).clamp(0, 255).round().byte().numpy()
    return Source(images, name="synthetic")


def noisy(source: Source, sigma: float, count: int) -> torch.Tensor:
    """`count` noisy images of the source, evenly spaced: (count, C, H, W) float32."""
    clean = source.working(np.arange(count) * len(source) // count)
    return clean + sigma * standard_normal(0, range(count), source.shape).float()
