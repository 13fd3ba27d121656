"""Compile every kernel once, so that no user waits for it: `python -m smalti.bench.warm`, run by `make install`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
import torch

from smalti.bench.floor import multiply_add_rate, read_rate
from smalti.core.denoiser import Denoiser
from smalti.denoisers import EquivariantLocalScore, LocalScore, Optimal
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.windows import Centred, Masks
from smalti.source import Source

__all__ = ["warm"]


def warm() -> float:
    """Run each kernel for uint8 and float32 sources, in float32 and in float64; seconds it took."""
    start = time.perf_counter()
    images = np.random.default_rng(0).integers(0, 256, (130, 3, 8, 8), dtype=np.uint8)
    z = torch.zeros(5, 3, 8, 8)
    for source in (Source(images), Source((images / 127.5 - 1).astype(np.float32))):
        for denoiser in _denoisers(source):
            for sigma in (1.0, 1e-3):  # the second needs float64
                denoiser(z, sigma)
                denoiser(z[:1], sigma)
        for denoiser in (Optimal(source), LocalScore(source, window=3)):
            denoiser(z.clone().requires_grad_(), 1.0).sum().backward()
    read_rate(images)
    multiply_add_rate()
    return time.perf_counter() - start


def _denoisers(source: Source) -> Iterator[Denoiser]:
    """Whole images, boxes, masks whose responses are masks, masks whose responses are pixels, shifts."""
    yield Optimal(source)
    yield LocalScore(source, window=3)
    pixels = torch.eye(64).reshape(64, 8, 8)
    masks = Masks((pixels + pixels.roll(3, 0) > 0).float())
    yield PosteriorMeanCollection(source, masks)
    yield PosteriorMeanCollection(source, masks, Centred(1))
    yield EquivariantLocalScore(source, window=3, borders="circular")


if __name__ == "__main__":
    print(f"kernels ready after {warm():.1f} s", file=sys.stderr)
