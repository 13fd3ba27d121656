"""What commands print: tables on a terminal, plain lines in a pipe, and text that no terminal chokes on or obeys.

Results go to stdout, everything else to stderr. Names come from files and may hold anything: they are printed by `printable`, and what an
encoding (cp1252, ASCII) cannot hold becomes an escape (`tolerant_streams`).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smalti.core.text import printable

if TYPE_CHECKING:
    from smalti.core.table import Table

__all__ = [
    "print_json",
    "print_line",
    "print_path",
    "print_rows",
    "print_table",
    "say",
    "say_left_out",
    "some_levels",
    "tolerant_streams",
]

ROWS = 30  # of a table that are printed; the rest is in its file


def tolerant_streams() -> None:
    """Make stdout and stderr take every text: a stream that is closed becomes one to nowhere, a character that its encoding has not
    an escape."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller: without one, the next file would take its number
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        else:
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """One line for people, on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


def say_left_out(skipped: Sequence[tuple[str, str]]) -> None:
    """A line about the files of a data set that were left out, (name, reason) each; nothing where there are none."""
    if skipped:
        name, reason = skipped[0]
        others = f" and {len(skipped) - 1} more (see `smalti info`)" if len(skipped) > 1 else ""
        say(f"left out: {name} ({reason}){others}")


def print_line(text: str) -> None:
    """One line of results."""
    print(printable(text))


def print_json(value: Any) -> None:
    """JSON, in ASCII."""
    print(json.dumps(value, indent=2, default=str))


def print_path(path: Path) -> None:
    """The last line of a command: where its results are. In a pipe the bytes of the path as they are, for programs."""
    if sys.stdout.isatty() or not hasattr(sys.stdout, "buffer"):
        print(printable(str(path)))
        return
    sys.stdout.flush()
    try:
        str(path).encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")
        sys.stdout.buffer.flush()
    else:
        print(path)


def print_rows(rows: Sequence[tuple[str, str]]) -> None:
    """(what, value) pairs: a table on a terminal, aligned lines in a pipe."""
    rows = [(printable(name), printable(text)) for name, text in rows]
    if not sys.stdout.isatty():
        width = max((len(name) for name, _ in rows), default=0)
        for name, text in rows:
            print(f"{name:<{width}}  {text}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(Text(name), Text(text))
    Console(highlight=False).print(table)


def print_table(table: Table, file: str = "") -> None:
    """The numbers of a table, four digits each: ruled on a terminal, aligned in a pipe; at most thirty rows.

    Args:
        table: what to print.
        file: where the other rows are, and every digit.
    """
    shown = type(table)(table.columns, table.rows[:ROWS])
    if sys.stdout.isatty():
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table as Ruled
        from rich.text import Text

        ruled = Ruled(box=SIMPLE_HEAD, pad_edge=False)
        for column in shown.columns:
            texts = any(isinstance(value, str) for value in shown[column])
            ruled.add_column(Text(column), justify="left" if texts else "right")
        for cells in shown.cells():
            ruled.add_row(*(Text(cell) for cell in cells))
        Console(highlight=False).print(ruled)
    else:
        print(shown)
    if len(table) > len(shown):
        print(f"... and {len(table) - len(shown)} rows more" + (f" in {file}" if file else ""))


def some_levels(table: Table, column: str = "sigma", most: int = 6) -> Table:
    """The rows of at most so many evenly spaced values of a column, the ends among them: enough to look at."""
    values = table.distinct(column)
    if len(values) <= most:
        return table
    chosen = {values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)}
    return table.where(lambda row: row[column] in chosen)
