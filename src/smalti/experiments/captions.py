"""Words for captions: names as legends show them, lists, numbers, what is read from a row of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from smalti.analysis.intervals import TELLING

if TYPE_CHECKING:
    from smalti.experiments.laboratory import Laboratory

__all__ = ["BANDS", "label_of", "labels_of", "level", "listed", "runs", "significant", "with_interval"]

BANDS = f"bands are 95 % bootstrap intervals over z (none for n < {TELLING})"


def label_of(lab: Laboratory, name: str) -> str:
    """The name; with what it does not say, and, of a denoiser on fewer images than the source, their number: "pca-locality (N=500)"."""
    said = [f"N={lab.limited[name]:,}"] if name in lab.limited else []
    said += [lab.remarks[name]] if name in lab.remarks else []
    return f"{name} ({', '.join(said)})" if said else name


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


def runs(sigmas: Iterable[float], chosen: Iterable[float]) -> str:
    """Where something holds, as the stretches of neighbouring noise levels at which it does: "sigma 0.25 to 2 and from 25 on".

    Args:
        sigmas: all noise levels, in any order.
        chosen: those at which it holds.

    Returns:
        Stretches from low to high; one that begins at the lowest level is "up to 2", one that ends at the highest "from 25 on"; "all
        levels" or "no level" where it is so.
    """
    every, held = sorted(set(sigmas)), set(chosen)
    stretches: list[list[int]] = []
    for number, sigma in enumerate(every):
        if sigma in held:
            if stretches and stretches[-1][1] == number - 1:
                stretches[-1][1] = number
            else:
                stretches.append([number, number])
    if len(held & set(every)) in (0, len(every)):
        return "all levels" if stretches else "no level"
    return f"sigma {listed([_stretch(every, first, last) for first, last in stretches])}"


def _stretch(every: Sequence[float], first: int, last: int) -> str:
    low, high = significant(every[first]), significant(every[last])
    if first == last:
        return low
    return f"up to {high}" if first == 0 else f"from {low} on" if last == len(every) - 1 else f"{low} to {high}"


def level(sigma: float) -> str:
    """ "sigma 1.9"."""
    return f"sigma {significant(sigma)}"


def with_interval(row: Mapping[str, Any], column: str) -> str:
    """ "0.075 [0.07, 0.08]" from the columns that `Interval.named` gives; the value alone where the interval is not known."""
    value, low, high = (row[f"{column}{end}"] for end in ("", "_low", "_high"))
    if not math.isfinite(value):
        return "undefined"
    known = math.isfinite(low) and math.isfinite(high)
    return f"{significant(value)} [{significant(low)}, {significant(high)}]" if known else significant(value)
