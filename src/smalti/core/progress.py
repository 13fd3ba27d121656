"""Progress with time left, on stderr: a live bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from smalti.core.text import printable

__all__ = ["Progress", "progress"]

Progress = bool | Callable[[int], object] | None

PLAIN_INTERVAL = 10.0  # seconds between lines where stderr is not a terminal
DELAY = 1.0  # work shorter than this shows nothing


@contextlib.contextmanager
def progress(description: str, total: int, show: Progress = None) -> Iterator[Callable[..., None]]:
    """Show how far a loop of `total` units has come; yields `advance(n, note="")`, whose note is shown beside.

    Args:
        description: what is being done, in a few words.
        total: number of units.
        show: True or False; None shows it when stderr is a terminal; a function is told of the units instead, and nothing is shown.
    """
    if callable(show):
        yield _silent(show)
        return
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if show is None:
        show = terminal
    if not show or total <= 0 or sys.stderr is None:
        yield lambda n, note="": None
        return
    description = printable(description)
    if terminal:
        with _bar(description, total) as advance:
            yield advance
    else:
        yield _lines(description, total)


def _silent(told: Callable[[int], object]) -> Callable[..., None]:
    def advance(n: int, note: str = "") -> None:
        told(n)

    return advance


@contextlib.contextmanager
def _bar(description: str, total: int) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)

        def advance(n: int, note: str = "") -> None:
            said = f"{description}: {printable(note)}" if note else description
            bar.update(task, advance=n, description=said)

        yield advance


def _lines(description: str, total: int) -> Callable[..., None]:
    start = last = time.monotonic()
    done = 0

    def advance(n: int, note: str = "") -> None:
        nonlocal done, last
        done += n
        now = time.monotonic()
        if (now - last >= PLAIN_INTERVAL or done >= total) and now - start >= DELAY:
            last = now
            left = (now - start) / max(done, 1) * (total - done)
            beside = f", {printable(note)}" if note else ""
            said = f"{description}: {done} of {total}, {now - start:.0f} s, {left:.0f} s left{beside}"
            print(said, file=sys.stderr, flush=True)

    return advance
