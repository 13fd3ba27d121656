"""How much memory is left, and an error before an array that would not fit is allocated."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from smalti.core.errors import EnvironmentFailure

__all__ = ["allocate", "available_memory", "size_in_words"]

SHARE = 0.9  # of the available memory that one array may take


def available_memory() -> float:
    """Bytes that can be allocated without swapping, within the control group too; infinity where that is not known."""
    left = math.inf
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                left = int(line.split()[1]) * 1024
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            inactive = [x for x in (group / "memory.stat").read_text().splitlines() if x.startswith("inactive_file ")]
            used = int((group / "memory.current").read_text()) - sum(int(x.split()[1]) for x in inactive)
            left = min(left, max(int(limit) - used, 0))
    except (OSError, ValueError, IndexError):
        pass
    return left


def allocate(shape: tuple[int, ...], dtype: np.dtype, what: str) -> np.ndarray:
    """An uninitialised array in memory.

    Raises:
        EnvironmentFailure: it does not fit; `what` says what it is for.
    """
    needed = math.prod(shape) * dtype.itemsize
    left = available_memory()
    if needed > SHARE * left:
        raise EnvironmentFailure(
            f"{what} needs {size_in_words(needed)} of memory and {size_in_words(left)} is free; "
            "give a smaller --resolution, or a cache folder (SMALTI_CACHE) on a disk with room"
        )
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError) as error:
        raise EnvironmentFailure(f"{what} needs {size_in_words(needed)} of memory, which could not be had") from error


def size_in_words(size: float) -> str:
    """A number of bytes for people: "153.6 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
