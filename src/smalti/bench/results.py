"""What a measurement is: one row of the table; the rows, and the machine that they were measured on."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from smalti.engine.threads import get_threads
from smalti.source import Source

__all__ = ["Measurement", "Results", "best", "describe_machine"]


@dataclass(frozen=True)
class Measurement:
    """One row.

    Attributes:
        what: what was done.
        ours: seconds, per query where there are queries (megabytes for the row on memory).
        published: seconds per query of the published algorithm, one query at a time, gathering patches as it does.
        quicker: seconds per query of a quicker way to run it: patches by slices; weights times pixels as a matrix product; all queries
            of the batch together; for Optimal, in this process, whose allocator is warm, instead of a fresh one.
        at_least, at_most: what is asked of published / ours; of the relation to another row, given as `relation`; or of ours.
        relation: ours over the row it is compared with.
        floor: seconds that the machine would need at least.
        note: what else to know.
    """

    what: str
    ours: float
    published: float | None = None
    quicker: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    relation: float | None = None
    floor: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """published / ours."""
        return None if self.published is None else self.published / self.ours

    @property
    def reached(self) -> bool | None:
        """Whether what is asked holds; None if nothing is."""
        if self.at_least is not None and self.ratio is not None:
            return self.ratio >= self.at_least
        if self.at_most is not None:
            return (self.ours if self.relation is None else self.relation) <= self.at_most
        return None


@dataclass
class Results:
    """All rows, and what they were measured on."""

    machine: dict[str, str | float]
    rows: list[Measurement] = field(default_factory=list)

    def as_dict(self) -> dict:
        return {
            "machine": self.machine,
            "rows": [{**asdict(row), "ratio": row.ratio, "reached": row.reached} for row in self.rows],
        }


def best(work: Callable[[], object], repetitions: int = 3, enough: float = float("inf")) -> float:
    """Shortest of some runs, seconds; no further run once all together have taken `enough` seconds."""
    times: list[float] = []
    while not times or (len(times) < repetitions and sum(times) < enough):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def describe_machine(source: Source) -> dict[str, str | float]:
    """Processor, threads, versions, data."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        if info.exists()
        else []
    )
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "numba"))
    return {
        "data": repr(source),
        "processor": names[0] if names else platform.processor(),
        "threads": get_threads(),
        "versions": f"Python {platform.python_version()}, {versions}",
    }
