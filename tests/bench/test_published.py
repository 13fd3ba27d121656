"""The published algorithms, written plainly, give what ours give."""

from __future__ import annotations

import pytest
import torch

from helpers import noisy, random_source
from smalti import LocalScore, Optimal, PSPCSquare
from smalti.bench import published
from smalti.bench.published import batched_loop, border_aware, crop_by_crop, equivariant, local_score
from smalti.bench.rows.masks import heat_of, pca_masks, share_for
from smalti.bench.setup import Setup
from smalti.denoisers import EquivariantLocalScore, PCALocality, PSPCFlex


def agree(plain, ours):
    torch.testing.assert_close(plain, ours, atol=2e-5, rtol=0)


@pytest.mark.parametrize("by_mask", [True, False])
def test_squares_and_whole_images(by_mask):
    source = random_source(250, (3, 7, 7))
    images = torch.from_numpy(source.images)
    for sigma in (0.1, 1.0):
        z = noisy(source, sigma).float()
        agree(crop_by_crop(z, sigma, images, 3, by_mask), PSPCSquare(source, patch_size=3)(z, sigma))
        whole = batched_loop(z.flatten(1), sigma, images.flatten(1)).reshape(z.shape)
        agree(whole, Optimal(source)(z, sigma))


@pytest.mark.parametrize("sigma", [0.3, 3.0])
def test_masks(sigma):
    source = random_source(300, (3, 7, 9))
    images, z = torch.from_numpy(source.images), noisy(source, sigma).float()
    flex, pca = PSPCFlex(source, thresholds=0.4), PCALocality(source)
    masks = flex.collection(sigma).queries.masks(source.shape)[:, 0] > 0
    agree(published.mask_by_mask(z, sigma, images, masks), flex(z, sigma))
    looks = pca.masks_at(sigma).flatten(1).T.float()
    agree(published.pca_locality(z, sigma, images, looks), pca(z, sigma))


@pytest.mark.parametrize("window", [1, 3, 5])
@pytest.mark.parametrize("by_products", [False, True])
def test_local_score_machines(window, by_products):
    source = random_source(70, (2, 7, 9))
    images, sigma = torch.from_numpy(source.images), 0.5
    z = noisy(source, sigma).float()
    agree(local_score(z, sigma, images, window), LocalScore(source, window=window)(z, sigma))
    circular, aware = (EquivariantLocalScore(source, window, borders) for borders in ("circular", "aware"))
    agree(equivariant(z, sigma, images, window, by_products), circular(z, sigma))
    agree(border_aware(z, sigma, images, window, by_products), aware(z, sigma))


def test_the_masks_are_those_of_the_denoisers():
    source = random_source(300, (3, 7, 9))
    setup, sigma = Setup(source, quick=True), 1.0
    pca = PCALocality(source)
    assert torch.equal(pca_masks(setup.wiener(sigma)).T, pca.masks_at(sigma).flatten(1))
    heat = heat_of(setup.wiener(sigma), 3)
    torch.testing.assert_close(heat, PSPCFlex(source, sigmas=[sigma]).heat(0))
    masks = PSPCFlex(source, heat.reshape(1, 7, 9, 7, 9).numpy(), share_for(heat, 10), sigmas=[sigma])
    sizes = masks.collection(sigma).queries.masks(source.shape).sum((1, 2, 3))
    assert sizes.mean() == pytest.approx(10, abs=0.5)
