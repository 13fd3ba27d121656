"""The data sets that people of this field have: each is written as it is published, and opened."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from smalti.core.errors import InputError
from smalti.source import Source

RNG = np.random.default_rng(0)


def images_of(count: int, *shape: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, *shape), dtype=np.uint8)


def tar_of(path: Path, files: Mapping[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


# --- idx ---


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("packed", [False, True])
def test_mnist(tmp_path: Path, packed: bool) -> None:
    pixels = {"train": images_of(5, 8, 7), "t10k": images_of(3, 8, 7)}
    labels = {name: np.arange(len(array), dtype=np.uint8) for name, array in pixels.items()}
    for name in pixels:
        for kind, array in (("images-idx3", pixels[name]), ("labels-idx1", labels[name])):
            data = idx(array)
            file = tmp_path / f"{name}-{kind}-ubyte{'.gz' if packed else ''}"
            file.write_bytes(gzip.compress(data) if packed else data)
    ending = ".gz" if packed else ""
    for source in (Source.open(tmp_path), Source.open(tmp_path / f"train-images-idx3-ubyte{ending}")):
        assert (source.images == pixels["train"][:, None]).all()
        assert source.labels is not None
        assert source.labels.tolist() == [0, 1, 2, 3, 4]
    assert (Source.open(tmp_path, split="test").images == pixels["t10k"][:, None]).all()
    with pytest.raises(InputError, match="no part 'extra'"):
        Source.open(tmp_path, split="extra")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (idx(images_of(2, 4, 4))[:-1], "ends early"),
        (idx(images_of(2, 4, 4)) + b"x", "longer than its header"),
        (b"\0\0\x08\x03" + struct.pack(">III", 1 << 28, 1 << 14, 1 << 14), "cannot hold"),
        (b"\0\0\x08\x03" + struct.pack(">III", 1, 1 << 31, 1), "claims an array"),
        (b"\0\0\x08\x03" + struct.pack(">III", 0, 4, 4), "claims an array"),
        (b"\0\0\x08\x03\0", "no idx file"),
    ],
)
def test_damaged_idx(tmp_path: Path, data: bytes, said: str) -> None:
    for name, content in (("x-images-idx3-ubyte", data), ("x-images-idx3-ubyte.gz", gzip.compress(data))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=said):
            Source.open(tmp_path / name)


def test_labels_that_are_not_of_these_images(tmp_path: Path) -> None:
    (tmp_path / "x-images-idx3-ubyte").write_bytes(idx(images_of(2, 4, 4)))
    (tmp_path / "x-labels-idx1-ubyte").write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(InputError, match="for 2 images"):
        Source.open(tmp_path / "x-images-idx3-ubyte")


# --- CIFAR ---


def test_cifar_100(tmp_path: Path, write_folder) -> None:
    pixels = images_of(4, 3072)
    names = [f"fine {k}" for k in range(100)]
    files = {
        name: pickle.dumps({"data": pixels[part], "fine_labels": [7, 99], "coarse_labels": [0, 1]}, protocol=2)
        for name, part in (("train", slice(0, 2)), ("test", slice(2, 4)))
    }
    files["meta"] = pickle.dumps({"fine_label_names": names, "coarse_label_names": ["x"]}, protocol=2)
    folder = write_folder(tmp_path / "cifar-100-python", files)
    tar = tar_of(tmp_path / "c.tar.gz", {f"cifar-100-python/{name}": data for name, data in files.items()}, "w:gz")
    for path in (folder, tar):
        source = Source.open(path)
        assert (source.images == pixels[:2].reshape(2, 3, 32, 32)).all()
        assert source.labels is not None
        assert source.labels.tolist() == [7, 99]
        assert source.class_names == tuple(names)
        assert "CIFAR-100" in source.origin.rule  # type: ignore[union-attr]
        assert (Source.open(path, split="test").images == pixels[2:].reshape(2, 3, 32, 32)).all()


def test_cifar_binary(tmp_path: Path, write_folder) -> None:
    pixels, labels = images_of(12, 3072), np.arange(12, dtype=np.uint8) % 10
    records = np.concatenate([labels[:, None], pixels], 1)
    files = {f"data_batch_{k}.bin": records[2 * k - 2 : 2 * k].tobytes() for k in range(1, 6)}
    files["test_batch.bin"] = records[10:].tobytes()
    files["batches.meta.txt"] = "\n".join(f"class {k}" for k in range(10)).encode() + b"\n\n"
    folder = write_folder(tmp_path / "cifar-10-batches-bin", files)
    tar = tar_of(tmp_path / "c.tar.gz", {f"cifar-10-batches-bin/{name}": data for name, data in files.items()}, "w:gz")
    for path in (folder, tar):
        source = Source.open(path)
        assert (source.images == pixels[:10].reshape(10, 3, 32, 32)).all()
        assert (source.labels == labels[:10]).all()
        assert source.class_names == tuple(f"class {k}" for k in range(10))
        assert len(Source.open(path, split="test")) == 2
    (folder / "data_batch_3.bin").write_bytes(b"x")
    with pytest.raises(InputError, match=r"data_batch_3\.bin has 1 bytes"):
        Source.open(folder)


def test_cifar_100_binary_has_two_labels(tmp_path: Path, write_folder) -> None:
    record = bytes([3, 77]) + bytes(3072 - 1) + b"\xff"
    files = {"train.bin": record, "test.bin": record, "fine_label_names.txt": b"\n".join([b"x"] * 100)}
    source = Source.open(write_folder(tmp_path / "cifar-100-binary", files))
    assert source.labels is not None
    assert source.labels.tolist() == [77]


BATCH = pickle.dumps({b"data": images_of(1, 3072), b"labels": [1]}, protocol=2)
PUBLISHED = {
    "cifar": {
        "cifar-10-batches-py/batches.meta": pickle.dumps({"label_names": ["a", "b"]}, protocol=2),
        **{f"cifar-10-batches-py/data_batch_{k}": BATCH for k in range(1, 6)},
    },
    "cifar-binary": {f"cifar-10-batches-bin/data_batch_{k}.bin": bytes([k]) + bytes(3072) for k in range(1, 6)},
    "stl10": {"stl10_binary/train_X.bin": bytes(3 * 96 * 96), "stl10_binary/train_y.bin": b"\1"},
}


@pytest.mark.parametrize("first", [{"readme.html": b"x"}, {"._data": b"x" * 2_000_000}, {"./": b""}])
@pytest.mark.parametrize("kind", PUBLISHED)
@pytest.mark.filterwarnings("ignore:.*almost black")
def test_tars_of_published_sets_that_were_packed_anew(tmp_path: Path, kind: str, first: dict[str, bytes]) -> None:
    before = "./" if "./" in first else ""
    members = ({} if before else first) | {before + name: data for name, data in PUBLISHED[kind].items()}
    source = Source.open(tar_of(tmp_path / "x.tar", members))
    assert source.origin is not None
    assert source.origin.format == kind


# --- STL-10 ---


def test_stl10(tmp_path: Path, write_folder) -> None:
    pixels = images_of(3, 3, 96, 96)
    stored = pixels.swapaxes(2, 3).tobytes()  # column by column
    files = {
        "train_X.bin": stored,
        "train_y.bin": bytes([1, 10, 3]),
        "class_names.txt": b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n",
    }
    files["unlabeled_X.bin"] = stored[: 3 * 96 * 96]
    folder = write_folder(tmp_path / "stl10_binary", files)
    tar = tar_of(tmp_path / "s.tar.gz", {f"stl10_binary/{name}": data for name, data in files.items()}, "w:gz")
    for path in (folder, tar):
        source = Source.open(path)
        assert (source.images == pixels).all()
        assert source.labels is not None
        assert source.labels.tolist() == [0, 9, 2]
        assert source.class_names == tuple("abcdefghij")
        unlabelled = Source.open(path, split="unlabeled")
        assert (unlabelled.images == pixels[:1]).all()
        assert unlabelled.labels is None
    with pytest.raises(InputError, match="no part 'test'"):
        Source.open(folder, split="test")


# --- .mat ---


def test_svhn(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    pixels, labels = images_of(20, 3, 32, 32), np.arange(20) % 10 + 1
    scipy_io.savemat(tmp_path / "x.mat", {"X": pixels.transpose(2, 3, 1, 0), "y": labels[:, None].astype(np.float64)})
    for _ in ("read", "cached"):
        source = Source.open(tmp_path / "x.mat")
        assert (source.images == pixels).all()
        assert (source.labels == labels % 10).all()
    (tmp_path / "y.mat").write_bytes((tmp_path / "x.mat").read_bytes()[:3000])
    with pytest.raises(InputError, match=r"not a readable \.mat|no `images`"):
        Source.open(tmp_path / "y.mat")


# --- tables ---


@pytest.fixture
def pictures(encode) -> tuple[np.ndarray, list[bytes]]:
    pixels = images_of(5, 6, 4, 3)
    return pixels.transpose(0, 3, 1, 2), [encode(image) for image in pixels]


def write_parquet(path: Path, files: list[bytes], labels: list[int], names: list[str] | None = None) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"bytes": data, "path": f"{k}.png"} for k, data in enumerate(files)]
    table = arrow.table({"image": rows, "label": labels, "note": ["x"] * len(files)})
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path, row_group_size=2)


def test_parquet(tmp_path: Path, pictures) -> None:
    pixels, files = pictures
    write_parquet(tmp_path / "x.parquet", files, [1, 0, 1, 1, 0], ["cat", "dog"])
    source = Source.open(tmp_path / "x.parquet")
    assert (source.images == pixels).all()
    assert source.labels is not None
    assert source.labels.tolist() == [1, 0, 1, 1, 0]
    assert source.class_names == ("cat", "dog")
    assert source.skipped == (("note", "a column that is not used"),)


def test_names_of_classes_in_a_table(tmp_path: Path, pictures) -> None:
    pixels, files = pictures
    write_parquet(tmp_path / "x.parquet", files, ["dog", "cat", "dog", "ant", "cat"])
    source = Source.open(tmp_path / "x.parquet")
    assert (source.images == pixels).all()
    assert source.labels is not None
    assert source.labels.tolist() == [2, 1, 2, 0, 1]
    assert source.class_names == ("ant", "cat", "dog")
    assert source.skipped == (("note", "a column that is not used"),)
    write_parquet(tmp_path / "y.parquet", files, ["dog", None, "dog", "ant", "cat"])
    with pytest.raises(InputError, match="label has rows without a class"):
        Source.open(tmp_path / "y.parquet")


def test_a_folder_of_parquet_shards(tmp_path: Path, pictures) -> None:
    pixels, files = pictures
    folder = tmp_path / "repository"
    shards = [folder / "data" / f"train-0000{k}-of-00002.parquet" for k in range(2)]
    write_parquet(shards[0], files[:2], [0, 1])
    write_parquet(shards[1], files[2:4], [2, 3])
    write_parquet(folder / "data" / "test-00000-of-00001.parquet", files[4:], [4])
    assert (Source.open(folder).images == pixels[:4]).all()
    assert Source.open(folder).labels.tolist() == [0, 1, 2, 3]  # type: ignore[union-attr]
    assert (Source.open(folder, split="test").images == pixels[4:]).all()
    assert (Source.open([shards[1], shards[0]]).images == pixels[[2, 3, 0, 1]]).all()
    with pytest.raises(InputError, match="several files are one data set only where"):
        Source.open([shards[0], tmp_path])


def test_damaged_and_other_tables(tmp_path: Path, pictures) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    _, files = pictures
    write_parquet(tmp_path / "x.parquet", files, [0] * 5)
    whole = (tmp_path / "x.parquet").read_bytes()
    for data in (b"", b"PAR1", whole[: len(whole) // 2], whole[:100] + bytes(100) + whole[200:]):
        (tmp_path / "y.parquet").write_bytes(data)
        with pytest.raises(InputError):
            Source.open(tmp_path / "y.parquet")
    parquet.write_table(arrow.table({"text": ["a"]}), tmp_path / "z.parquet")
    with pytest.raises(InputError, match=r"no column of image files \(it has text \(string\)\)"):
        Source.open(tmp_path / "z.parquet")
    rows = [{"bytes": None, "path": "/etc/passwd"}]
    parquet.write_table(arrow.table({"image": rows}), tmp_path / "p.parquet")
    with pytest.raises(InputError, match="only names a file"):
        Source.open(tmp_path / "p.parquet")


def test_hugging_face(tmp_path: Path, pictures) -> None:
    datasets = pytest.importorskip("datasets")
    pixels, _ = pictures
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"img": [Image.fromarray(image.transpose(1, 2, 0)) for image in pixels], "label": [0, 1, 1, 0, 1]}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    dataset.save_to_disk(tmp_path / "saved")
    datasets.DatasetDict({"train": dataset, "test": dataset.select([0])}).save_to_disk(tmp_path / "both")
    for source in (Source.of(dataset), Source.open(tmp_path / "saved"), Source.open(tmp_path / "both")):
        assert (source.images == pixels).all()
        assert source.labels is not None
        assert source.labels.tolist() == [0, 1, 1, 0, 1]
        assert source.class_names == ("a", "b")
    assert len(Source.open(tmp_path / "both", split="test")) == 1


# --- tars ---


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_webdataset_shards(tmp_path: Path, pictures, mode: str) -> None:
    pixels, files = pictures
    ending = mode.replace("w:", ".").replace("w", "")
    shards = []
    for shard, part in enumerate(([0, 1, 2], [3, 4])):
        members = {}
        for k in part:
            members |= {f"{k:04}.cls": str(k % 2).encode(), f"{k:04}.png": files[k], f"{k:04}.txt": b"a caption"}
        shards.append(tar_of(tmp_path / f"x-{shard}.tar{ending}", members, mode))
    source = Source.open(shards)
    assert (source.images == pixels).all()
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 0, 1, 0]
    assert len(Source.open(shards[1])) == 2
    assert ("0000.txt", "not an image file") in source.skipped


def test_a_folder_of_shards(tmp_path: Path, pictures, encode) -> None:
    pixels, files = pictures
    (tmp_path / "shards").mkdir()
    for name, part in (("train-000000", [0, 1]), ("train-000001", [2, 3]), ("val-000000", [4])):
        members = {f"{k:04}.cls": str(k).encode() for k in part} | {f"{k:04}.png": files[k] for k in part}
        tar_of(tmp_path / "shards" / f"{name}.tar", members, "w")
    source = Source.open(tmp_path / "shards")
    assert (source.images == pixels[:4]).all()
    assert source.name == "shards"
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 2, 3]
    assert (Source.open(tmp_path / "shards", split="validation").images == pixels[4:]).all()
    with pytest.raises(InputError, match="has no part 'test'; it has train, validation"):
        Source.open(tmp_path / "shards", split="test")
    (tmp_path / "shards" / "a.png").write_bytes(files[0])
    assert len(Source.open(tmp_path / "shards")) == 1, "a folder of images is one, whatever else it has"


def test_several_images_of_a_sample_are_said(tmp_path: Path, pictures) -> None:
    _, files = pictures
    members = {f"{k}.{kind}.png": files[k] for k in range(2) for kind in ("input", "target")} | {
        "0.cls": b"0",
        "1.cls": b"1",
    }
    with pytest.warns(UserWarning, match=r"several images \(0\.input\.png and 0\.target\.png\), and all are taken"):
        assert len(Source.open(tar_of(tmp_path / "x.tar", members, "w"))) == 4


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_class_folders_in_a_tar(tmp_path: Path, files, rgb, mode: str) -> None:
    members = {f"./pets/{name}": data for name, data in files.items()} | {"./pets/notes.txt": b"hello"}
    source = Source.open(tar_of(tmp_path / f"x.tar{mode[1:].replace(':', '.')}", members, mode))
    assert (source.images == rgb.transpose(0, 3, 1, 2)).all()
    assert source.class_names == ("cat", "dog")
    assert source.labels is not None
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_json_labels_and_parts_in_a_tar(tmp_path: Path, pictures) -> None:
    pixels, files = pictures
    members = {"a.png": files[0], "a.json": b'{"label": 3}', "b.png": files[1], "b.json": b'{"label": 1}'}
    assert Source.open(tar_of(tmp_path / "x.tar", members)).labels.tolist() == [3, 1]  # type: ignore[union-attr]
    members = {"test/x/a.png": files[0], "train/x/b.png": files[1], "train/y/c.png": files[2]}
    path = tar_of(tmp_path / "y.tar", members)
    assert (Source.open(path, split="train").images == pixels[1:3]).all()
    with pytest.warns(UserWarning, match="has the parts test"):
        assert len(Source.open(path)) == 3


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"a.png": b"x", "a.cls": b"cat"}, "classes are numbers from 0"),
        ({"a.png": b"x", "a.cls": b"0", "b.png": b"y"}, "has no class beside it"),
        ({"../a.png": b"x"}, "leaves the archive"),
        ({"a.txt": b"x"}, "no images"),
        ({"a.png": b"x"}, "cannot be decoded"),
    ],
)
def test_bad_tars(tmp_path: Path, members: dict[str, bytes], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Source.open(tar_of(tmp_path / "x.tar", members))


def test_a_tar_bomb(tmp_path: Path, encode) -> None:
    members = {"zeros.bin": bytes(80 << 20), "a.png": encode(np.zeros((2, 2), np.uint8))}
    with pytest.raises(InputError, match="unpacks to more than"):
        Source.open(tar_of(tmp_path / "x.tar.gz", members, "w:gz"))


# --- objects ---


class Pairs(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """(image, label) as torchvision's datasets give them."""

    def __init__(self, images, labels, classes=None) -> None:  # type: ignore[no-untyped-def]
        self.images, self.labels = images, labels
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int):  # type: ignore[no-untyped-def]
        return self.images[number], self.labels[number]


def test_torch_datasets(pictures) -> None:
    pixels, files = pictures
    given = {
        "PIL": [Image.fromarray(image.transpose(1, 2, 0)) for image in pixels],
        "files": files,
        "tensors": [torch.from_numpy(image.copy()) for image in pixels],
        "channels last": [image.transpose(1, 2, 0) for image in pixels],
    }
    for images in given.values():
        for labels in ([0, 1, 2, 0, 1], torch.tensor([0, 1, 2, 0, 1])):
            source = Source.of(Pairs(images, labels, ["a", "b", "c"]), hflip=True, classes=["a", "b"])
            assert (source.images == pixels[[0, 1, 3, 4]]).all()
            assert source.labels is not None
            assert source.labels.tolist() == [0, 1, 0, 1]
            assert source.class_names == ("a", "b", "c")
            assert source.hflip
    assert Source.of(given["tensors"], resolution=2, limit=2).images.shape == (2, 3, 2, 2)
    floats = [torch.from_numpy(image) / 255 for image in pixels]
    with pytest.warns(UserWarning, match="ToTensor"):
        Source.of(Pairs(floats, [0] * 5))


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        (iter([1]), "has no length"),
        ([], "no items"),
        ([("text", 1)], "item 0 is a str"),
        ([{"text": 1}], "item 0 has no image"),
        ([(np.zeros((3, 4, 4), np.uint8), 0.5)], "no class"),
        ([(np.zeros((3, 4, 4), np.uint8), -1)], "label 0 is -1"),
        ([np.zeros((3, 4, 4), np.uint8), np.zeros((3, 5, 4), np.uint8)], "item 1 is uint8 of shape"),
        ([b"not an image"], "item 0 cannot be decoded"),
        ({"train": [1], "test": [1]}, "dict is a table of data sets .'train', 'test'.; give one of them"),
        ({1, 2}, "set has no item 0"),
    ],
)
def test_bad_datasets(dataset: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Source.of(dataset)


# --- torch.save ---


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_of_torch_save(tmp_path: Path, legacy: bool) -> None:
    pixels, labels = torch.from_numpy(images_of(6, 3, 8, 8)), torch.tensor([0, 1, 2, 0, 1, 2])

    def opened(content: object, **options: object) -> Source:
        torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
        return Source.open(tmp_path / "x.pt", **options)  # type: ignore[arg-type]

    assert opened(pixels).labels is None
    for content in (
        (pixels, labels),
        [pixels, labels],
        {"images": pixels, "labels": labels},
        {"x": pixels, "y": labels},
    ):
        source = opened(content)
        assert (source.images == pixels.numpy()).all()
        assert (source.labels == labels.numpy()).all()
    assert (opened(pixels.permute(0, 2, 3, 1).contiguous(), layout="nhwc").images == pixels.numpy()).all()
    floats = pixels.float() / 127.5 - 1
    assert np.allclose(opened(floats.bfloat16()).images, floats, atol=0.01)
    split = opened({"x_train": pixels[:4], "y_train": labels[:4], "x_test": pixels[4:]}, split="test")
    assert (split.images == pixels[4:].numpy()).all()
    with pytest.raises(InputError, match="holds no tensor"):
        opened({"a": 1})
    with pytest.raises(InputError, match=r"a list of 6 images; save them as one tensor, torch\.stack"):
        opened(list(pixels))
