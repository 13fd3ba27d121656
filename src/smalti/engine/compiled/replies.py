"""Responses that are single pixels or entries: posterior means of few numbers for each query."""

from __future__ import annotations

import numpy as np

__all__ = ["images_of", "single_entries"]


def single_entries(responses: np.ndarray, shape: tuple[int, int, int], flips: int) -> list[np.ndarray] | None:
    """(K, M) entries, for each flip, if every response (K, C or 1, H, W) is one pixel (M = C) or one entry (M = 1) of weight 1."""
    channels, height, width = shape
    flat = responses.reshape(len(responses), -1)
    if not ((flat != 0).sum(1) == 1).all() or not (flat.max(1) == 1).all():
        return None
    place = flat.argmax(1)
    row, column = np.divmod(place % (height * width), width)
    first = place // (height * width) * height * width
    found = []
    for flip in range(flips):
        entry = first + row * width + (width - 1 - column if flip else column)
        over = np.arange(channels) * height * width if responses.shape[1] == 1 else np.zeros(1, np.int64)
        found.append(np.ascontiguousarray(entry[:, None] + over))
    return found


def images_of(means: np.ndarray, entries: np.ndarray, size: int) -> np.ndarray:
    """(B, M, K) sums of entries (K, M), added up where they belong: (B, size)."""
    out = np.zeros((len(means), size))
    np.add.at(out.T, entries.T, means.transpose(1, 2, 0))
    return out
