"""The idx format of MNIST, Fashion-MNIST, KMNIST and EMNIST: a header of big-endian sizes, then bytes; packed with gzip or not.

images: 00 00 08 03  N  H  W   N H W bytes        labels: 00 00 08 01  N   N bytes
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from smalti.core.errors import InputError, from_os_error
from smalti.source.cache import Built, Store
from smalti.source.checks import blocks
from smalti.source.conversion import Rows, fill
from smalti.source.format import Format, Request, Stored, cached
from smalti.source.identity import files_identity
from smalti.source.names import choose_part, part_of

__all__ = ["IDX"]

IMAGES, LABELS = b"\0\0\x08\x03", b"\0\0\x08\x01"
GZIP = b"\x1f\x8b"
MOST_RATIO = 1100  # of gzip's compression
MAX_IMAGES, MAX_SIDE = 1 << 28, 1 << 15
RULE = "the bytes of the idx file, one grey channel; labels from the file beside it"


def open_idx(request: Request) -> Stored:
    """A file of images with the labels beside it, or a folder of the files of a training and a test part.

    Raises:
        InputError: no images of the part, damage, sizes that the file does not hold, labels that do not fit.
    """
    path = request.path
    images = _part(path, request.split) if path.is_dir() else path
    labels = _labels_beside(images)

    def build(store: Store) -> Built:
        with _opened(images) as file:
            count, height, width = _sizes(file, IMAGES, 3, images)
            rows = Rows(
                (count, 1, height, width), np.dtype(np.uint8), lambda: _read(file, (count, height, width), images)
            )
            pixels = fill(rows, store, request.resolution, request.show)
        return Built(pixels, None if labels is None else _read_labels(labels, count), None, ())

    files = {"images": images} | ({} if labels is None else {"labels": labels})
    return cached(request, "idx", request.name(".gz"), RULE, files_identity(files), {"reader": "idx"}, build)


def _image_files(folder: Path) -> list[Path]:
    return [
        path for path in sorted(folder.iterdir()) if "images" in path.name and "idx3" in path.name and path.is_file()
    ]


def _part(folder: Path, split: str | None) -> Path:
    """The file of images of a part; packed and unpacked ones beside each other are the same."""
    found: dict[str, Path] = {}
    for path in _image_files(folder) or _image_files(folder / "raw"):
        words = path.name.replace(".", "-").split("-")
        found.setdefault(next((part for word in words if (part := part_of(word)) is not None), path.name), path)
    return found[choose_part(found, split, str(folder))]


def _labels_beside(images: Path) -> Path | None:
    name = images.name.replace("images", "labels").replace("idx3", "idx1")
    plain = name.removesuffix(".gz")
    for other in (name, plain, f"{plain}.gz"):
        if other != images.name and (images.parent / other).is_file():
            return images.parent / other
    return None


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == GZIP
            raw.seek(0)
            if not packed:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as file:
                yield file  # type: ignore[misc]
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged ({error}); fetch it again") from error
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error


def _sizes(file: IO[bytes], magic: bytes, axes: int, path: Path) -> tuple[int, ...]:
    """The sizes of the array, which the file could hold."""
    head = file.read(4 + 4 * axes)
    if len(head) != 4 + 4 * axes or not head.startswith(magic):
        raise InputError(f"{path} is no idx file of {'images' if axes == 3 else 'labels'}; fetch it again")
    sizes = struct.unpack(f">{axes}I", head[4:])
    limits = (MAX_IMAGES, MAX_SIDE, MAX_SIDE)
    if min(sizes) < 1 or any(size > limit for size, limit in zip(sizes, limits, strict=False)):
        raise InputError(f"{path} claims an array of {' x '.join(map(str, sizes))}; fetch it again")
    if math.prod(sizes) > path.stat().st_size * MOST_RATIO:
        raise InputError(f"{path} claims {math.prod(sizes)} bytes, which it cannot hold; fetch it again")
    return sizes


def _read(file: IO[bytes], shape: tuple[int, ...], path: Path) -> Iterator[np.ndarray]:
    for block in blocks(shape, 1):
        size = (block.stop - block.start, *shape[1:])
        data = file.read(math.prod(size))
        if len(data) != math.prod(size):
            raise InputError(f"{path} ends early; fetch it again")
        yield np.frombuffer(data, np.uint8).reshape(size[0], 1, *size[1:])
    if file.read(1):
        raise InputError(f"{path} is longer than its header says; fetch it again")


def _read_labels(path: Path, count: int) -> np.ndarray:
    with _opened(path) as file:
        (number,) = _sizes(file, LABELS, 1, path)
        data = file.read(number + 1)
    if number != count or len(data) != number:
        raise InputError(f"{path} has {len(data)} labels of {number}, for {count} images; fetch it again")
    return np.frombuffer(data, np.uint8).astype(np.int64)


def _matches(path: Path, head: bytes | None) -> bool:
    if head is None:
        try:
            return bool(_image_files(path) or ((path / "raw").is_dir() and _image_files(path / "raw")))
        except OSError:
            return False
    if head.startswith(GZIP) and path.name.lower().endswith(".gz"):
        try:
            with gzip.open(path) as file:
                head = file.read(4)
        except (OSError, EOFError, zlib.error):
            return False
    return head.startswith(IMAGES)


IDX = Format("idx", "MNIST's idx files (.gz too) or their folder", _matches, open_idx, splits=True)
