"""Errors of patch posterior means against their definition."""

import pytest
import torch

from helpers import noisy, random_source, with_flips
from smalti import Crops, Full, GaussianWindow, InputError, LocalScore, PosteriorMeanCollection, PSPCFlex, metrics
from smalti.analysis.patch_errors import is_composite, patch_errors, sample_patches


def by_definition(images, queries, responses, z, sigma, y):
    """(B, K): for each patch the error of its posterior mean, weighted by its response."""
    squares = (z.double()[:, None] - images).square().sum(2)
    weights = torch.softmax(-torch.einsum("bihw,kchw->bki", squares, queries) / (2 * sigma**2), -1)
    means = torch.einsum("bki,ichw->bkchw", weights, images)
    wrong = (means - y.double()[:, None]).square().mean(2) * responses[:, 0]
    return wrong.flatten(2).sum(2) / responses.flatten(1).sum(1)


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("sigma", [0.05, 1.0, 30.0])
def test_definition(hflip, sigma):
    source = random_source(30, (2, 6, 7), hflip=hflip)
    z, y = noisy(source, sigma, 3), noisy(source, 0.3, 3, seed=1)
    collections = [
        PosteriorMeanCollection(source, Crops(3)),
        PSPCFlex(source, thresholds=0.5).collection(sigma),
        GaussianWindow(source, 1.5, "window").collection(sigma),
    ]
    for collection in collections:
        every = torch.arange(collection.count).expand(3, -1)
        masks = [windows.masks(source.shape) for windows in (collection.queries, collection.responses)]
        wanted = by_definition(with_flips(source), *masks, z, sigma, y)
        assert torch.allclose(patch_errors(collection, z, sigma, y, every), wanted.mean(1), rtol=1e-4)
        some = torch.stack([sample_patches(collection, 5, 0, 0, j) for j in range(3)])
        assert torch.allclose(patch_errors(collection, z, sigma, y, some), wanted.gather(1, some).mean(1), rtol=1e-4)


def test_of_a_class():
    source = random_source(30, (1, 5, 5), labels=True)
    z, y = noisy(source, 1.0), noisy(source, 0.3, seed=1)
    only = source.subset((source.labels == 1).nonzero()[0])
    every = torch.arange(9).expand(2, -1)
    found = patch_errors(PosteriorMeanCollection(source, Crops(3)), z, 1.0, y, every, label=1)
    assert torch.equal(found, patch_errors(PosteriorMeanCollection(only, Crops(3)), z, 1.0, y, every))


def test_single_pixels_and_single_patches_are_their_composites():
    source = random_source(20, (2, 5, 5))
    z, y = noisy(source, 0.7), noisy(source, 0.3, seed=1)
    for collection, single in (
        (LocalScore(source, 3).collection(0.7), True),
        (PosteriorMeanCollection(source, Full()), True),
        (PosteriorMeanCollection(source, Crops(1)), True),
        (PosteriorMeanCollection(source, Crops(2)), False),
        (GaussianWindow(source, 1.0).collection(0.7), True),
        (GaussianWindow(source, 1.0, "window").collection(0.7), False),
    ):
        assert is_composite(collection) == single
        patches = patch_errors(collection, z, 0.7, y, torch.arange(collection.count).expand(2, -1))
        assert torch.allclose(patches, metrics.mse(collection(z, 0.7), y), rtol=1e-4) == single


def test_batches_do_not_matter():
    source = random_source(700, (1, 6, 6))
    collection = PosteriorMeanCollection(source, Crops(3))
    z, y = noisy(source, 0.5, 5), noisy(source, 0.3, 5, seed=1)
    patches = torch.stack([sample_patches(collection, 4, 0, 0, j) for j in range(5)])
    whole = patch_errors(collection, z, 0.5, y, patches)
    alone = [patch_errors(collection, z[j : j + 1], 0.5, y[j : j + 1], patches[j : j + 1]) for j in range(5)]
    assert torch.equal(whole, torch.cat(alone))


def test_samples_are_even_and_reproducible():
    collection = PosteriorMeanCollection(random_source(5, (1, 10, 14)), Crops(3))
    drawn = [sample_patches(collection, 12, 0, level, j) for level in range(4) for j in range(500)]
    assert all(len(numbers.unique()) >= 11 for numbers in drawn), "spread"
    counts = torch.bincount(torch.cat(drawn), minlength=96).double()
    assert float((counts - 250).abs().max()) < 50, "each equally likely"
    assert torch.equal(sample_patches(collection, 12, 0, 1, 2), drawn[502])
    assert not torch.equal(sample_patches(collection, 12, 1, 1, 2), drawn[502])
    assert torch.equal(sample_patches(collection, 12, 0, 1, 2)[:5], sample_patches(collection, 5, 0, 1, 2))
    assert torch.equal(sample_patches(collection, 96, 0, 0, 0), torch.arange(96))
    with pytest.raises(InputError, match="the seed"):
        sample_patches(collection, 12, -1, 0, 0)
