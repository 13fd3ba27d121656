"""What all tests share: where the oracles are, a cache of their own, small sources."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from smalti import Source, denoisers
from smalti.engine.compiled.jit import kernels_folder

settings.register_profile(
    "smalti", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("smalti")
torch.set_num_threads(1)  # tests are small; OpenMP's barriers would cost more, most of all on a busy machine

ORACLES = Path(os.environ.get("SMALTI_ORACLES", Path(__file__).parents[2] / "shared" / "oracles"))
_missing_oracles: list[str] = []
KERNELS, _ = kernels_folder()  # chosen now, so that the caches that tests set are not filled with compiled kernels


def own_kernels(cache: Path) -> Path:
    """A folder for SMALTI_CACHE whose kernels are this process's: else each process that a test starts would compile its own."""
    cache.mkdir(parents=True, exist_ok=True)
    if KERNELS is not None and not (cache / "kernels").exists():
        (cache / "kernels").symlink_to(KERNELS.parent)
    return cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Nobody's image cache is read or written."""
    monkeypatch.setenv("SMALTI_CACHE", str(own_kernels(tmp_path_factory.getbasetemp() / "smalti-cache")))


@pytest.fixture(autouse=True)
def own_registry():
    """Denoisers that a test, or a page of the documentation, registers are known during that test alone."""
    before = dict(denoisers.REGISTRY)
    yield
    denoisers.REGISTRY.clear()
    denoisers.REGISTRY.update(before)


@pytest.fixture
def oracle():
    """`oracle(name)` loads one of the published code's outputs; the test is skipped, and counted, where they are absent."""

    def load(name: str) -> dict[str, np.ndarray]:
        path = ORACLES / f"{name}.npz"
        if not path.exists():
            _missing_oracles.append(name)
            pytest.skip(f"no oracle at {path}")
        with np.load(path) as data:
            return {key: data[key] for key in data.files}

    return load


def pytest_terminal_summary(terminalreporter):
    if _missing_oracles:
        terminalreporter.write_line(f"{len(_missing_oracles)} oracle checks were skipped: no files in {ORACLES}")


@pytest.fixture(scope="session")
def digits() -> Source:
    """120 of the embedded digits, 1 x 8 x 8, with classes."""
    return Source.open("digits", limit=120)
