"""Decoded data sets, kept as arrays on disk: <root>/<key>/{images.npy, labels.npy, meta.json}.

The root is that of smalti.core.cache; the key is a hash of what the data is, how it is decoded and the code that decodes
it. An entry is complete or absent: it is written under a temporary name beside and renamed. What cannot be written stays
in memory, with a warning; what is damaged is thrown away and made again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smalti.core.cache import cache_root
from smalti.core.code import code_digest
from smalti.source.memory import allocate, size_in_words

__all__ = ["Built", "Store", "memory_store", "through_cache"]

FORMAT = 1
STALE_AFTER = 86400.0  # seconds after which the temporary folder of a dead process is removed
_TEMPORARY = ".tmp-"


@dataclass(frozen=True)
class Built:
    """A decoded data set: `images` (N, C, H, W), `labels` (N,) int64 or None, and what goes with them."""

    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...] | None
    skipped: tuple[tuple[str, str], ...]


class Store:
    """Where a builder puts its images: a file in a temporary folder of the cache, or memory if that cannot be written.

    Args:
        folder: temporary folder, made on the first allocation; None keeps everything in memory.
        what: name of the data set, for messages.
    """

    def __init__(self, folder: Path | None, what: str) -> None:
        self.folder = folder
        self.what = what
        self.images: np.ndarray = np.empty(0, np.uint8)
        self._files = 0

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """The array (N, C, H, W) to fill; a second call starts a new one.

        Raises:
            EnvironmentFailure: there is neither room on the disk nor in memory.
        """
        if self.folder is not None:
            try:
                self.images = self._on_disk(shape, dtype)
                return self.images
            except OSError as error:
                self.give_up(error)
        self.images = allocate(shape, dtype, f"{self.what} as one array {shape}")
        return self.images

    def give_up(self, error: OSError) -> None:
        """Warn once that the cache cannot be written, remove what is there, and go on in memory."""
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        self.warn(f" in {cache_root()} ({reason})", "with room" if full else "that can be written")
        self.discard()

    def warn(self, where: str, kind: str) -> None:
        """Say that nothing is kept: `where` and why not, and the `kind` of folder that would do."""
        warnings.warn(
            f"{self.what} is not cached{where}; it stays in memory and is decoded again next time; "
            f"set SMALTI_CACHE to a folder {kind}",
            stacklevel=2,
        )

    def discard(self) -> None:
        """Remove the temporary folder; arrays that are open stay readable."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def _on_disk(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        size = math.prod(shape) * dtype.itemsize
        free = shutil.disk_usage(self.folder).free
        if size > free:
            problem = f"needs {size_in_words(size)}, {size_in_words(free)} free"
            raise OSError(errno.EFBIG, problem)
        self._files += 1
        path = self.folder / f"{self._files}.npy"
        with open(path, "wb") as file:
            _write_header(file, shape, dtype)
            offset = file.tell()
            file.flush()
            _reserve(file.fileno(), offset, size)
        array = np.memmap(path, dtype, "r+", offset, shape)
        (self.folder / f"{self._files - 1}.npy").unlink(missing_ok=True)
        return array

    def complete(self, built: Built, meta: Mapping[str, Any]) -> None:
        """Write the entry's files into the temporary folder, synced."""
        assert self.folder is not None
        assert isinstance(self.images, np.memmap)
        self.images.flush()
        path = self.folder / f"{self._files}.npy"
        if built.images.shape != self.images.shape:
            with open(path, "r+b") as file:
                _write_header(file, built.images.shape, built.images.dtype)
                assert file.tell() == self.images.offset, "numpy keeps room for the first axis to change"
                file.truncate(self.images.offset + built.images.nbytes)
                os.fsync(file.fileno())
        path.rename(self.folder / "images.npy")
        if built.labels is not None:
            np.save(self.folder / "labels.npy", built.labels, allow_pickle=False)
        with open(self.folder / "meta.json", "w", encoding="utf-8") as text:
            json.dump(meta, text, indent=1)
            text.flush()
            os.fsync(text.fileno())


def memory_store(what: str) -> Store:
    """A store that never touches the disk."""
    return Store(None, what)


def through_cache(
    identity: Mapping[str, Any], options: Mapping[str, Any], what: str, build: Callable[[Store], Built]
) -> tuple[Built, Path | None, bool]:
    """The cached data set, or a new one by `build`, which is then cached.

    Args:
        identity: what the data is; JSON.
        options: how it is decoded; JSON.
        what: name of the data set, for messages.
        build: makes it, with `images` in an array of the given store (or its first rows).

    Returns:
        The data set (read-only), the folder of its entry (None where it could not be cached), and whether that was a
        hit.
    """
    code = code_digest("smalti.source")
    description = {"format": FORMAT, "identity": dict(identity), "options": dict(options), "code": code}
    key = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
    root = cache_root()
    if root is None:
        store = memory_store(what)
        store.warn(": there is no home folder to keep it in", "that can be written")
        built = build(store)
        built.images.flags.writeable = False
        return built, None, False
    entry = root / key
    found = _load(entry)
    if found is not None:
        return found, entry, True
    _remove_stale(root)
    store = Store(root / f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}", what)
    try:
        built = build(store)
        if store.folder is not None:
            try:
                store.complete(built, {**description, **_meta(built, what)})
                cached = _publish(store.folder, entry)
                if cached is not None:
                    return cached, entry, False
                raise OSError(errno.EEXIST, "a damaged entry could not be replaced")
            except OSError as error:
                copy = allocate(built.images.shape, built.images.dtype, f"{what} as one array {built.images.shape}")
                copy[:] = built.images
                built = Built(copy, built.labels, built.class_names, built.skipped)
                store.give_up(error)
        built.images.flags.writeable = False
        return built, None, False
    finally:
        store.discard()


def _meta(built: Built, what: str) -> dict[str, Any]:
    return {
        "name": what,
        "shape": list(built.images.shape),
        "dtype": built.images.dtype.str,
        "labels": built.labels is not None,
        "class_names": built.class_names,
        "skipped": built.skipped,
    }


def _publish(folder: Path, entry: Path) -> Built | None:
    """Rename `folder` to `entry`, unless another process was first; then what is there."""
    for _ in range(3):
        try:
            os.rename(folder, entry)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        found = _load(entry)
        if found is not None:
            return found
    return None


def _load(entry: Path) -> Built | None:
    """The entry, memory-mapped read-only; None where there is none. A damaged one is removed."""
    try:
        meta = json.loads((entry / "meta.json").read_text(encoding="utf-8"))
        shape, dtype = tuple(int(n) for n in meta["shape"]), np.dtype(meta["dtype"])
        if meta["format"] != FORMAT or len(shape) != 4 or min(shape) < 1 or dtype.kind not in "uf":
            raise ValueError("unexpected meta.json")
        path = entry / "images.npy"
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        right = images.shape == shape and images.dtype == dtype and images.flags.c_contiguous
        if not right or path.stat().st_size != images.offset + images.nbytes:
            raise ValueError("images.npy is not what meta.json says")
        labels = np.load(entry / "labels.npy", allow_pickle=False) if meta["labels"] else None
        if labels is not None and (labels.shape != shape[:1] or labels.dtype != np.int64):
            raise ValueError("labels.npy is not what meta.json says")
        names = meta["class_names"]
        skipped = tuple((str(file), str(reason)) for file, reason in meta["skipped"])
        return Built(images, labels, None if names is None else tuple(map(str, names)), skipped)
    except PermissionError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError):
        if entry.exists():
            _remove(entry)
        return None


def _remove(entry: Path) -> None:
    """Remove an entry; renamed first, so that nobody sees half of it."""
    doomed = entry.with_name(f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}")
    with contextlib.suppress(OSError):
        os.rename(entry, doomed)
        if doomed.is_dir():
            shutil.rmtree(doomed, ignore_errors=True)
        else:
            doomed.unlink()


def _remove_stale(root: Path) -> None:
    with contextlib.suppress(OSError):
        for folder in _temporaries(root):
            pid = folder.name[len(_TEMPORARY) :].split("-")[0]
            if time.time() - folder.stat().st_mtime > STALE_AFTER and not (pid.isdigit() and _alive(int(pid))):
                shutil.rmtree(folder, ignore_errors=True)


def _temporaries(root: Path) -> Iterator[Path]:
    return root.glob(f"{_TEMPORARY}*")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _write_header(file: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _reserve(handle: int, offset: int, size: int) -> None:
    """Make the disk space real: writing into a mapped hole of a full disk would kill the process."""
    try:
        os.posix_fallocate(handle, offset, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        zeros = bytes(1 << 20)
        for start in range(0, size, len(zeros)):
            os.pwrite(handle, zeros[: size - start], offset + start)
