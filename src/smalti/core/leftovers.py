"""Temporary files and folders of processes that were killed: told from those in use, and cleared.

Who makes one puts the process's number into its name and holds a lock on it (`hold`). It is left over once the lock is free and the
process is gone: a lock alone is not known to every file system, a number alone says nothing of other machines and containers.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

__all__ = ["hold", "is_left_over", "remove_left_over"]


def hold(handle: int) -> None:
    """Lock what `handle` is open on, as long as it is open and this process lives; without effect where locks are unknown."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_left_over(path: Path, pid: int) -> bool:
    """Whether the process `pid` that made `path` (a file or a folder) is gone, and nobody else holds it."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            return False
    finally:
        os.close(handle)
    return not _alive(pid)


def remove_left_over(path: Path, pid: int) -> None:
    """Remove `path` if it is left over; what cannot be removed stays."""
    if not path.is_symlink() and is_left_over(path, pid):
        with contextlib.suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
