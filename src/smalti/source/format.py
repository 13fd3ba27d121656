"""What a reader of a data set is: how it knows its files, what it is asked for, and what it gives.

A new way to read images is one file in smalti/source/formats that ends in a `Format`, and one row of the table in
smalti/source/opening.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smalti.core.text import printable
from smalti.source.cache import Built, Store, through_cache

__all__ = ["HEAD_BYTES", "Format", "Origin", "Request", "Stored", "cached"]

HEAD_BYTES = 512  # of a file, which the readers look at


@dataclass(frozen=True)
class Request:
    """What is to be opened, and how.

    Attributes:
        paths: one path that exists, or several files (shards) that are one data set, in order.
        resolution: (H, W) to bring images to, or None.
        layout: order of the axes of arrays, or None to find out (smalti.source.conventions).
        split: the part of the data set ("train", "test"), or None.
        skip_bad: leave out what cannot be decoded.
        show: progress, as in smalti.core.progress.
    """

    paths: tuple[Path, ...]
    resolution: tuple[int, int] | None = None
    layout: str | None = None
    split: str | None = None
    skip_bad: bool = False
    show: bool | None = None

    @property
    def path(self) -> Path:
        """The first path: the only one, but for shards."""
        return self.paths[0]

    @property
    def what(self) -> str:
        """The data set, for messages."""
        return str(self.path) if len(self.paths) == 1 else f"{self.path} and {len(self.paths) - 1} more"

    def name(self, *endings: str) -> str:
        """Short name of the data set: the name of its first path without the first of the `endings` that it has."""
        path = self.path.resolve() if self.path.is_dir() else self.path
        name = printable(path.name or str(path))
        for ending in endings:
            if ending and name.lower().endswith(ending.lower()) and len(name) > len(ending):
                return name[: -len(ending)]
        return name


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
        files: the name of every image's file within the data set, (N,) text, or None where they have none.
    """

    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...] | None
    skipped: tuple[tuple[str, str], ...]
    name: str
    origin: Origin
    sums: np.ndarray | None = None
    remarks: tuple[str, ...] = ()
    files: np.ndarray | None = None


@dataclass(frozen=True)
class Format:
    """A reader.

    Attributes:
        name: what `Origin.format` says.
        accepts: what it reads, for the message that lists what is accepted.
        matches: whether a path is for it, given the first bytes of the file, or None for a folder. The first row of the
            table that matches reads.
        open: reads; see `Request`.
        layouts: whether it takes a layout.
        splits: whether it takes a split.
        shards: whether several files may be one data set.
    """

    name: str
    accepts: str
    matches: Callable[[Path, bytes | None], bool]
    open: Callable[[Request], Stored]
    layouts: bool = False
    splits: bool = False
    shards: bool = False


def cached(
    request: Request,
    kind: str,
    name: str,
    rule: str,
    identity: Mapping[str, Any],
    options: Mapping[str, Any],
    build: Callable[[Store], Built],
) -> Stored:
    """The data set from the cache, or by `build`.

    Args:
        request: what was asked for.
        kind: name of the format.
        name: of the data set.
        rule: how its images become the array, in words.
        identity: what the data is, JSON; part of the key.
        options: what the images depend on besides, JSON; the resolution always is.
        build: see `through_cache`.
    """
    built, entry, hit = through_cache(identity, {**options, "resolution": request.resolution}, name, build)
    origin = Origin(request.what, kind, rule, None if entry is None else str(entry), hit)
    return Stored(
        built.images,
        built.labels,
        built.class_names,
        built.skipped,
        name,
        origin,
        built.sums,
        built.remarks,
        built.files,
    )
