"""What a new process pays: compiling, loading compiled kernels, memory; and what else needs a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from smalti.bench.results import Measurement
from smalti.bench.setup import BATCH, Setup
from smalti.core.errors import EnvironmentFailure
from smalti.source import Source

__all__ = ["first_call_seconds", "peak_memory_mb", "processes", "published_optimal_seconds"]

_MEMORY = """
import re, sys, numpy as np, smalti, torch
from smalti.bench.setup import noisy
from smalti import LocalScore, PSPCSquare, edm_sigmas, Source
from smalti.engine import numba_backend, torch_backend
images = np.load(sys.argv[1], mmap_mode="r")
source = smalti.Source(images)
touched = int(np.asarray(images).max())  # one full read
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024  # of this process alone
before = peak()
z = noisy(source, 1.0, 16)
for sigma in smalti.edm_sigmas().tolist():
    smalti.PSPCSquare(source)(z, sigma)
smalti.LocalScore(source)(z, 1.0)
print(peak() - before)
"""

_PUBLISHED_OPTIMAL = """
import sys, numpy as np, torch, smalti
from smalti.bench.results import best
from smalti.bench.published import batched_loop
from smalti.bench.setup import noisy
images = np.load(sys.argv[1])
batch, sigma = int(sys.argv[2]), float(sys.argv[3])
z, flat = noisy(smalti.Source(images), sigma, batch).flatten(1), torch.from_numpy(images).flatten(1)
print(best(lambda: batched_loop(z, sigma, flat), 3) / batch)
"""

_FIRST_CALL = """
import time, numpy as np, torch, smalti
source = smalti.Source(np.random.default_rng(0).integers(0, 256, (64, 3, 32, 32), dtype=np.uint8))
source.images.flags.writeable = False
z = torch.zeros(1, 3, 32, 32)
start = time.perf_counter()
smalti.PSPCSquare(source, patch_size=7)(z, 1.0)
smalti.Optimal(source)(z, 1.0)
print(time.perf_counter() - start)
"""


def peak_memory_mb(source: Source) -> float:
    """MB that denoising 16 images at all 18 levels adds to the peak after the import and one full read of the source."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, np.asarray(source.images))
        return float(_run(_MEMORY, str(path)))


def published_optimal_seconds(source: Source, sigma: float, batch: int) -> float:
    """Seconds per query of the published loop over whole images, in a process that does nothing else, as its user would run it.

    Its time depends on the memory allocator more than on arithmetic: a process that has freed large blocks before keeps the loop's
    temporaries mapped, a fresh one maps and clears them for each batch of 100 images.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, np.asarray(source.images))
        return float(_run(_PUBLISHED_OPTIMAL, str(path), str(batch), repr(sigma)))


def first_call_seconds(cold: bool) -> float:
    """Seconds of the first PSPC-Square and Optimal call of a new process, with an empty (`cold`) or the installed kernel cache."""
    if not cold:
        return float(_run(_FIRST_CALL))
    with tempfile.TemporaryDirectory() as folder:
        return float(_run(_FIRST_CALL, environment={"SMALTI_CACHE": folder}))


def _run(program: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    if done.returncode:
        raise EnvironmentFailure(f"a measurement in its own process failed: {done.stderr.strip().splitlines()[-1]}")
    return done.stdout.strip().splitlines()[-1]


def processes(setup: Setup) -> list[Callable[[], Iterator[Measurement]]]:
    def first_calls() -> Iterator[Measurement]:
        yield Measurement("first call of a new process, kernels compiled", first_call_seconds(cold=True))
        yield Measurement("first call of a new process, kernels from the cache", first_call_seconds(cold=False))

    def memory() -> Iterator[Measurement]:
        what = f"peak memory beyond the import and one read of the source, batch of {BATCH}, all levels"
        yield Measurement(what, peak_memory_mb(setup.source), at_most=300)

    return [first_calls, memory]
