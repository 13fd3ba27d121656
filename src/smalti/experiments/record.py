"""run.json: what a run is, written when it begins and again when it is complete; and the files that it wrote, so that those which a
later run in the same folder does not write again are removed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smalti.analysis.identity import source_identity
from smalti.core.files import atomic_write

if TYPE_CHECKING:
    from smalti.experiments.reproduce import Request

__all__ = ["RECORD", "Record"]

RECORD = "run.json"


class Record:
    """The record of the run in a folder.

    Args:
        folder: the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.before = self.read(folder)
        self.values: dict[str, Any] = {}

    @staticmethod
    def read(folder: Path) -> dict[str, Any]:
        """What run.json says, {} where it is not there or not readable."""
        try:
            found = json.loads((folder / RECORD).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def begin(self, request: Request) -> None:
        """Write that a run is under way.

        Raises:
            EnvironmentFailure: the disk is full or the folder may not be written.
        """
        self.values = {
            "command": "reproduce",
            "status": "partial",
            "again": request.command,
            "data": {
                "name": request.source.name,
                **source_identity(request.source),
                "shape": list(request.source.shape),
            },
            "scale": request.scale.name,
            "minutes": request.minutes,
            "only": list(request.only),
            "seed": request.seed,
            "files": list(self.before.get("files", [])),  # still there
        }
        self._write()

    def finish(self, files: Iterable[str], more: Mapping[str, Any]) -> None:
        """Write that it is complete, after removing what an earlier run wrote and this one did not.

        Raises:
            EnvironmentFailure: the disk is full or the folder may not be written.
        """
        written = sorted(set(files))
        for name in self.before.get("files", []):
            path = self.folder / str(name)
            if name not in written and path.resolve().is_relative_to(self.folder.resolve()):
                with contextlib.suppress(OSError):
                    path.unlink()
        self.values |= {"status": "complete", **more, "files": written}
        self._write()

    def _write(self) -> None:
        with atomic_write(self.folder / RECORD) as file:
            file.write((json.dumps(self.values, indent=2) + "\n").encode())
