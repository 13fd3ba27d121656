"""Small sources and noisy images for tests."""

from __future__ import annotations

import numpy as np
import torch

from smalti import Source

__all__ = ["by_class", "composite", "exact", "noisy", "random_source", "with_flips"]


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


def with_flips(source: Source) -> torch.Tensor:
    """The images of a source in the working scale and, where they count, their flips; float64."""
    return torch.cat([exact(source), exact(source).flip(-1)]) if source.hflip else exact(source)


def by_class(source: Source, label: int) -> Source:
    """The images of one class."""
    return source.subset(np.flatnonzero(source.labels == label))


def composite(images, queries, responses, z, sigma: float) -> torch.Tensor:
    """sum_k R_k E_k / sum_k R_k by its definition, in float64; images (N, C, H, W), windows (K, C or 1, H, W)."""
    squares = (z.double()[:, None] - images).square()
    distances = torch.einsum("bichw,kchw->bki", squares, queries.double().expand(-1, *images.shape[1:]))
    weights = torch.softmax(-distances / (2 * sigma**2), -1)
    responses = responses.double().expand(-1, *images.shape[1:])
    return torch.einsum("bki,ichw,kchw->bchw", weights, images, responses) / responses.sum(0)
