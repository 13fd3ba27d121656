"""The errors that smalti raises on purpose; each message is one line that says what is wrong and what to do.

`exit_code` is what the command line exits with: 2 for bad input, 1 for the environment (disk, memory), 130 for Ctrl-C.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

__all__ = [
    "EnvironmentFailure",
    "InputError",
    "InterruptedRunError",
    "NoRoomError",
    "SmaltiError",
    "did_you_mean",
    "from_os_error",
]


class SmaltiError(Exception):
    """Base of all errors that smalti raises on purpose."""

    exit_code = 1


class InputError(SmaltiError, ValueError):
    """Something given to smalti is wrong: data, a tensor, a parameter, a path."""

    exit_code = 2


class EnvironmentFailure(SmaltiError, RuntimeError):
    """The machine cannot do it: a full disk, too little memory, a folder that may not be written."""

    exit_code = 1


class InterruptedRunError(SmaltiError):
    """Ctrl-C, after what was finished has been kept; the message says what and where."""

    exit_code = 130


class NoRoomError(EnvironmentFailure):
    """What was to be written does not fit.

    Args:
        problem: what could not be done, and why.
        remedy: what makes room.
        then: what to do after that, where it is more than trying again.
    """

    def __init__(self, problem: str, remedy: str, then: str = "") -> None:
        super().__init__(f"{problem}; {remedy}" + (f", then {then}" if then else " and try again"))
        self.problem, self.remedy = problem, remedy


_NO_ROOM = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the disk quota is used up", "free some space"),
    errno.EFBIG: ("the file is larger than the disk or a limit of this account allows", "raise the limit"),
}


def from_os_error(error: OSError, doing: str) -> SmaltiError:
    """`error` as a one-line smalti error; `doing` says what was attempted ("write out/grid.png")."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL):
        return InputError(f"cannot {doing}: {error.strerror}; check the path")
    if error.errno in _NO_ROOM:
        reason, remedy = _NO_ROOM[error.errno]
        return NoRoomError(f"cannot {doing}: {reason}", remedy)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return EnvironmentFailure(f"cannot {doing}: {error.strerror}; check the permissions or choose another folder")
    reason = error.strerror or " ".join(str(error).split()) or "it failed"
    return EnvironmentFailure(f"cannot {doing}: {reason}; check that the disk is not full, and the path")


def did_you_mean(wrong: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: "; did you mean 'x'?", or nothing where no name is near.

    Capitals, spaces, "-" and "_" do not count, so that "PSPCSquare" is near to "pspc-square".
    """
    names = list(names)
    folded = {_folded(name): name for name in reversed(names)}
    near = [folded[match] for match in difflib.get_close_matches(_folded(wrong), folded, 1)]
    near = near or [name for name in names if len(wrong) > 1 and wrong in name]
    return f"; did you mean {near[0]!r}?" if near else ""


def _folded(name: str) -> str:
    return name.lower().translate({ord(letter): None for letter in " -_"})
