"""A run's log: one line an event, with the time, added at once, so that a killed run's log ends where it was killed."""

from __future__ import annotations

import datetime
from pathlib import Path

from smalti.core.errors import from_os_error

__all__ = ["Log"]


class Log:
    """Lines that are added to a file.

    Args:
        path: the file; made, with its folder, by the first line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, line: str) -> None:
        """Add a line.

        Raises:
            EnvironmentFailure: the disk is full or the folder may not be written.
        """
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{now}  {' '.join(line.split())}\n")
        except OSError as error:
            raise from_os_error(error, f"write {self.path}") from error
