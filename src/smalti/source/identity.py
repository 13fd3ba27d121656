"""What files and arrays are, in a few bytes: identities that no two sets share, and checksums that damage changes."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from smalti.core.errors import from_os_error
from smalti.source.checks import blocks

__all__ = ["damaged_image", "file_identity", "files_identity", "fingerprint", "image_sums"]

END_BYTES = 1 << 16


def file_identity(path: Path) -> dict[str, Any]:
    """What a file is, for the key of what was decoded from it, without reading all of it: size, times, a hash of its ends.

    Raises:
        SmaltiError: it cannot be read.
    """
    try:
        info = path.stat()
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read(END_BYTES))
            file.seek(max(info.st_size - END_BYTES, 0))
            digest.update(file.read(END_BYTES))
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    times = [info.st_mtime_ns, info.st_ctime_ns]
    return {"kind": "file", "size": info.st_size, "times": times, "ends": digest.hexdigest()}


def files_identity(paths: dict[str, Path]) -> dict[str, Any]:
    """Those of several files, by what each is in the data set."""
    return {"kind": "files", "files": {name: file_identity(path) for name, path in paths.items()}}


def fingerprint(
    images: np.ndarray, labels: np.ndarray | None, look: Callable[[int, np.ndarray], None] | None = None
) -> str:
    """Identity of the content: sha256 hex of dtype, shape, pixels and labels.

    Args:
        images: (N, C, H, W), read in blocks.
        labels: (N,) int64, or None.
        look: is shown every block on the way, with the number of its first image.
    """
    digest = hashlib.sha256(f"{images.dtype.name} {images.shape}".encode())
    for block in blocks(images.shape, images.itemsize):
        if look is not None:
            look(block.start, images[block])
        digest.update(_little_endian(images[block]))
    if labels is not None:
        digest.update(b"labels")
        digest.update(_little_endian(labels))
    return digest.hexdigest()


def image_sums(images: np.ndarray) -> np.ndarray:
    """The CRC-32 of each image's bytes, (N,) uint32; a flipped bit, or 32 in a row, always changes it."""
    return np.fromiter((zlib.crc32(_little_endian(image)) for image in images), np.uint32, len(images))


def damaged_image(images: np.ndarray, sums: np.ndarray) -> int | None:
    """The first image whose checksum is not that of `sums`; None where all are right."""
    wrong = np.flatnonzero(image_sums(images) != sums)
    return int(wrong[0]) if len(wrong) else None


def _little_endian(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data
