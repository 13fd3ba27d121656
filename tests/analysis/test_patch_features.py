"""Descriptors made of patches."""

import pytest
import torch

from helpers import random_source
from smalti import InputError, Source
from smalti.analysis.patch_features import PatchFeatures, _patches


@pytest.fixture(scope="module")
def fitted() -> PatchFeatures:
    return PatchFeatures.fit(Source.open("digits", limit=300))


def test_whitened_patches_are_uncorrelated():
    source = random_source(200, (3, 16, 16))
    features = PatchFeatures.fit(source)
    patches = _patches(source.working(), features.side).transpose(1, 2).flatten(0, 1)
    values = (patches - features.middle) @ features.whitening
    covariance = values.T @ values / len(values)
    off = covariance - torch.diag(covariance.diag())
    assert features.side == 5
    assert features.cells == 4
    assert float(off.abs().max()) < 1e-6
    assert float(covariance.diag().max()) <= 1


def test_descriptors_have_length_1_and_a_mean_near_0(fitted):
    images = Source.open("digits", limit=300).working()
    found = fitted.descriptors(images)
    assert found.shape == (300, 2 * 8 * 4)
    assert torch.allclose(found.norm(dim=1), torch.ones(300, dtype=torch.float64))
    assert float(found.mean(0).norm()) < 0.2


def test_the_same_image_is_nearer_than_others_also_when_brighter(fitted):
    images = Source.open("digits", limit=40).working() * 0.5
    a, b = fitted.descriptors(images), fitted.descriptors(images + 0.2)
    assert torch.allclose(a, b, atol=1e-5)
    cosines = (
        a @ fitted.descriptors(images + 0.05 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))).T
    )
    assert bool((cosines.argmax(1) == torch.arange(40)).all())


def test_places_count(fitted):
    image = torch.full((1, 1, 8, 8), -1.0)
    image[0, 0, 1:3, 1:3] = 1
    moved = image.roll((4, 4), (2, 3))
    assert float((fitted.descriptors(image) * fitted.descriptors(moved)).sum()) < 0.9


def test_images_that_are_too_small():
    with pytest.raises(InputError, match="at least 3 x 3"):
        PatchFeatures.fit(random_source(5, (1, 2, 8)))
