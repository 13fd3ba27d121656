"""Parts of a data set, as people name them: train, validation, test."""

from __future__ import annotations

from collections.abc import Collection

from smalti.core.errors import InputError, did_you_mean
from smalti.core.text import printable, shortened

__all__ = ["choose_part", "part_of"]

_SAME = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation", "testing": "test"}
_SAME |= {"t10k": "test", "unlabelled": "unlabeled"}
PARTS = ("train", "validation", "test", "unlabeled", "extra")


def part_of(name: str) -> str | None:
    """The part that a name stands for ("val" for "validation"), or None."""
    name = name.lower()
    name = _SAME.get(name, name)
    return name if name in PARTS else None


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
