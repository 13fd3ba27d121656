"""Work split into numbered chunks, run on a few threads, and handed back in order.

The chunks are fixed by the data and the results are merged in order, so the outcome has the same bits whatever the number of threads.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from smalti.core.errors import InputError

__all__ = ["get_threads", "in_order", "set_threads"]

T = TypeVar("T")
_threads: int | None = None


def get_threads() -> int:
    """Threads that the numba backend uses: as set, else the environment's SMALTI_THREADS, else one per available core."""
    if _threads is not None:
        return _threads
    wanted = os.environ.get("SMALTI_THREADS", "")
    if wanted:
        if not wanted.isdigit() or int(wanted) < 1:
            raise InputError(f"SMALTI_THREADS must be a whole number of at least 1, not {wanted!r}")
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads(count: int | None) -> None:
    """Set the number of threads; None goes back to the default."""
    global _threads
    if count is not None and count < 1:
        raise InputError(f"the number of threads must be at least 1, not {count}")
    _threads = count


def in_order(work: Callable[[int], T], count: int) -> Iterator[T]:
    """work(0), work(1), ... work(count - 1), computed on threads, a bounded number ahead of what was taken."""
    threads = min(get_threads(), count)
    if threads <= 1:
        for number in range(count):
            yield work(number)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="smalti") as pool:
        pending: deque[Future[T]] = deque()
        try:
            for number in range(count):
                pending.append(pool.submit(work, number))
                if len(pending) > 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
