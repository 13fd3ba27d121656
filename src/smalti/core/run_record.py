"""run.json: what a folder of results is and how it came about; one schema for commands, `smalti reproduce` and trainings.

    {"schema": 1,
     "command": "sample",          what wrote it
     "status": "partial",          or "complete"
     "again": "smalti sample ...", the command that does the same; null where it was called from Python
     "done": 4, "total": 16,       things that are finished and kept, out of how many; null where nothing is counted
     "key": "5f...",               sha256 of determined_by; null without one
     "determined_by": {...},       everything that determines the results, by content; null where a store of steps keeps it
     "versions": {...},            of what computed
     "files": ["samples.npz", ...] the results, as paths relative to the folder
     ...}                          and what the command adds: the name of the data, seeds, verdicts

A folder is written by one process at a time: whoever writes a record holds the folder's lock (`smalti.core.folder_lock.FolderLock`).
Commands go through `smalti.core.run_folder.RunFolder`, which does both.
"""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from smalti.core.files import atomic_write
from smalti.core.pieces import key_of

__all__ = ["RECORD", "STATES", "RunRecord", "installed_versions"]

RECORD = "run.json"
STATES = ("partial", "complete")
SCHEMA = 1
LARGEST = 1 << 26  # bytes; a report's record has some hundred thousand
DEEPEST = 50  # levels of nesting that are taken as a record
COMPUTING = ("smalti", "torch", "numpy", "numba")


class RunRecord:
    """The record of the run in a folder.

    Args:
        folder: the folder; made when the record is first written.

    Attributes:
        before: what the file said when this object was made, {} where there was none.
        values: what `begin`, `update` and `finish` have written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.before = self.read(self.folder)
        self.values: dict[str, Any] = {}

    @staticmethod
    def read(folder: Path) -> dict[str, Any]:
        """What run.json says, {} where it is not there, damaged, or no record at all; nothing in it is trusted further."""
        path = Path(folder) / RECORD
        try:
            if not path.is_file() or path.stat().st_size > LARGEST:
                return {}
            found = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) and not _is_deeper(found, DEEPEST) else {}

    def begin(
        self,
        command: str,
        *,
        again: str | None = None,
        total: int | None = None,
        determined_by: Mapping[str, Any] | None = None,
        files: Iterable[str] = (),
        versions: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        """Write that a run is under way.

        Args:
            command: what is run.
            again: the command line that does the same.
            total: how many things there are to do.
            determined_by: what determines the results, plain JSON values; its hash is the run's key.
            files: results that the folder has now or will have.
            versions: of what computes; None for those of smalti, torch, numpy, numba and Python.
            more: the command's own fields.

        Raises:
            EnvironmentFailure: the disk is full or the folder may not be written.
        """
        plain, key = (None, None) if determined_by is None else key_of(determined_by)
        self.values = {
            "schema": SCHEMA,
            "command": command,
            "status": "partial",
            "again": again,
            **more,
            "done": None if total is None else 0,
            "total": total,
            "key": key,
            "determined_by": plain,
            "versions": dict(installed_versions() if versions is None else versions),
            "files": sorted(set(files)),
        }
        self._write()

    def update(self, **values: Any) -> None:
        """Write other values into it: `update(done=4)`."""
        self.values |= values
        self._write()

    def finish(self, files: Iterable[str] | None = None, *, complete: bool = True, **more: Any) -> None:
        """Write how the run ended.

        Args:
            files: the results that it wrote; None for those of `begin`. Files that an earlier run in the folder recorded and this one
                did not write are removed.
            complete: whether nothing is left to do.
            more: fields to add.

        Raises:
            EnvironmentFailure: the disk is full or the folder may not be written.
        """
        if files is not None:
            written = sorted(set(files))
            self._remove_others(written)
            self.values["files"] = written
        self.update(status="complete" if complete else "partial", **more)

    def _remove_others(self, written: Iterable[str]) -> None:
        before = self.before.get("files")
        for name in set(filter(lambda name: isinstance(name, str), before if isinstance(before, list) else ())):
            path = self.folder / name
            with contextlib.suppress(OSError, ValueError):
                if name not in written and path.resolve().is_relative_to(self.folder.resolve()) and path.is_file():
                    path.unlink()

    def _write(self) -> None:
        with atomic_write(self.folder / RECORD) as file:
            file.write((json.dumps(self.values, indent=2) + "\n").encode())


def installed_versions() -> dict[str, str]:
    """Of smalti, torch, numpy, numba and Python. Results are the same bytes only for the same versions on the same machine."""
    return {**{name: _version(name) for name in COMPUTING}, "python": platform.python_version()}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # smalti itself, run from a checkout that is not installed
        return "unknown"


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether `value` has more than so many levels of containers."""
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not layer:
            return False
    return True
