"""Masks of any form on the numba backend, against the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import noisy, random_source
from smalti import Masks, PosteriorMeanCollection
from smalti.engine.compiled.atoms import grouped, make_atoms
from smalti.engine.compiled.rows import LANES


def windows(shape, channels: int, soft: bool, seed: int = 1) -> torch.Tensor:
    """One irregular mask per pixel, which it contains."""
    generator = torch.Generator().manual_seed(seed)
    height, width = shape[1:]
    masks = (torch.rand(height * width, channels, height, width, generator=generator) < 0.4).double()
    if soft:
        masks *= torch.rand(masks.shape, generator=generator)
    pixels = torch.arange(height * width)
    masks[pixels, 0, pixels // width, pixels % width] = 1
    return masks


def alone(shape) -> torch.Tensor:
    """Each pixel by itself."""
    return torch.eye(shape[1] * shape[2], dtype=torch.float64).reshape(-1, 1, *shape[1:])


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize(("shape", "channels"), [((3, 8, 8), 1), ((3, 7, 9), 3), ((1, 6, 5), 1), ((2, 3, 4), 2)])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("reply", ["same", "pixel"])
def test_matches_the_reference(hflip, shape, channels, soft, reply):
    source = random_source(70, shape, hflip=hflip, labels=True)
    queries = windows(shape, channels, soft)
    responses = alone(shape) if reply == "pixel" else queries + (0.1 if channels > 1 else 0)
    exact, fast = (
        PosteriorMeanCollection(source, Masks(queries), Masks(responses), backend=b) for b in ("reference", "numba")
    )
    for sigma in (30.0, 2.0, 0.3, 0.05, 0.004):
        z = noisy(source, sigma, 3)
        torch.testing.assert_close(fast(z, sigma), exact(z, sigma), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            fast.log_normalisers(z, sigma), exact.log_normalisers(z, sigma), atol=1e-3, rtol=1e-6
        )
        torch.testing.assert_close(fast(z, sigma, [0, 1, 1]), exact(z, sigma, [0, 1, 1]), atol=1e-5, rtol=0)


def test_gradients_match_the_reference():
    source = random_source(20, (2, 4, 5), hflip=True)
    queries = windows((2, 4, 5), 1, True)
    z = noisy(source, 0.5, 2)
    found = []
    for backend in ("reference", "numba"):
        point = z.clone().requires_grad_()
        PosteriorMeanCollection(source, Masks(queries), backend=backend)(point, 0.5).square().sum().backward()
        found.append(point.grad)
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-5)


def test_parts_merge():
    source = random_source(90, (1, 5, 5))
    collection = PosteriorMeanCollection(source, Masks(windows((1, 5, 5), 1, False)), backend="numba")
    z, sigma = noisy(source, 0.4, 2), 0.4
    parts = [slice(0, 33), slice(33, 90)]
    normalisers = torch.stack([collection.log_normalisers(z, sigma, images=part) for part in parts]).logsumexp(0)
    merged = sum(collection.numerator(z, sigma, normalisers, images=part) for part in parts)
    torch.testing.assert_close(collection.divide(merged), collection(z, sigma), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [1, 4, 16])
@pytest.mark.parametrize("soft", [False, True])
def test_atoms_are_the_masks(soft, size):
    """Written out again, atoms and their members are what they were made of."""
    flat = windows((2, 6, 7), 1, soft)[:, 0].flatten(1).numpy()
    starts = np.arange(0, 42, size)
    atoms = make_atoms(flat, np.stack([starts, np.diff(np.r_[starts, 42])], 1))
    again = np.zeros_like(flat)
    for a in range(len(atoms.atoms) - 1):
        for query in atoms.members[atoms.member_starts[a] : atoms.member_starts[a + 1]]:
            part = slice(atoms.atoms[a], atoms.atoms[a + 1])
            again[query, atoms.places[part] // LANES] += atoms.values[part]
    np.testing.assert_array_equal(again, flat)


def test_masks_that_overlap_share_sums():
    """Large, smooth masks go in groups; masks that have little in common, and windows of single pixels, each by themselves."""
    anchors = np.stack(np.divmod(np.arange(256), 16), 1)
    apart = np.abs(anchors[:, None] - anchors[None]).max(-1).reshape(256, 1, 16, 16)
    large, scattered = (apart <= 6).astype(float), windows((1, 16, 16), 1, False).numpy() * (apart < 99)
    cases = ((large, 8, 32), (np.ones_like(large), 32, 32), (scattered, 1, 4), ((apart == 0) * 1.0, 1, 1))
    for masks, least, most in cases:
        order, groups = grouped(masks, anchors)
        assert sorted(order) == list(range(256))
        assert groups[:, 1].sum() == 256
        assert least <= groups[0, 1] <= most
    atoms = make_atoms(np.ones((16, 50)), np.array([[0, 16]]))
    assert (len(atoms.places), len(atoms.members)) == (50, 16)
