"""Files that are either complete or absent; arrays in them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import re
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from smalti.core.errors import InputError, from_os_error
from smalti.core.leftovers import hold, remove_left_over

__all__ = ["atomic_write", "load_npz", "npy_header", "read_floats", "remove_leftovers", "save_npy", "save_npz"]

_LEFTOVER = re.compile(r"\.(.+)\.(?:(\d+)-)?[a-z0-9_]{8}\.tmp", re.DOTALL)  # .NAME.PID-RANDOM.tmp, of `atomic_write`
_cleared: set[Path] = set()  # folders that this process has looked through

SEAL, HEX = b"sha256:", 64  # before the digest of a .npz, and its length
BLOCK = 1 << 20  # bytes that are hashed at a time


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open `path` for binary writing; it appears, whole, only when the block ends without an error.

    The parent folder is made if needed. The bytes go to a hidden temporary file beside `path`, which is synced and renamed
    at the end and removed on any error (Ctrl-C included). Those that killed processes left in a folder are removed when a process
    first writes there.

    Raises:
        EnvironmentFailure: the disk is full or the folder may not be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path.parent)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.{os.getpid()}-", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise from_os_error(error, f"write {path}") from error
    try:
        with os.fdopen(handle, "w+b") as file:
            hold(file.fileno())
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise from_os_error(error, f"write {path}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _clear(folder: Path) -> None:
    """Remove the temporary files of dead processes from `folder`, once a process."""
    resolved = folder.resolve()
    if resolved in _cleared:
        return
    _cleared.add(resolved)
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir()):
            found = _LEFTOVER.fullmatch(path.name)
            if found and found[2] is not None:
                remove_left_over(path, int(found[2]))


def remove_leftovers(folder: str | os.PathLike[str], names: Collection[str] | None = None) -> None:
    """Remove the temporary files of writings that a kill -9 cut off. Only the folder's one writer may call it.

    Args:
        folder: need not exist; folders in it are not looked into.
        names: of the files that were to be written; None for all.
    """
    with contextlib.suppress(OSError):
        for path in list(Path(folder).iterdir()):
            found = _LEFTOVER.fullmatch(path.name)
            if found and (names is None or found[1] in names):
                path.unlink(missing_ok=True)


def npy_header(array: np.ndarray) -> bytes:
    """What stands before the bytes of `array` (of no Python objects), C-contiguous, in a .npy."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    return header.getvalue()


def save_npy(file: IO[bytes], array: np.ndarray) -> None:
    """Write `array`, of no Python objects, to an open file as a .npy. (numpy's own writing loses the reason where the disk is full.)"""
    array = np.require(array, requirements=["C"])
    file.write(npy_header(array))
    file.write(array.tobytes() if array.dtype.kind in "US" else array.data)


def save_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` to a .npz, whole or not at all; equal arrays give equal bytes.

    The archive's comment, its last bytes, is "sha256:" and the digest of all bytes before the digest, which `load_npz` checks.

    Raises:
        EnvironmentFailure: the disk is full or the folder may not be written.
    """
    with atomic_write(path) as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                buffer = io.BytesIO()
                np.lib.format.write_array(buffer, np.asanyarray(array), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), buffer.getvalue())
            archive.comment = SEAL + b"0" * HEX
        file.flush()
        end = file.tell() - HEX
        digest = _digest(file, end)
        file.seek(end)
        file.write(digest)


def read_floats(path: str | os.PathLike[str], memory_map: bool = False) -> np.ndarray:
    """A .npy of floating numbers, read without unpickling.

    Args:
        path: the file.
        memory_map: leave it on disk until it is used (copy on write: nothing is ever written to it).

    Raises:
        InputError: not such a file, or of another type.
        EnvironmentFailure: it cannot be read.
    """
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)  # a size that the file does not have is refused so
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    except Exception as error:  # any byte may be wrong: numpy raises some ten kinds of error
        if str(error).startswith("Array can't be memory-mapped: Python objects"):
            raise InputError(
                f"not a .npy file of numbers: {path} holds Python objects; save an array of floating numbers instead"
            ) from error
        raise InputError(f"{path} is not a .npy file of numbers; write it with numpy.save") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} is a .npz archive; save the one array with numpy.save")
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"{path} has dtype {array.dtype}; give floating numbers in the working scale (images in [-1, 1])"
        )
    return array if memory_map else np.array(array)


def load_npz(path: str | os.PathLike[str], sealed: bool = False) -> dict[str, np.ndarray] | None:
    """The arrays of a .npz (no pickles), or None where it is not there, not readable, or not what was written.

    Args:
        path: the file.
        sealed: take only what carries the digest that `save_npz` writes; others' files carry none. One that is there must be right
            in any case.
    """
    try:
        with open(path, "rb") as file:
            if not _is_whole(file, sealed):
                return None
            with np.load(file, allow_pickle=False) as stored:
                if not all(_is_as_large_as_it_says(stored.zip, entry) for entry in stored.zip.infolist()):
                    return None
                return {name: stored[name] for name in stored.files}
    except MemoryError:
        raise
    except Exception:  # any byte may be wrong: zipfile and numpy raise some ten kinds of error
        return None


def _is_as_large_as_it_says(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    """Whether the shape that a .npy in an archive claims is that of its bytes: numpy makes room for what is claimed before it reads."""
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(member)
        return math.prod(shape) * dtype.itemsize == entry.file_size - member.tell()


def _is_whole(file: IO[bytes], sealed: bool) -> bool:
    """Whether the digest at the end of an open file is that of what stands before it; the file is at its beginning then."""
    size = file.seek(0, os.SEEK_END)
    end = size - HEX
    if end < len(SEAL):
        return False
    file.seek(end - len(SEAL))
    seal, digest = file.read(len(SEAL)), file.read(HEX)
    whole = digest == _digest(file, end) if seal == SEAL else not sealed
    file.seek(0)
    return whole


def _digest(file: IO[bytes], end: int) -> bytes:
    """sha256 hex of the first `end` bytes."""
    hashed, left = hashlib.sha256(), end
    file.seek(0)
    while left and (block := file.read(min(left, BLOCK))):
        hashed.update(block)
        left -= len(block)
    return hashed.hexdigest().encode()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
