"""Image files in a folder or a zip, decoded once and cached."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from smalti.core.errors import from_os_error
from smalti.source.cache import Built, Store, through_cache
from smalti.source.decoding import DECODING_RULE
from smalti.source.listing import is_wanted, list_images, other_files
from smalti.source.parallel_decoding import gather
from smalti.source.stored import Origin, Stored
from smalti.source.trees import Tree, central_directory_hash, folder_tree, open_zip, zip_tree

__all__ = ["open_folder", "open_image_zip"]


def open_folder(path: Path, resolution: tuple[int, int] | None, skip_bad: bool, show: bool | None) -> Stored:
    """A folder of images, or an unpacked EDM data set.

    Raises:
        InputError: no images, damaged ones (without skip_bad), several sizes without a resolution, missing labels.
    """
    tree, identity = folder_tree(path, is_wanted)
    name = path.resolve().name

    def build(store: Store) -> Built:
        return _build(tree, str(path), store, resolution, skip_bad, show)

    stored = _cached(path, "folder", name, identity, resolution, skip_bad, build)
    return replace(stored, skipped=(*other_files(tree), *stored.skipped))  # links come and go: they are not kept


def open_image_zip(path: Path, resolution: tuple[int, int] | None, skip_bad: bool, show: bool | None) -> Stored:
    """A zip of images, or an EDM data set; nothing is extracted to disk.

    Raises:
        InputError: as for a folder; a zip that is damaged, encrypted or hostile.
    """
    try:
        info = path.stat()
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    identity = {
        "kind": "zip",
        "size": info.st_size,
        "time": info.st_mtime_ns,
        "directory": central_directory_hash(path),
    }

    def build(store: Store) -> Built:
        with open_zip(path) as archive:
            tree = zip_tree(archive, path, is_wanted)
            built = _build(tree, str(path), store, resolution, skip_bad, show)
            return replace(built, skipped=(*other_files(tree), *built.skipped))

    return _cached(path, "zip", path.stem, identity, resolution, skip_bad, build)


def _build(
    tree: Tree, what: str, store: Store, resolution: tuple[int, int] | None, skip_bad: bool, show: bool | None
) -> Built:
    listing = list_images(tree, what)
    gathered = gather(listing.files, tree.read, store, resolution, skip_bad, show)
    labels = None if listing.labels is None else np.ascontiguousarray(listing.labels[gathered.kept])
    return Built(gathered.images, labels, listing.class_names, (*listing.skipped, *gathered.skipped))


def _cached(
    path: Path,
    kind: str,
    name: str,
    identity: dict[str, Any],
    resolution: tuple[int, int] | None,
    skip_bad: bool,
    build: Any,
) -> Stored:
    options = {"resolution": resolution, "skip_bad": skip_bad}
    built, entry, hit = through_cache(identity, options, name, build)
    origin = Origin(str(path), kind, DECODING_RULE, None if entry is None else str(entry), hit)
    return Stored(built.images, built.labels, built.class_names, built.skipped, name, origin, built.sums)
