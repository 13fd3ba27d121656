"""Stages with budgets: each has until a moment to end, writes what it knows as soon as it knows it, and may fail alone."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Clock", "Report"]


class Clock:
    """Seconds since the start, against the minutes given."""

    def __init__(self, minutes: float) -> None:
        self.start, self.total = time.time(), 60 * minutes

    def now(self) -> float:
        return time.time() - self.start

    def left(self, until: float) -> float:
        """Seconds from now until `until`, a fraction of all of the time."""
        return self.total * until - self.now()


class Report:
    """What is known so far: results.json and report.md in a folder, rewritten whole after every row.

    Args:
        folder: made where it is not there.
        clock: of the run.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder, self.clock = folder, clock
        folder.mkdir(parents=True, exist_ok=True)
        self.stages: dict[str, dict[str, Any]] = {}

    def run(self, name: str, until: float, stage: Callable[[Stage], None]) -> bool:
        """Run a stage that should end at the fraction `until` of all of the time; True if it ended without an error."""
        record: dict[str, Any] = {"rows": [], "notes": [], "started": round(self.clock.now(), 1)}
        self.stages[name] = record
        self._say(f"== {name} (until {self.clock.total * until:.0f} s)")
        handle = Stage(self, record, until)
        try:
            if handle.left() <= 0:
                handle.note("not reached: no time was left")
                return False
            stage(handle)
        except Exception as error:
            record["error"] = "".join(traceback.format_exception(error))[-4000:]
            self._say(record["error"])
        record["seconds"] = round(self.clock.now() - record["started"], 1)
        self.write()
        return "error" not in record

    def write(self) -> None:
        for name, text in (
            ("results.json", json.dumps(self.stages, indent=1, default=str)),
            ("report.md", self.text()),
        ):
            kept = self.folder / f".{name}"
            kept.write_text(text)
            os.replace(kept, self.folder / name)

    def text(self) -> str:
        parts = ["# A run on a GPU", ""]
        for name, stage in self.stages.items():
            parts += [f"## {name} ({stage.get('seconds', '?')} s)", ""]
            parts += [*_table(stage["rows"]), *(f"- {note}" for note in stage["notes"]), ""]
            if "error" in stage:
                parts += ["Ended by an error:", "", "```", stage["error"], "```", ""]
        return "\n".join(parts)

    def _say(self, line: str) -> None:
        print(f"[{self.clock.now():5.0f} s] {line}", flush=True)


class Stage:
    """What a stage writes to."""

    def __init__(self, report: Report, record: dict[str, Any], until: float) -> None:
        self._report, self._record, self._until = report, record, until

    def left(self) -> float:
        """Seconds that this stage still has."""
        return self._report.clock.left(self._until)

    def row(self, **values: Any) -> None:
        self._record["rows"].append(values)
        self._report._say("  ".join(f"{name} {_shown(value)}" for name, value in values.items()))
        self._report.write()

    def note(self, text: str) -> None:
        self._record["notes"].append(text)
        self._report._say(text)
        self._report.write()


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Rows as Markdown; rows may have other columns than the first, which come after."""
    if not rows:
        return []
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return [*lines, *(f"| {' | '.join(_shown(row.get(name, '')) for name in columns)} |" for row in rows), ""]


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/").replace("\n", " ")
