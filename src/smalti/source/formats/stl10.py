"""STL-10 as it is published for C: train_X.bin and its like, of 96 x 96 RGB, column by column; the folder or its tar."""

from __future__ import annotations

from collections.abc import Iterator
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

__all__ = ["STL10"]

FOLDER = "stl10_binary"
SHAPE = (3, 96, 96)
IMAGE_BYTES = 3 * 96 * 96
BLOCK = 256  # images
MAX_FILE, MAX_TAR = (
    512 << 20,
    4 << 30,
)  # bytes; the unlabelled images have 2.8 billion, and are read from the folder alone
FILES = {
    "train": ("train_X.bin", "train_y.bin"),
    "test": ("test_X.bin", "test_y.bin"),
    "unlabeled": ("unlabeled_X.bin",),
}
NAMES = "class_names.txt"


def _is_folder(path: Path) -> bool:
    return path.is_dir() and (path / FILES["train"][0]).is_file()


def _is_tar(path: Path) -> bool:
    names = [NAMES, *(name for part in FILES.values() for name in part)]
    return path.is_file() and is_tar_name(path) and holds_file(path, (FOLDER,), names)


def open_stl10(request: Request) -> Stored:
    """The training images, or another part: split="test" or "unlabeled". Classes, published from 1, are counted from 0.

    Raises:
        InputError: a missing file, or sizes that do not fit.
    """
    path = request.path
    folder = path.is_dir()
    there = [part for part, names in FILES.items() if not folder or (path / names[0]).is_file()]
    part = choose_part(there, request.split, str(path))
    wanted = (*FILES[part], NAMES)

    def build(store: Store) -> Built:
        if folder:
            size = _size(path / wanted[0])
            rows = _rows(_blocks(path / wanted[0]), size, str(path / wanted[0]))
            others = {name: (path / name).read_bytes() for name in wanted[1:] if (path / name).is_file()}
        else:
            found = read_members(path, lambda name: _wanted(name, wanted), MAX_FILE, MAX_TAR)
            if wanted[0] not in found:
                raise InputError(f"{path} has no {wanted[0]}; fetch it again")
            pixels = found.pop(wanted[0])
            rows, others = _rows(iter([pixels]), len(pixels), f"{path}: {wanted[0]}"), found
        labels, names = _labels(others, part, rows.shape[0], str(path))
        return Built(fill(rows, store, request.resolution, request.show), labels, names, ())

    identity = (
        files_identity({name: path / name for name in wanted if (path / name).is_file()})
        if folder
        else file_identity(path)
    )
    rule = f"the {part} images of the published STL-10, as they are"
    return cached(request, "stl10", request.name(*TAR_ENDINGS), rule, identity, {"stl10": part}, build)


def _wanted(member: str, names: tuple[str, ...]) -> str | None:
    name = PurePosixPath(member).name
    return name if name in names else None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            while data := file.read(BLOCK * IMAGE_BYTES):
                yield data
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error


def _rows(data: Iterator[bytes], size: int, what: str) -> Rows:
    if size == 0 or size % IMAGE_BYTES:
        raise InputError(f"{what} has {size} bytes, no multiple of {IMAGE_BYTES}; fetch it again")
    columns_first = (np.frombuffer(block, np.uint8).reshape(-1, *SHAPE) for block in data)
    return Rows(
        (size // IMAGE_BYTES, *SHAPE), np.dtype(np.uint8), lambda: (images.swapaxes(2, 3) for images in columns_first)
    )


def _labels(
    files: dict[str, bytes], part: str, count: int, what: str
) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    if part == "unlabeled":
        return None, None
    name = FILES[part][1]
    labels = np.frombuffer(files.get(name, b""), np.uint8).astype(np.int64) - 1
    if len(labels) != count or labels.min() < 0:
        raise InputError(f"{what}: {name} has {len(labels)} classes from 1 for {count} images; fetch it again")
    names = tuple(
        printable(line.strip()) for line in files.get(NAMES, b"").decode("utf-8", "replace").split("\n") if line.strip()
    )
    return labels, names if int(labels.max()) < len(names) else None


STL10 = Format(
    "stl10",
    "STL-10's binary files",
    lambda path, head: _is_folder(path) if head is None else _is_tar(path),
    open_stl10,
    splits=True,
)
