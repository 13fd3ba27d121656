"""The folder of a run: what finished is kept as complete files, an interrupted run goes on, no results are replaced.

    run.json    what was run, "status": "partial" or "complete", how many of how many are done
    .parts/     one file per finished batch, named by the run's key and the images it holds; removed at the end
    .lock       held by the process that writes

The key is a hash of everything that determines the results. Every file is written whole or not at all, so after a
kill -9 the parts on disk are exactly the finished batches, and going on from them gives the same bytes as never having
stopped.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from smalti.cli.boundary import InterruptedRunError
from smalti.cli.jobs.lock import FolderLock
from smalti.core.errors import InputError, NoRoomError, from_os_error
from smalti.core.files import atomic_write
from smalti.core.pieces import Pieces, differences, key_of

__all__ = ["RECORD", "RunFolder"]

RECORD, PARTS = "run.json", ".parts"


class RunFolder:
    """One run's folder; used in a `with` block, from `start` to whose end no other process may write into it.

    Args:
        path: the folder; made when the first file is written.
        files: names of the results that the command writes, `run.json` not among them.
        overwrite: replace results that are there.
        resume: go on with a run of the same command that is there.

    Raises:
        InputError: both overwrite and resume; a path that is no folder; results that are there and neither was given;
            another process that writes there.
    """

    def __init__(self, path: Path, files: Sequence[str], overwrite: bool = False, resume: bool = False) -> None:
        if overwrite and resume:
            raise InputError("--overwrite starts again and --resume goes on; give one of them")
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is not a folder; choose another --out")
        self.path, self.files = path, tuple(files)
        self.overwrite, self.resume = overwrite, resume
        self._record: dict[str, Any] = {}
        self._lock = FolderLock(path)
        self._lock.check()
        self._refuse_results()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
        if isinstance(error, NoRoomError):
            raise NoRoomError(error.problem, error.remedy, self.again()) from error
        if isinstance(error, KeyboardInterrupt) and self._record.get("done") == 0:  # begun, and not in a batch yet
            raise InterruptedRunError(f"interrupted before the first batch was finished; {self.again()}") from None

    def again(self) -> str:
        """What to do after this run has ended early."""
        if not self._found():
            return "run the same command again"
        return "run the same command with --resume" + (" instead of --overwrite" if self.overwrite else "")

    def start(self, identity: Mapping[str, Any], total: int, about: Mapping[str, Any]) -> bool:
        """Begin or go on.

        Args:
            identity: everything that determines the results, plain JSON values; its hash is the run's key.
            total: number of images.
            about: more for the record, which does not determine the results.

        Returns:
            Whether the run was complete already, so that nothing is left to do.

        Raises:
            InputError: --resume of a run whose identity differs (says in what); another process that writes there, or
                that has written there in the meantime.
        """
        self._lock.acquire()
        self._refuse_results()
        stored = self._stored()
        plain, key = key_of(identity)
        self._record = {**about, "status": "partial", "done": 0, "total": total, "key": key, "determined_by": plain}
        if self.overwrite or not self._found():
            self._clear()
        else:
            if not stored:
                raise InputError(f"cannot resume: {self.path / RECORD} is missing or damaged; --overwrite starts again")
            if stored.get("key") != key:
                changed = "; ".join(differences(stored.get("determined_by", {}), plain)) or "it was another run"
                raise InputError(f"cannot resume the run in {self.path}: {changed}; --overwrite starts again")
            if stored["status"] == "complete" and all((self.path / name).exists() for name in self.files):
                self._remove_parts()
                return True
        self._write_record()
        return False

    def load_part(self, low: int, high: int) -> dict[str, np.ndarray] | None:
        """The arrays of images low .. high - 1, or None where they are not there or not readable."""
        return self.pieces().get(_name(low, high))

    def save_part(self, low: int, high: int, arrays: Mapping[str, np.ndarray], done: int) -> None:
        """Keep the arrays of images low .. high - 1; `done` images are finished with them."""
        self.pieces().put(_name(low, high), arrays)
        self.record_done(done)

    def record_done(self, done: int) -> None:
        """Write into the record that so much is finished."""
        self._record["done"] = done
        self._write_record()

    def finish(self, done: int) -> None:
        """Record that all result files are written, for `done` images: complete if that is all of them."""
        complete = done == self._record["total"]
        self._record.update(status="complete" if complete else "partial", done=done)
        self._write_record()
        if complete:
            self._remove_parts()

    def pieces(self) -> Pieces:
        """Where the finished parts of the started run are kept."""
        return Pieces(self.path / PARTS, self._record["key"][:16])

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
        try:
            record = json.loads((self.path / RECORD).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) and {"status", "key"} <= set(record) else {}

    def _write_record(self) -> None:
        with atomic_write(self.path / RECORD) as file:
            file.write((json.dumps(self._record, indent=2) + "\n").encode())

    def _clear(self) -> None:
        """Remove an earlier run's results, its record first, so that no moment shows a record without its files."""
        try:
            for name in (RECORD, *self.files):
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise from_os_error(error, f"replace results in {self.path}") from error
        self._remove_parts()

    def _remove_parts(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path / PARTS)


def _name(low: int, high: int) -> str:
    return f"{low:07d}-{high:07d}"
