"""Folders and zips of images: order, classes, EDM labels, damaged and hostile files."""

from __future__ import annotations

import json
import os
import stat
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from smalti.core.errors import InputError
from smalti.source import Source
from smalti.source import parallel_decoding as gathering_module
from smalti.source.trees import central_directory_hash


def stored(rgb: np.ndarray) -> np.ndarray:
    return rgb.transpose(0, 3, 1, 2)


def test_class_folders(folder: Path, rgb: np.ndarray) -> None:
    source = Source.open(folder)
    assert (source.images == stored(rgb)).all()
    assert source.class_names == ("cat", "dog")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert source.name == "pets"
    assert not source.images.flags.writeable


@pytest.mark.parametrize("top", ["", "data/"])
def test_zip_of_class_folders(tmp_path: Path, files, rgb, write_zip, top: str) -> None:
    members = {top + name: data for name, data in files.items()}
    members |= {top + ".DS_Store": b"x", "__MACOSX/cat/1.png": b"x", f"{top}cat/": b"", f"{top}cat/.hidden.png": b"x"}
    source = Source.open(write_zip(tmp_path / "pets.zip", members))
    assert (source.images == stored(rgb)).all()
    assert source.class_names == ("cat", "dog")
    assert source.skipped == ()
    assert source.name == "pets"


def test_the_readme_beside_a_top_folder_does_not_matter(tmp_path: Path, files, write_zip) -> None:
    members = {f"data/{name}": data for name, data in files.items()} | {"README.txt": b"hello"}
    source = Source.open(write_zip(tmp_path / "pets.zip", members))
    assert source.class_names == ("cat", "dog")
    assert source.skipped == (("README.txt", "not an image file"),)


def test_images_outside_folders_mean_no_classes(folder: Path, encode, rgb: np.ndarray) -> None:
    (folder / "0.PNG").write_bytes(encode(rgb[0]))
    source = Source.open(folder)
    assert len(source) == 7
    assert source.labels is None
    assert source.class_names is None


def test_deeper_folders_belong_to_the_top_one(tmp_path: Path, write_folder, encode, rgb: np.ndarray) -> None:
    images = {"b/x/1.png": encode(rgb[0]), "a/1.png": encode(rgb[1]), "a/y/z/2.png": encode(rgb[2])}
    source = Source.open(write_folder(tmp_path / "deep", images))
    assert source.class_names == ("a", "b")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 1]


def test_links_loops_and_pipes(folder: Path) -> None:
    (folder / "cat" / "loop").symlink_to(folder)
    (folder / "cat" / "lost.png").symlink_to(folder / "nowhere.png")
    os.mkfifo(folder / "cat" / "pipe.png")
    (folder / "ewe").symlink_to(folder / "dog")
    source = Source.open(folder)
    assert source.class_names == ("cat", "dog", "ewe")
    assert dict(source.skipped) == {
        "cat/loop/": "a link to a folder above it",
        "cat/lost.png": "a broken link",
        "cat/pipe.png": "not a regular file",
    }


def test_what_is_skipped_is_listed_as_it_is_now(folder: Path) -> None:
    """Links come and go after the images were cached; a link to itself is no reason to refuse (case 14)."""
    (folder / "self.png").symlink_to("self.png")
    (folder / "notes.txt").write_text("hello")
    first = Source.open(folder)
    assert dict(first.skipped) == {"self.png": "a link to itself", "notes.txt": "not an image file"}
    (folder / "self.png").unlink()
    (folder / "notes.txt").unlink()
    (folder / "cat/lost.png").symlink_to("nowhere")
    second = Source.open(folder)
    assert second.origin is not None
    assert second.origin.hit
    assert second.skipped == (("cat/lost.png", "a broken link"),)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_edm_labels(tmp_path: Path, write_folder, write_zip, encode, rgb: np.ndarray, kind: str) -> None:
    names = [f"0000{k % 2}/img{k}.png" for k in range(6)]
    members = {name: encode(image) for name, image in zip(names, rgb, strict=True)}
    members["dataset.json"] = json.dumps(
        {"labels": [[n, 5 - k] for k, n in enumerate(names)] + [["gone.png", 1]]}
    ).encode()
    write = write_folder if kind == "folder" else write_zip
    source = Source.open(write(tmp_path / "edm.zip", members))
    order = [0, 2, 4, 1, 3, 5]
    assert (source.images == stored(rgb)[order]).all()
    assert source.labels is not None
    assert source.labels.tolist() == [5 - k for k in order]
    assert source.class_names is None
    assert source.num_classes == 6
    assert source.skipped == (("gone.png", "labelled in dataset.json but not there"),)


def test_edm_without_labels(tmp_path: Path, write_zip, files) -> None:
    source = Source.open(write_zip(tmp_path / "edm.zip", {**files, "dataset.json": b'{"labels": null}'}))
    assert source.labels is None
    assert source.class_names is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"labels": [["cat/1.png", 0]]}, "no label for cat/2.png .and 4 more"),
        ({"labels": [["cat/1.png", -1]]}, "must be null or a list"),
        ({"labels": [["cat/1.png", 0.5]]}, "must be null or a list"),
        ({"labels": [["cat/1.png"]]}, "must be null or a list"),
        ({"labels": "none"}, "not str"),
    ],
)
def test_bad_edm_labels(tmp_path: Path, write_zip, files, content: object, said: str) -> None:
    path = write_zip(tmp_path / "edm.zip", {**files, "dataset.json": json.dumps(content).encode()})
    with pytest.raises(InputError, match=said):
        Source.open(path)


def test_unreadable_edm_labels(tmp_path: Path, write_zip, files) -> None:
    for text in (b"{", b"[" * 100_000, b"\xff\xfe"):
        with pytest.raises(InputError, match="not readable JSON"):
            Source.open(write_zip(tmp_path / "edm.zip", {**files, "dataset.json": text}))


def test_another_kind_of_dataset_json_is_just_a_file(tmp_path: Path, write_zip, files) -> None:
    source = Source.open(write_zip(tmp_path / "x.zip", {**files, "dataset.json": b'{"name": "pets"}'}))
    assert source.class_names == ("cat", "dog")
    assert source.skipped == (("dataset.json", "not an EDM data set's"),)


def test_nothing_to_read(tmp_path: Path, write_zip) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no images in .*\.png"):
        Source.open(tmp_path / "empty")
    with pytest.raises(InputError, match="no images"):
        Source.open(write_zip(tmp_path / "x.zip", {"a.txt": b"hello"}))


@pytest.mark.parametrize("threads", [False, True])
def test_damaged_images_are_named_or_skipped(folder: Path, rgb, monkeypatch: pytest.MonkeyPatch, threads: bool) -> None:
    if threads:
        monkeypatch.setattr(gathering_module, "SMALL_FILE", 0)
        monkeypatch.setattr(gathering_module, "MAX_CHUNK", 2)
    (folder / "cat" / "2.png").write_bytes((folder / "cat" / "2.png").read_bytes()[:60])
    (folder / "dog" / "1.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"cat/2\.png cannot be decoded \(and 1 more\): .*--skip-bad"):
        Source.open(folder)
    for _ in ("decoded", "cached"):
        source = Source.open(folder, skip_bad=True)
        assert (source.images == stored(rgb)[[0, 2, 4, 5]]).all()
        assert source.labels is not None
        assert source.labels.tolist() == [0, 0, 1, 1]
        assert [file for file, _ in source.skipped] == ["cat/2.png", "dog/1.png"]
        assert source.skipped[1][1] == "the file is empty"
    with pytest.raises(InputError, match="cannot be decoded"):
        Source.open(folder)


def test_a_damaged_first_image(folder: Path, rgb) -> None:
    (folder / "cat" / "1.png").write_bytes(b"not an image")
    source = Source.open(folder, skip_bad=True)
    assert (source.images == stored(rgb)[1:]).all()
    assert source.skipped == (("cat/1.png", "not a readable image"),)


def test_only_damaged_images(tmp_path: Path, write_folder) -> None:
    path = write_folder(tmp_path / "bad", {"a.png": b"x", "b.png": b"y"})
    with pytest.raises(InputError, match="no image is left"):
        Source.open(path, skip_bad=True)


def test_other_formats_behind_the_extension_are_not_read(folder: Path) -> None:
    (folder / "cat" / "1.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 5\n")
    with pytest.raises(InputError, match="not a readable image"):
        Source.open(folder)


def test_mixed_sizes_name_both(folder: Path, encode) -> None:
    (folder / "cat" / "2.png").write_bytes(encode(np.zeros((9, 8, 3), np.uint8)))
    with pytest.raises(InputError, match=r"cat/1\.png is 5 x 4 and cat/2\.png is 9 x 8 .*--resolution"):
        Source.open(folder)
    assert Source.open(folder, resolution=4).shape == (3, 4, 4)


@pytest.mark.parametrize("threads", [False, True])
def test_many_images_keep_their_order(tmp_path: Path, encode, write_zip, monkeypatch, threads: bool) -> None:
    if threads:
        monkeypatch.setattr(gathering_module, "SMALL_FILE", 0)
        monkeypatch.setattr(gathering_module, "MAX_CHUNK", 3)
    pixels = np.random.default_rng(3).integers(0, 256, (200, 3, 2), dtype=np.uint8)
    path = write_zip(tmp_path / "x.zip", {f"{k:04}.png": encode(image) for k, image in enumerate(pixels)})
    source = Source.open(path)
    assert (source.images[:, 0] == pixels).all()
    assert source.shape == (1, 3, 2)


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "C:/evil.png", "..\\evil.png"])
def test_members_that_leave_the_zip(tmp_path: Path, write_zip, files, name: str) -> None:
    path = write_zip(tmp_path / "x.zip", {**files, name: files["cat/1.png"]})
    with pytest.raises(InputError, match="leaves the archive"):
        Source.open(path)


def test_zip_bombs(tmp_path: Path, write_zip, files) -> None:
    with pytest.raises(InputError, match="decompression bomb"):
        Source.open(write_zip(tmp_path / "x.zip", {**files, "big.png": bytes(3 << 20)}))


def test_claimed_sizes_above_the_limit(tmp_path: Path, write_zip, files) -> None:
    path = write_zip(tmp_path / "x.zip", files)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    struct.pack_into("<I", data, at + 24, 300 << 20)
    path.write_bytes(data)
    with pytest.raises(InputError, match="more than the limit"):
        Source.open(path)


def test_overlapping_members(tmp_path: Path, write_zip, files) -> None:
    path = write_zip(tmp_path / "x.zip", files)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\1\2")
    struct.pack_into("<I", data, at + 20, len(data) + 1)
    path.write_bytes(data)
    with pytest.raises(InputError, match="overlap"):
        Source.open(path)


def test_a_member_that_lies_about_its_size(tmp_path: Path, write_zip, files) -> None:
    path = write_zip(tmp_path / "x.zip", files)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\1\2") + 24, 20)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"cat/1\.png cannot be decoded"):
        Source.open(path)


def test_pixel_bombs(tmp_path: Path, write_folder) -> None:
    header = b"P5 10000 6401 255\n"
    with pytest.raises(InputError, match="64 million pixels"):
        Source.open(write_folder(tmp_path / "x", {"a.pgm": header + bytes(10)}))


def test_encrypted_zips(tmp_path: Path, write_zip, files) -> None:
    path = write_zip(tmp_path / "x.zip", files)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="decrypt it first"):
        Source.open(path)


def test_other_compressions(tmp_path: Path, files) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.png", files["cat/1.png"])
    with pytest.raises(InputError, match="plain deflate"):
        Source.open(tmp_path / "x.zip")


def test_links_in_zips_are_ignored(tmp_path: Path, write_zip, files) -> None:
    path = write_zip(tmp_path / "x.zip", files)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("cat/secret.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    source = Source.open(path)
    assert len(source) == 6
    assert source.skipped == (("cat/secret.png", "a link"),)


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\3\4" + bytes(100)])
def test_not_a_zip(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(InputError, match="not a zip"):
        Source.open(tmp_path / "x.zip")


def test_cut_off_and_garbled_zips(tmp_path: Path, write_zip, files) -> None:
    path = write_zip(tmp_path / "x.zip", files)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(InputError, match="not a zip"):
        Source.open(path)
    garbled = whole.replace(b"PK\1\2", b"PK\7\7", 1)
    path.write_bytes(garbled)
    with pytest.raises(InputError, match="not a zip"):
        Source.open(path)


def test_a_zip_with_a_comment_and_something_before_it(tmp_path: Path, write_zip, files, rgb) -> None:
    path = write_zip(tmp_path / "x.zip", files)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"a comment"
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    assert (Source.open(path).images == stored(rgb)).all()


def test_zip64(tmp_path: Path, files, rgb, write_zip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)  # more members than this make a zip64
    path = write_zip(tmp_path / "x.zip", files)
    data = path.read_bytes()
    assert b"PK\6\6" in data
    assert (Source.open(path).images == stored(rgb)).all()
    before = central_directory_hash(path)
    at = data.index(b"PK\1\2") + 16  # the first member's CRC
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert central_directory_hash(path) != before
    path.write_bytes(b"something before it" + data)
    assert central_directory_hash(path) == before


def test_large_files_are_decoded_in_threads_and_stop_early(tmp_path: Path, encode, write_folder, monkeypatch) -> None:
    """After an error, what waits is not decoded any more."""
    monkeypatch.setattr(gathering_module, "SMALL_FILE", 0)
    monkeypatch.setattr(gathering_module, "MAX_CHUNK", 1)
    images = {f"{k:03}.png": encode(np.zeros((3, 3 if k != 2 else 4), np.uint8)) for k in range(300)}
    seen: list[str] = []
    original = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (seen.append(path.name), original(path))[1])
    with pytest.raises(InputError, match="differ in size"):
        Source.open(write_folder(tmp_path / "x", images))
    assert len(seen) < 100


def test_huge_files_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalti.source.trees.MAX_MEMBER", 1000)
    (folder / "dog" / "1.png").write_bytes(bytes(1001))
    with pytest.raises(InputError, match=r"dog/1\.png cannot be decoded: 1001 bytes are more than the limit"):
        Source.open(folder)


def test_a_garbled_edm_file_in_a_zip(tmp_path: Path, files, write_zip) -> None:
    path = write_zip(tmp_path / "x.zip", {**files, "dataset.json": b'{"labels": null, "padding": "0123456789"}'})
    data = path.read_bytes()
    at = data.index(b"dataset.json") + len(b"dataset.json") + 4
    path.write_bytes(data[:at] + b"\xff\xff\xff" + data[at + 3 :])
    with pytest.raises(InputError, match=r"dataset\.json is not readable"):
        Source.open(path)


TREES = {
    "classes": ({"cat/1.png": 0, "dog/2.png": 1}, ("cat", "dog"), [0, 1]),
    "classes in a folder": ({"data/cat/1.png": 0, "data/dog/2.png": 1}, ("cat", "dog"), [0, 1]),
    "a part alone": ({"train/n01/1.png": 0, "train/n02/2.png": 1}, ("n01", "n02"), [0, 1]),
    "one class": ({"cats/1.png": 0, "cats/2.png": 1}, ("cats",), [0, 0]),
    "no classes": ({"1.png": 0, "cats/2.png": 1}, None, None),
    "flat parts": ({"test/1.png": 0, "train/2.png": 1}, None, None),
    "parts": ({"test/dog/1.png": 0, "train/cat/2.png": 1, "train/dog/3.png": 2}, ("cat", "dog"), [1, 0, 1]),
    "EDM in a folder": (
        {
            "x/00000/1.png": 0,
            "x/00000/2.png": 1,
            "x/dataset.json": '{"labels": [["00000/2.png", 4], ["00000/1.png", 3]]}',
        },
        None,
        [3, 4],
    ),
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES.keys())
@pytest.mark.filterwarnings("ignore:.*has the parts")
def test_a_folder_and_a_zip_of_the_same_tree_are_the_same(
    tmp_path: Path, tree, encode, rgb, write_folder, write_zip
) -> None:
    """Case 05."""
    content, names, labels = tree
    files = {path: value.encode() if isinstance(value, str) else encode(rgb[value]) for path, value in content.items()}
    for path in (write_folder(tmp_path / "tree", files), write_zip(tmp_path / "tree.zip", files)):
        source = Source.open(path)
        assert source.class_names == names
        assert (None if source.labels is None else source.labels.tolist()) == labels
        assert source.skipped == ()


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_parts_are_said_and_can_be_chosen(tmp_path: Path, encode, rgb, write_folder, write_zip, kind: str) -> None:
    names = ["test/cat/1.png", "train/cat/2.png", "train/dog/3.png", "val/dog/4.png"]
    files = {name: encode(image) for name, image in zip(names, rgb, strict=False)}
    path = (write_folder if kind == "folder" else write_zip)(tmp_path / "x.zip", files)
    for _ in ("decoded", "cached"):
        with pytest.warns(
            UserWarning, match=r"parts test \(1\), train \(2\), validation \(1\).*--split train"
        ) as caught:
            assert len(Source.open(path)) == 4
        assert len(caught) == 1
    train = Source.open(path, split="train")
    assert (train.images == stored(rgb)[1:3]).all()
    assert train.class_names == ("cat", "dog")
    assert (Source.open(path, split="validation").images == stored(rgb)[3:4]).all()
    with pytest.raises(InputError, match=r"has no part 'tarin'; .*did you mean 'train'"):
        Source.open(path, split="tarin")


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_parts_within_classes(tmp_path: Path, encode, rgb, write_folder, write_zip, kind: str) -> None:
    names = ["cat/test/1.png", "cat/train/2.png", "dog/train/3.png"]
    files = {name: encode(image) for name, image in zip(names, rgb, strict=False)}
    path = (write_folder if kind == "folder" else write_zip)(tmp_path / "x.zip", files)
    with pytest.warns(UserWarning, match=r"parts test \(1\), train \(2\).*--split train"):
        assert len(Source.open(path)) == 3
    train = Source.open(path, split="train")
    assert (train.images == stored(rgb)[1:3]).all()
    assert train.class_names == ("cat", "dog")
    assert train.labels is not None
    assert train.labels.tolist() == [0, 1]


OTHER_FOLDERS = {
    "masks": (["images/1.png", "images/2.png", "masks/1.png"], [0, 1], None, None, "1 file in masks"),
    "masks of classes": (
        ["cat/images/1.png", "cat/masks/1.png", "dog/images/2.png"],
        [0, 2],
        ("cat", "dog"),
        None,
        "masks",
    ),
    "masks in parts": (
        ["test/images/1.png", "test/masks/1.png", "train/images/2.png", "train/masks/2.png"],
        [0, 2],
        None,
        "train",
        "parts test (1), train (1)",
    ),
    "masks by parts": (
        ["images/train/1.png", "images/val/2.png", "labels/train/1.png"],
        [0, 1],
        None,
        "train",
        "labels",
    ),
    "masks of every class": (
        ["a/1.png", "a_masks/1.png", "b/2.png", "b_masks/2.png"],
        [0, 2],
        ("a", "b"),
        None,
        "a_masks",
    ),
    "Carvana": (["train/1.png", "train_masks/1.png"], [0], None, None, "train_masks"),
    "VOC": (
        ["JPEGImages/1.png", "SegmentationClass/1.png", "SegmentationObject/1.png"],
        [0],
        None,
        None,
        "1 more folder",
    ),
    "Cityscapes": (["gtFine/train/a/1.png", "leftImg8bit/train/a/1.png"], [1], ("a",), None, "gtFine"),
    "CycleGAN": (
        ["testA/1.png", "testB/2.png", "trainA/3.png", "trainB/4.png"],
        [0, 1, 2, 3],
        ("A", "B"),
        "train",
        "parts test (2), train (2)",
    ),
    "COCO": (["train2017/1.png", "val2017/2.png"], [0, 1], None, "train", "parts train (1), validation (1)"),
    "by name": (["images_test/1.png", "images_train/2.png"], [0, 1], None, "train", "parts test (1), train (1)"),
    "something beside parts": (
        ["docs/1.png", "test/2.png", "train/3.png"],
        [0, 1, 2],
        ("docs", "test", "train"),
        None,
        "taken for classes",
    ),
}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
@pytest.mark.filterwarnings("ignore:.*masks")
@pytest.mark.parametrize("tree", OTHER_FOLDERS.values(), ids=OTHER_FOLDERS.keys())
def test_folders_that_are_no_classes_are_said(
    tmp_path: Path, encode, rgb, write_folder, write_zip, kind: str, tree
) -> None:
    names, kept, classes, split, said = tree
    files = {name: encode(image) for name, image in zip(names, rgb, strict=False)}
    path = tmp_path / f"data.{kind}"
    if kind == "tar":
        with tarfile.open(path, "w") as archive:
            archive.add(write_folder(tmp_path / "tree", files), ".")
    else:
        (write_folder if kind == "folder" else write_zip)(path, files)
    with pytest.warns(UserWarning, match="/data") as caught:
        source = Source.open(path)
    assert said in " ".join(str(warning.message) for warning in caught)
    order = sorted(source.files.tolist())  # type: ignore[union-attr]
    assert order == sorted(names[number] for number in kept)
    assert source.class_names == classes
    assert bool(source.skipped) == (len(kept) < len(names))
    if split is not None:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", ".*has the parts")
            part = Source.open(path, split=split)
        assert 0 < len(part) < len(source)
        assert part.class_names == classes


@pytest.mark.parametrize(
    "names",
    [
        ["with_mask/1.png", "without_mask/2.png"],
        ["label/1.png", "train/2.png"],
        ["bus/1.png", "train/2.png"],
        ["photo/1.png", "rgb/2.png"],
        ["golf/1.png", "mustang/2.png", "mustang_gt/3.png"],
    ],
)
def test_other_folders_are_classes(tmp_path: Path, encode, rgb, write_folder, names: list[str]) -> None:
    files = {name: encode(image) for name, image in zip(names, rgb, strict=False)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = Source.open(write_folder(tmp_path / "tree", files))
    assert source.class_names == tuple(name.split("/")[0] for name in names)


def test_a_split_of_what_has_none(folder: Path) -> None:
    with pytest.raises(InputError, match="no folders train, test or validation"):
        Source.open(folder, split="train")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"labels": [["cat/1.png", 0], ["cat/1.png", 1]]}', "into two classes, 0 and 1"),
        ('{"labels": [["cat/1.png", ' + "9" * 5000 + "]]}", "not readable JSON"),
        ('{"labels": [' + "[" * 5000 + "]}", "not readable JSON"),
        ('{"labels": {"cat/1.png": 0}}', "not dict"),
        ('{"labels": []}', "no label for"),
        ('{"labels": [["cat/1.png", 0],]}', "not readable JSON"),
        ('{"labels": [["cat/1.png", 0]', "not readable JSON"),
        ('{"labels" [["cat/1.png", 0]]}', "not readable JSON"),
    ],
)
def test_hostile_edm_labels(tmp_path: Path, write_zip, files, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Source.open(write_zip(tmp_path / "edm.zip", {**files, "dataset.json": text.encode()}))


def test_edm_paths_with_escapes_and_other_keys(tmp_path: Path, write_zip, encode, rgb) -> None:
    files = {"a/é.png": encode(rgb[0]), "a/b.png": encode(rgb[1])}
    text = '{ "name" : {"x": [1, 2]}, "labels" : [ ["a/\\u00e9.png", 2 ] , ["a/b.png",1]] , "n": 3 }'
    source = Source.open(write_zip(tmp_path / "edm.zip", {**files, "dataset.json": text.encode()}))
    assert source.labels is not None
    assert source.labels.tolist() == [1, 2]


def test_an_edm_file_that_is_too_large(tmp_path: Path, write_zip, files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smalti.source.listing.MAX_EDM", 1000)
    with pytest.raises(InputError, match=r"dataset\.json claims 1016 bytes, more than the limit of 1000"):
        Source.open(write_zip(tmp_path / "x.zip", {**files, "dataset.json": b'{"labels": null}' + b" " * 1000}))
