"""What a new process pays: compiling, loading compiled kernels, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from smalti.bench.measurement import Measurement
from smalti.bench.probes import first_call_seconds, peak_memory_mb
from smalti.bench.setup import BATCH, Setup

__all__ = ["processes"]


def processes(setup: Setup) -> list[Callable[[], Iterator[Measurement]]]:
    def first_calls() -> Iterator[Measurement]:
        yield Measurement("first call of a new process, kernels compiled", first_call_seconds(cold=True))
        yield Measurement("first call of a new process, kernels from the cache", first_call_seconds(cold=False))

    def memory() -> Iterator[Measurement]:
        what = f"peak memory beyond the import and one read of the source, batch of {BATCH}, all levels"
        yield Measurement(what, peak_memory_mb(setup.source), at_most=300)

    return [first_calls, memory]
