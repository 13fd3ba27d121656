"""What the names that people give say: which part of a data set, which of several arrays are the images and their labels, which folders
hold masks."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from smalti.core.errors import InputError, did_you_mean
from smalti.core.text import printable, shortened

__all__ = [
    "IMAGE_NAMES",
    "LABEL_NAMES",
    "SURE_LABELS",
    "Choice",
    "choose_arrays",
    "choose_part",
    "is_image_folder",
    "mask_folders",
    "part_and_rest",
    "part_of",
]

_SAME = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation", "testing": "test"}
_SAME |= {"t10k": "test", "unlabelled": "unlabeled"}
PARTS = ("train", "validation", "test", "unlabeled", "extra")


def part_of(name: str) -> str | None:
    """The part that a name stands for ("val" for "validation"), or None."""
    name = name.lower()
    name = _SAME.get(name, name)
    return name if name in PARTS else None


def part_and_rest(name: str) -> tuple[str, str] | None:
    """The part that is within a name and what else it says: "trainA" is ("train", "A"), "val2017" ("validation", "2017").

    None where there is no part in it, or several.
    """
    if (whole := part_of(name)) is not None:
        return whole, ""
    words = _words(name)
    found = [number for number, word in enumerate(words) if part_of(word) is not None]
    if len(found) != 1:
        return None
    part = part_of(words[found[0]])
    assert part is not None
    return part, "_".join(word for number, word in enumerate(words) if number != found[0])


_IMAGE_WORDS = {"image", "images", "img", "imgs", "photo", "photos", "rgb", "jpegimages", "leftimg8bit"}
_MASK_WORDS = {"mask", "masks", "label", "labels", "annotation", "annotations", "seg", "segmentation", "segmentations"}
_MASK_WORDS |= {"gt", "groundtruth", "depth", "depths", "trimap", "trimaps", "segmentationclass", "segmentationobject"}
_MASK_WORDS |= {"gtfine", "gtcoarse"}


def is_image_folder(name: str) -> bool:
    """Whether a folder's name says that images are in it, and nothing else: "images", "img"."""
    return _without(name, _IMAGE_WORDS) == ()


def mask_folders(names: Iterable[str]) -> dict[str, str]:
    """Which of the folders beside one another hold masks of which: {"masks": "images", "train_masks": "train"}.

    Names that say neither images nor a part may be classes ("mustang", "mustang_gt"): they count where all of them have masks.
    """
    masks: dict[str, tuple[str, ...]] = {}
    others: dict[tuple[str, ...], str] = {}
    for name in sorted(names):
        of = _without(name, _MASK_WORDS)
        if of is not None:
            masks[name] = of
        elif (key := _without(name, _IMAGE_WORDS)) is not None or (key := tuple(map(_folded, _words(name)))):
            others[key] = name
    found = {name: others[of] for name, of in masks.items() if of in others}
    classes = {name for name in others.values() if _without(name, _IMAGE_WORDS) is None and part_and_rest(name) is None}
    if not classes <= set(found.values()):
        found = {name: of for name, of in found.items() if of not in classes}
    return found


def _without(name: str, words: set[str]) -> tuple[str, ...] | None:
    """The words of a name that are not among `words`, folded; None where none is."""
    if _folded(name) in words:
        return ()
    said = [_folded(word) for word in _words(name)]
    return tuple(word for word in said if word not in words) if set(said) & words else None


def _words(name: str) -> list[str]:
    """ "trainA" and "train_A" as ["train", "A"]."""
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+", name)


def _folded(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def choose_part(parts: Collection[str], split: str | None, what: str) -> str:
    """The part that is asked for; without a wish the training images, or the only part.

    Raises:
        InputError: there is no such part, or none is the training part and several are there.
    """
    listed = ", ".join(sorted(parts))
    if split is None:
        if "train" in parts or len(parts) == 1:
            return "train" if "train" in parts else next(iter(parts))
        raise InputError(f"{what} has the parts {listed}; choose one with split= (--split)")
    wanted = part_of(str(split)) or split
    if wanted not in parts:
        raise InputError(
            f"{what} has no part {shortened(printable(str(split)))!r}; it has {listed}{did_you_mean(str(split), parts)}"
        )
    return wanted


IMAGE_NAMES = ("images", "image", "imgs", "x", "data", "samples", "inputs")
LABEL_NAMES = ("labels", "label", "y", "targets", "target", "classes", "class", "fine_labels", "fine_label")
SURE_LABELS = ("labels",)  # an array of this name is the labels, or an error


@dataclass(frozen=True)
class Choice:
    """The names of the images and of their labels (or None), and (name, reason) of every array that is not used."""

    images: str
    labels: str | None
    unused: tuple[tuple[str, str], ...]


def choose_arrays(shapes: Mapping[str, tuple[int, ...]], split: str | None, what: str) -> Choice:
    """Choose among arrays of these shapes.

    `images`, or another usual name, or the only 4-D array are the images; names may have a part in them (`x_train`,
    `test_images`). Labels are looked for under their usual names, in the same part, one row an image.

    Raises:
        InputError: no images, or several arrays that could be; no such part.
    """
    roles = {name: _role(name) for name in shapes}
    parts = {part for role, part in roles.values() if role == "images" and part is not None}
    part = choose_part(parts, split, what) if parts else None
    if split is not None and not parts:
        raise InputError(f"{what} has no parts to choose from; leave the split out")
    images = _images(shapes, roles, part, what)
    count = shapes[images][0] if shapes[images] else 0
    labels = [
        name
        for name, (role, of) in roles.items()
        if role == "labels" and of == part and name != images and (_is_sure(name) or _fits(shapes[name], count))
    ]
    chosen = labels[0] if len(labels) == 1 else next((name for name in labels if _is_sure(name)), None)
    reasons = {name: _reason(of, part, len(labels) > 1 and name in labels) for name, (_, of) in roles.items()}
    return Choice(images, chosen, tuple((n, reasons[n]) for n in shapes if n not in (images, chosen)))


def _images(
    shapes: Mapping[str, tuple[int, ...]],
    roles: Mapping[str, tuple[str | None, str | None]],
    part: str | None,
    what: str,
) -> str:
    named = [name for name, (role, of) in roles.items() if role == "images" and of == part]
    if "images" in named:
        return "images"
    candidates = [name for name in named if len(shapes[name]) == 4] or (
        [name for name, shape in shapes.items() if len(shape) == 4] if part is None else []
    )
    candidates = candidates or named
    if len(candidates) == 1:
        return candidates[0]
    listed = ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items())[:8]) or "nothing"
    found = "several 4-D arrays" if candidates else "no 4-D array"
    raise InputError(f"{what} has no `images` and {found} (it has {listed}); save the images under the name `images`")


def _role(name: str) -> tuple[str | None, str | None]:
    """("images" or "labels" or None, the part that the name says or None)."""
    plain = name.lower().split("/")[-1]
    if plain in ("arr_0", "arr_1"):
        return ("images" if plain == "arr_0" else "labels"), None
    words = [word for word in re.split(r"[_\-. ]+", plain) if word]
    found = [part for word in words if (part := part_of(word)) is not None]
    rest = "_".join(word for word in words if part_of(word) is None)
    role = "images" if rest in IMAGE_NAMES else "labels" if rest in LABEL_NAMES else None
    return role, found[0] if len(found) == 1 else None


def _is_sure(name: str) -> bool:
    return name.lower() in SURE_LABELS


def _fits(shape: tuple[int, ...], count: int) -> bool:
    return len(shape) in (1, 2) and shape[0] == count


def _reason(of: str | None, part: str | None, doubtful: bool) -> str:
    if of != part and of is not None:
        return f"an array of the part {of}"
    return "it may be the labels, as another may; rename one to `labels`" if doubtful else "an array that is not used"
