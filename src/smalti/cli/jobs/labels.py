"""--labels: classes by name or number, one for all images or a list cycled over them."""

from __future__ import annotations

from collections.abc import Sequence

from smalti.core.errors import InputError, did_you_mean
from smalti.core.text import counted

__all__ = ["parse_labels"]


def parse_labels(
    text: str | None, n: int, class_names: Sequence[str] | None, num_classes: int | None
) -> list[int] | None:
    """Classes of n images: image j gets entry j modulo the length of the list.

    Args:
        text: "cat", "3", or "cat,dog,3"; None for no condition. A name wins over a number that looks the same.
        n: number of images.
        class_names: names of classes 0, 1, ..., or None.
        num_classes: number of classes, or None for data without.

    Raises:
        InputError: data without classes; a class that does not exist (with the nearest name); more entries than images.
    """
    if text is None:
        return None
    if num_classes is None:
        raise InputError("--labels was given, but the data, or the network, has no classes; leave it out")
    chosen = [_class(word.strip(), class_names or (), num_classes) for word in text.split(",")]
    if len(chosen) > n:
        raise InputError(f"--labels has {len(chosen)} entries for {counted(n, 'image')}; give at most {n}")
    return [chosen[j % len(chosen)] for j in range(n)]


def _class(word: str, names: Sequence[str], count: int) -> int:
    if word in names:
        return list(names).index(word)
    if word.isdecimal() and int(word) < count:
        return int(word)
    raise InputError(f"--labels: no class {word!r} (numbers 0 to {count - 1}{_some(names)}){did_you_mean(word, names)}")


def _some(names: Sequence[str]) -> str:
    return f", or names: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}" if names else ""
