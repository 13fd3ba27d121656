"""Words for captions: names as legends show them, lists, numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smalti.experiments.laboratory import Laboratory

__all__ = ["label_of", "labels_of", "listed", "significant"]


def label_of(lab: Laboratory, name: str) -> str:
    """The name; of a denoiser on fewer images than the source with their number, "pca-locality (N=500)"."""
    return f"{name} (N={lab.limited[name]:,})" if name in lab.limited else name


def labels_of(lab: Laboratory, names: Iterable[str]) -> dict[str, str]:
    """name -> `label_of` it."""
    return {name: label_of(lab, name) for name in names}


def listed(words: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"; "none" for no words."""
    if not words:
        return "none"
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def significant(number: float, digits: int = 2) -> str:
    """A number with two significant digits, without an exponent where it can be: 0.59, 8.4, 80."""
    return f"{float(f'{number:.{digits}g}'):g}"
