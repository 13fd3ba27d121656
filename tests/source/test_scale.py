"""Floats of another scale are warned of on opening a file, and only there."""

import warnings

import numpy as np
import pytest

from smalti import Source
from smalti.source import checks
from smalti.source import conventions as scale

BYTES = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 4)).astype(np.float32)
SAYS = r"x\..*: values from 0 to 255; the working scale is \[-1, 1\]: save uint8, or divide by 127.5 and subtract 1"


def opened(images, folder, name="x.npy"):
    (np.savez if name.endswith("z") else np.save)(folder / name, images)
    return Source.open(folder / name)


@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bytes_saved_as_floats(tmp_path, name, dtype):
    for _ in range(2):  # the second comes from the cache
        with pytest.warns(UserWarning, match=SAYS) as caught:
            source = opened(BYTES.astype(dtype), tmp_path, name)
        assert len(caught) == 1
        assert caught[0].filename == __file__
    assert np.array_equal(source.images, BYTES)


def test_a_dark_background_does_not_hide_it(tmp_path):
    with pytest.warns(UserWarning, match=SAYS):
        opened(BYTES * (np.arange(4) == 0), tmp_path)


def test_another_range_has_another_remedy(tmp_path):
    with pytest.warns(UserWarning, match=r"values from -1000 to 24.5; .*: bring them to that scale"):
        opened(np.linspace(-1000, 24.5, 64).reshape(4, 1, 4, 4), tmp_path)


@pytest.mark.parametrize(
    "images",
    [
        BYTES / 127.5 - 1,
        BYTES.astype(np.uint8),
        np.zeros((2, 1, 4, 4)),
        np.random.default_rng(0).normal(0, 3, BYTES.shape),  # latents
    ],
)
def test_others_are_not_warned_of(tmp_path, images):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(images, tmp_path)
        Source(BYTES)


def test_a_sample_is_enough(monkeypatch):
    seen = []
    monkeypatch.setattr(scale, "BLOCK_BYTES", BYTES.nbytes // 10)
    monkeypatch.setattr(np, "abs", lambda a: seen.append(a.shape[0]) or np.absolute(a))
    assert scale.beyond_the_scale(BYTES)
    assert seen == [5]
    assert checks.BLOCK_BYTES == 16 << 20
