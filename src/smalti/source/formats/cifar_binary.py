"""CIFAR-10 and CIFAR-100 as they are published for C: records of label bytes and 3072 pixel bytes, in .bin files or their tar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from smalti.core.errors import InputError, from_os_error
from smalti.core.text import printable
from smalti.source.cache import Built, Store
from smalti.source.conversion import Rows, fill
from smalti.source.format import Format, Request, Stored, cached
from smalti.source.identity import file_identity, files_identity
from smalti.source.names import choose_part
from smalti.source.tars import TAR_ENDINGS, holds_file, is_tar_name, read_members

__all__ = ["CIFAR_BINARY"]

PIXELS = 3 * 32 * 32
MAX_FILE, MAX_TAR = 256 << 20, 512 << 20  # bytes


@dataclass(frozen=True)
class _Kind:
    """One of the published sets: its folder, the files of its parts, that of class names, and label bytes of a record."""

    title: str
    folder: str
    batches: Mapping[str, tuple[str, ...]]
    names: str
    label_bytes: int


CIFAR_10 = _Kind(
    "CIFAR-10",
    "cifar-10-batches-bin",
    {"train": tuple(f"data_batch_{n}.bin" for n in range(1, 6)), "test": ("test_batch.bin",)},
    "batches.meta.txt",
    1,
)
CIFAR_100 = _Kind(
    "CIFAR-100", "cifar-100-binary", {"train": ("train.bin",), "test": ("test.bin",)}, "fine_label_names.txt", 2
)


def _kind(path: Path) -> _Kind | None:
    for kind in (CIFAR_10, CIFAR_100):
        if path.is_dir():
            if (path / kind.batches["train"][0]).is_file() and (path / kind.names).is_file():
                return kind
        elif is_tar_name(path) and holds_file(path, (kind.folder,), (kind.names, *sum(kind.batches.values(), ()))):
            return kind
    return None


def open_cifar_binary(request: Request) -> Stored:
    """The training images, or the test images with split="test"; labels are the fine ones of CIFAR-100.

    Raises:
        InputError: a missing file, or one that is not made of records.
    """
    path, kind = request.path, _kind(request.path)
    assert kind is not None
    part = choose_part(kind.batches, request.split, str(path))
    wanted = (*kind.batches[part], kind.names)
    there = {name: path / name for name in wanted if (path / name).is_file()} if path.is_dir() else {}

    def build(store: Store) -> Built:
        if there:
            files = {name: _whole(file) for name, file in there.items()}
        else:
            files = read_members(path, lambda name: _wanted(name, kind.folder, wanted), MAX_FILE, MAX_TAR)
        return _assemble(files, kind, part, request, store)

    identity = files_identity(there) if there else file_identity(path)
    rule = f"the {part} images of the published {kind.title}, as they are"
    options = {"cifar binary": kind.title, "part": part}
    return cached(request, "cifar-binary", request.name(*TAR_ENDINGS), rule, identity, options, build)


def _wanted(member: str, folder: str, names: tuple[str, ...]) -> str | None:
    inside = PurePosixPath(member)
    return inside.name if inside.parent.name in ("", folder) and inside.name in names else None


def _whole(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE:
            raise InputError(f"{path} is refused: it is larger than {MAX_FILE} bytes, which no batch is")
        return path.read_bytes()
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error


def _assemble(files: Mapping[str, bytes], kind: _Kind, part: str, request: Request, store: Store) -> Built:
    missing = [name for name in kind.batches[part] if name not in files]
    if missing:
        raise InputError(f"{request.path} has no {', '.join(missing)}, which {kind.title} has; fetch it again")
    size = kind.label_bytes + PIXELS
    records = []
    for name in kind.batches[part]:
        if not files[name] or len(files[name]) % size:
            raise InputError(
                f"{request.path}: {name} has {len(files[name])} bytes, no multiple of {size}; fetch it again"
            )
        records.append(np.frombuffer(files[name], np.uint8).reshape(-1, size))
    labels = np.concatenate([batch[:, kind.label_bytes - 1] for batch in records]).astype(np.int64)
    lines = files.get(kind.names, b"").decode("utf-8", "replace").split("\n")
    names = tuple(printable(line.strip()) for line in lines if line.strip())
    if names and int(labels.max()) >= len(names):
        raise InputError(f"{request.path} has the class {int(labels.max())}, and {kind.names} names {len(names)}")
    rows = Rows(
        (len(labels), 3, 32, 32),
        np.dtype(np.uint8),
        lambda: (batch[:, kind.label_bytes :].reshape(-1, 3, 32, 32) for batch in records),
    )
    return Built(fill(rows, store, request.resolution, request.show), labels, names or None, ())


CIFAR_BINARY = Format(
    "cifar-binary",
    "their binary versions",
    lambda path, head: _kind(path) is not None,
    open_cifar_binary,
    splits=True,
)
