"""Arrays of images in .npy and .npz files, read without pickle, and without believing what a header claims.

A .npy of uint8 or float32 in (N, C, H, W) is memory-mapped; everything else (npz, another dtype, layout or resolution)
is converted, in blocks, into the cache.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from smalti.core.errors import InputError, from_os_error
from smalti.source.cache import Built, Store, through_cache
from smalti.source.checks import BLOCK_BYTES, blocks, check_finite, check_labels_array
from smalti.source.conversion import Rows, check_layout, fill, rows_of
from smalti.source.memory import allocate
from smalti.source.stored import Origin, Stored
from smalti.source.trees import central_directory_hash, check_member, open_zip, readable

__all__ = ["file_identity", "open_npy", "open_npz"]

RULE = "an array, stored as it is (floats as float32)"
CONVERTED = RULE + "; with a resolution, centre crop to its aspect ratio, then area averaging where the size differs"


def file_identity(path: Path) -> dict[str, Any]:
    """What a file is, for the cache key: its size, its times, and a hash of its ends.

    Raises:
        SmaltiError: it cannot be read.
    """
    try:
        info = path.stat()
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read(1 << 16))
            file.seek(max(info.st_size - (1 << 16), 0))
            digest.update(file.read(1 << 16))
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    times = [info.st_mtime_ns, info.st_ctime_ns]
    return {"kind": "file", "size": info.st_size, "times": times, "ends": digest.hexdigest()}


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    offset: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _read_header(file: IO[bytes], what: str) -> _Header:
    """The header of a .npy stream; InputError for a damaged one, or one of Python objects."""
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"version {version} of the format")
        if any(side < 0 for side in shape):
            raise ValueError(f"shape {shape}")
    except (
        ValueError,
        TypeError,
        SyntaxError,
        RecursionError,
        OverflowError,
        MemoryError,
        EOFError,
        zlib.error,
    ) as error:
        raise InputError(f"{what} is not a readable .npy array ({' '.join(str(error).split())[:120]})") from error
    if dtype.hasobject:
        raise InputError(f"{what} holds Python objects, which are never loaded; save plain uint8 or float arrays")
    return _Header(shape, fortran, dtype, file.tell())


def open_npy(path: Path, layout: str, resolution: tuple[int, int] | None, show: bool | None) -> Stored:
    """A .npy of images, (N, C, H, W), or (N, H, W, C) with layout="nhwc".

    Raises:
        InputError: another shape or dtype, Python objects, a size that is not what the header claims, NaN.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            header = _read_header(file, str(path))
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    check_layout(header.shape, header.dtype, layout, str(path))
    if header.offset + header.nbytes != size:
        raise InputError(
            f"{path} has {size} bytes but its header claims {header.offset + header.nbytes}; it is damaged"
        )
    array = np.memmap(path, header.dtype, "r", header.offset, header.shape, "F" if header.fortran else "C")
    native = header.dtype in (np.dtype(np.uint8), np.dtype(np.float32))
    if native and layout == "nchw" and array.flags.c_contiguous and resolution in (None, array.shape[2:]):
        check_finite(array)
        return Stored(array, None, None, (), path.stem, Origin(str(path), "npy", RULE))

    def build(store: Store) -> Built:
        return Built(fill(rows_of(array), store, layout, resolution, show), None, None, ())

    options = {"layout": layout, "resolution": resolution}
    built, entry, hit = through_cache(file_identity(path), options, path.stem, build)
    origin = Origin(str(path), "npy", CONVERTED, None if entry is None else str(entry), hit)
    return Stored(built.images, None, None, (), path.stem, origin, built.sums)


def open_npz(path: Path, layout: str, resolution: tuple[int, int] | None, show: bool | None) -> Stored:
    """A .npz with `images` (or one 4-D array), laid out as in a .npy, and perhaps `labels` (classes or one-hot rows).

    Raises:
        InputError: as for a .npy; no images, or several arrays that could be; bad labels; a member that is larger than
            the archive can hold.
    """

    def build(store: Store) -> Built:
        with open_zip(path) as archive:
            try:
                return _build_npz(archive, path, store, layout, resolution, show)
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error) as error:
                raise InputError(f"{path} is damaged ({error}); save it again") from error

    identity = {"kind": "npz", "size": os.stat(path).st_size, "time": os.stat(path).st_mtime_ns}
    identity["directory"] = central_directory_hash(path)
    options = {"layout": layout, "resolution": resolution}
    built, entry, hit = through_cache(identity, options, path.stem, build)
    origin = Origin(str(path), "npz", CONVERTED, None if entry is None else str(entry), hit)
    return Stored(built.images, built.labels, built.class_names, built.skipped, path.stem, origin, built.sums)


def _build_npz(
    archive: zipfile.ZipFile,
    path: Path,
    store: Store,
    layout: str,
    resolution: tuple[int, int] | None,
    show: bool | None,
) -> Built:
    headers: dict[str, tuple[zipfile.ZipInfo, _Header]] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name == info.filename:
            continue
        check_member(info, path, limit=None)
        with archive.open(info) as file:
            headers[name] = (info, _checked_header(file, info, path))
    name = _images_name({name: header.shape for name, (_, header) in headers.items()}, path)
    info, header = headers[name]
    what = f"{path}: {readable(name)}"
    check_layout(header.shape, header.dtype, layout, what)
    labels = None
    if "labels" in headers and name != "labels":
        label_info, label_header = headers["labels"]
        if len(label_header.shape) not in (1, 2) or label_header.shape[0] != header.shape[0]:
            raise InputError(f"{path}: labels have shape {label_header.shape} for {header.shape[0]} images")
        try:
            labels = check_labels_array(
                _read_whole(archive, label_info, label_header, f"{path}: labels"), header.shape[0]
            )
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    if header.fortran:
        rows = rows_of(_read_whole(archive, info, header, what))
    else:
        rows = Rows(header.shape, header.dtype, lambda: _read_rows(archive, info, header, what))
    return Built(fill(rows, store, layout, resolution, show), labels, None, ())


def _checked_header(file: IO[bytes], info: zipfile.ZipInfo, path: Path) -> _Header:
    what = f"{path}: {readable(info.filename)}"
    header = _read_header(file, what)
    if header.offset + header.nbytes != info.file_size:
        claimed = header.offset + header.nbytes
        raise InputError(f"{what} has {info.file_size} bytes but its header claims {claimed}; it is damaged")
    return header


def _images_name(shapes: dict[str, tuple[int, ...]], path: Path) -> str:
    if "images" in shapes:
        return "images"
    candidates = [name for name, shape in shapes.items() if len(shape) == 4]
    if len(candidates) == 1:
        return candidates[0]
    listed = ", ".join(f"{readable(name)} {shape}" for name, shape in sorted(shapes.items())[:8]) or "nothing"
    found = "several 4-D arrays" if candidates else "no 4-D array"
    raise InputError(f"{path} has no `images` and {found} (it has {listed}); save the images under the name `images`")


def _read_rows(archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: _Header, what: str) -> Iterator[np.ndarray]:
    with archive.open(info) as file:
        file.read(header.offset)
        for block in blocks(header.shape, header.dtype.itemsize):
            shape = (block.stop - block.start, *header.shape[1:])
            wanted = math.prod(shape) * header.dtype.itemsize
            data = file.read(wanted)
            if len(data) != wanted:
                raise InputError(f"{what} ends early; the file is damaged")
            yield np.frombuffer(data, header.dtype).reshape(shape)
        file.read(1)  # the end of the member, where its checksum is compared


def _read_whole(archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: _Header, what: str) -> np.ndarray:
    buffer = allocate((header.nbytes,), np.dtype(np.uint8), what)
    with archive.open(info) as file:
        file.read(header.offset)
        for start in range(0, header.nbytes, BLOCK_BYTES):
            data = file.read(min(BLOCK_BYTES, header.nbytes - start))
            if len(data) != min(BLOCK_BYTES, header.nbytes - start):
                raise InputError(f"{what} ends early; the file is damaged")
            buffer[start : start + len(data)] = np.frombuffer(data, np.uint8)
        file.read(1)
    return buffer.view(header.dtype).reshape(header.shape, order="F" if header.fortran else "C")
