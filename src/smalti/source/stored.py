"""What opening a data set gives: an array of images with its labels, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Origin", "Stored"]


@dataclass(frozen=True)
class Origin:
    """Where a source came from.

    Attributes:
        path: what was opened.
        format: name of the reader, as "folder", "zip", "npy".
        rule: how its images became the array, in words.
        cache: folder of the cached array; None where it is not cached.
        hit: whether that folder was there before this opening.
    """

    path: str
    format: str
    rule: str
    cache: str | None = None
    hit: bool = False


@dataclass(frozen=True)
class Stored:
    """An opened data set, before classes and limit are applied.

    Attributes:
        images: (N, C, H, W) uint8, or finite float32 in the working scale; C-contiguous.
        labels: (N,) int64, or None.
        class_names: one name a class, or None.
        skipped: (file name, reason) of every file that is not in it.
        name: short name of the data set.
        origin: where it came from.
        sums: checksum of every image as it was when it was cached, (N,) uint32, or None where it is not cached.
        remarks: what is worth a warning.
    """

    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...] | None
    skipped: tuple[tuple[str, str], ...]
    name: str
    origin: Origin
    sums: np.ndarray | None = None
    remarks: tuple[str, ...] = ()
