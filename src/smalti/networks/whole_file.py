"""A file of weights, read once and whole, if it can be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from smalti.core.errors import EnvironmentFailure, InputError, from_os_error
from smalti.source.memory import SHARE, available_memory, size_in_words

__all__ = ["MAX_FILE", "read_whole"]

MAX_FILE = 8 << 30  # bytes; the networks read here have at most some hundred million parameters


def read_whole(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file, of at most MAX_FILE.

    Raises:
        InputError: it is missing, a folder, a device or a pipe, empty or too large.
        EnvironmentFailure: it may not be read, or does not fit in the memory that is free (twice its size is needed).
    """
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is not a file; give a file of weights")
        if status.st_size == 0:
            raise InputError(f"{path} is empty; fetch it again")
        if status.st_size > MAX_FILE:
            raise InputError(
                f"{path} is refused: it has {size_in_words(status.st_size)}, and files of up to "
                f"{size_in_words(MAX_FILE)} are read; give a file with the weights of one network alone"
            )
        needed, left = 2 * status.st_size, available_memory()
        if needed > SHARE * left:
            raise EnvironmentFailure(
                f"reading {path} needs {size_in_words(needed)} of memory and {size_in_words(left)} is free; "
                "close other programs or use a machine with more"
            )
        with path.open("rb") as file:
            return file.read(status.st_size)  # what is appended meanwhile is not read
    except (ValueError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        if isinstance(error, MemoryError):
            raise EnvironmentFailure(f"reading {path} needs more memory than could be had") from error
        raise InputError(f"{str(path)!r} is not a path ({error}); check it") from error  # a NUL in it
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
