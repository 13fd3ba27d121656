"""Compile every kernel once, so that no user waits for it: `python -m smalti.bench.warm`, run by `make install`."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from smalti.bench.floor import multiply_add_rate, read_rate
from smalti.core.denoiser import Denoiser
from smalti.denoisers import EquivariantLocalScore, LocalScore, Optimal
from smalti.engine.collection import PosteriorMeanCollection
from smalti.engine.threads import get_threads
from smalti.engine.windows import Centred, Masks
from smalti.sampling import generate_like
from smalti.source import Source

__all__ = ["warm"]

IMAGES = np.random.default_rng(0).integers(0, 256, (130, 3, 8, 8), dtype=np.uint8)


def warm() -> float:
    """Run each kernel for uint8 and float32 sources, in float32 and in float64; seconds it took.

    What is compiled is divided among processes, one for each thread of `get_threads`: LLVM works on one kernel of a process at a time.
    """
    start = time.perf_counter()
    work = [(name, dtype) for name in WORK for dtype in ("uint8", "float32")] + [("pictures", None), ("floors", None)]
    with multiprocessing.get_context("spawn").Pool(min(len(work), get_threads())) as pool:
        pool.starmap(_do, work, chunksize=1)
    return time.perf_counter() - start


def _do(name: str, dtype: str | None) -> None:
    torch.set_num_threads(1)
    if name == "pictures":
        picture = torch.from_numpy(np.tile(IMAGES[0], (1, 3, 3))).float() / 127.5 - 1
        generate_like(picture, patch_size=5, steps=3)
    elif name == "floors":
        read_rate(IMAGES)
        multiply_add_rate()
    else:
        _run(WORK[name](Source(IMAGES if dtype == "uint8" else (IMAGES / 127.5 - 1).astype(np.float32))))


def _run(denoiser: Denoiser) -> None:
    z = torch.zeros(5, 3, 8, 8)
    for sigma in (1.0, 1e-3):  # the second needs float64
        denoiser(z, sigma)
        denoiser(z[:1], sigma)
    denoiser(z.clone().requires_grad_(), 1.0).sum().backward()
    if hasattr(denoiser, "attribute"):
        denoiser.attribute(z, 1.0, top=3)


def _masks(source: Source, responses: Centred | None = None) -> PosteriorMeanCollection:
    pixels = torch.eye(64).reshape(64, 8, 8)
    return PosteriorMeanCollection(source, Masks((pixels + pixels.roll(3, 0) > 0).float()), responses)


WORK: dict[str, Callable[[Source], Denoiser]] = {
    "shifts": lambda source: EquivariantLocalScore(source, window=3, borders="circular"),
    "boxes": lambda source: LocalScore(source, window=3),
    "masks": _masks,
    "masks whose responses are pixels": lambda source: _masks(source, Centred(1)),
    "whole images": Optimal,
}


if __name__ == "__main__":
    print(f"kernels ready after {warm():.1f} s", file=sys.stderr)
