"""SSCD: what is loaded, how images are prepared. The module is a small one that these tests make."""

import hashlib

import pytest
import torch

from helpers import random_source
from scripted import Means, Squared, saved
from smalti import InputError
from smalti.analysis import sscd
from smalti.analysis.sscd import MEAN, SSCD, prepared


@pytest.fixture
def file(tmp_path):
    return saved(Means(), tmp_path / "means.torchscript.pt")


def test_code_is_not_run_unless_its_digest_is_known_or_it_is_trusted(file, monkeypatch):
    with pytest.raises(InputError, match="TorchScript, which is code") as error:
        SSCD.load(file)
    assert "--trust" in str(error.value)
    assert SSCD.load(file, trust=True).name == "unknown"
    monkeypatch.setitem(sscd.KNOWN, hashlib.sha256(file.read_bytes()).hexdigest(), "means")
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
