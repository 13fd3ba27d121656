"""Arrays in .npy and .npz: mapped or converted; hostile ones refused."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from smalti.core.errors import InputError
from smalti.source import Source


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (6, 3, 8, 6), dtype=np.uint8)


class Bomb:
    """Pickles to a call that makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_npy_is_mapped_and_not_cached(tmp_path: Path, images, cache: Path, dtype: type) -> None:
    images = images if dtype == np.uint8 else (images / 255).astype(dtype)
    np.save(tmp_path / "x.npy", images)
    source = Source.open(tmp_path / "x.npy", resolution=(8, 6))
    assert isinstance(source.images, np.memmap)
    assert source.images.dtype == dtype
    assert (source.images == images).all()
    assert not source.images.flags.writeable
    assert not cache.exists()
    assert isinstance(Source.open(tmp_path / "x.npy", limit=6).subset(slice(1, 3)).images, np.memmap)


def test_npy_in_other_forms_is_converted(tmp_path: Path, images, cache: Path) -> None:
    floats = images / 255
    others = (floats, floats.astype(np.float16), floats.astype(">f4"), np.asfortranarray(floats.astype(np.float32)))
    for number, array in enumerate(others):
        path = tmp_path / f"{number}.npy"
        np.save(path, array)
        for _ in ("converted", "cached"):
            source = Source.open(path)
            assert source.images.dtype == np.float32
            assert source.images.flags.c_contiguous
            assert (source.images == array.astype(np.float32)).all()
    assert len(list(cache.iterdir())) == len(others)


def test_layout(tmp_path: Path, images) -> None:
    np.save(tmp_path / "x.npy", images.transpose(0, 2, 3, 1).copy())
    assert (Source.open(tmp_path / "x.npy", layout="nhwc").images == images).all()
    with pytest.raises(InputError, match="--layout nhwc"):
        Source.open(tmp_path / "x.npy")
    np.save(tmp_path / "y.npy", images)
    with pytest.raises(InputError, match="leave the layout out"):
        Source.open(tmp_path / "y.npy", layout="nhwc")
    np.save(tmp_path / "latents.npy", np.zeros((2, 16, 4, 4), np.float32))
    assert Source.open(tmp_path / "latents.npy").shape == (16, 4, 4)


def test_resolution(tmp_path: Path, images) -> None:
    np.save(tmp_path / "u.npy", images)
    np.save(tmp_path / "f.npy", (images / 255).astype(np.float32))
    cropped = images[:, :, 1:7].reshape(6, 3, 3, 2, 3, 2)
    whole = Source.open(tmp_path / "u.npy", resolution=3)
    assert np.abs(whole.images - cropped.mean(axis=(3, 5))).max() <= 1
    assert np.allclose(Source.open(tmp_path / "f.npy", resolution=3).images, cropped.mean(axis=(3, 5)) / 255)
    with pytest.raises(InputError, match="divide evenly"):
        Source.open(tmp_path / "f.npy", resolution=5)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path: Path, images, save) -> None:
    labels = np.array([3, 0, 1, 2, 2, 0])
    path = tmp_path / "x.npz"
    for given in (labels, labels.astype(np.uint8), labels[:, None], np.eye(4)[labels], np.eye(4, dtype=bool)[labels]):
        save(path, images=images, labels=given, other=np.zeros(3))
        source = Source.open(path)
        assert (source.images == images).all()
        assert source.labels is not None
        assert source.labels.tolist() == labels.tolist()
        assert source.labels.dtype == np.int64
    save(path, some=np.asfortranarray(images), other=labels)
    source = Source.open(path)
    assert (source.images == images).all()
    assert source.labels is None
    assert source.skipped == (("other", "an array that is not used"),)


@pytest.mark.parametrize(
    ("images_name", "labels_name"),
    [("x", "y"), ("x_train", "y_train"), ("images", "targets"), ("data", "label"), ("train_images", "train_labels")],
)
def test_labels_are_found_by_their_usual_names(tmp_path: Path, images, images_name: str, labels_name: str) -> None:
    labels = np.array([3, 0, 1, 2, 2, 0])
    np.savez(tmp_path / "x.npz", **{images_name: images, labels_name: labels, "mean": np.zeros(6)})
    source = Source.open(tmp_path / "x.npz")
    assert (source.images == images).all()
    assert source.labels is not None
    assert source.labels.tolist() == labels.tolist()
    assert source.skipped == (("mean", "an array that is not used"),)


def test_arrays_without_names(tmp_path: Path, images) -> None:
    labels = np.array([3, 0, 1, 2, 2, 0])
    np.savez(tmp_path / "x.npz", images, labels)
    assert Source.open(tmp_path / "x.npz").labels.tolist() == labels.tolist()  # type: ignore[union-attr]
    np.savez(tmp_path / "x.npz", images, np.linspace(0, 1, 6))
    source = Source.open(tmp_path / "x.npz")
    assert source.labels is None
    assert source.skipped == (("arr_1", "no labels: labels have dtype float64; give integer classes, numbered from 0"),)


def test_parts_of_an_npz(tmp_path: Path, images) -> None:
    labels = np.arange(6)
    arrays = {"x_train": images[:4], "y_train": labels[:4], "x_test": images[4:], "y_test": labels[4:]}
    np.savez(tmp_path / "x.npz", **arrays)
    train, test = Source.open(tmp_path / "x.npz"), Source.open(tmp_path / "x.npz", split="test")
    assert (train.images == images[:4]).all()
    assert (test.images == images[4:]).all()
    assert (train.labels == labels[:4]).all()
    assert (test.labels == labels[4:]).all()
    assert dict(train.skipped) == {"x_test": "an array of the part test", "y_test": "an array of the part test"}
    with pytest.raises(InputError, match=r"no part 'tset'; it has test, train; did you mean 'test'"):
        Source.open(tmp_path / "x.npz", split="tset")
    np.savez(tmp_path / "y.npz", images=images)
    with pytest.raises(InputError, match="no parts to choose from"):
        Source.open(tmp_path / "y.npz", split="train")


def test_npz_of_floats_is_read_in_blocks(tmp_path: Path, images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalti.source.checks.BLOCK_BYTES", 1000)
    floats = images / 255
    np.savez_compressed(tmp_path / "x.npz", images=floats.transpose(0, 2, 3, 1))
    assert (Source.open(tmp_path / "x.npz", layout="nhwc").images == floats.astype(np.float32)).all()
    floats[4, 0, 0, 0] = np.nan
    np.savez(tmp_path / "y.npz", images=floats)
    with pytest.raises(InputError, match="image 4 has NaN"):
        Source.open(tmp_path / "y.npz")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"a": np.zeros((2, 1, 2, 2)), "b": np.zeros((2, 1, 2, 2))}, "several 4-D arrays"),
        ({"a": np.zeros(3)}, "no 4-D array"),
        ({"images": np.zeros((2, 2))}, "4-D array"),
        ({"images": np.zeros((2, 1, 2, 2), np.int32)}, "int32"),
        ({"images": np.zeros((0, 1, 2, 2), np.uint8)}, "at least 1"),
        ({"images": np.zeros((2, 1, 2, 2), np.uint8), "labels": np.zeros(3, int)}, "labels have shape"),
        ({"images": np.zeros((2, 1, 2, 2), np.uint8), "labels": np.zeros(2)}, "float64"),
        ({"images": np.zeros((2, 1, 2, 2), np.uint8), "labels": np.array([0, -1])}, "label 1 is -1"),
        ({"images": np.zeros((2, 1, 2, 2), np.uint8), "labels": np.ones((2, 3))}, "not one-hot"),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=said):
        Source.open(tmp_path / "x.npz")


def test_pickled_objects_are_not_executed(tmp_path: Path, images) -> None:
    marker = tmp_path / "executed"
    objects = np.array([Bomb(marker)] * 2, dtype=object).reshape(2, 1, 1, 1)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "y.npz", images=objects)
    np.savez(tmp_path / "z.npz", images=images, labels=objects.ravel())
    for name in ("x.npy", "y.npz", "z.npz"):
        with pytest.raises(InputError, match="Python objects"):
            Source.open(tmp_path / name)
    for name in ("bare.npy", "bare.npz"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(marker)))
        with pytest.raises(InputError):
            Source.open(tmp_path / name)
    assert not marker.exists()
    pickle.loads((tmp_path / "bare.npy").read_bytes())
    assert marker.exists(), "the bomb itself works"


@pytest.mark.parametrize(
    "data",
    [
        header((1000, 3, 32, 32)) + bytes(100),
        header((10**6, 3, 10**4, 10**4)) + bytes(100),
        header((2, 1, 2, 2)) + bytes(9),
        header((-2, 1, -2, 2)) + bytes(8),
        header((2, 1, 2, 2))[:40],
        b"\x93NUMPY\x01\x00\x10\x00(((((((((((((((",
        b"\x93NUMPY\x03\x00\x10\x00\x00\x00",
        b"",
        b"hello",
    ],
)
def test_npy_headers_are_not_believed(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as archive:
        archive.writestr("images.npy", data)
    for name in ("x.npy", "y.npz"):
        with pytest.raises(InputError):
            Source.open(tmp_path / name)


def test_npz_bombs(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", images=np.zeros((2, 3, 1000, 1000), np.uint8))
    with pytest.raises(InputError, match="decompression bomb"):
        Source.open(tmp_path / "x.npz")


def test_damaged_npz(tmp_path: Path, images) -> None:
    np.savez(tmp_path / "x.npz", images=images)
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[400] ^= 255
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        Source.open(tmp_path / "x.npz")
    (tmp_path / "x.npz").write_bytes(data[:300])
    with pytest.raises(InputError, match="not a zip"):
        Source.open(tmp_path / "x.npz")


def test_non_finite_npy(tmp_path: Path) -> None:
    images = np.zeros((3, 1, 2, 2), np.float32)
    images[1, 0, 0, 0] = np.inf
    np.save(tmp_path / "x.npy", images)
    with pytest.raises(InputError, match="image 1 has NaN"):
        Source.open(tmp_path / "x.npy")
