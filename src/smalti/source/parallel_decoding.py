"""Decoding many image files, in parallel, into one array, in order.

Pillow lets other threads run while it decodes. Threads decode chunks, a bounded number ahead; the caller's thread
takes them in order and copies them into the array, so the order is fixed, memory is bounded, and Ctrl-C is answered.
Very small files are decoded in the caller's thread: most of their time goes into Python, and threads only add to it.
Images much larger than the first one are too: one at a time, so that a few cannot fill the memory.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from smalti.core.errors import EnvironmentFailure, InputError, SmaltiError
from smalti.core.progress import progress
from smalti.core.text import printable
from smalti.source.cache import Store
from smalti.source.decoding import decode, decoder_formats, pixel_count

__all__ = ["Bad", "Gathered", "assemble", "gather"]

MAX_WORKERS = 16
SMALL_FILE = 4096  # bytes of the first file below which threads do not pay (measured: about 64 x 64 pixels)
CHUNK_BYTES = 1 << 20
MAX_CHUNK = 64
IN_FLIGHT = 512 << 20  # bytes that images may take while they are decoded, all threads together
PIXEL_BYTES = 8  # of a pixel while it is decoded: Pillow's, and ours
RELEASED = 128 << 20  # bytes written after which their pages are let go of
SEVERAL = 1 << 18  # pixels that an image may have anyway to be decoded in a thread

Read = Callable[[], bytes]


@dataclass(frozen=True)
class Gathered:
    """Decoded images (n, C, H, W) uint8, the numbers (n,) and names (n,) of the files that they came from, and the files that were bad."""

    images: np.ndarray
    kept: np.ndarray
    files: np.ndarray
    skipped: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Bad:
    """In place of an image: why there is none."""

    reason: str


def gather(
    files: Sequence[str],
    contents: Iterable[Read],
    store: Store,
    resolution: tuple[int, int] | None,
    skip_bad: bool,
    show: bool | None,
    threads: bool = True,
) -> Gathered:
    """Decode files, by the rule of smalti.source.decoding, into an array of `store`.

    Args:
        files: their names, in the order wanted.
        contents: what reads the bytes of each, in that order; taken from it in the caller's thread, called in others.
        store: where the array is allocated.
        resolution: (H, W), or None if all have one size.
        skip_bad: leave damaged files out instead of refusing.
        show: progress, as in smalti.core.progress.
        threads: whether several may be read ahead; not where `contents` are in memory already, and so unbounded.

    Raises:
        InputError: damaged files (the first is named), none that is not, or two sizes without a resolution.
        EnvironmentFailure: no room for the array.
    """
    decoder_formats()
    with (
        warnings.catch_warnings(),
        contextlib.closing(_decoded(contents, resolution, threads)) as decoded,
    ):
        # Remarks on odd metadata; sizes are limited by decode() itself.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        return assemble(files, decoded, store, skip_bad, show)


def assemble(
    names: Sequence[str], decoded: Iterable[np.ndarray | Bad], store: Store, skip_bad: bool, show: bool | None
) -> Gathered:
    """Images one by one, (C, H, W) uint8, C = 1 or 3, as one array; grey ones become RGB where another is.

    Raises:
        InputError, EnvironmentFailure: see `gather`.
    """
    bad: list[tuple[str, str]] = []
    kept: list[int] = []
    images: np.ndarray | None = None
    written = 0
    with progress(f"decoding {store.what}", len(names), show) as advance:
        for number, image in enumerate(decoded):
            if number >= len(names):
                raise InputError(f"{store.what} holds more images than it says, {len(names)}; it is damaged")
            if number % MAX_CHUNK == MAX_CHUNK - 1 or number == len(names) - 1:
                advance(number % MAX_CHUNK + 1)
            if isinstance(image, Bad):
                bad.append((printable(names[number]), image.reason))
                continue
            if images is None:
                images = store.allocate((len(names), *image.shape), np.dtype(np.uint8))
            if image.shape[1:] != images.shape[2:]:
                _refuse_sizes(names[kept[0]], images.shape[2:], names[number], image.shape[1:])
            if image.shape[0] > images.shape[1]:
                grey, images = images, store.allocate((len(names), *image.shape), np.dtype(np.uint8))
                for done in range(len(kept)):
                    images[done] = grey[done]
            images[len(kept)] = image  # grey is broadcast over three channels
            kept.append(number)
            written += image.nbytes
            if written > RELEASED:
                store.release()
                written = 0
    if bad and (images is None or not skip_bad):
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        remedy = (
            "no image is left without them" if images is None else "repair it, or leave bad files out with --skip-bad"
        )
        raise InputError(f"{bad[0][0]} cannot be decoded{more}: {bad[0][1]}; {remedy}")
    if images is None:
        raise InputError(f"there are no images in {store.what}")
    files = np.array([printable(names[number]) for number in kept])
    return Gathered(images[: len(kept)], np.array(kept, np.int64), files, tuple(bad))


def _refuse_sizes(first: str, first_size: Sequence[int], other: str, other_size: Sequence[int]) -> None:
    a, b = " x ".join(map(str, first_size)), " x ".join(map(str, other_size))
    raise InputError(
        f"the images differ in size: {printable(first)} is {a} and {printable(other)} is {b} (height x width); "
        f"bring them to one size with --resolution {min(*first_size, *other_size)}"
    )


def _decoded(
    contents: Iterable[Read], resolution: tuple[int, int] | None, threads: bool
) -> Generator[np.ndarray | Bad, None, None]:
    """Each file's (C, H, W) uint8 image, or why there is none, in order."""

    def one(read: Read, most: int | None = None) -> np.ndarray | Bad | Read:
        """The image; the reader again for one of more than `most` pixels."""
        try:
            data = read()
            if most is not None and pixel_count(data) > most:
                return read
            return decode(data, resolution)
        except (MemoryError, SmaltiError):
            raise
        except Exception as error:
            return Bad(printable(" ".join(str(error).split())[:200]) or type(error).__name__)

    def whole(found: np.ndarray | Bad | Read) -> np.ndarray | Bad:
        """What was left for this thread, decoded."""
        while callable(found):
            found = one(found)
        return found

    stopped = threading.Event()

    try:
        reads = iter(contents)
        head = next(reads, None)
        if head is None:
            return
        data = _tried(head)
        first = whole(one(head if data is None else lambda: data))
        yield first
        sound = data is not None and not isinstance(first, Bad)
        if not threads or (sound and data is not None and len(data) < SMALL_FILE):
            for read in reads:
                yield whole(one(read))
            return
        most = 2 * pixel_count(data) if sound and data is not None else SEVERAL
        most = max(most, SEVERAL)
        size = CHUNK_BYTES // max(first.nbytes, len(data)) if sound and data is not None else 1  # type: ignore[union-attr]
        size = min(max(size, 1), MAX_CHUNK)
        workers = min(_cores(), MAX_WORKERS, IN_FLIGHT // (most * PIXEL_BYTES))
        if workers < 1:
            for read in reads:
                yield whole(one(read))
            return
        kept = most * 3 if resolution is None else resolution[0] * resolution[1] * 3
        ahead = min(max(IN_FLIGHT // (kept * size), 1), 2 * workers)

        def several(chunk: Sequence[Read]) -> list[np.ndarray | Bad | Read]:
            return [one(read, most) for read in chunk if not stopped.is_set()]

        pool = ThreadPoolExecutor(workers, "smalti-decode")
        waiting: deque[Future[list[np.ndarray | Bad | Read]]] = deque()
        try:
            while chunk := list(itertools.islice(reads, size)):
                waiting.append(pool.submit(several, chunk))
                if len(waiting) > ahead:
                    yield from map(whole, waiting.popleft().result())
            while waiting:
                yield from map(whole, waiting.popleft().result())
        finally:
            stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
    except MemoryError as error:
        raise EnvironmentFailure(
            "there is not enough memory to decode an image; free some, or leave out the largest"
        ) from error


def _tried(read: Read) -> bytes | None:
    """The bytes, or None where they cannot be read: the one who decodes them says why."""
    try:
        return read()
    except (MemoryError, SmaltiError):
        raise
    except Exception:
        return None


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
