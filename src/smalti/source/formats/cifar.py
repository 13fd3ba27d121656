"""CIFAR-10 and CIFAR-100 as they are published for Python: the tar, or its unpacked folder.

The training images are read, or with split="test" the test images. The pickles are read by smalti.source.pickles, which
executes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from smalti.core.errors import InputError, from_os_error
from smalti.core.text import printable
from smalti.source.cache import Built, Store
from smalti.source.conversion import Rows, fill
from smalti.source.format import Format, Request, Stored, cached
from smalti.source.identity import file_identity, files_identity
from smalti.source.names import choose_part
from smalti.source.pickles import ArrayRecord, read_pickle
from smalti.source.tars import TAR_ENDINGS, holds_file, is_tar_name, read_members

__all__ = ["CIFAR"]

SHAPE = (3, 32, 32)
MAX_FILE = 256 << 20  # bytes of one batch; the largest published one has 155 million
MAX_TAR = 512 << 20  # bytes of the whole tar, unpacked


@dataclass(frozen=True)
class _Kind:
    """One of the published sets: its folder, the batches of its parts, the file of class names and the keys in them."""

    title: str
    folder: str
    batches: Mapping[str, tuple[str, ...]]
    meta: str
    labels: str
    names: str

    @property
    def files(self) -> tuple[str, ...]:
        return (*(name for part in self.batches.values() for name in part), self.meta)


CIFAR_10 = _Kind(
    "CIFAR-10",
    "cifar-10-batches-py",
    {"train": tuple(f"data_batch_{n}" for n in range(1, 6)), "test": ("test_batch",)},
    "batches.meta",
    "labels",
    "label_names",
)
CIFAR_100 = _Kind(
    "CIFAR-100", "cifar-100-python", {"train": ("train",), "test": ("test",)}, "meta", "fine_labels", "fine_label_names"
)
_KINDS = (CIFAR_10, CIFAR_100)


def _kind_of_folder(folder: Path) -> _Kind | None:
    if (folder / CIFAR_10.batches["train"][0]).is_file():
        return CIFAR_10
    if all((folder / name).is_file() for name in CIFAR_100.files):
        return CIFAR_100
    return None


def _kind_of_tar(path: Path) -> _Kind | None:
    for kind in _KINDS:
        folders = (kind.folder, "") if kind is CIFAR_10 else (kind.folder,)  # CIFAR-100's names are anyone's
        if holds_file(path, folders, kind.files):
            return kind
    return None


def _kind(path: Path) -> _Kind | None:
    if path.is_dir():
        return _kind_of_folder(path)
    return _kind_of_tar(path) if path.is_file() and is_tar_name(path) else None


def open_cifar(request: Request) -> Stored:
    """The training (or test) images from the tar or its unpacked folder.

    Raises:
        InputError: a missing, damaged or oversized batch, or a pickle that holds anything but plain data and arrays.
    """
    path = request.path
    kind = _kind(path)
    assert kind is not None
    part = choose_part(kind.batches, request.split, str(path))
    wanted = (*kind.batches[part], kind.meta)

    def build(store: Store) -> Built:
        files = _read_folder(path, wanted) if path.is_dir() else _read_tar(path, kind, wanted)
        return _assemble(files, kind, part, request, store)

    parts = {name: path / name for name in wanted if (path / name).is_file()}
    identity = files_identity(parts) if path.is_dir() else file_identity(path)
    left = "test" if part == "train" else "train"
    rule = f"the {part} images of the published {kind.title}, as they are (those of {left} are not included)"
    options = {"cifar": kind.title, "part": part}
    return cached(request, "cifar", request.name(*TAR_ENDINGS), rule, identity, options, build)


def _read_folder(folder: Path, wanted: tuple[str, ...]) -> dict[str, bytes]:
    files = {}
    for name in wanted:
        path = folder / name
        if not path.is_file():
            continue
        try:
            if path.stat().st_size > MAX_FILE:
                raise InputError(f"{path} is refused: it is larger than {MAX_FILE} bytes, which no batch is")
            files[name] = path.read_bytes()
        except OSError as error:
            raise from_os_error(error, f"read {path}") from error
    return files


def _read_tar(path: Path, kind: _Kind, names: tuple[str, ...]) -> dict[str, bytes]:
    def wanted(name: str) -> str | None:
        inside = PurePosixPath(name)
        return inside.name if inside.parent.name in ("", kind.folder) and inside.name in names else None

    return read_members(path, wanted, MAX_FILE, MAX_TAR)


def _assemble(files: Mapping[str, bytes], kind: _Kind, part: str, request: Request, store: Store) -> Built:
    what = str(request.path)
    missing = [name for name in kind.batches[part] if name not in files]
    if missing:
        needed = ", ".join(kind.batches[part])
        raise InputError(f"{what} has no {', '.join(missing)}; the {part} images of {kind.title} are {needed}")
    names = _class_names(files[kind.meta], kind, f"{what}: {kind.meta}") if kind.meta in files else None
    batches, labels = [], []
    for name in kind.batches[part]:
        images, classes = _batch(files[name], kind, f"{what}: {name}")
        if names is not None and max(classes) >= len(names):
            raise InputError(f"{what}: {name} has the class {max(classes)}, and {kind.meta} names {len(names)}")
        batches.append(images)
        labels += classes
    rows = Rows((len(labels), *SHAPE), np.dtype(np.uint8), lambda: iter(batches))
    return Built(fill(rows, store, request.resolution, request.show), np.array(labels, np.int64), names, ())


def _batch(data: bytes, kind: _Kind, what: str) -> tuple[np.ndarray, list[int]]:
    content = _entries(read_pickle(data, what), kind, what)
    images, labels = content.get("data"), content.get(kind.labels)
    if not isinstance(images, ArrayRecord) or not isinstance(labels, list):
        raise InputError(f"{what} has no data and {kind.labels}; is it the {kind.title} python version?")
    try:
        pixels = images.to_uint8()
    except ValueError as error:
        raise InputError(f"{what}: its data is {error}") from error
    if pixels.ndim != 2 or pixels.shape[1] != 3072 or len(labels) != len(pixels):
        raise InputError(
            f"{what}: data of shape {pixels.shape} with {len(labels)} labels; (n, 3072) and n were expected"
        )
    if not all(type(label) is int and 0 <= label < 2**31 for label in labels):
        raise InputError(f"{what}: its labels are not all classes numbered from 0")
    return pixels.reshape(-1, *SHAPE), labels


def _class_names(data: bytes, kind: _Kind, what: str) -> tuple[str, ...]:
    names = _entries(read_pickle(data, what), kind, what).get(kind.names)
    if not isinstance(names, list) or not names or not all(isinstance(name, (str, bytes)) for name in names):
        raise InputError(f"{what} has no {kind.names}; is it the {kind.title} python version?")
    return tuple(printable(name.decode("utf-8", "replace") if isinstance(name, bytes) else name) for name in names)


def _entries(content: Any, kind: _Kind, what: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"{what} is not a dict; is it the {kind.title} python version?")
    return {
        key.decode("latin-1") if isinstance(key, bytes) else str(key)[:200]: value for key, value in content.items()
    }


CIFAR = Format(
    "cifar",
    "CIFAR-10 and CIFAR-100 for Python (the .tar.gz or its folder)",
    lambda path, head: _kind(path) is not None,
    open_cifar,
    splits=True,
)
