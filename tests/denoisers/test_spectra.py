"""Spectra of covariances, and their files."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from helpers import random_source, with_flips
from smalti import Gaussian
from smalti.denoisers import spectra
from smalti.denoisers.spectra import spectrum


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The cache of one test; spectra of images of 12 entries are kept in it."""
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(spectra, "KEPT", 12)
    return tmp_path / "cache"


@pytest.fixture
def computed(monkeypatch):
    """How often a spectrum was computed."""
    calls, real = [], spectra._computed

    def spy(source, label):
        calls.append(label)
        return real(source, label)

    monkeypatch.setattr(spectra, "_computed", spy)
    return calls


def test_is_the_covariance():
    source = random_source(40, (2, 3, 4), hflip=True)
    flat = with_flips(source).flatten(1)
    mean, values, vectors = spectrum(source)
    torch.testing.assert_close(mean, flat.mean(0))
    torch.testing.assert_close((vectors * values) @ vectors.T, torch.cov(flat.T, correction=0))
    assert (values.diff() <= 0).all()


def test_is_kept_and_read(root, computed):
    source = random_source(40, (1, 3, 4), labels=True)
    first = [spectrum(source), spectrum(source, 1), spectrum(source.with_hflip(True))]
    again = random_source(40, (1, 3, 4), labels=True)
    second = [spectrum(again), spectrum(again, 1), spectrum(again.with_hflip(True))]
    assert len(computed) == 3
    for a, b in zip(first, second, strict=True):
        for one, other in zip(a, b, strict=True):
            assert torch.equal(one, other)
    spectrum(random_source(40, (1, 3, 4), seed=1, labels=True))
    assert len(computed) == 4
    assert len(list(root.iterdir())) == 4
    z = torch.randn(2, 1, 3, 4)
    few = Gaussian(again, rank=3)
    assert torch.equal(few(z, 0.5), Gaussian(source, rank=3)(z, 0.5))
    assert len(computed) == 4


def test_small_images_are_not_kept(root, computed):
    source = random_source(10, (1, 2, 2))
    spectrum(source), spectrum(source)
    assert len(computed) == 2
    assert not root.exists()


@pytest.mark.parametrize(
    "damage", ["empty", "short", "text", "shape", "type", "nan", "order", "vectors", "objects", "bit"]
)
def test_a_damaged_file_is_made_again(root, computed, damage):
    source = random_source(40, (1, 3, 4))
    first = spectrum(source)
    (path,) = root.iterdir()
    rows = np.load(path)
    if damage in ("empty", "short", "text"):
        path.write_bytes({"empty": b"", "short": path.read_bytes()[:-8], "text": b"not an array"}[damage])
    elif damage == "bit":
        content = bytearray(path.read_bytes())
        content[200] ^= 1
        path.write_bytes(content)
    elif damage == "objects":
        np.save(path, np.array([{}], object), allow_pickle=True)
    else:
        if damage == "nan":
            rows[0, 3] = np.nan
        elif damage == "order":
            rows[1] = rows[1, ::-1]
        elif damage == "vectors":
            rows[5, 5] += 0.1
        np.save(path, {"shape": rows[1:], "type": rows.astype(np.float32)}.get(damage, rows))
    for _ in range(2):
        again = spectrum(source)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(computed) == 2  # the second call reads what the first wrote


def test_other_code_computes_it_again(root, computed, monkeypatch):
    source = random_source(40, (1, 3, 4))
    spectrum(source)
    monkeypatch.setattr(spectra, "code_digest", lambda *names: "of other code")
    spectrum(source)
    assert len(computed) == 2
    assert len(list(root.iterdir())) == 2


def test_without_a_folder_for_the_cache(monkeypatch, computed):
    monkeypatch.setattr(spectra, "KEPT", 12)
    monkeypatch.setattr(spectra, "cache_root", lambda: None)
    source = random_source(40, (1, 3, 4))
    first, again = spectrum(source), spectrum(source)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len(computed) == 2


def test_those_used_last_are_kept(root, computed, monkeypatch):
    monkeypatch.setattr(spectra, "MOST", 2)
    first, second, third = (random_source(20, (1, 3, 4), seed=seed) for seed in range(3))
    for source in (first, second, first, third):
        spectrum(source)
        for number, path in enumerate(sorted(root.iterdir(), key=lambda kept: kept.stat().st_mtime_ns)):
            os.utime(path, ns=(number, number))  # clocks of files are coarse
    assert len(list(root.iterdir())) == 2
    spectrum(first)
    assert len(computed) == 3
    spectrum(second)
    assert len(computed) == 4


def test_where_nothing_can_be_written(tmp_path, monkeypatch, root):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="eigenvectors of the images are not kept.*set SMALTI_CACHE"):
        found = spectrum(random_source(40, (1, 3, 4)))
    assert found.vectors.shape == (12, 12)
