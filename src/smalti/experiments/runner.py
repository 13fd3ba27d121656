"""Steps in the order of their needs: what is kept is skipped, what is computed is kept at once and written into the log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from smalti.core.errors import SmaltiError
from smalti.core.progress import progress
from smalti.experiments.step import Step, Work
from smalti.experiments.store import Kept, Store

__all__ = ["missing", "ordered", "run"]

PERCENT, ROUNDING = 100, 1e-9


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
    """Compute what is not kept yet.

    Args:
        steps: whose results are wanted.
        store: where results are kept.
        log: is told of each step that was computed.
        description: for the progress, which counts percent of the predicted time.
        show: True or False; None shows progress where stderr is a terminal.

    Returns:
        The results of all steps by name, read when asked for.

    Raises:
        SmaltiError: a step failed; names it. A kept result turned out to be damaged (it is removed).
        ValueError: two different steps of one name.
    """
    plan = ordered(steps)
    results = Kept(store, plan)
    for (
        step
    ) in plan:  # a file that was cut off is found now and not in the middle; arrays are read when they are needed
        if store.has(step) and not store.is_whole(step):
            store.path(step).unlink()
    left = missing(steps, store)
    total = sum(step.seconds for step in left) or 1.0
    shown = _Percents(total)
    with progress(description, PERCENT if left else 0, show) as advance:
        for step in left:
            log(f"{step.name}: begun, {step.seconds:.1f} s predicted")
            start = time.monotonic()
            share = [0.0]

            def forward(part: float, step: Step = step, share: list[float] = share) -> None:
                part = min(part, 1 - share[0])
                if part < ROUNDING:
                    return
                share[0] += part
                advance(shown.add(part * step.seconds), step.name)

            try:
                result = step.compute(Work(Kept(store, step.needs), store.pieces(step), forward))
            except SmaltiError as error:
                log(f"{step.name}: failed: {error}")
                raise
            seconds = time.monotonic() - start
            store.put(step, result, seconds)
            forward(1 - share[0])
            log(f"{step.name}: done in {seconds:.1f} s")
    return results


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
