"""The embedded data set: 1,797 handwritten digits, 8 x 8, grey (see data/digits-LICENSE.txt)."""

from __future__ import annotations

from importlib import resources

import numpy as np

from smalti.source.cache import memory_store
from smalti.source.conversion import fill, rows_of
from smalti.source.format import Origin, Stored

__all__ = ["DIGITS", "open_digits"]

DIGITS = "digits"
RULE = (
    "embedded in smalti: the test part of 'Optical Recognition of Handwritten Digits' (E. Alpaydin and C. Kaynak, UCI, "
    "CC BY 4.0), pixels 0 to 16 stored as round(255 v / 16)"
)


def open_digits(resolution: tuple[int, int] | None) -> Stored:
    """The digits: images (1797, 1, 8, 8) uint8, or resized to `resolution`; labels and class names "0" to "9"."""
    file = resources.files("smalti.source") / "data" / "digits.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
        images, labels = content["images"], content["labels"].astype(np.int64)
    if resolution not in (None, images.shape[2:]):
        images = fill(rows_of(images), memory_store(DIGITS), resolution, show=False)
    images.flags.writeable = False
    return Stored(images, labels, tuple("0123456789"), (), DIGITS, Origin(DIGITS, DIGITS, RULE))
