"""CIFAR-10 as it is published: cifar-10-python.tar.gz, or its unpacked folder cifar-10-batches-py.

Only the five training batches are read; test_batch is not included. The tar is never unpacked to disk, links in it are
ignored, and the pickles are read by smalti.source.pickles, which executes nothing.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from smalti.core.errors import InputError, from_os_error
from smalti.source.cache import Built, Store, through_cache
from smalti.source.conversion import Rows, fill
from smalti.source.formats.arrays import file_identity
from smalti.source.pickles import ArrayRecord, read_pickle
from smalti.source.stored import Origin, Stored
from smalti.source.trees import readable

__all__ = ["is_cifar_folder", "open_cifar"]

FOLDER = "cifar-10-batches-py"
BATCHES = tuple(f"data_batch_{n}" for n in range(1, 6))
META = "batches.meta"
SHAPE = (3, 32, 32)
MAX_FILE = 64 << 20  # bytes of one batch; the published ones have 31 million
MAX_TAR = 512 << 20  # bytes of the whole tar, unpacked
RULE = "the five training batches of the published archive, as they are (test_batch is not included)"


def is_cifar_folder(folder: Path) -> bool:
    """Whether this is an unpacked cifar-10-batches-py."""
    return (folder / BATCHES[0]).is_file()


def open_cifar(path: Path, resolution: tuple[int, int] | None, show: bool | None) -> Stored:
    """The CIFAR-10 training images from the tar (.tar.gz, .tgz, .tar) or its unpacked folder.

    Raises:
        InputError: a missing, damaged or oversized batch, or a pickle that holds anything but plain data and arrays.
    """
    folder = path.is_dir()
    name = path.name if folder else path.name.removesuffix(".gz").removesuffix(".tgz").removesuffix(".tar")

    def build(store: Store) -> Built:
        files = _read_folder(path) if folder else _read_tar(path)
        return _assemble(files, str(path), store, resolution, show)

    identity: dict[str, Any]
    if folder:
        present = [file for file in (*BATCHES, META) if (path / file).is_file()]
        identity = {"kind": "cifar folder", "files": {file: file_identity(path / file) for file in present}}
    else:
        identity = {**file_identity(path), "kind": "cifar tar"}
    built, entry, hit = through_cache(identity, {"resolution": resolution}, name, build)
    origin = Origin(str(path), "cifar", RULE, None if entry is None else str(entry), hit)
    return Stored(built.images, built.labels, built.class_names, built.skipped, name, origin, built.sums)


def _read_folder(folder: Path) -> dict[str, bytes]:
    files = {}
    for name in (*BATCHES, META):
        path = folder / name
        if not path.is_file():
            continue
        try:
            if path.stat().st_size > MAX_FILE:
                raise InputError(f"{path} is refused: it is larger than {MAX_FILE} bytes, which no CIFAR-10 batch is")
            files[name] = path.read_bytes()
        except OSError as error:
            raise from_os_error(error, f"read {path}") from error
    return files


class _Bounded(io.RawIOBase):
    """A stream that refuses to give more than `limit` bytes: tar headers are believed only so far."""

    def __init__(self, file: IO[bytes], limit: int, what: str) -> None:
        self.file, self.left, self.what = file, limit, what

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(min(size, self.left + 1) if size >= 0 else self.left + 1)
        self.left -= len(data)
        if self.left < 0:
            raise InputError(
                f"{self.what} is refused: it unpacks to more than {MAX_TAR} bytes, which CIFAR-10 does not"
            )
        return data


def _read_tar(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream: Any = gzip.GzipFile(fileobj=raw) if packed else raw
            with tarfile.open(fileobj=_Bounded(stream, MAX_TAR, str(path)), mode="r|") as archive:
                for member in archive:
                    inside = PurePosixPath(member.name)
                    wanted = inside.parent.name in ("", FOLDER) and inside.name in (*BATCHES, META)
                    if not member.isreg() or not wanted:
                        continue
                    if member.size > MAX_FILE:
                        shown = readable(member.name)
                        raise InputError(f"{path} is refused: {shown} claims {member.size} bytes, more than {MAX_FILE}")
                    content = archive.extractfile(member)
                    assert content is not None
                    files[inside.name] = content.read()
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a readable tar file ({error}); fetch it again") from error
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    return files


def _assemble(
    files: Mapping[str, bytes], what: str, store: Store, resolution: tuple[int, int] | None, show: bool | None
) -> Built:
    missing = [name for name in BATCHES if name not in files]
    if missing:
        accepted = "the CIFAR-10 python version with data_batch_1 to data_batch_5 is accepted"
        raise InputError(f"{what} has no {', '.join(missing)}; {accepted}")
    names = _class_names(files[META], f"{what}: {META}") if META in files else None
    batches, labels = [], []
    for name in BATCHES:
        images, classes = _batch(files[name], f"{what}: {name}")
        if names is not None and max(classes) >= len(names):
            raise InputError(f"{what}: {name} has the class {max(classes)}, and {META} names {len(names)}")
        batches.append(images)
        labels += classes
    rows = Rows((len(labels), *SHAPE), np.dtype(np.uint8), lambda: iter(batches))
    return Built(fill(rows, store, "nchw", resolution, show), np.array(labels, np.int64), names, ())


def _batch(data: bytes, what: str) -> tuple[np.ndarray, list[int]]:
    content = _entries(read_pickle(data, what), what)
    images, labels = content.get("data"), content.get("labels")
    if not isinstance(images, ArrayRecord) or not isinstance(labels, list):
        raise InputError(f"{what} has no data and labels; is it the CIFAR-10 python version?")
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


def _class_names(data: bytes, what: str) -> tuple[str, ...]:
    names = _entries(read_pickle(data, what), what).get("label_names")
    if not isinstance(names, list) or not names or not all(isinstance(name, (str, bytes)) for name in names):
        raise InputError(f"{what} has no label_names; is it the CIFAR-10 python version?")
    return tuple(readable(name.decode("utf-8", "replace") if isinstance(name, bytes) else name) for name in names)


def _entries(content: Any, what: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"{what} is not a dict; is it the CIFAR-10 python version?")
    return {key.decode("latin-1") if isinstance(key, bytes) else str(key): value for key, value in content.items()}
