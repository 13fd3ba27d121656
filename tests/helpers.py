"""Small sources and noisy images for tests."""

from __future__ import annotations

import numpy as np
import torch

from smalti import Source

__all__ = ["exact", "noisy", "random_source"]


def random_source(
    count: int, shape: tuple[int, int, int], seed: int = 0, dtype=np.uint8, labels: bool = False, **kwargs
) -> Source:
    """Smooth random images: like data, and not like noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, shape[0], 3, 3, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=shape[1:], mode="bilinear", align_corners=True)
    images = ((smooth * 0.5 + 1) * 127.5).clamp(0, 255).round().byte().numpy()
    classes = np.arange(count) % 2 if labels else None
    if dtype != np.uint8:
        return Source((images / 127.5 - 1).astype(dtype), classes, **kwargs)
    return Source(images, classes, **kwargs)


def noisy(source: Source, sigma: float, count: int = 2, seed: int = 0) -> torch.Tensor:
    """Noisy images of a source, float64."""
    generator = torch.Generator().manual_seed(seed)
    clean = source.working(np.arange(count) % len(source)).double()
    return clean + sigma * torch.randn(clean.shape, generator=generator, dtype=torch.float64)


def exact(source: Source) -> torch.Tensor:
    """The images in the working scale in float64, as the reference has them."""
    images = torch.from_numpy(np.array(source.images)).double()
    return images / 127.5 - 1 if source.images.dtype == np.uint8 else images
