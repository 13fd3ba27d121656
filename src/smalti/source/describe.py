"""What a source is, in numbers, for people and for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from smalti.source.source import Source

__all__ = ["describe"]


def describe(source: Source) -> dict[str, Any]:
    """Facts about a source; plain Python values only, ready for JSON.

    Returns:
        A dict with
            name, count, size {height, width}, channels, dtype, hflip;
            classes: None, or a list of {number, name, count};
            range: {stored: [min, max], working: [min, max]} over all pixels;
            pixel_ranges: {mean, min, max} of max - min of each pixel over the images (and flips), working scale;
            skipped: list of {file, reason};
            path, format: where it was opened, or None;
            cache: None, or {folder, hit};
            rule: how the images became the array, or None.
    """
    channels, height, width = source.shape
    low, high = source.pixel_range()
    stored_low, stored_high = source.stored_range()
    spread = (high - low).double()
    unit = int if source.images.dtype == np.uint8 else float
    origin = source.origin
    return {
        "name": source.name,
        "count": len(source),
        "size": {"height": height, "width": width},
        "channels": channels,
        "dtype": str(source.images.dtype),
        "hflip": source.hflip,
        "classes": _classes(source),
        "range": {
            "stored": [unit(stored_low.min()), unit(stored_high.max())],
            "working": [float(low.min()), float(high.max())],
        },
        "pixel_ranges": {"mean": float(spread.mean()), "min": float(spread.min()), "max": float(spread.max())},
        "skipped": [{"file": file, "reason": reason} for file, reason in source.skipped],
        "path": None if origin is None else origin.path,
        "format": None if origin is None else origin.format,
        "cache": None if origin is None or origin.cache is None else {"folder": origin.cache, "hit": origin.hit},
        "rule": None if origin is None else origin.rule,
    }


def _classes(source: Source) -> list[dict[str, Any]] | None:
    if source.labels is None or source.num_classes is None:
        return None
    numbers, counts = np.unique(source.labels, return_counts=True)
    found = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    names = source.class_names
    listed = range(source.num_classes) if names is not None else sorted(found)
    return [{"number": k, "name": None if names is None else names[k], "count": found.get(k, 0)} for k in listed]
