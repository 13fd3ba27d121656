"""Long runs: as batches that are kept as they finish, or of the library's own resumable functions; Ctrl-C ends in a sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np

from smalti.core.pieces import Arrays
from smalti.core.progress import progress
from smalti.core.run_folder import RunFolder

__all__ = ["Arrays", "Compute", "long_run", "run_batches"]

Compute = Callable[[int, int, Callable[[int], None]], Arrays]


def run_batches(
    folder: RunFolder, total: int, batch_size: int, compute: Compute, description: str, units: int = 1
) -> tuple[Arrays, int, bool]:
    """Compute images 0 .. total - 1 in batches; those that the folder already holds are taken from there.

    Args:
        folder: a started run folder.
        total: number of images, at least 1.
        batch_size: images in a batch, at least 1.
        compute: (low, high, advance) -> arrays whose first axis is images low .. high - 1; it calls advance(k) as
            units of progress are done, (high - low) * units in all.
        description: for the progress bar.
        units: units of progress per image.

    Returns:
        The arrays of all finished images in order, their number, and whether Ctrl-C stopped the run. Without a finished
        batch the dict is empty.
    """
    parts: list[Arrays] = []
    done = 0
    interrupted = False
    with progress(description, total * units, show=True) as advance:
        batches = folder.pieces().batches(
            "images", total, batch_size, lambda batch: compute(batch.low, batch.high, batch.advance), advance, units
        )
        try:
            for batch, arrays in batches:
                parts.append(arrays)
                done = batch.high
                folder.record_done(done)
        except KeyboardInterrupt:
            interrupted = True
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    return joined, done, interrupted


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
