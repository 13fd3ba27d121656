"""Layout and scale: one rule for arrays in memory and in files (case 18)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from smalti import Source
from smalti.core.errors import InputError
from smalti.source import checks, conventions

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (50, 3, 8, 8)).astype(np.float32)
SAYS = r"values from 0 to 255; the working scale is \[-1, 1\]: save uint8, or divide by 127.5 and subtract 1"


def from_npy(images: np.ndarray, folder: Path, **options: object) -> Source:
    np.save(folder / "x.npy", images)
    return Source.open(folder / "x.npy", **options)  # type: ignore[arg-type]


def from_npz(images: np.ndarray, folder: Path, **options: object) -> Source:
    np.savez(folder / "x.npz", images=images)
    return Source.open(folder / "x.npz", **options)  # type: ignore[arg-type]


def from_memory(images: np.ndarray, folder: Path, **options: object) -> Source:
    return Source(images, **options)  # type: ignore[arg-type]


@pytest.fixture(params=[from_memory, from_npy, from_npz])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Source]:
    return lambda images, **options: request.param(images, tmp_path, **options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bytes_saved_as_floats(opened, dtype) -> None:
    for _ in range(2):  # the second may come from the cache
        with pytest.warns(UserWarning, match=SAYS) as caught:
            source = opened(BYTES.astype(dtype))
        assert len(caught) == 1
    assert np.array_equal(source.images, BYTES)


def test_the_warning_is_of_the_callers_line(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", BYTES)
    for call in (lambda: Source(BYTES), lambda: Source.open(tmp_path / "x.npy")):
        with pytest.warns(UserWarning, match=SAYS) as caught:
            call()
        assert caught[0].filename == __file__


def test_floats_of_zero_to_one(opened) -> None:
    with pytest.warns(UserWarning, match=r"values from .* to .*if they are pixels from 0 to 1 \(ToTensor\)"):
        opened(BYTES / 255)


def test_a_dark_background_does_not_hide_it(opened) -> None:
    with pytest.warns(UserWarning, match=SAYS):
        opened(BYTES * (np.arange(8) == 0))


def test_another_range_has_another_remedy(opened) -> None:
    with pytest.warns(UserWarning, match=r"values from -1000 to 24.5; .*: bring them to that scale"):
        opened(np.linspace(-1000, 24.5, 64).reshape(4, 1, 4, 4))


def test_almost_black(opened) -> None:
    with pytest.warns(UserWarning, match=r"almost black: pixels are at most 15 of 255"):
        opened(RANDOM.integers(0, 16, (20, 1, 8, 8), dtype=np.uint8))
    night = np.zeros((20, 1, 8, 8), np.uint8)
    night[:, :, 4, 4] = 200  # stars
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened(night)


@pytest.mark.parametrize(
    "images",
    [
        BYTES / 127.5 - 1,
        BYTES.astype(np.uint8),
        np.zeros((2, 1, 4, 4)),
        RANDOM.normal(0, 3, BYTES.shape),  # latents
        RANDOM.normal(0, 1, (2, 16, 8, 8)),
        RANDOM.normal(0, 1, (2, 16, 4, 4)),
        RANDOM.integers(0, 256, (5, 3, 32, 4), dtype=np.uint8),
    ],
)
def test_others_are_not_warned_of(opened, images) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert opened(images).shape == images.shape[1:]


LAYOUTS = {"nhwc": (0, 2, 3, 1), "hwcn": (2, 3, 1, 0), "chwn": (1, 2, 3, 0)}
PICTURES = {channels: RANDOM.integers(0, 256, (50, channels, 32, 32), dtype=np.uint8) for channels in (1, 2, 3, 4)}


@pytest.mark.parametrize(
    ("layout", "channels"), [("nhwc", 1), ("nhwc", 2), ("nhwc", 3), ("nhwc", 4), ("hwcn", 3), ("chwn", 3), ("chwn", 1)]
)
def test_another_layout_is_refused_and_read_when_said(opened, layout: str, channels: int) -> None:
    images = PICTURES[channels]
    other = np.ascontiguousarray(images.transpose(LAYOUTS[layout]))
    axes = ", ".join(layout.upper())
    with pytest.raises(InputError, match=rf"looks like \({axes}\); pass layout='{layout}' \(--layout {layout}\)"):
        opened(other)
    assert (opened(other, layout=layout).images == images).all()
    assert opened(other, layout="nchw").shape == other.shape[1:], "what is said is not doubted"
    assert opened(other, layout=layout).images.flags.c_contiguous


def test_grey_images_without_a_channel(opened) -> None:
    images = PICTURES[1][:, 0]
    with pytest.raises(InputError, match=r"looks like grey images \(N, H, W\); pass layout='nhw'"):
        opened(images)
    assert (opened(images, layout="nhw").images == images[:, None]).all()
    with pytest.raises(InputError, match="3-D array"):
        opened(PICTURES[1], layout="nhw")


def test_a_layout_that_cannot_be(opened) -> None:
    with pytest.raises(InputError, match=r"looks like .N, C, H, W.; leave the layout out"):
        opened(PICTURES[3], layout="nhwc")
    with pytest.raises(InputError, match="layout must be nchw, nhwc, hwcn, chwn, nhw or None, not 'nwhc'"):
        opened(PICTURES[3], layout="nwhc")


def test_a_sample_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(conventions, "BLOCK_BYTES", BYTES.nbytes // 10)
    monkeypatch.setattr(np, "abs", lambda a: seen.append(a.shape[0]) or np.absolute(a))
    assert conventions.scale_doubt(BYTES) is not None
    assert seen == [5]
    assert checks.BLOCK_BYTES == 16 << 20
