"""What images and labels are, in a few bytes: an identity that no two sets share, and checksums that damage changes."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable

import numpy as np

from smalti.source.checks import blocks

__all__ = ["damaged_image", "fingerprint", "image_sums"]


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
