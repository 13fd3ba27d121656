"""Steps: computations of an experiment, each declared by what determines its result, so that the result is kept and never made twice.

    key = sha256(name, code, parameters, keys of the steps that it needs)

`code` is the digest of what the computation runs (`smalti.core.code.function_digest`): a result is never that of code that has changed. A
changed parameter changes the key of its step and of all steps that need it, and of no other.

    results/NAME-KEY.npz      the result of the step NAME with that key (its first 16 hex digits)
    results/.pieces/KEY/      what is finished of a step; removed when the step is
    results/times.txt         how long each step took

A file that is not as it was written counts as absent: its step is computed again, when that is seen.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from smalti.core.code import function_digest
from smalti.core.errors import SmaltiError
from smalti.core.files import load_npz, save_npz
from smalti.core.pieces import Arrays, Pieces, key_of
from smalti.core.progress import progress

__all__ = ["Arrays", "Kept", "Results", "Step", "Store", "Work", "missing", "ordered", "run"]

PIECES, TIMES = ".pieces", "times.txt"
ROOM = 1 << 28  # bytes of results that are held in memory to be read again
PERCENT, ROUNDING = 100, 1e-9

Results = Mapping[str, Arrays]


@dataclass(frozen=True)
class Work:
    """What a step's computation is given.

    Attributes:
        results: the results of the steps that it needs, by their names.
        pieces: where it may keep parts, so that a killed run goes on in the middle of the step.
        advance: advance(share) tells how much of the step is done since the last call; the shares of a step add up to 1.
    """

    results: Results
    pieces: Pieces
    advance: Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Step:
    """One computation.

    Attributes:
        name: unique in a plan, lower case, parts separated by slashes: "to-network/forward/pspc-flex".
        compute: makes the result, named arrays (texts as unicode arrays). It must depend on nothing but its code, `parameters` and
            `needs`.
        parameters: everything else that determines the result, as JSON values: identities of denoisers, networks and sources by
            content (`smalti.analysis.identity`), numbers, seeds. Never paths, times or numbers of threads.
        needs: the steps whose results it reads.
        seconds: how long it will take, predicted; does not belong to the key.
        about: of whom how many ("pspc-flex n = 12"), for the plan that is told at the start.
    """

    name: str
    compute: Callable[[Work], Arrays]
    parameters: Mapping[str, Any]
    needs: tuple[Step, ...] = ()
    seconds: float = 0.0
    about: str = field(default="", compare=False)

    @cached_property
    def key(self) -> str:
        """sha256 hex."""
        return key_of(
            {
                "name": self.name,
                "code": function_digest(self.compute),
                "parameters": self.parameters,
                "needs": [step.key for step in self.needs],
            }
        )[1]


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
        """Whether its result is kept; it may still turn out to be damaged."""
        return self.path(step).is_file()

    def get(self, step: Step) -> Arrays | None:
        """Its result, or None where it is not kept, or not as it was written."""
        return load_npz(self.path(step), sealed=True)

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

    def clear_pieces(self) -> None:
        """Remove what is kept of unfinished steps: nothing is under way."""
        shutil.rmtree(self.folder / PIECES, ignore_errors=True)

    def _pieces(self, step: Step) -> Path:
        return self.folder / PIECES / step.key[:16]


class Kept(Mapping[str, Arrays]):
    """Results by the names of steps, read from the store when they are asked for; those read last stay in memory.

    Args:
        store: where they are.
        steps: whose results may be asked for.
        again: computes the result of a step that is not there as it was written, and keeps it; None: that is a KeyError.
    """

    def __init__(self, store: Store, steps: Iterable[Step], again: Callable[[Step], Arrays] | None = None) -> None:
        self.store, self.again = store, again
        self.steps = {step.name: step for step in steps}
        self._held: OrderedDict[str, Arrays] = OrderedDict()

    def __getitem__(self, name: str) -> Arrays:
        if name not in self._held:
            step = self.steps[name]
            result = self.store.get(step)
            if result is None:
                if self.again is None:
                    raise KeyError(name)
                result = self.again(step)
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


def ordered(steps: Iterable[Step]) -> list[Step]:
    """All steps and what they need, each once, after its needs; otherwise in the order given.

    Raises:
        ValueError: two different steps of one name.
    """
    found: dict[str, Step] = {}

    def add(step: Step) -> None:
        known = found.get(step.name)
        if known is not None:
            if known.key != step.key:
                raise ValueError(f"two different steps are called {step.name!r}")
            return
        for need in step.needs:
            add(need)
        found[step.name] = step

    for step in steps:
        add(step)
    return list(found.values())


def missing(steps: Iterable[Step], store: Store) -> list[Step]:
    """The steps that are still to be computed for the results of `steps`: a step that only kept ones need is not among them."""
    plan = ordered(steps)
    wanted = {step.name for step in steps}
    left = []
    for step in reversed(plan):
        if step.name in wanted and not store.has(step):
            left.append(step)
            wanted |= {need.name for need in step.needs}
    return left[::-1]


def run(
    steps: Sequence[Step],
    store: Store,
    log: Callable[[str], None] = lambda line: None,
    description: str = "reproducing",
    show: bool | None = None,
) -> Kept:
    """Compute what is not kept yet, in the order of needs; what is computed is kept at once and written into the log.

    Args:
        steps: whose results are wanted.
        store: where results are kept.
        log: is told of each step that was computed.
        description: for the progress, which counts percent of the predicted time.
        show: True or False; None shows progress where stderr is a terminal.

    Returns:
        The results of all steps by name, read when asked for; one that turns out to be damaged is computed again then.

    Raises:
        SmaltiError: a step failed; names it.
        ValueError: two different steps of one name.
    """

    def compute(step: Step, advance: Callable[[float], None] = lambda share: None) -> Arrays:
        log(f"{step.name}: begun, {step.seconds:.1f} s predicted")
        start = time.monotonic()
        try:
            result = step.compute(Work(Kept(store, step.needs, compute), store.pieces(step), advance))
        except SmaltiError as error:
            log(f"{step.name}: failed: {error}")
            raise
        seconds = time.monotonic() - start
        store.put(step, result, seconds)
        log(f"{step.name}: done in {seconds:.1f} s")
        return result

    left = missing(steps, store)
    total = sum(step.seconds for step in left) or 1.0
    shown = _Percents(total)
    with progress(description, PERCENT if left else 0, show) as advance:
        for step in left:
            share = [0.0]

            def forward(part: float, step: Step = step, share: list[float] = share) -> None:
                part = min(part, 1 - share[0])
                if part < ROUNDING:
                    return
                share[0] += part
                advance(shown.add(part * step.seconds), step.name)

            compute(step, forward)
            forward(1 - share[0])
    return Kept(store, ordered(steps), compute)


class _Percents:
    """Whole percents out of seconds."""

    def __init__(self, total: float) -> None:
        self.total, self.done, self.told = total, 0.0, 0

    def add(self, seconds: float) -> int:
        """How many more whole percents are done."""
        self.done += seconds
        now = min(PERCENT, int(PERCENT * self.done / self.total + 1e-9))
        more, self.told = now - self.told, now
        return more


def _size(arrays: Arrays) -> int:
    return sum(array.nbytes for array in arrays.values())
