"""Rows of Jacobians against autograd through the float64 reference, entry by entry."""

from functools import partial

import numpy as np
import pytest
import torch

from helpers import noisy, random_source
from smalti import Centred, Crops, EveryPlace, Full, GaussianWindows, Masks, PosteriorMeanCollection, SameBorderDistance
from smalti.denoisers import LocalScore, Optimal, PSPCSquare
from smalti.engine import jacobian

COLOUR = random_source(12, (2, 5, 6), labels=True)
GREY = random_source(9, (1, 4, 4), hflip=True)
PIXELS = torch.tensor([[1, 2], [0, 0], [3, 3]])


def by_autograd(denoiser, z, sigma, pixels, labels=None):
    """(B, P, C, C, H, W) from the reference."""
    rows = []
    for b in range(len(z)):
        label = None if labels is None else labels[b : b + 1]

        def function(x, label=label):
            return denoiser(x, sigma, label)

        whole = torch.autograd.functional.jacobian(function, z[b : b + 1])[0, :, :, :, 0]  # (C, H, W, C, H, W)
        rows.append(torch.stack([whole[:, y, x] for y, x in pixels.tolist()]))
    return torch.stack(rows)


def rows_of(denoiser, z, sigma, pixels, labels=None):
    return torch.cat(list(denoiser.jacobian_rows(z, sigma, pixels, labels)), 1)


CASES = {
    "full": (COLOUR, Full(), None, None),
    "crops": (COLOUR, Crops(3), None, None),
    "oblong crops": (COLOUR, Crops((2, 4)), None, None),
    "centred": (COLOUR, Centred(3), Centred(1), None),
    "flips": (GREY, Crops(2), None, None),
    "soft": (COLOUR, GaussianWindows(1.0), None, None),
    "every place": (GREY, Centred(3, wrap=True), Centred(1), EveryPlace()),
    "same border distance": (GREY, Centred(3), Centred(1), SameBorderDistance()),
    "masks by channel": (COLOUR, Masks(torch.rand(3, 2, 5, 6, generator=torch.Generator().manual_seed(1))), None, None),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("sigma", [0.3, 0.8, 20.0])
def test_rows_are_those_of_autograd(case, sigma):
    source, queries, responses, match = CASES[case]
    z = noisy(source, sigma)
    expected = by_autograd(
        PosteriorMeanCollection(source, queries, responses, match, backend="reference"), z, sigma, PIXELS
    )
    collection = PosteriorMeanCollection(source, queries, responses, match)
    scale = float(expected.abs().max())
    found = rows_of(collection, z, sigma, PIXELS)
    torch.testing.assert_close(found, expected, atol=1e-9 * scale + 1e-13 / sigma**2, rtol=1e-9)
    levels = torch.full((2,), sigma, dtype=torch.float64)
    product = partial(collection.jacobian_product, z, levels, transpose=True)
    one = torch.cat([jacobian.one_by_one(product, z, pixel) for pixel in PIXELS], 1)
    torch.testing.assert_close(one, expected, atol=1e-3 * scale + 1e-13 / sigma**2, rtol=1e-3)


@pytest.mark.parametrize("kind", [Optimal, PSPCSquare, LocalScore])
def test_named_denoisers_have_them(kind):
    z, labels = noisy(COLOUR, 0.5), torch.tensor([1, 0])
    for chosen in (None, labels):
        expected = by_autograd(kind(COLOUR, backend="reference"), z, 0.5, PIXELS, chosen)
        torch.testing.assert_close(rows_of(kind(COLOUR), z, 0.5, PIXELS, chosen), expected, atol=1e-9, rtol=1e-9)


def test_both_routes_are_taken_and_agree(monkeypatch):
    source = random_source(20, (1, 8, 8))
    collection = PosteriorMeanCollection(source, Crops(3))
    z = noisy(source, 0.7)
    assert [queries is not None for _, queries in jacobian.plan(collection.problem, PIXELS)] == [True]
    expected = rows_of(collection, z, 0.7, PIXELS)
    monkeypatch.setattr(jacobian, "PRODUCT_COST", 0)
    assert [queries is None for _, queries in jacobian.plan(collection.problem, PIXELS)] == [True]
    torch.testing.assert_close(rows_of(collection, z, 0.7, PIXELS), expected, atol=1e-5, rtol=1e-4)


def test_pixels_that_are_far_apart_are_done_one_at_a_time():
    collection = PosteriorMeanCollection(random_source(20, (1, 24, 24)), Centred(3), Centred(1))
    far, near = torch.tensor([[0, 0], [20, 20]]), torch.tensor([[5, 5], [5, 6]])
    assert len(jacobian.plan(collection.problem, far)) == 2
    near_crops = PosteriorMeanCollection(random_source(20, (1, 24, 24)), Full())
    assert len(jacobian.plan(near_crops.problem, near)) == 1
    z = noisy(collection.source, 0.5)
    both = rows_of(collection, z, 0.5, far)
    torch.testing.assert_close(both[:, 1:], rows_of(collection, z, 0.5, far[1:]), atol=0, rtol=0)


def test_small_blocks_change_nothing(monkeypatch):
    z = noisy(GREY, 0.4, count=3)
    collection = PosteriorMeanCollection(GREY, Crops(2))
    expected = rows_of(collection, z, 0.4, PIXELS)
    monkeypatch.setattr(jacobian, "BLOCK_BYTES", 2000)
    torch.testing.assert_close(rows_of(collection, z, 0.4, PIXELS), expected, atol=1e-13, rtol=1e-12)


def test_priors_count():
    from smalti import SamePlace

    weights = torch.tensor(np.linspace(0, 2, len(COLOUR)))
    z = noisy(COLOUR, 0.6)
    pair = [
        PosteriorMeanCollection(COLOUR, Crops(4), match=SamePlace(weights=weights), backend=backend)
        for backend in ("auto", "reference")
    ]
    expected = by_autograd(pair[1], z, 0.6, PIXELS)
    torch.testing.assert_close(rows_of(pair[0], z, 0.6, PIXELS), expected, atol=1e-10, rtol=1e-9)
