"""Runs of the library's own resumable functions: one progress bar, and Ctrl-C ends in a sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

from smalti.core.progress import progress
from smalti.core.run_folder import RunFolder

__all__ = ["long_run", "remove_stale"]


@contextlib.contextmanager
def long_run(folder: RunFolder, total: int, description: str, thing: str) -> Iterator[Callable[[int], None]]:
    """Yields `advance(n)`, to be called when n more things are finished and kept.

    Args:
        folder: a started run folder.
        total: number of things.
        description: for the progress bar.
        thing: what they are called, in the singular.

    Raises:
        InterruptedRunError: Ctrl-C; the record says how much is kept.
    """
    done = 0
    with progress(description, total, show=True) as shown:

        def advance(n: int) -> None:
            nonlocal done
            done += n
            shown(n)

        try:
            yield advance
        except KeyboardInterrupt:
            folder.record_done(done)
            raise folder.interrupted(done, thing) from None


def remove_stale(folder: RunFolder, possible: Iterable[str]) -> None:
    """With --overwrite, remove what an earlier run with other options left and this one does not write.

    Args:
        folder: a started run folder.
        possible: every file that the command may write.
    """
    for name in set(possible) - set(folder.files):
        if folder.overwrite:
            (folder.path / name).unlink(missing_ok=True)
