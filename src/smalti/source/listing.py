"""Which images a tree of files has, in order, and their labels: from class folders, or from an EDM dataset.json.

The rule, the same for a folder and a zip: folders that hold everything are looked through ("data/cats/1.png" is "cats/1.png");
then, if every image is in a folder, the folders are the classes, in order of name. Where their names say that they are something
else, that is said: of parts of a data set (train, test; trainA, testA) the folders within them, or what the names say besides, are the
classes; masks beside images (images, masks) are left out.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smalti.core.errors import InputError, SmaltiError
from smalti.core.text import counted, printable, shortened
from smalti.source.decoding import EXTENSIONS
from smalti.source.names import choose_part, is_image_folder, mask_folders, part_and_rest, part_of
from smalti.source.trees import Tree

__all__ = ["EDM_FILE", "Listing", "NoImagesError", "is_image", "is_wanted", "list_images", "other_files"]

EDM_FILE = "dataset.json"
MAX_EDM = 64 << 20  # bytes; that of ImageNet's 1.3 million images has 40 million
MAX_BESIDES = 1 << 20  # of what stands in it besides the labels


class NoImagesError(InputError):
    """A folder or an archive has no images.

    Args:
        what: the data set.
        files: what it has instead.
        instead: what to do, where that is known.
    """

    def __init__(self, what: str, files: Sequence[str] = (), instead: str = "") -> None:
        named = ", ".join(shortened(printable(file)) for file in files[:3])
        more = f" and {counted(len(files) - 3, 'more file')}" if len(files) > 3 else ""
        has = f" (it has {named}{more})" if files else ""
        super().__init__(f"there are no images in {what}{has}; {instead or 'accepted are ' + ' '.join(EXTENSIONS)}")
        self.what, self.files = what, tuple(files)


@dataclass(frozen=True)
class Listing:
    """Images of a data set: paths in order, (N,) int64 labels and class names (or None), and what else is left out.

    `remarks` are warnings about it.
    """

    files: tuple[str, ...]
    labels: np.ndarray | None
    class_names: tuple[str, ...] | None
    skipped: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...] = ()


def is_image(path: str) -> bool:
    """Whether a file is taken for an image, by its extension."""
    return path.lower().endswith(EXTENSIONS)


def is_wanted(path: str) -> bool:
    """Whether a file is read: an image by its extension, or a dataset.json."""
    return is_image(path) or path.split("/")[-1] == EDM_FILE


def other_files(tree: Tree) -> tuple[tuple[str, str], ...]:
    """(path, reason) of what is in a tree and is never read."""
    others = [(path, "not an image file") for path in tree.files if not is_wanted(path)]
    return tuple((printable(path), reason) for path, reason in (*tree.ignored, *others))


def list_images(tree: Tree, what: str, split: str | None = None) -> Listing:
    """The images of `tree` with their labels.

    A dataset.json at the top with a "labels" entry gives the labels (no class names), or none where that is null.

    Args:
        tree: the files.
        what: the data set, for messages.
        split: the images of this part only, where the folders are parts.

    Raises:
        InputError: no images; a damaged dataset.json, or one that labels an image twice or not at all; no such part.
    """
    images = tuple(path for path in tree.files if is_image(path))
    if not images:
        raise NoImagesError(what, tree.files)
    images, masks, remarks = _without_masks(images, what)
    top = _top(images, tree.files)
    edm_file = top + EDM_FILE
    edm = _edm_labels(tree, edm_file, what) if edm_file in tree.files else _MISSING
    if edm is not _MISSING:
        images, masks, remarks = tuple(path for path in tree.files if is_image(path)), [], []
    unread = [path for path in tree.files if path.split("/")[-1] == EDM_FILE and (path != edm_file or edm is _MISSING)]
    skipped = [*masks, *((printable(path), "not an EDM data set's") for path in unread)]
    if edm is not _MISSING:
        if split is not None:
            raise InputError(f"{what} is an EDM data set, which has no parts; leave the split out")
        labels, missing = (None, []) if edm is None else _labelled(images, edm, top, what)
        return Listing(images, labels, None, (*skipped, *missing))
    below = {path: path[len(top) :].split("/") for path in images}
    parts, below = _parts(below)
    holders = {names[0] if len(names) > 1 else "" for names in below.values()}
    if len(holders) == 1 and is_image_folder(
        *holders
    ):  # train/images/1.png; photo and rgb beside each other are classes
        below = {path: names[1:] for path, names in below.items()}
    if split is not None and not parts:
        raise InputError(f"{what} has no folders train, test or validation to choose from; leave the split out")
    if parts:
        counts = Counter(parts[path] for path in images)
        if split is not None:
            wanted = choose_part(counts, split, what)
            images = tuple(path for path in images if parts[path] == wanted)
        elif len(counts) > 1:
            said = ", ".join(f"{part} ({count})" for part, count in counts.items())
            best = "train" if "train" in counts else next(iter(counts))
            remarks.append(
                f"{what} has the parts {said}, and all their images are taken; "
                f"split={best!r} (--split {best}) takes one part"
            )
    if not all(len(below[path]) > 1 for path in images):
        return Listing(images, None, None, tuple(skipped), tuple(remarks))
    classes = [below[path][0] for path in images]
    numbers = {name: number for number, name in enumerate(sorted(set(classes)))}
    if len(odd := [name for name in numbers if part_of(name) is not None]) > 1 and not parts:
        listed = " and ".join(map(printable, odd[:3]))
        remarks.append(
            f"{what}: {listed} are taken for classes, as all its folders are; if they are parts of it, open one of them alone"
        )
    labels = np.array([numbers[name] for name in classes], np.int64)
    return Listing(images, labels, tuple(printable(name) for name in numbers), tuple(skipped), tuple(remarks))


def _parts(below: Mapping[str, list[str]]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The part of every image, by its path, where folders are parts (train/cat/1.png, trainA/1.png, cat/train/1.png; else none), and
    its path without what says the part."""
    first = {path: part_and_rest(names[0]) for path, names in below.items() if len(names) > 1}
    parts = {path: found[0] for path, found in first.items() if found is not None}
    exact = all(part_of(names[0]) is not None for names in below.values())
    if len(parts) == len(below) and (exact or len(set(parts.values())) > 1):
        said = {path: found[1] for path, found in first.items() if found is not None}
        classes = len(set(said.values())) > 1 and all(said.values())  # trainA, trainB
        within = {path: [*([said[path]] if classes else []), *names[1:]] for path, names in below.items()}
        return parts, within
    second = {path: part_of(names[1]) for path, names in below.items() if len(names) > 2}
    parts = {path: part for path, part in second.items() if part is not None}
    if len(parts) == len(below):
        return parts, {path: [names[0], *names[2:]] for path, names in below.items()}
    return {}, dict(below)


def _without_masks(images: tuple[str, ...], what: str) -> tuple[tuple[str, ...], list[tuple[str, str]], list[str]]:
    """The images without masks that lie in a folder beside theirs, what is said of those folders, and a remark on them."""
    folders: dict[str, set[str]] = {}
    for path in images:
        names = path.split("/")
        for depth, name in enumerate(names[:-1]):
            folders.setdefault("/".join(names[:depth]), set()).add(name)
    masks = {
        f"{above}/{name}".lstrip("/"): f"{above}/{of}".lstrip("/")
        for above, names in folders.items()
        for name, of in mask_folders(names).items()
    }
    if not masks:
        return images, [], []
    kept, counts = [], Counter[str]()
    for path in images:
        above = [path[:at] for at, letter in enumerate(path) if letter == "/"]
        mask = next((folder for folder in above if folder in masks), None)
        if mask is None:
            kept.append(path)
        else:
            counts[mask] += 1
    skipped = [
        (printable(f"{folder}/"), f"{counted(number, 'file')}, masks of those in {printable(masks[folder])}")
        for folder, number in counts.items()
    ]
    first = next(iter(counts))
    more = f" (and of {counted(len(counts) - 1, 'more folder')})" if len(counts) > 1 else ""
    remark = (
        f"{what}: the {counted(counts[first], 'file')} in {printable(first)}{more} are taken for masks of those in "
        f"{printable(masks[first])}, and left out; open that folder itself if they are images"
    )
    return tuple(kept), skipped, [remark]


def _top(images: tuple[str, ...], files: tuple[str, ...]) -> str:
    """The folders that hold everything ("data/"), but for those that are parts of a data set."""
    top = ""
    there = set(files)
    while True:
        names = [path[len(top) :].split("/") for path in images]
        if top + EDM_FILE in there or not all(len(parts) > 1 for parts in names):
            return top
        first = {parts[0] for parts in names}
        if all(part_of(name) is not None for name in first) and (len(first) > 1 or all(len(p) > 2 for p in names)):
            return top
        deeper = f"{top}{names[0][0]}/"
        if len(first) > 1 or not (all(len(parts) > 2 for parts in names) or deeper + EDM_FILE in there):
            return top
        top = deeper


_MISSING: Any = object()


def _labelled(
    images: tuple[str, ...], edm: Mapping[str, int], top: str, what: str
) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """The labels of the images, and those that are not of any."""
    unlabelled = [path for path in images if path[len(top) :] not in edm]
    if unlabelled:
        more = f" (and {len(unlabelled) - 1} more)" if len(unlabelled) > 1 else ""
        raise InputError(
            f"{what}: {EDM_FILE} has no label for {printable(unlabelled[0])}{more}; add it or remove the image"
        )
    present = {path[len(top) :] for path in images}
    missing = [(printable(path), f"labelled in {EDM_FILE} but not there") for path in edm if path not in present]
    return np.array([edm[path[len(top) :]] for path in images], np.int64), missing


def _edm_labels(tree: Tree, file: str, what: str) -> dict[str, int] | None:
    """Label by path; None for an unlabelled set; _MISSING for a dataset.json of another kind."""
    if tree.size(file) > MAX_EDM:
        raise InputError(f"{what}: {EDM_FILE} claims {tree.size(file)} bytes, more than the limit of {MAX_EDM}")
    try:
        return _parsed(tree.read(file).decode("utf-8"), what)
    except SmaltiError:
        raise
    except Exception as error:  # of zips, disks and JSON
        reason = shortened(printable(" ".join(str(error).split())))
        raise InputError(f"{what}: {EDM_FILE} is not readable JSON ({reason}); repair or remove it") from error


_SPACE = re.compile(r"[ \t\r\n]*")
_ENTRY = re.compile(r'[ \t\r\n]*\[\s*"([^"\\\x00-\x1f]*)"\s*,\s*(\d{1,18})\s*\]\s*([,\]])')


def _parsed(text: str, what: str) -> dict[str, int] | None:
    """The labels of a dataset.json; they are read one by one, so that memory is bounded by what is kept of them."""
    at = _after_space(text, 0)
    if text[at : at + 1] != "{":
        _value(text, at)
        return _MISSING
    at = _after_space(text, at + 1)
    result: Any = _MISSING
    while text[at : at + 1] != "}":
        key, at = _value(text, at)
        at = _after_space(text, at)
        if not isinstance(key, str) or text[at : at + 1] != ":":
            raise ValueError(f"a key without a value at {at}")
        at = _after_space(text, at + 1)
        if key == "labels" and text[at : at + 1] == "[":
            result, at = _entries(text, at + 1, what)
        else:
            value, at = _value(text, at)
            if key == "labels" and value is not None:
                raise InputError(f"{_wrong(what)}, not {type(value).__name__}")
            result = None if key == "labels" else result
        at = _after_space(text, at)
        if text[at : at + 1] == ",":
            at = _after_space(text, at + 1)
        elif text[at : at + 1] != "}":
            raise ValueError(f"a comma or the end was expected at {at}")
    return result


def _entries(text: str, at: int, what: str) -> tuple[dict[str, int], int]:
    """Label by path of the list that starts there, and where it ends."""
    result: dict[str, int] = {}
    at = _after_space(text, at)
    if text[at : at + 1] == "]":
        return result, at + 1
    while True:
        found = _ENTRY.match(text, at)
        if found is not None:
            path, label, end, at = found[1], int(found[2]), found[3], found.end()
        else:  # with escapes in the path, or wrong
            entry, at = _value(text, _after_space(text, at))
            if not _is_label(entry):
                raise InputError(f"{_wrong(what)}; found {shortened(json.dumps(entry))}")
            (path, label), at = entry, _after_space(text, at)
            end, at = text[at : at + 1], at + 1
        if result.setdefault(path, label) != label:
            raise InputError(
                f"{what}: {EDM_FILE} puts {shortened(printable(path))} into two classes, {result[path]} and {label}; "
                "keep one"
            )
        if end == "]":
            return result, at
        if end != ",":
            raise ValueError(f"a comma or the end of the labels was expected at {at}")


def _is_label(entry: Any) -> bool:
    if not isinstance(entry, list) or len(entry) != 2:
        return False
    path, label = entry
    return isinstance(path, str) and type(label) is int and 0 <= label < 2**63


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _value(text: str, at: int) -> tuple[Any, int]:
    """The JSON value that starts there, which must be short, and where it ends."""
    value, length = json.JSONDecoder().raw_decode(text[at : at + MAX_BESIDES])
    return value, at + length


def _wrong(what: str) -> str:
    return f'{what}: "labels" in {EDM_FILE} must be null or a list of [path, class] with integer classes from 0'
