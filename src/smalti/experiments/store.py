"""Results of steps, kept by key: one .npz a step, whole or not at all, and a folder of pieces for the step that is under way.

    results/NAME-KEY.npz      the result of the step NAME with that key (its first 16 hex digits)
    results/.pieces/KEY/      what is finished of a step; removed when the step is
    results/times.txt         how long each step took

A file that cannot be read counts as absent: its step is computed again.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from smalti.core.errors import EnvironmentFailure, from_os_error
from smalti.core.files import load_npz, save_npz
from smalti.core.pieces import Pieces
from smalti.experiments.step import Arrays, Step

__all__ = ["Kept", "Store"]

PIECES, TIMES = ".pieces", "times.txt"
ROOM = 1 << 28  # bytes of results that are held in memory to be read again


class Store:
    """The kept results of a run.

    Args:
        folder: where they are; made when the first is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, step: Step) -> Path:
        """The file of a step's result."""
        slug = re.sub(r"[^a-z0-9.]+", "-", step.name.lower()).strip("-")
        return self.folder / f"{slug}-{step.key[:16]}.npz"

    def has(self, step: Step) -> bool:
        """Whether its result is kept; it may still turn out not to be readable."""
        return self.path(step).is_file()

    def is_whole(self, step: Step) -> bool:
        """Whether its file is there with the index at its end, which is quick to tell; the arrays are not read."""
        try:
            with zipfile.ZipFile(self.path(step)):
                return True
        except (OSError, ValueError, zipfile.BadZipFile):
            return False

    def get(self, step: Step) -> Arrays | None:
        """Its result, or None where it is not kept or not readable."""
        return load_npz(self.path(step))

    def put(self, step: Step, result: Arrays, seconds: float = 0.0) -> None:
        """Keep a result, and the seconds that it took; the step's pieces are no longer needed.

        Raises:
            EnvironmentFailure: the disk is full or the folder may not be written.
        """
        save_npz(self.path(step), result)
        with contextlib.suppress(OSError), (self.folder / TIMES).open("a", encoding="utf-8") as file:
            file.write(f"{step.key[:16]} {seconds:.3f}\n")
        shutil.rmtree(self._pieces(step), ignore_errors=True)

    def took(self, steps: Iterable[Step]) -> float:
        """Seconds that steps took when they were computed, together; those of a run that was stopped within a step are not counted."""
        try:
            lines = (self.folder / TIMES).read_text("utf-8").splitlines()
        except (OSError, ValueError):
            return 0.0
        known = {}
        for line in lines:
            key, _, seconds = line.partition(" ")
            with contextlib.suppress(ValueError):
                known[key] = float(seconds)
        return sum(known.get(step.key[:16], 0.0) for step in steps)

    def pieces(self, step: Step) -> Pieces:
        """Where the step may keep parts of its result."""
        return Pieces(self._pieces(step))

    def clear(self) -> None:
        """Remove everything that is kept."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _pieces(self, step: Step) -> Path:
        return self.folder / PIECES / step.key[:16]


class Kept(Mapping[str, Arrays]):
    """Results by the names of steps, read from the store when they are asked for; those read last stay in memory.

    Args:
        store: where they are.
        steps: whose results may be asked for, finished or to be finished.

    Raises:
        EnvironmentFailure: on access, a file that is there and cannot be read; it is removed, so that the next run computes it again.
    """

    def __init__(self, store: Store, steps: Iterable[Step]) -> None:
        self.store = store
        self.steps = {step.name: step for step in steps}
        self._held: OrderedDict[str, Arrays] = OrderedDict()

    def __getitem__(self, name: str) -> Arrays:
        if name not in self._held:
            step = self.steps[name]
            result = self.store.get(step)
            if result is None:
                if self.store.has(step):
                    self._refuse(step)
                raise KeyError(name)
            self._held[name] = result
        self._held.move_to_end(name)
        while len(self._held) > 1 and sum(_size(arrays) for arrays in self._held.values()) > ROOM:
            self._held.popitem(last=False)
        return self._held[name]

    def __contains__(self, name: object) -> bool:
        return name in self.steps and self.store.has(self.steps[str(name)])

    def __iter__(self) -> Iterator[str]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def _refuse(self, step: Step) -> None:
        path = self.store.path(step)
        try:
            path.unlink()
        except OSError as error:
            raise from_os_error(error, f"replace {path}, which is damaged") from error
        raise EnvironmentFailure(f"{path} was damaged and is removed; run the same command again to compute it anew")


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())
