"""Windows compared with every place, on the numba backend, against the reference."""

from __future__ import annotations

import pytest
import torch

from helpers import noisy, random_source
from smalti import Centred, EveryPlace, PosteriorMeanCollection, SameBorderDistance, Source
from smalti.engine.backends import backend_refuses


def collection(source, size, borders, backend, **match):
    wrap = borders == "circular"
    kind = EveryPlace(**match) if wrap else SameBorderDistance(**match)
    return PosteriorMeanCollection(source, Centred(size, wrap=wrap), Centred(1), kind, backend=backend)


@pytest.mark.parametrize("borders", ["circular", "aware"])
@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize(
    ("shape", "size"), [((1, 8, 8), 3), ((3, 7, 9), 5), ((2, 6, 5), 1), ((3, 5, 6), 5), ((4, 8, 11), 7)]
)
def test_matches_the_reference(borders, hflip, shape, size):
    source = random_source(13, shape, hflip=hflip, labels=True)
    exact, fast = (collection(source, size, borders, backend) for backend in ("reference", "numba"))
    for sigma in (30.0, 2.0, 0.3, 0.05, 0.004):
        z = noisy(source, sigma, 3)
        torch.testing.assert_close(fast(z, sigma), exact(z, sigma), atol=1e-5, rtol=0)
        torch.testing.assert_close(
            fast.log_normalisers(z, sigma), exact.log_normalisers(z, sigma), atol=1e-3, rtol=1e-6
        )
        torch.testing.assert_close(fast(z, sigma, [0, 1, 1]), exact(z, sigma, [0, 1, 1]), atol=1e-5, rtol=0)


def test_windows_larger_than_the_image():
    source = random_source(6, (1, 4, 5))
    exact, fast = (collection(source, 9, "aware", backend) for backend in ("reference", "numba"))
    z = noisy(source, 0.5)
    torch.testing.assert_close(fast(z, 0.5), exact(z, 0.5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("borders", ["circular", "aware"])
def test_priors_and_parts(borders):
    source = random_source(90, (2, 6, 6))
    weights = torch.rand(90, generator=torch.Generator().manual_seed(0))
    weights[:5] = 0
    exact, fast = (collection(source, 3, borders, backend, weights=weights) for backend in ("reference", "numba"))
    z, sigma = noisy(source, 0.4, 2), 0.4
    torch.testing.assert_close(fast(z, sigma), exact(z, sigma), atol=1e-5, rtol=0)
    parts = [slice(0, 33), slice(33, 90)]
    normalisers = torch.stack([fast.log_normalisers(z, sigma, images=part) for part in parts]).logsumexp(0)
    merged = sum(fast.numerator(z, sigma, normalisers, images=part) for part in parts)
    torch.testing.assert_close(fast.divide(merged), fast(z, sigma), atol=1e-5, rtol=0)


def test_what_it_does_not_cover():
    """A border narrower than the windows would let shifts cut them differently; other responses need more than one pixel."""
    source = random_source(5, (1, 6, 6))
    assert backend_refuses(collection(source, 5, "aware", "auto", border=1).problem, "numba")
    assert backend_refuses(
        PosteriorMeanCollection(source, Centred(3, wrap=True), Centred(3, wrap=True), EveryPlace()).problem, "numba"
    )
    assert not backend_refuses(collection(source, 3, "aware", "auto", border=2).problem, "numba")


@pytest.mark.parametrize("borders", ["circular", "aware"])
@pytest.mark.parametrize("sigma", [0.3, 2.0, 80.0])
def test_many_like_weights_do_not_drift(borders, sigma):
    """A black background: tens of thousands of elements weigh alike, and every rounding has the same sign."""
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(64, 1, 24, 24, dtype=torch.uint8)
    images[:, :, 8:16, 8:16] = torch.randint(0, 256, (64, 1, 8, 8), generator=generator, dtype=torch.uint8)
    source = Source(images)
    z = source.working(slice(0, 2)) + sigma * torch.randn(2, 1, 24, 24, generator=generator)
    exact, fast = (collection(source, 3, borders, backend) for backend in ("torch", "numba"))
    torch.testing.assert_close(fast(z.double(), sigma), exact(z.double(), sigma), atol=2e-5, rtol=0)


@pytest.mark.parametrize(("shape", "size"), [((1, 3, 20), 5), ((2, 4, 16), 9), ((1, 20, 3), 7), ((1, 5, 17), 9)])
def test_windows_that_are_larger_than_one_side(shape, size):
    source = random_source(7, shape)
    exact, fast = (collection(source, size, "aware", backend) for backend in ("reference", "numba"))
    z = noisy(source, 0.5)
    torch.testing.assert_close(fast(z, 0.5), exact(z, 0.5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("borders", ["circular", "aware"])
@pytest.mark.parametrize("size", [3, 5, 7, 9, 11, 13, 15, 17, 19, 23])
def test_windows_of_every_width(borders, size):
    """Sums along rows by shuffles, by loads, and by sums of parts, in rows of more and of less than a vector."""
    source = random_source(2, (1, size + 1, 37))
    exact, fast = (collection(source, size, borders, backend) for backend in ("reference", "numba"))
    z = noisy(source, 1.0, 2)
    clean = source.working(slice(0, 2)).double()
    for sigma in (3.0, 0.3):
        noise = clean + sigma * (z - clean)
        torch.testing.assert_close(fast(noise, sigma), exact(noise, sigma), atol=1e-5, rtol=0)
