"""Decoding many image files, in parallel, into one array, in order.

Pillow lets other threads run while it decodes. Threads decode chunks, a bounded number ahead; the caller's thread
takes them in order and copies them into the array, so the order is fixed, memory is bounded, and Ctrl-C is answered.
Very small files are decoded in the caller's thread: most of their time goes into Python, and threads only add to it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from smalti.core.errors import EnvironmentFailure, InputError, SmaltiError
from smalti.core.progress import progress
from smalti.source.cache import Store
from smalti.source.decoding import decode, decoder_formats
from smalti.source.trees import readable

__all__ = ["Gathered", "gather"]

MAX_WORKERS = 16
SMALL_FILE = 4096  # bytes of the first file below which threads do not pay (measured: about 64 x 64 pixels)
CHUNK_BYTES = 1 << 20
MAX_CHUNK = 64


@dataclass(frozen=True)
class Gathered:
    """Decoded images (n, C, H, W) uint8, the numbers of the files that they came from, and the files that were bad."""

    images: np.ndarray
    kept: np.ndarray
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Bad:
    reason: str


def gather(
    files: Sequence[str],
    read: Callable[[str], bytes],
    store: Store,
    resolution: tuple[int, int] | None,
    skip_bad: bool,
    show: bool | None,
) -> Gathered:
    """Decode `files`, by the rule of smalti.source.decoding, into an array of `store`.

    Args:
        files: names, in the order wanted.
        read: bytes of a file; called from several threads.
        store: where the array is allocated.
        resolution: (H, W), or None if all have one size.
        skip_bad: leave damaged files out instead of refusing.
        show: progress, as in smalti.core.progress.

    Raises:
        InputError: damaged files (the first is named), none that is not, or two sizes without a resolution.
        EnvironmentFailure: no room for the array.
    """
    decoder_formats()
    bad: list[tuple[str, str]] = []
    kept: list[int] = []
    images: np.ndarray | None = None
    with (
        progress(f"decoding {store.what}", len(files), show) as advance,
        warnings.catch_warnings(),
        contextlib.closing(_decoded(files, read, resolution)) as decoded,
    ):
        # Remarks on odd metadata; sizes are limited by decode() itself.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for number, image in enumerate(decoded):
            if number % MAX_CHUNK == MAX_CHUNK - 1 or number == len(files) - 1:
                advance(number % MAX_CHUNK + 1)
            if isinstance(image, _Bad):
                bad.append((readable(files[number]), image.reason))
                continue
            if images is None:
                images = store.allocate((len(files), *image.shape), np.dtype(np.uint8))
            if image.shape[1:] != images.shape[2:]:
                _refuse_sizes(files[kept[0]], images.shape[2:], files[number], image.shape[1:])
            if image.shape[0] > images.shape[1]:
                grey, images = images, store.allocate((len(files), *image.shape), np.dtype(np.uint8))
                for done in range(len(kept)):
                    images[done] = grey[done]
            images[len(kept)] = image  # grey is broadcast over three channels
            kept.append(number)
    if bad and (images is None or not skip_bad):
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        remedy = (
            "no image is left without them" if images is None else "repair it, or leave bad files out with --skip-bad"
        )
        raise InputError(f"{bad[0][0]} cannot be decoded{more}: {bad[0][1]}; {remedy}")
    assert images is not None
    return Gathered(images[: len(kept)], np.array(kept, np.int64), tuple(bad))


def _refuse_sizes(first: str, first_size: Sequence[int], other: str, other_size: Sequence[int]) -> None:
    a, b = " x ".join(map(str, first_size)), " x ".join(map(str, other_size))
    raise InputError(
        f"the images differ in size: {readable(first)} is {a} and {readable(other)} is {b} (height x width); "
        f"bring them to one size with --resolution {min(*first_size, *other_size)}"
    )


def _decoded(
    files: Sequence[str], read: Callable[[str], bytes], resolution: tuple[int, int] | None
) -> Generator[np.ndarray | _Bad, None, None]:
    """Each file's (C, H, W) uint8 image, or why there is none, in order."""

    def one(name: str) -> np.ndarray | _Bad:
        try:
            return decode(read(name), resolution)
        except (MemoryError, SmaltiError):
            raise
        except Exception as error:
            return _Bad(" ".join(str(error).split())[:200] or type(error).__name__)

    stopped = threading.Event()

    def several(names: Sequence[str]) -> list[np.ndarray | _Bad]:
        return [one(name) for name in names if not stopped.is_set()]

    try:
        first = one(files[0])
        yield first
        length = 0 if isinstance(first, _Bad) else len(read(files[0]))
        if not isinstance(first, _Bad) and length < SMALL_FILE:
            for name in files[1:]:
                yield one(name)
            return
        size = 1 if isinstance(first, _Bad) else CHUNK_BYTES // max(first.nbytes, length)
        size = min(max(size, 1), MAX_CHUNK)
        workers = min(_cores(), MAX_WORKERS)
        pool = ThreadPoolExecutor(workers, "smalti-decode")
        waiting: deque[Future[list[np.ndarray | _Bad]]] = deque()
        try:
            for start in range(1, len(files), size):
                waiting.append(pool.submit(several, files[start : start + size]))
                if len(waiting) > 2 * workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
    except MemoryError as error:
        raise EnvironmentFailure(
            "there is not enough memory to decode an image; free some, or leave out the largest"
        ) from error


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
