"""A small tidy table: named columns, one dict a row. It is read by people, by code and as CSV; pandas is not needed."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from smalti.core.errors import InputError, did_you_mean
from smalti.core.files import atomic_write
from smalti.core.text import printable

__all__ = ["Table"]


@dataclass(frozen=True)
class Table:
    """Rows with the same columns.

    Attributes:
        columns: their names, in order.
        rows: one dict a row: numbers, texts or None. NaN is a number that is not defined.
        note: what a reader must know, for captions.

    Raises:
        InputError: a row whose names are not the columns.
    """

    columns: tuple[str, ...]
    rows: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if tuple(row) != self.columns:
                raise InputError(f"row {number} has {', '.join(row)}; the columns are {', '.join(self.columns)}")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __getitem__(self, column: str) -> list[Any]:
        """The values of a column.

        Raises:
            InputError: no such column; gives the nearest.
        """
        self._check(column)
        return [row[column] for row in self.rows]

    def where(self, test: Callable[[Mapping[str, Any]], bool] | None = None, **equal: Any) -> Table:
        """The rows for which `test(row)` holds and whose columns equal what is given.

        Raises:
            InputError: no such column.
        """
        for column in equal:
            self._check(column)
        rows = [row for row in self.rows if all(row[name] == value for name, value in equal.items())]
        return Table(self.columns, [row for row in rows if test is None or test(row)], self.note)

    def distinct(self, column: str) -> list[Any]:
        """The different values of a column, in the order of their first rows."""
        return list(dict.fromkeys(self[column]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a CSV with every digit, in UTF-8, whole or not at all; None is an empty field, and a character that no encoding has (of
        a file name that is not UTF-8) an escape.

        Raises:
            EnvironmentFailure: the disk is full or the folder may not be written.
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        with atomic_write(path) as file:
            file.write(text.getvalue().encode("utf-8", "backslashreplace"))

    def __str__(self) -> str:
        """Aligned text; numbers with four significant digits, to the right."""
        cells = [list(self.columns), *self.cells()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        text = [c for c in self.columns if any(isinstance(row[c], str) for row in self.rows)]
        lines = [
            "  ".join(
                cell.ljust(width) if name in text else cell.rjust(width)
                for name, cell, width in zip(self.columns, line, widths, strict=True)
            )
            for line in cells
        ]
        return "\n".join(line.rstrip() for line in lines)

    def cells(self) -> Iterator[list[str]]:
        """The rows as they are printed: numbers with four significant digits, names without control characters."""
        return ([_shown(row[column]) for column in self.columns] for row in self.rows)

    def _check(self, column: str) -> None:
        if column not in self.columns:
            raise InputError(
                f"the table has no column {column!r}{did_you_mean(column, self.columns)}; it has: {', '.join(self.columns)}"
            )

    def __repr__(self) -> str:
        return f"Table({len(self.rows)} rows: {', '.join(self.columns)})"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))
