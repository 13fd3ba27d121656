"""The folder of a run: what finished is kept as complete files, an interrupted run goes on, no results are replaced.

    run.json    what was run, its status, how many of how many are done (`smalti.core.run_record`)
    .parts/     one file per finished batch, named by the run's key and the images it holds; removed at the end
    .lock       held by the process that writes (`smalti.core.folder_lock`)

The key is a hash of everything that determines the results. Every file is written whole or not at all, so after a
kill -9 the parts on disk are exactly the finished batches, and going on from them gives the same bytes as never having
stopped.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from smalti.core.errors import InputError, InterruptedRunError, NoRoomError, from_os_error
from smalti.core.files import remove_leftovers
from smalti.core.folder_lock import FolderLock
from smalti.core.pieces import Pieces, differences, key_of
from smalti.core.run_record import RECORD, STATES, RunRecord
from smalti.core.text import counted

__all__ = ["PARTS", "RunFolder", "check_path"]

PARTS = ".parts"


class RunFolder:
    """One run's folder; used in a `with` block, from `start` to whose end no other process may write into it.

    Args:
        path: the folder; made when the first file is written.
        files: names of the results that the command writes, `run.json` not among them.
        overwrite: replace results that are there.
        resume: go on with a run of the same command that is there.
        others: files (patterns of `Path.glob`) that the same command writes with other options; overwriting removes them.

    Attributes:
        path, files, overwrite, resume: as given; names may be added to `files` until `start`.
        lock: the folder's lock, held from `start` on. Whoever writes into the folder for the run takes this one.

    Raises:
        InputError: both overwrite and resume; a path that is no folder; results that are there and neither was given;
            another process that writes there.
    """

    def __init__(
        self,
        path: Path,
        files: Sequence[str],
        overwrite: bool = False,
        resume: bool = False,
        others: Sequence[str] = (),
    ) -> None:
        if overwrite and resume:
            raise InputError("--overwrite starts again and --resume goes on; give one of them")
        check_path(path)
        self.path, self.files, self.others = path, tuple(files), tuple(others)
        self.overwrite, self.resume = overwrite, resume
        self.lock = FolderLock(path)
        self._record = RunRecord(path)
        self.lock.check()
        self._refuse_results()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lock.release()
        if isinstance(error, NoRoomError):
            raise NoRoomError(error.problem, error.remedy, self.again()) from error
        if isinstance(error, KeyboardInterrupt) and self._record.values.get("done") == 0:  # begun, not in a batch yet
            raise InterruptedRunError(f"interrupted before the first batch was finished; {self.again()}") from None

    def again(self) -> str:
        """What to do after this run has ended early."""
        if not self._found():
            return "run the same command again"
        return "run the same command with --resume" + (" instead of --overwrite" if self.overwrite else "")

    def start(
        self, identity: Mapping[str, Any], total: int, about: Mapping[str, Any], again: str | None = None
    ) -> bool:
        """Begin or go on.

        Args:
            identity: everything that determines the results, plain JSON values; its hash is the run's key.
            total: number of images.
            about: more for the record, which does not determine the results; "command" must be among it or the identity.
            again: the command line that does the same.

        Returns:
            Whether the run was complete already, so that nothing is left to do.

        Raises:
            InputError: --resume of a run whose identity differs (says in what); another process that writes there, or
                that has written there in the meantime.
        """
        self.lock.acquire()
        self._refuse_results()
        stored = self._stored()
        plain, key = key_of(identity)
        if self.overwrite or not self._found():
            self._clear()
        else:
            if not stored:
                raise InputError(f"cannot resume: {self.path / RECORD} is missing or damaged; --overwrite starts again")
            if stored["key"] != key:
                before = stored.get("determined_by")
                changed = "; ".join(differences(before if isinstance(before, dict) else {}, plain))
                raise InputError(
                    f"cannot resume the run in {self.path}: {changed or 'it was another run'}; --overwrite starts again"
                )
            self._remove_leftovers()
            if stored["status"] == "complete" and all((self.path / name).exists() for name in self.files):
                self._remove_parts()
                return True
        more = {"command": identity.get("command", ""), **about}
        self._record.begin(again=again, total=total, determined_by=plain, files=self.files, **more)
        return False

    def record_done(self, done: int) -> None:
        """Write into the record that so much is finished."""
        self._record.update(done=done)

    def finish(self, done: int, **more: Any) -> None:
        """Record that all result files are written, for `done` images: complete if that is all of them; `more` is added."""
        complete = done == self._record.values["total"]
        self._remove_leftovers()
        self._record.finish(complete=complete, done=done, **more)
        if complete:
            self._remove_parts()

    def interrupted(self, done: int, thing: str) -> InterruptedRunError:
        """Ctrl-C after `done` things (in the singular: "image") were finished: what is kept and how it goes on."""
        if not done:
            return InterruptedRunError(f"interrupted before the first batch was finished; {self.again()}")
        total = self._record.values["total"]
        kept = f"{done} of {counted(total, thing)} {'is' if done == 1 else 'are'} kept in {self.path}"
        return InterruptedRunError(f"interrupted: {kept} ({RECORD} says partial); to go on, {self.again()}")

    def pieces(self) -> Pieces:
        """Where the finished parts of the started run are kept."""
        return Pieces(self.path / PARTS, self._record.values["key"][:16])

    def _refuse_results(self) -> None:
        found = self._found()
        if found and not (self.overwrite or self.resume):
            raise InputError(
                f"{self.path} already has results ({found[0].name}); choose another --out, or --overwrite to replace "
                "them" + (", or --resume to go on" if self._stored().get("status") == "partial" else "")
            )

    def _found(self) -> list[Path]:
        """The results that are there; the record alone is none if its run was stopped before the first part."""
        found = [path for path in (self.path / name for name in self.files) if path.exists()]
        found += sorted((self.path / PARTS).glob("*.npz"))[:1]
        record = self.path / RECORD
        counts = record.exists() and (found or self._stored().get("status") != "partial")
        return [record, *found] if counts else found

    def _stored(self) -> dict[str, Any]:
        """The record on disk, {} where it is none of a run."""
        record = RunRecord.read(self.path)
        return record if record.get("status") in STATES and isinstance(record.get("key"), str) else {}

    def _clear(self) -> None:
        """Remove an earlier run's results, its record first, so that no moment shows a record without its files."""
        try:
            for name in (RECORD, *self.files):
                (self.path / name).unlink(missing_ok=True)
            for path in [path for pattern in self.others for path in self.path.glob(pattern)] * self.overwrite:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise from_os_error(error, f"replace results in {self.path}") from error
        self._remove_parts()
        self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        remove_leftovers(self.path, (RECORD, *self.files))
        remove_leftovers(self.path / PARTS)

    def _remove_parts(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path / PARTS)


def check_path(path: Path) -> None:
    """Say before any work is done that no folder can be there.

    Raises:
        InputError: a file is there, or on the way; a name that no file system takes.
        EnvironmentFailure: it cannot be made where it is wanted.
    """
    try:
        there = next(each for each in (path, *path.absolute().parents) if each.exists())
        wrong = not there.is_dir()
    except (OSError, ValueError) as error:  # too long, a NUL character, a loop of links
        reason = getattr(error, "strerror", None) or "it has a NUL character"
        raise InputError(f"--out cannot be used ({reason}); choose another --out") from error
    if wrong:
        raise InputError(f"{there} is not a folder; choose another --out")
    if there != path and not os.access(there, os.W_OK | os.X_OK):
        raise from_os_error(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), f"make {path}")
