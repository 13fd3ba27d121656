"""All of CIFAR-10 (50,000 images): the fast backend against the float64 reference at all 18 levels. Run with `make test-all`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from smalti import LocalScore, Optimal, PSPCSquare, Source, edm_sigmas
from smalti.core.noise import standard_normal

DATA = Path(os.environ.get("SMALTI_CIFAR10", Path(__file__).parents[2] / "shared" / "data" / "cifar10-train.zip"))

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not DATA.exists(), reason=f"no {DATA}")]


@pytest.fixture(scope="module")
def cifar10(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMALTI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Source.open(DATA)


@pytest.mark.parametrize("process", ["forward", "blurred"])
@pytest.mark.parametrize("kind", [Optimal, PSPCSquare, LocalScore])
def test_numba_is_within_1e_4_of_float64_at_all_levels(cifar10, kind, process):
    """`blurred` are noisy images that are near to no image of the source, as in a reverse process: the hard case at low noise."""
    clean = cifar10.working(np.array([12_345])).double()
    if process == "blurred":
        clean = torch.nn.functional.avg_pool2d(clean, 3, 1, 1)
    for sigma in edm_sigmas().tolist() if kind is not LocalScore else (80.0, 1.9, 0.3, 0.002):
        z = clean + sigma * standard_normal(7, [0], cifar10.shape)
        expected = kind(cifar10, backend="reference")(z, sigma)
        error = float((kind(cifar10)(z, sigma) - expected).abs().max())
        print(f"{kind.__name__} {process} sigma={sigma:.4g}: {error:.2g}")
        assert error < 1e-4
