"""Work split into numbered chunks, run on a few threads, and handed back in order.

The chunks are fixed by the data and the results are merged in order, so the outcome has the same bits whatever the number of threads.

Threads live no longer than a call, so a process that is forked after one works, as do processes that are spawned and the workers of a
DataLoader. That is for the numba backend: torch's own threads do not survive a fork, so for the torch and reference backends a forked
process calls `torch.set_num_threads(1)` first, as a DataLoader's workers do by themselves.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from smalti.core.errors import InputError
from smalti.core.validation import check_count

__all__ = ["get_threads", "in_order", "set_threads"]

T = TypeVar("T")
WAVE = 64  # results kept at a time
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
    _threads = None if count is None else check_count("the number of threads", count)


def in_order(work: Callable[[int], T], count: int) -> Iterator[T]:
    """work(0), work(1), ... work(count - 1), in order; computed on threads, this one among them, at most `WAVE` results ahead.

    If `work` raises, or this thread is interrupted, the others stop after the piece they are at.
    """
    threads = get_threads()
    for start in range(0, count, WAVE):
        yield from _wave(work, range(start, min(start + WAVE, count)), threads)


def _wave(work: Callable[[int], T], numbers: range, threads: int) -> list[T]:
    threads = min(threads, len(numbers))
    if threads <= 1:
        return [work(number) for number in numbers]
    queue = iter(numbers)  # shared: next() on a range iterator is atomic
    results: dict[int, T] = {}
    stopped = threading.Event()

    def run() -> None:
        try:
            for number in queue:
                results[number] = work(number)
                if stopped.is_set():
                    return
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(threads - 1, thread_name_prefix="smalti") as pool:
        others = [pool.submit(run) for _ in range(threads - 1)]
        run()
    for other in others:
        other.result()
    return [results[number] for number in numbers]
