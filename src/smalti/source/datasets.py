"""Images of a data set object: torch's and torchvision's datasets of (image, label), and Hugging Face's `datasets.Dataset`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from smalti.core.errors import InputError
from smalti.core.progress import progress
from smalti.core.text import printable, shortened
from smalti.source.cache import memory_store
from smalti.source.checks import check_dtype, check_finite, check_labels_array, check_resolution
from smalti.source.conversion import fill, rows_of
from smalti.source.decoding import decode, picture_pixels
from smalti.source.format import Origin, Stored
from smalti.source.memory import allocate
from smalti.source.names import IMAGE_NAMES, LABEL_NAMES
from smalti.source.parallel_decoding import assemble

__all__ = ["stored_of"]

RULE = "items of a data set object: pictures by the rule of image files, arrays as they are"
IMAGE_KEYS = (*IMAGE_NAMES, "img", "picture", "pixel_values", "jpg", "png", "webp")
MOST_CHANNELS = 4


def stored_of(dataset: Any, resolution: Any = None, name: str | None = None, show: bool | None = None) -> Stored:
    """All images of `dataset`, in memory.

    Args:
        dataset: has a length and items by number: (image, label, ...), a dict with an image and perhaps a label, or
            images. An image is a PIL image, the bytes of an image file, or an array or tensor, (C, H, W), (H, W, C) or
            (H, W), uint8 or floats.
        resolution: as in `Source.open`.
        name: of the source; None takes that of the data set's class.
        show: progress, as in smalti.core.progress.

    Raises:
        InputError: no length, no items, items of another kind, several sizes, labels that are not classes.
    """
    size = check_resolution(resolution)
    what = name or type(dataset).__name__
    try:
        count = len(dataset)
    except TypeError as error:
        raise InputError(
            f"{type(dataset).__name__} has no length; give a data set with one (of a stream, take a part into a list)"
        ) from error
    if count < 1:
        raise InputError(f"{what} has no items")
    if isinstance(dataset, Mapping):
        listed = ", ".join(shortened(printable(repr(key)), 40) for key in list(dataset)[:8])
        raise InputError(f"{what} is a table of data sets ({listed}); give one of them")
    labels: list[Any] = []

    def images() -> Iterator[Any]:
        for number in range(count):
            image, label = _parts(_item(dataset, number, what), number)
            labels.append(label)
            yield image

    items = images()
    first = next(items)
    collect = _pictures if _array(first) is None else _arrays
    pixels = collect(first, items, count, what, size, show)
    numbers = None if all(label is None for label in labels) else _classes(labels, what)
    names = None if numbers is None else _names(dataset, int(numbers.max()))
    return Stored(pixels, numbers, names, (), what, Origin(what, "dataset", RULE))


def _pictures(
    first: Any, rest: Iterator[Any], count: int, what: str, size: tuple[int, int] | None, show: bool | None
) -> np.ndarray:
    def decoded() -> Iterator[np.ndarray]:
        yield _picture(first, 0, size)
        for number, image in enumerate(rest, 1):
            yield _picture(image, number, size)

    names = [f"item {number}" for number in range(count)]
    return assemble(names, decoded(), memory_store(what), False, show).images


def _picture(image: Any, number: int, size: tuple[int, int] | None) -> np.ndarray:
    """(C, H, W) uint8 of a PIL image, or of the bytes of an image file."""
    if isinstance(image, dict) and isinstance(image.get("bytes"), bytes):
        image = image["bytes"]
    try:
        if isinstance(image, bytes):
            return decode(image, size)
        if type(image).__module__.split(".")[0] == "PIL":
            return picture_pixels(image, size)
    except (ValueError, OSError) as error:
        raise InputError(f"item {number} cannot be decoded: {printable(' '.join(str(error).split())[:200])}") from error
    raise InputError(
        f"item {number} is a {type(image).__name__}; images are PIL images, arrays, tensors or image files"
    )


def _arrays(
    first: Any, rest: Iterator[Any], count: int, what: str, size: tuple[int, int] | None, show: bool | None
) -> np.ndarray:
    one = _planes(first, 0)
    check_dtype(one.dtype)
    dtype = np.dtype(np.uint8 if one.dtype == np.uint8 else np.float32)
    images = allocate((count, *one.shape), dtype, f"{what} as one array of {count} images")
    images[0] = one
    with progress(f"reading {what}", count, show) as advance:
        advance(1)
        for number, item in enumerate(rest, 1):
            planes = _planes(item, number)
            if planes.shape != one.shape or planes.dtype != one.dtype:
                raise InputError(
                    f"item {number} is {planes.dtype} of shape {planes.shape} and item 0 {one.dtype} of {one.shape}; "
                    "give images of one kind"
                )
            images[number] = planes
            advance(1)
    check_finite(images)
    return images if size is None or size == one.shape[1:] else fill(rows_of(images), memory_store(what), size, show)


def _array(image: Any) -> np.ndarray | None:
    if isinstance(image, torch.Tensor):
        return image.detach().cpu().numpy()
    return image if isinstance(image, np.ndarray) else None


def _planes(image: Any, number: int) -> np.ndarray:
    """(C, H, W) of an array, whose channels may come last."""
    array = _array(image)
    if array is None:
        raise InputError(f"item {number} is a {type(image).__name__}, and item 0 an array; give images of one kind")
    if array.ndim == 2:
        return array[None]
    if array.ndim != 3 or min(array.shape) < 1:
        raise InputError(f"item {number} has shape {array.shape}; an image is (C, H, W), (H, W, C) or (H, W)")
    return array.transpose(2, 0, 1) if array.shape[2] <= MOST_CHANNELS < array.shape[0] else array


def _item(dataset: Any, number: int, what: str) -> Any:
    try:
        return dataset[number]
    except (TypeError, KeyError, IndexError) as error:
        reason = shortened(printable(" ".join(str(error).split())), 120)
        raise InputError(f"{what} has no item {number} ({reason}); give a data set with items 0 to len - 1") from error


def _parts(item: Any, number: int) -> tuple[Any, Any]:
    """(image, label or None) of an item."""
    if isinstance(item, dict):
        keys = {str(key).lower(): key for key in item}
        image = next((keys[name] for name in IMAGE_KEYS if name in keys), None)
        if image is None:
            listed = ", ".join(printable(name)[:40] for name in list(keys)[:8])
            raise InputError(f"item {number} has no image (it has {listed}); name it `image`")
        label = next((keys[name] for name in LABEL_NAMES if name in keys), None)
        return item[image], None if label is None else item[label]
    if isinstance(item, (tuple, list)):
        if not item:
            raise InputError(f"item {number} is empty")
        return item[0], item[1] if len(item) > 1 else None
    return item, None


def _classes(labels: list[Any], what: str) -> np.ndarray:
    values = [_number(label) for label in labels]
    wrong = next((k for k, value in enumerate(values) if type(value) is not int), None)
    if wrong is not None:
        raise InputError(f"{what}: the label of item {wrong} is {values[wrong]!r}, no class; give whole numbers from 0")
    if any(abs(value) >= 2**63 for value in values):
        raise InputError(f"{what} has labels that are too large; give whole numbers from 0")
    return check_labels_array(np.array(values, np.int64), len(values))


def _number(label: Any) -> Any:
    """The Python number of a label that is an array or tensor of one."""
    one = (
        label.numel() == 1
        if isinstance(label, torch.Tensor)
        else isinstance(label, (np.generic, np.ndarray)) and label.size == 1
    )
    return label.item() if one else label


def _names(dataset: Any, largest: int) -> tuple[str, ...] | None:
    """Names of the classes, where the data set says them: torchvision's `classes`, or a ClassLabel of `features`."""
    names = getattr(dataset, "classes", None)
    features = getattr(dataset, "features", None)
    if isinstance(features, dict):
        known = [
            getattr(feature, "names", None) for key, feature in features.items() if str(key).lower() in LABEL_NAMES
        ]
        names = known[0] if known else None
    if (
        not isinstance(names, (list, tuple))
        or not all(isinstance(name, str) for name in names)
        or largest >= len(names)
    ):
        return None
    return tuple(map(printable, names))
