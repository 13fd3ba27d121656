"""Image files in a folder or a zip, decoded once and cached."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from smalti.source.cache import Built, Store
from smalti.source.decoding import DECODING_RULE
from smalti.source.format import Format, Request, Stored, cached
from smalti.source.listing import NoImagesError, is_wanted, list_images, other_files
from smalti.source.parallel_decoding import gather
from smalti.source.trees import Tree, folder_tree, open_zip, zip_errors, zip_identity, zip_tree

__all__ = ["FOLDER", "ZIP"]


def open_folder(request: Request) -> Stored:
    """A folder of images, or an unpacked EDM data set.

    Raises:
        InputError: no images, damaged ones (without skip_bad), several sizes without a resolution, missing labels.
    """
    tree, identity = folder_tree(request.path, is_wanted)
    stored = _cached(request, "folder", request.name(), identity, lambda store: _build(tree, request, store))
    return replace(stored, skipped=(*other_files(tree), *stored.skipped))  # links come and go: they are not kept


def open_image_zip(request: Request) -> Stored:
    """A zip of images, or an EDM data set; nothing is extracted to disk.

    Raises:
        InputError: as for a folder; a zip that is damaged, encrypted or hostile.
    """

    def build(store: Store) -> Built:
        with open_zip(request.path) as archive, zip_errors(request.path):
            tree = zip_tree(archive, request.path, is_wanted)
            try:
                built = _build(tree, request, store)
            except NoImagesError as error:
                raise NoImagesError(error.what, error.files, "unpack it and give what is in it") from None
            return replace(built, skipped=(*other_files(tree), *built.skipped))

    return _cached(request, "zip", request.name(request.path.suffix), zip_identity(request.path), build)


def _build(tree: Tree, request: Request, store: Store) -> Built:
    listing = list_images(tree, str(request.path), request.split)
    contents = ((lambda file=file: tree.read(file)) for file in listing.files)
    gathered = gather(listing.files, contents, store, request.resolution, request.skip_bad, request.show)
    labels = None if listing.labels is None else np.ascontiguousarray(listing.labels[gathered.kept])
    skipped = (*listing.skipped, *gathered.skipped)
    return Built(gathered.images, labels, listing.class_names, skipped, remarks=listing.remarks, files=gathered.files)


def _cached(request: Request, kind: str, name: str, identity, build) -> Stored:  # type: ignore[no-untyped-def]
    options = {"skip_bad": request.skip_bad, "split": request.split}
    return cached(request, kind, name, DECODING_RULE, identity, options, build)


FOLDER = Format(
    "folder",
    "a folder of images (class folders, or an EDM dataset.json)",
    lambda path, head: head is None,
    open_folder,
    splits=True,
)
ZIP = Format(
    "zip",
    "a .zip of such a folder",
    lambda path, head: head is not None and path.suffix.lower() == ".zip",
    open_image_zip,
    splits=True,
)
