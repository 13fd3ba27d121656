"""Choosing images: indices, class filters, limits."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from smalti.core.errors import InputError

__all__ = ["class_indices", "limit_indices", "to_indexer"]


def to_indexer(indices: Any, count: int) -> slice | np.ndarray:
    """Indices as a slice of step 1 where they are contiguous, else as an (n,) int64 array from 0 to count - 1.

    Args:
        indices: None for all; an integer, a slice, a sequence, array or tensor of integers (negative ones count from
            the end), or a mask of `count` booleans.
        count: number of images.

    Raises:
        InputError: out of range, another dtype or more than one axis.
    """
    if indices is None:
        return slice(0, count)
    if isinstance(indices, slice):
        indices = np.arange(count)[indices]
    elif isinstance(indices, torch.Tensor):
        indices = indices.detach().cpu().numpy()
    elif isinstance(indices, range):
        indices = np.arange(indices.start, indices.stop, indices.step)
    try:
        array = np.atleast_1d(np.asarray(indices))
    except ValueError as error:
        raise InputError(f"indices are ragged ({error}); give a flat list of integers") from error
    if array.size == 0:
        array = array.astype(np.int64).reshape(-1)
    if array.ndim != 1 or array.dtype.kind not in "iub":
        raise InputError(f"indices must be one axis of integers or booleans, not {array.dtype} of shape {array.shape}")
    if array.dtype.kind == "b":
        if len(array) != count:
            raise InputError(f"a mask of {len(array)} booleans for {count} images; give one an image")
        array = np.flatnonzero(array)
    if array.size and not (-count <= int(array.min()) and int(array.max()) < count):
        bad = int(array.min()) if int(array.min()) < -count else int(array.max())
        raise InputError(f"image {bad} is out of range: there are {count}, numbered from 0")
    array = array.astype(np.int64)
    array[array < 0] += count
    if array.size and (array == np.arange(array[0], array[0] + array.size)).all():
        return slice(int(array[0]), int(array[0]) + array.size)
    return array


def class_indices(
    labels: np.ndarray | None, names: Sequence[str] | None, classes: str | int | Iterable[str | int]
) -> np.ndarray:
    """Numbers of the images of some classes, in order.

    Args:
        labels: (N,) int64, or None.
        names: of the classes, or None.
        classes: names or numbers (a number as text too, where no class has that name), a list of them or one.

    Raises:
        InputError: there are no classes, no class of that name or number, or no image of any of them.
    """
    if labels is None:
        raise InputError("the images have no classes to choose from; leave classes out, or use a data set with labels")
    single = isinstance(classes, (str, int, np.integer))
    if not single and not isinstance(classes, Iterable):
        raise InputError(f"classes are names or numbers, a list of them or one, not {classes!r}")
    wanted = [classes] if single else list(classes)  # type: ignore[arg-type]
    if not wanted:
        raise InputError("classes is an empty list; name at least one class, or leave it out")
    count = len(names) if names is not None else int(labels.max()) + 1
    numbers = [_class_number(item, names, count) for item in wanted]
    found = np.flatnonzero(np.isin(labels, numbers))
    if not found.size:
        raise InputError(f"there are no images of class {', '.join(map(str, wanted))}")
    return found


def _class_number(item: Any, names: Sequence[str] | None, count: int) -> int:
    if isinstance(item, str) and names is not None and item in names:
        if list(names).count(item) > 1:
            numbers = ", ".join(str(number) for number, name in enumerate(names) if name == item)
            raise InputError(f"several classes are called {item!r}; give a number, one of {numbers}")
        return list(names).index(item)
    if isinstance(item, str) and not (item.isascii() and item.isdigit()):
        if names is None:
            raise InputError(
                f"there is no class {item!r}: the classes have no names, only numbers from 0 to {count - 1}"
            )
        near = difflib.get_close_matches(item, names, 1, 0.5)
        known = (
            f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names[:20])}{', ...' * (len(names) > 20)}"
        )
        raise InputError(f"there is no class {item!r}; {known}")
    try:
        number = int(item) if isinstance(item, str) else operator.index(item)
    except TypeError:
        raise InputError(f"a class is a name or a number, not {item!r}") from None
    if isinstance(item, (bool, np.bool_)) or not 0 <= number < count:
        raise InputError(f"there is no class {item}; classes are numbered from 0 to {count - 1}")
    return number


def limit_indices(count: int, limit: int) -> np.ndarray | None:
    """Numbers of `limit` images evenly spaced among `count`, floor(i count / limit); None for all.

    Raises:
        InputError: limit < 1, or not an integer.
    """
    if isinstance(limit, bool) or not isinstance(limit, (int, np.integer)) or limit < 1:
        raise InputError(f"limit must be an integer of at least 1, not {limit!r}")
    if limit >= count:
        return None
    return np.arange(int(limit), dtype=np.int64) * count // int(limit)
