"""Arrays of images in .npy and .npz files, read without pickle, and without believing what a header claims.

A .npy of uint8 or float32 in (N, C, H, W) is memory-mapped; everything else (npz, another dtype, layout or resolution)
is converted, in blocks, into the cache.
"""

from __future__ import annotations

import math
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from smalti.core.errors import InputError, from_os_error
from smalti.core.text import printable
from smalti.source.cache import Built, Store
from smalti.source.checks import BLOCK_BYTES, blocks, check_finite, check_labels_array
from smalti.source.conventions import check_layout, in_nchw
from smalti.source.conversion import Rows, fill, rows_of
from smalti.source.format import Format, Origin, Request, Stored, cached
from smalti.source.identity import file_identity
from smalti.source.memory import allocate
from smalti.source.names import SURE_LABELS, choose_arrays
from smalti.source.trees import check_member, open_zip, zip_errors, zip_identity

__all__ = ["NPY", "NPZ"]

RULE = "an array, stored as it is (floats as float32)"
CONVERTED = RULE + "; with a resolution, centre crop to its aspect ratio, then area averaging where the size differs"
MOST_AXES, LARGEST_SIDE = 32, 1 << 40


@dataclass(frozen=True)
class _Header:
    """What a .npy file says of its array: shape, order and dtype, and where its data starts."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        return math.prod(self.shape) * self.dtype.itemsize

    def check_size(self, size: int, what: str) -> None:
        """Raise InputError unless a file of `size` bytes holds the whole array, and nothing else."""
        if self.offset + self.nbytes != size:
            raise InputError(
                f"{what} has {size} bytes but its header claims {self.offset + self.nbytes}; it is damaged"
            )


def _read_header(file: IO[bytes], what: str) -> _Header:
    """The header of a .npy stream.

    Raises:
        InputError: it is damaged, or of an array of Python objects.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, on headers written by Python 2
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            elif version == (2, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
            else:
                raise ValueError(f"version {version} of the format")
        if len(shape) > MOST_AXES or not all(type(side) is int and 0 <= side <= LARGEST_SIDE for side in shape):
            raise ValueError("a shape that is none")
    except (
        *(ValueError, TypeError, SyntaxError, LookupError, AttributeError, RecursionError, ArithmeticError),
        *(MemoryError, EOFError, zlib.error, tokenize.TokenError),
    ) as error:
        raise InputError(f"{what} is not a readable .npy array ({' '.join(str(error).split())[:120]})") from error
    if dtype.hasobject:
        raise InputError(f"{what} holds Python objects, which are never loaded; save plain uint8 or float arrays")
    return _Header(shape, fortran, dtype, file.tell())


def open_npy(request: Request) -> Stored:
    """A .npy of images in one of the layouts of smalti.source.conventions.

    Raises:
        InputError: another shape or dtype, Python objects, a size that is not what the header claims, NaN.
    """
    path, layout, resolution = request.path, request.layout, request.resolution
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            header = _read_header(file, str(path))
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    check_layout(header.shape, header.dtype, layout, str(path))
    header.check_size(size, str(path))
    array = np.memmap(path, header.dtype, "r", header.offset, header.shape, "F" if header.fortran else "C")
    images = in_nchw(array, layout)
    native = header.dtype in (np.dtype(np.uint8), np.dtype(np.float32))
    if native and images.flags.c_contiguous and resolution in (None, images.shape[2:]):
        check_finite(images)
        return Stored(images, None, None, (), request.name(path.suffix), Origin(str(path), "npy", RULE))

    def build(store: Store) -> Built:
        return Built(fill(rows_of(images), store, resolution, request.show), None, None, ())

    options = {"layout": layout}
    return cached(request, "npy", request.name(path.suffix), CONVERTED, file_identity(path), options, build)


def open_npz(request: Request) -> Stored:
    """A .npz with images, laid out as in a .npy, and perhaps labels (classes or one-hot rows), by their usual names.

    Raises:
        InputError: as for a .npy; no images, or several arrays that could be; bad labels; a member that is larger than
            the archive can hold.
    """
    path = request.path

    def build(store: Store) -> Built:
        with open_zip(path) as archive, zip_errors(path):
            return _build_npz(archive, request, store)

    options = {"layout": request.layout, "split": request.split}
    return cached(
        request, "npz", request.name(path.suffix), CONVERTED, zip_identity(path) | {"kind": "npz"}, options, build
    )


def _build_npz(archive: zipfile.ZipFile, request: Request, store: Store) -> Built:
    path = request.path
    headers: dict[str, tuple[zipfile.ZipInfo, _Header]] = {}
    others = []
    for info in archive.infolist():
        name = printable(info.filename.removesuffix(".npy"))
        if not info.filename.endswith(".npy"):
            others.append((printable(info.filename), "not an array"))
            continue
        check_member(info, path, limit=None)
        with archive.open(info) as file:
            headers[name] = (info, _checked_header(file, info, path))
    choice = choose_arrays({name: header.shape for name, (_, header) in headers.items()}, request.split, str(path))
    info, header = headers[choice.images]
    what = f"{path}: {choice.images}"
    check_layout(header.shape, header.dtype, request.layout, what)
    if header.fortran or request.layout in ("hwcn", "chwn"):
        rows = rows_of(in_nchw(_read_whole(archive, info, header, what), request.layout))
    else:
        shape = in_nchw(np.broadcast_to(np.uint8(0), header.shape), request.layout).shape
        rows = Rows(
            shape,
            header.dtype,
            lambda: (in_nchw(block, request.layout) for block in _read_rows(archive, info, header, what)),
        )
    unused = [*others, *choice.unused]
    labels = None
    if choice.labels is not None:
        try:
            labels = _labels(archive, *headers[choice.labels], rows.shape[0], f"{path}: {choice.labels}")
        except InputError as error:
            if choice.labels in SURE_LABELS:
                raise
            unused.append((choice.labels, f"no labels: {error}".replace(f"{path}: {choice.labels}: ", "")))
    return Built(fill(rows, store, request.resolution, request.show), labels, None, tuple(unused))


def _labels(archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: _Header, count: int, what: str) -> np.ndarray:
    if len(header.shape) not in (1, 2) or header.shape[0] != count:
        raise InputError(f"{what}: labels have shape {header.shape} for {count} images")
    try:
        return check_labels_array(_read_whole(archive, info, header, what), count)
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def _checked_header(file: IO[bytes], info: zipfile.ZipInfo, path: Path) -> _Header:
    what = f"{path}: {printable(info.filename)}"
    header = _read_header(file, what)
    header.check_size(info.file_size, what)
    return header


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


NPY = Format(
    "npy", "a .npy array", lambda path, head: head is not None and path.suffix.lower() == ".npy", open_npy, layouts=True
)
NPZ = Format(
    "npz",
    "a .npz archive of arrays",
    lambda path, head: head is not None and path.suffix.lower() == ".npz",
    open_npz,
    layouts=True,
    splits=True,
)
