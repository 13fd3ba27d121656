"""The errors that smalti raises on purpose; each message is one line that says what is wrong and what to do.

`exit_code` is what the command line exits with: 2 for bad input, 1 for the environment (disk, memory).
"""

from __future__ import annotations

import errno

__all__ = ["EnvironmentFailure", "InputError", "SmaltiError", "from_os_error"]


class SmaltiError(Exception):
    """Base of all errors that smalti raises on purpose."""

    exit_code = 1


class InputError(SmaltiError, ValueError):
    """Something given to smalti is wrong: data, a tensor, a parameter, a path."""

    exit_code = 2


class EnvironmentFailure(SmaltiError, RuntimeError):
    """The machine cannot do it: a full disk, too little memory, a folder that may not be written."""

    exit_code = 1


def from_os_error(error: OSError, doing: str) -> SmaltiError:
    """`error` as a one-line smalti error; `doing` says what was attempted ("write out/grid.png")."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
        return InputError(f"cannot {doing}: {error.strerror}; check the path")
    if error.errno == errno.ENOSPC:
        return EnvironmentFailure(f"cannot {doing}: the disk is full; free some space and run the same command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return EnvironmentFailure(f"cannot {doing}: {error.strerror}; check the permissions or choose another folder")
    return EnvironmentFailure(f"cannot {doing}: {error.strerror or error}")
