"""Which images a tree of files has, in order, and their labels: from class folders, or from an EDM dataset.json."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smalti.core.errors import InputError
from smalti.source.decoding import EXTENSIONS
from smalti.source.trees import Tree, readable

__all__ = ["EDM_FILE", "Listing", "is_wanted", "list_images", "other_files"]

EDM_FILE = "dataset.json"


@dataclass(frozen=True)
class Listing:
    """Images of a data set: paths in order, (N,) int64 labels and class names (or None), and labels without images."""

    files: tuple[str, ...]
    labels: np.ndarray | None
    class_names: tuple[str, ...] | None
    skipped: tuple[tuple[str, str], ...]


def is_image(path: str) -> bool:
    """Whether a file is taken for an image, by its extension."""
    return path.lower().endswith(EXTENSIONS)


def other_files(tree: Tree) -> tuple[tuple[str, str], ...]:
    """(path, reason) of what is in a tree and is never read."""
    others = [(path, "not an image file") for path in tree.files if not is_image(path) and path != EDM_FILE]
    return tuple((readable(path), reason) for path, reason in (*tree.ignored, *others))


def is_wanted(path: str) -> bool:
    """Whether a file is read: an image by its extension, or a dataset.json."""
    return is_image(path) or path.split("/")[-1] == EDM_FILE


def list_images(tree: Tree, what: str) -> Listing:
    """The images of `tree` with their labels.

    A dataset.json at the top with a "labels" entry gives the labels (no class names), or none where that is null.
    Without it the top-level folders are classes, in order of name, when every image is in one; else there are no
    labels.

    Raises:
        InputError: no images; a damaged dataset.json; an image that it gives no label to.
    """
    images = tuple(path for path in tree.files if is_image(path))
    edm = _edm_labels(tree, what) if EDM_FILE in tree.files else _MISSING
    skipped = [(EDM_FILE, "not an EDM data set's")] if EDM_FILE in tree.files and edm is _MISSING else []
    if not images:
        raise InputError(f"there are no images in {what}; accepted are {' '.join(EXTENSIONS)}")
    labels: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    if edm is _MISSING:
        if all("/" in path for path in images):
            classes = [path.split("/", 1)[0] for path in images]
            numbers = {name: number for number, name in enumerate(sorted(set(classes)))}
            labels = np.array([numbers[name] for name in classes], np.int64)
            names = tuple(readable(name) for name in numbers)
    elif edm is not None:
        unlabelled = [path for path in images if path not in edm]
        if unlabelled:
            more = f" (and {len(unlabelled) - 1} more)" if len(unlabelled) > 1 else ""
            raise InputError(
                f"{what}: {EDM_FILE} has no label for {readable(unlabelled[0])}{more}; add it or remove the image"
            )
        labels = np.array([edm[path] for path in images], np.int64)
        present = set(images)
        skipped += [(path, f"labelled in {EDM_FILE} but not there") for path in edm if path not in present]
    return Listing(images, labels, names, tuple((readable(path), reason) for path, reason in skipped))


_MISSING: Any = object()


def _edm_labels(tree: Tree, what: str) -> dict[str, int] | None:
    """Label by path; None for an unlabelled set; _MISSING for a dataset.json of another kind."""
    try:
        content = json.loads(tree.read(EDM_FILE))
    except (
        OSError,
        ValueError,
        RecursionError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
    ) as error:
        raise InputError(f"{what}: {EDM_FILE} is not readable JSON ({error}); repair or remove it") from error
    if not isinstance(content, dict) or "labels" not in content:
        return _MISSING
    labels = content["labels"]
    if labels is None:
        return None
    wrong = f'{what}: "labels" in {EDM_FILE} must be null or a list of [path, class] with integer classes from 0'
    if not isinstance(labels, list):
        raise InputError(f"{wrong}, not {type(labels).__name__}")
    result: dict[str, int] = {}
    for entry in labels:
        if not _is_label(entry):
            raise InputError(f"{wrong}; found {json.dumps(entry)[:80]}")
        result[entry[0]] = entry[1]
    return result


def _is_label(entry: Any) -> bool:
    if not isinstance(entry, Sequence) or isinstance(entry, str) or len(entry) != 2:
        return False
    path, label = entry
    return isinstance(path, str) and isinstance(label, int) and not isinstance(label, bool) and 0 <= label < 2**63
