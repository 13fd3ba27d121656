"""Decoded data sets, kept as arrays on disk: <root>/<key>/{images.npy, sums.npy, labels.npy, files.npy, meta.json}.

The root is that of smalti.core.cache; the key is a hash of what the data is, how it is decoded and the code that decodes
it. An entry is complete or absent: it is written under a temporary name beside and renamed. What cannot be written stays
in memory, with a warning; what is damaged is thrown away and made again.

Damage is told by checksums. On opening, meta.json, labels.npy and sums.npy are compared with theirs, and images.npy with
its header and size. Its pixels are compared with sums.npy, one number an image, where that costs next to nothing: at once
if they are few, else when something reads them all anyway (`Source.fingerprint`) or asks for it (`Source.verify`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import mmap
import os
import re
import secrets
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from smalti.core.cache import cache_root
from smalti.core.code import code_digest
from smalti.core.files import save_npy
from smalti.core.leftovers import hold, remove_left_over
from smalti.source.identity import damaged_image, image_sums
from smalti.source.memory import allocate, size_in_words

__all__ = ["Built", "Store", "forget", "memory_store", "through_cache"]

FORMAT = 2
CHECKED_AT_ONCE = 16 << 20  # bytes of images that are compared with their checksums on opening (some 20 ms)
_TEMPORARY = ".tmp-"
_LEFT_OVER = re.compile(r"\.tmp-(\d+)-[0-9a-z-]*")


@dataclass(frozen=True)
class Built:
    """A decoded data set: `images` (N, C, H, W), `labels` (N,) int64 or None, and what goes with them.

    `sums` are the checksums of the images, (N,) uint32, where it is kept; `remarks` are warnings that go with it; `files` are the names of
    the images' files, (N,) text, where each has one.
    """

    images: np.ndarray
    labels: np.ndarray | None
    class_names: tuple[str, ...] | None
    skipped: tuple[tuple[str, str], ...]
    sums: np.ndarray | None = None
    remarks: tuple[str, ...] = ()
    files: np.ndarray | None = None


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
        self._lock: int | None = None

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

    def release(self) -> None:
        """Let go of the pages that were written, which the disk has: else a large set seems to fill the memory."""
        if isinstance(self.images, np.memmap):
            self.images.flush()
            mapped = getattr(self.images, "_mmap", None)
            if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
                mapped.madvise(mmap.MADV_DONTNEED)

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
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _on_disk(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._lock is None:
            self._lock = os.open(self.folder, os.O_RDONLY)
            hold(self._lock)
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
        digests = {}
        for name, array in (("sums", image_sums(built.images)), ("labels", built.labels), ("files", built.files)):
            if array is not None:
                with open(self.folder / f"{name}.npy", "wb") as binary:
                    save_npy(binary, array)
                digests[name] = _digest((self.folder / f"{name}.npy").read_bytes())
        meta = {**meta, "digests": digests}
        meta["digest"] = _digest(_canonical(meta))
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
    key = _digest(_canonical(description))
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
                built = replace(built, images=copy)
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
        "class_names": built.class_names,
        "skipped": built.skipped,
        "remarks": built.remarks,
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


def forget(entry: str | os.PathLike[str]) -> None:
    """Throw an entry away, so that the next opening makes it again."""
    _remove(Path(entry))


def _load(entry: Path) -> Built | None:
    """The entry, memory-mapped read-only; None where there is none. A damaged one is removed."""
    try:
        meta = json.loads(_read(entry / "meta.json"))
        if meta.pop("digest") != _digest(_canonical(meta)) or meta["format"] != FORMAT:
            raise ValueError("meta.json was changed")
        shape, dtype = tuple(int(n) for n in meta["shape"]), np.dtype(meta["dtype"])
        path = entry / "images.npy"
        header = io.BytesIO()
        _write_header(header, shape, dtype)
        with open(_regular(path), "rb") as file:
            right = file.read(header.tell()) == header.getvalue()
        if not right or path.stat().st_size != header.tell() + math.prod(shape) * dtype.itemsize:
            raise ValueError("images.npy is not what meta.json says")
        images = np.memmap(path, dtype, "r", header.tell(), shape)
        arrays = {name: _checked(entry / f"{name}.npy", digest) for name, digest in meta["digests"].items()}
        sums = arrays["sums"]
        if images.nbytes <= CHECKED_AT_ONCE and damaged_image(images, sums) is not None:
            raise ValueError("images.npy was changed")
        names = meta["class_names"]
        skipped = tuple((str(file), str(reason)) for file, reason in meta["skipped"])
        names = None if names is None else tuple(map(str, names))
        remarks = tuple(map(str, meta["remarks"]))
        built = Built(images, arrays.get("labels"), names, skipped, sums, remarks, arrays.get("files"))
        _check_fit(built)
        return built
    except PermissionError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, RecursionError):
        if entry.exists():
            _remove(entry)
        return None


def _check_fit(built: Built) -> None:
    """Raise ValueError for what no reader makes, whatever its checksums say."""
    count, labels, names = len(built.images), built.labels, built.class_names
    for array, kind in ((built.sums, "u"), (labels, "i"), (built.files, "U")):
        if array is not None and (array.shape != (count,) or array.dtype.kind != kind):
            raise ValueError("its arrays do not fit together")
    if labels is not None and count and not 0 <= labels.min() <= labels.max() < (len(names) if names else math.inf):
        raise ValueError("its labels are no classes")


def _regular(path: Path) -> Path:
    """`path`, if it is a file: reading a pipe in its place would never end."""
    if not path.is_file():
        raise ValueError(f"{path.name} is not there")
    return path


def _read(path: Path) -> bytes:
    return _regular(path).read_bytes()


def _checked(path: Path, digest: str) -> np.ndarray:
    """A small array; ValueError unless its file has that digest."""
    data = _read(path)
    if _digest(data) != digest:
        raise ValueError(f"{path.name} was changed")
    return np.load(io.BytesIO(data), allow_pickle=False)


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


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
    """Remove the temporary folders that processes left which are gone."""
    for folder in root.glob(f"{_TEMPORARY}*"):
        found = _LEFT_OVER.fullmatch(folder.name)
        if found:
            remove_left_over(folder, int(found[1]))


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
