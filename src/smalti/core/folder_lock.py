"""One writer per folder: a lock that the kernel frees, however the process ends."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from smalti.core.errors import InputError

try:
    import fcntl
except ImportError:  # a platform without it: nothing is locked
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK", "FolderLock"]

LOCK = ".lock"


class FolderLock:
    """The right to write into `folder`; its hidden file is there only while it is held (or after a kill -9).

    A lock that is held already may be acquired again, which does nothing: a function that locks the folder it writes into takes its
    caller's lock where it is given one.

    Args:
        folder: need not exist. Folders that were made for the lock and are still empty when it is given back are removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LOCK
        self._handle: int | None = None
        self._made: list[Path] = []

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(self, *ended: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Take it, making the folder if needed. Where no lock can be had (read-only, no locks on that file system),
        go on without: what cannot be written is said by the writing.

        Raises:
            InputError: another process has it.
        """
        while fcntl is not None and self._handle is None:
            try:
                self._make_folder()
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError:
                return
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                raise InputError(
                    f"another smalti is writing to {self.folder}; wait for it or choose another --out"
                ) from None
            except OSError:
                os.close(handle)
                self._remove()
                return
            if self._is_still(handle):
                self._handle = handle
            else:  # its last holder removed it after we had opened it
                os.close(handle)

    def check(self) -> None:
        """Raise InputError if another process has it; nothing is made where nobody ever had."""
        if self._handle is None and self.path.exists():
            self.acquire()
            self.release()

    def release(self) -> None:
        """Give it back."""
        if self._handle is not None:
            self._remove()
            os.close(self._handle)
            self._handle = None
            with contextlib.suppress(OSError):
                while self._made:
                    self._made.pop().rmdir()
            self._made.clear()

    def _make_folder(self) -> None:
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._made += missing[::-1]

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _is_still(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), self.path.stat())
        except FileNotFoundError:
            return False
