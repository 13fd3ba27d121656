"""Descriptors of images: patch features, and SSCD by stand-ins."""

import hashlib

import pytest
import torch

from helpers import random_source
from scripted import Means, Squared, saved
from smalti import InputError, Source
from smalti.analysis import descriptors
from smalti.analysis.descriptors import MEAN, SSCD, PatchFeatures, _patches, prepared


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


@pytest.fixture
def file(tmp_path):
    return saved(Means(), tmp_path / "means.torchscript.pt")


def test_code_is_not_run_unless_its_digest_is_known_or_it_is_trusted(file, monkeypatch):
    with pytest.raises(InputError, match="TorchScript, which is code") as error:
        SSCD.load(file)
    assert "--trust" in str(error.value)
    assert SSCD.load(file, trust=True).name == "unknown"
    monkeypatch.setitem(descriptors.KNOWN, hashlib.sha256(file.read_bytes()).hexdigest(), "means")
    assert SSCD.load(file).name == "means"


def test_descriptors_have_length_1_and_do_not_depend_on_the_batch(file):
    descriptor = SSCD.load(file, trust=True)
    images = random_source(20, (1, 8, 8)).working()
    found = descriptor.descriptors(images)
    assert found.shape == (20, 12)
    assert torch.allclose(found.norm(dim=1), torch.ones(20, dtype=torch.float64))
    assert torch.allclose(found[17:18], descriptor.descriptors(images[17:18]), atol=1e-6)


def test_preparation_resizes_the_small_edge_and_normalises_as_imagenet():
    assert prepared(torch.zeros(2, 1, 8, 12)).shape == (2, 3, 288, 432)
    assert prepared(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 288, 288)
    black, white = prepared(torch.full((1, 1, 8, 8), -1.0)), prepared(torch.full((1, 1, 8, 8), 1.0))
    assert black[0, :, 5, 5].tolist() == pytest.approx([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rel=1e-5)
    assert white[0, :, 5, 5].tolist() == pytest.approx([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225], rel=1e-5)
    grey = torch.tensor(MEAN)[None, :, None, None].expand(1, 3, 8, 8) * 2 - 1
    assert float(prepared(grey).abs().max()) < 1e-5


def test_files_that_are_no_module(tmp_path):
    (tmp_path / "text.pt").write_text("no module")
    with pytest.raises(InputError, match="not a TorchScript module"):
        SSCD.load(tmp_path / "text.pt", trust=True)
    with pytest.raises(InputError, match="check the path"):
        SSCD.load(tmp_path / "absent.pt", trust=True)


def test_modules_that_are_no_descriptor(tmp_path):
    descriptor = SSCD.load(saved(Squared(), tmp_path / "squared.pt"), trust=True)
    with pytest.raises(InputError, match="one descriptor an image"):
        descriptor.descriptors(torch.zeros(2, 1, 8, 8))
    with pytest.raises(InputError, match="grey or colour"):
        descriptor.descriptors(torch.zeros(2, 2, 8, 8))
