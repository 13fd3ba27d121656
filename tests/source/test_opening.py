"""Source.open: names, paths, class filters, limits, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from smalti.core.errors import EnvironmentFailure, InputError
from smalti.source import Source, describe
from smalti.source import memory as memory_module


def test_digits() -> None:
    source = Source.open("digits", hflip=True)
    assert repr(source) == "Source('digits', 1797 x 1x8x8 uint8, 10 classes, hflip=True)"
    assert source.labels is not None
    assert np.bincount(source.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    steps = {round(255 * v / 16) for v in range(17)}
    assert set(np.unique(source.images).tolist()) == steps
    first = np.array([0, 0, 5, 13, 9, 1, 0, 0])  # the well-known first row of the first digit
    assert (source.images[0, 0, 0] == np.round(first * 255 / 16)).all()
    assert source.labels[0] == 0
    assert not source.images.flags.writeable


def test_digits_licence_is_beside_them() -> None:
    import smalti.source

    text = (Path(smalti.source.__file__).parent / "data" / "digits-LICENSE.txt").read_text()
    assert "Alpaydin" in text
    assert "CC BY 4.0" in text


def test_a_path_wins_over_a_name(tmp_path: Path, encode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "a.png").write_bytes(encode(np.zeros((2, 2), np.uint8)))
    assert len(Source.open("digits")) == 1


def test_digits_to_another_resolution() -> None:
    source = Source.open("digits", resolution=4)
    assert source.shape == (1, 4, 4)
    means = Source.open("digits").images.reshape(1797, 1, 4, 2, 4, 2).mean(axis=(3, 5))
    assert np.abs(source.images - means).max() <= 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("digit", "did you mean digits"),
        ("nothing-like-it", "accepted: a folder"),
        ("", "empty"),
        ("a\0b", "NUL"),
        (7, "not int"),
    ],
)
def test_unknown_names(given: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Source.open(given)  # type: ignore[arg-type]


def test_a_missing_path_names_its_neighbour(folder: Path) -> None:
    with pytest.raises(InputError, match=r"did you mean .*/pets"):
        Source.open(folder.with_name("pest"))


def test_other_files_are_refused(tmp_path: Path, encode) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"not a data set: a folder of images"):
        Source.open(tmp_path / "notes.txt")
    (tmp_path / "one.png").write_bytes(encode(np.zeros((2, 2), np.uint8)))
    with pytest.raises(InputError, match="single image"):
        Source.open(tmp_path / "one.png")


def test_class_filter_keeps_numbers(folder: Path) -> None:
    for classes in ("dog", ["dog"], 1, [1], "1", np.int64(1)):
        source = Source.open(folder, classes=classes)
        assert len(source) == 3
        assert source.labels is not None
        assert source.labels.tolist() == [1, 1, 1]
        assert source.class_names == ("cat", "dog")
        assert source.num_classes == 2
    assert len(Source.open(folder, classes=["dog", 0])) == 6


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ("dig", "did you mean 'dog'"),
        (2, "no class 2"),
        (-1, "no class -1"),
        ([], "empty"),
        (True, "no class True"),
        (1.0, "not 1.0"),
    ],
)
def test_unknown_classes(folder: Path, classes: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Source.open(folder, classes=classes if not isinstance(classes, float) else [classes])  # type: ignore[arg-type, list-item]


def test_classes_without_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 1, 2, 2), np.uint8))
    with pytest.raises(InputError, match="no classes"):
        Source.open(tmp_path / "x.npy", classes=0)


def test_limit_is_evenly_spaced_after_the_filter(tmp_path: Path) -> None:
    images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    np.savez(tmp_path / "x.npz", images=images, labels=np.array([0] * 3 + [1] * 7))
    path = tmp_path / "x.npz"
    assert Source.open(path, limit=4).images.ravel().tolist() == [0, 2, 5, 7]
    assert Source.open(path, classes=1, limit=3).images.ravel().tolist() == [3, 5, 7]
    assert len(Source.open(path, limit=10)) == len(Source.open(path, limit=11)) == 10
    for limit in (0, -1, 2.0, True):
        with pytest.raises(InputError, match="limit"):
            Source.open(path, limit=limit)  # type: ignore[arg-type]


@pytest.mark.parametrize("resolution", [0, -3, (4,), (4, 4, 4), "32", 2.0, True, (0, 4), 10**6])
def test_bad_resolutions(resolution: object) -> None:
    with pytest.raises(InputError, match="resolution"):
        Source.open("digits", resolution=resolution)  # type: ignore[arg-type]


def test_layout_belongs_to_arrays(folder: Path) -> None:
    with pytest.raises(InputError, match="layout must be"):
        Source.open("digits", layout="nwhc")
    for given in (folder, "digits"):
        with pytest.raises(InputError, match="no layout"):
            Source.open(given, layout="nhwc")


def test_describe_of_an_opened_source(folder: Path, cache: Path) -> None:
    (folder / "readme.txt").write_text("hello")
    facts = describe(Source.open(folder))
    assert facts["skipped"] == [{"file": "readme.txt", "reason": "not an image file"}]
    assert facts["cache"]["hit"] is False
    assert Path(facts["cache"]["folder"]).parent == cache
    assert describe(Source.open(folder))["cache"]["hit"] is True
    assert "EXIF" in facts["rule"]
    assert [entry["count"] for entry in facts["classes"]] == [3, 3]
    json.dumps(facts)


def test_too_large_for_memory_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(memory_module, "available_memory", lambda: 100)
    with pytest.warns(UserWarning, match="not cached"), pytest.raises(EnvironmentFailure, match="pets as one array"):
        Source.open(folder)


def test_the_folder_above(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`..` is a folder like any other, though a link in it leads back to it."""
    (folder / "cat" / "self").symlink_to("self")
    (folder / "cat" / "up").symlink_to("..")
    (folder / "work").mkdir()
    monkeypatch.chdir(folder / "work")
    source = Source.open("..")
    assert (len(source), source.name) == (6, "pets")
    assert dict(source.skipped) == {"cat/self": "a link to itself", "cat/up/": "a link to a folder above it"}


def test_a_folder_that_may_not_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    scandir = os.scandir

    def refusing(path):  # type: ignore[no-untyped-def]
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(EnvironmentFailure, match=r"cannot read .*/pets/dog: Permission denied; check the permissions"):
        Source.open(folder)


def test_single_items_and_iteration() -> None:
    source = Source.open("digits")
    assert source[0].shape == (1, 8, 8)
    assert (source[-1] == source.working(-1)[0]).all()
    assert source[2:5].shape == (3, 1, 8, 8)
    assert source[[1, 7]].shape == (2, 1, 8, 8)
    assert len(list(source.subset(slice(0, 3)))) == 3
    with pytest.raises(InputError, match="out of range"):
        source[1797]


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"Rar!\x1a\x07\x01\x00", "a RAR archive; unpack it"),
        (b"7z\xbc\xaf'\x1c", "a 7z archive; unpack it"),
        (b"\x1f\x8b\x08\x00", "packed with gzip; unpack it, or name it .tar.gz"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file; read it with h5py"),
        (bytes.fromhex("6400000000000000435f1cdf"), "a TFRecord file; read it with TensorFlow"),
        (bytes(16) + b"\xde\xc0\xef\xbe", "an LMDB database"),
        (b"\x80\x04\x95\0", "a Python pickle, which is never loaded"),
        (b"\0\0\0\x18ftypheic", "a HEIC image; save it as PNG"),
        (b"\0\0\0\x18ftypisom", "a video; save its frames"),
        (bytes(128) + b"DICM", "a DICOM image"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, not the file itself; run git lfs pull"),
        (b"\n<!DOCTYPE HTML><html>", "a web page, not the file itself"),
    ],
)
def test_files_that_no_reader_takes_are_told_what_they_are(tmp_path: Path, head: bytes, said: str) -> None:
    (tmp_path / "x.data").write_bytes(head + bytes(100))
    with pytest.raises(InputError, match=said):
        Source.open(tmp_path / "x.data")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.tfrecords", "a TFRecord"),
        ("a.beton", "an FFCV file"),
        ("a.csv", "a table of text"),
        ("a.ckpt", "weights of a network"),
    ],
)
def test_files_that_are_told_by_their_names(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(InputError, match=said):
        Source.open(tmp_path / name)


def test_pointers_are_said_whatever_they_are_called(tmp_path: Path, encode) -> None:
    text = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    for name in ("a.npy", "a.zip", "a.parquet", "a.tar", "a.pt"):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(InputError, match="a Git LFS pointer"):
            Source.open(tmp_path / name)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(encode(np.zeros((2, 2), np.uint8)))
    (tmp_path / "pictures" / "b.png").write_bytes(text)
    with pytest.raises(InputError, match=r"b\.png cannot be decoded: a Git LFS pointer"):
        Source.open(tmp_path / "pictures")


def test_what_a_folder_without_images_holds(tmp_path: Path, write_folder, write_zip) -> None:
    root = write_folder(tmp_path / "root", {"cifar-10-batches-py/data_batch_1": b"x", "readme.txt": b"x"})
    with pytest.raises(InputError, match=r"there are no images in .*root; did you mean .*/cifar-10-batches-py\?"):
        Source.open(root)
    with pytest.raises(
        InputError, match=r"data_batch_1 is one file of a data set; give its folder, .*cifar-10-batches-py"
    ):
        Source.open(root / "cifar-10-batches-py" / "data_batch_1")
    records = write_folder(tmp_path / "records", {"train.tfrecord": b"x"})
    with pytest.raises(InputError, match=r"train\.tfrecord in it is a TFRecord file"):
        Source.open(records)
    with pytest.raises(InputError, match="is an LMDB database"):
        Source.open(write_folder(tmp_path / "bedroom_lmdb", {"data.mdb": b"x", "lock.mdb": b""}))
    packed = write_zip(tmp_path / "c.zip", {"cifar-10-batches-py/data_batch_1": b"x"})
    with pytest.raises(InputError, match=r"it has cifar-10-batches-py/data_batch_1\); unpack it"):
        Source.open(packed)
