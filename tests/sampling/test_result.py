"""What a sampling run gives back: saved, and held against the training images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import smalti
from helpers import random_source


@pytest.fixture(scope="module")
def source():
    return random_source(6, (3, 4, 5), hflip=True)


@pytest.fixture(scope="module")
def result(source):
    return smalti.sample(smalti.Nearest(source), n=5, steps=2, seed=1)


def test_saved_as_arrays(result, tmp_path):
    assert result.save(tmp_path / "a.npz") == tmp_path / "a.npz"
    with np.load(tmp_path / "a.npz") as stored:
        assert set(stored.files) == {"images", "sigmas", "states", "denoised"}
        for name in stored.files:
            assert np.array_equal(stored[name], getattr(result, name).numpy())
    smalti.SampleResult(result.images, result.sigmas).save(str(tmp_path / "b.npz"))
    with np.load(tmp_path / "b.npz") as stored:
        assert set(stored.files) == {"images", "sigmas"}


def test_saved_as_a_picture(result, source, tmp_path):
    result.save(tmp_path / "folder" / "a.png")
    with Image.open(tmp_path / "folder" / "a.png") as picture:
        pixels = np.asarray(picture)
    scale = 13  # of 64 pixels for a side of 5
    assert pixels.shape == (2 * 4 * scale + scale, 3 * 5 * scale + 2 * scale, 3)
    first = pixels[: 4 * scale : scale, : 5 * scale : scale].transpose(2, 0, 1)
    assert any(np.array_equal(first, image) for flip in (1, -1) for image in np.asarray(source.images)[..., ::flip])
    assert (pixels[-4 * scale :, -5 * scale :] == 255).all()  # five of six places
    assert list(tmp_path.rglob("*.tmp")) == []


def test_nearest(result, source):
    found = result.nearest(source, k=2)
    assert found.images.shape == (5, 2, 3, 4, 5)
    assert found.indices.shape == found.distances.shape == (5, 2)
    torch.testing.assert_close(found.distances[:, 0], torch.zeros(5, dtype=torch.float64), atol=1e-6, rtol=0)
    assert (found.distances[:, 1] > 0.1).all()
    assert torch.equal(found.images[:, 0], source.working(found.indices[:, 0].numpy()))
    with pytest.raises(smalti.InputError, match="the source has images of"):
        result.nearest(random_source(3, (1, 4, 5)))
