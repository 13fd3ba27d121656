"""The decorators that compile kernels, and where their machine code is kept.

Code is kept by what it was made of: in a folder named by a digest of the sources of this whole package (Numba's own stamp is that of one
file, and a kernel contains what it calls in others), and of the versions of Numba, llvmlite and Python. So changed sources are compiled
anew, two checkouts with the same sources share a folder, and nobody has to think of it. Each file carries a checksum.

The folder is made in the first of these that can be written: $SMALTI_CACHE, Numba's own NUMBA_CACHE_DIR, `__pycache__` here, the cache
folder of smalti. Where none can be, what an earlier process has kept in one is read; what is not there is compiled and not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import pickle
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import llvmlite
import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile

from smalti.core.cache import cache_root

__all__ = ["kernels_folder", "ordered", "plain", "reordered"]

HERE = Path(__file__).resolve().parent
KEPT = 8  # folders: those of the last versions of the sources
CHECKSUM = hashlib.sha256().digest_size


@cache
def kernels_folder(source: str | None = None) -> tuple[Path | None, bool]:
    """Where compiled kernels are kept, and whether it can be written; chosen once in a process.

    Args:
        source: the file of a kernel that is not of this package.
    """
    digest = _digest(source)
    if digest is None:
        return None, False
    places = [base / digest for base in _bases()]
    for folder in places:
        new = not folder.is_dir()
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            os.utime(folder)
            if new:
                _tidy(folder.parent)
            return folder, True
    return next((folder for folder in places if folder.is_dir()), None), False


def _bases() -> Iterator[Path]:
    root = cache_root()
    if root is not None and os.environ.get("SMALTI_CACHE"):
        yield root / "kernels"
    if numba.config.CACHE_DIR:
        yield Path(numba.config.CACHE_DIR) / "smalti-kernels"
    yield HERE / "__pycache__" / "kernels"
    if root is not None:
        yield root / "kernels"


def _digest(source: str | None) -> str | None:
    """Of the sources and of what translates them; None where the sources cannot be read."""
    files = sorted(HERE.glob("*.py"))
    if not files:
        return None
    versions = (numba.__version__, llvmlite.__version__, sys.implementation.cache_tag)
    hashed = hashlib.sha256("\0".join(map(str, versions)).encode())
    try:
        for file in [*files, *([] if source is None else [Path(source)])]:
            hashed.update(f"\0{file.name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    except OSError:
        return None
    return hashed.hexdigest()[:32]


def _tidy(base: Path) -> None:
    """Remove folders of older sources, but for the `KEPT` that were used last."""
    found = []
    for folder in base.iterdir():
        with contextlib.suppress(OSError):
            found.append((folder.stat().st_mtime, folder))
    for _, folder in sorted(found, reverse=True)[KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


class _Files(IndexDataCacheFile):  # type: ignore[misc]
    """Numba's files of one kernel, with a checksum before the machine code; what is damaged counts as absent."""

    def _load_index(self) -> Any:
        try:
            return super()._load_index()
        except Exception:  # unpickling what is damaged raises anything
            return {}

    def _save_data(self, name: str, data: Any) -> None:
        packed = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(hashlib.sha256(packed).digest() + packed)

    def _load_data(self, name: str) -> Any:
        with open(self._data_path(name), "rb") as file:
            content = file.read()
        if hashlib.sha256(content[CHECKSUM:]).digest() != content[:CHECKSUM]:
            raise OSError("damaged")  # which `load` takes for absent
        return pickle.loads(content[CHECKSUM:])


class _Code(CompileResultCacheImpl):  # type: ignore[misc]
    """How Numba writes down compiled code; it needs no locator but for the name of the file in warnings."""

    def __init__(self, function: Callable) -> None:
        self._lineno = function.__code__.co_firstlineno
        self._locator = SimpleNamespace(_py_file=function.__code__.co_filename)


class _KernelCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of a function, in `kernels_folder`."""

    def __init__(self, function: Callable, folder: Path | None, writable: bool) -> None:
        self._name, self._py_func, self._impl = repr(function), function, _Code(function)
        self._folder, self._writable = folder, writable
        name = f"{function.__module__}.{function.__qualname__}-{function.__code__.co_firstlineno}"
        self._cache_path = None if folder is None else str(folder)
        self._cache_file = _Files(self._cache_path or "", name, None)
        self.enable()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        return None if self._folder is None else super().load_overload(sig, target_context)

    def _save_overload(self, sig: Any, data: Any) -> None:
        if not self._enabled or not self._impl.check_cachable(data):
            return
        if not self._writable:
            _say_not_kept("no folder for them can be written")
            return
        try:
            os.makedirs(self._cache_file._cache_path, exist_ok=True)  # another process may have tidied up
            self._cache_file.save(self._index_key(sig, data.codegen), self._impl.reduce(data))
        except OSError as error:
            self._writable = False
            _say_not_kept(error.strerror or str(error))


@cache
def _say_not_kept(reason: str) -> None:
    """Once in a process."""
    warnings.warn(
        f"compiled kernels are not kept ({reason}): every process compiles them again, which takes up to a minute; "
        "set SMALTI_CACHE to a folder that can be written",
        stacklevel=2,
    )


def _kernel(*fastmath: str) -> Callable[[Callable], Any]:
    def compiled(function: Callable) -> Any:
        own = Path(inspect.getfile(function)).resolve()
        kernel = numba.njit(nogil=True, fastmath=set(fastmath))(function)
        kernel._cache = _KernelCache(function, *kernels_folder(None if own.parent == HERE else str(own)))
        return kernel

    return compiled


plain = _kernel("contract")
# for sums whose order may be changed; never for code that meets infinities or `exp2` (whose rounding must stay as written)
reordered = _kernel("contract", "reassoc", "nsz")
ordered = _kernel("nnan", "nsz")  # for maxima
