"""The benchmark: ours against the published algorithms, in one run on one machine.

Ours is timed on the whole source, the published crop-by-crop algorithm (`published`) on a slice and scaled by N / slice, since it is a
loop over images; the published loop over whole images is timed on all of them. Times are the best of a few repetitions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np
import torch

from smalti.bench.floor import multiply_add_rate, operations, read_rate
from smalti.bench.probes import first_call_seconds, peak_memory_mb, published_optimal_seconds
from smalti.bench.published import batched_loop, crop_by_crop
from smalti.bench.subject import noisy
from smalti.core.schedule import edm_sigmas
from smalti.denoisers import LocalScore, Optimal, PSPCSquare
from smalti.denoisers.pspc import TABLE_1
from smalti.sampling import sample
from smalti.source import Source

__all__ = ["Measurement", "Results", "measure"]

SLICE, SLICE_OF_BATCH = 1000, 200  # images that the published algorithm is timed on, for one query and for a batch
BATCH = 16


@dataclass(frozen=True)
class Measurement:
    """One row.

    Attributes:
        what: what was done.
        ours: seconds, per query where there are queries (megabytes for the row on memory).
        published: seconds per query of the published algorithm, one query at a time, gathering patches as it does.
        quicker: seconds per query of a quicker way to run it: patches by slices; all queries of the batch together; for Optimal,
            in this process, whose allocator is warm, instead of a fresh one.
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


def best(work: Callable[[], object], repetitions: int = 3) -> float:
    """Shortest of some runs, seconds."""
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def table_1_sigma(side: int) -> float:
    """The first noise level that Table 1 serves with patches of this side (the last of whole images for 32)."""
    levels = [i for i, p in enumerate(TABLE_1) if p == side]
    return float(edm_sigmas()[levels[-1] if side == 32 else levels[0]])


class Bench:
    """The rows, one method a kind. `advance(1)` is called after each measured step."""

    def __init__(self, source: Source, quick: bool, advance: Callable[[int], None]) -> None:
        self.source, self.advance = source, advance
        self.sides = (3, 7, 23) if quick else (3, 5, 7, 11, 15, 23)
        self.quick = quick
        self.slice = torch.from_numpy(np.array(source.images[:: max(1, len(source) // SLICE)][:SLICE]))
        self.short = self.slice[:SLICE_OF_BATCH]
        self.read = read_rate(source.images)
        self.rate = multiply_add_rate()
        self.one: dict[int, float] = {}

    def steps(self) -> int:
        return 2 * len(self.sides) + 7

    def rows(self) -> Iterator[Measurement]:
        warm = PSPCSquare(self.source.subset(slice(0, 64)), patch_size=3)
        warm(noisy(self.source, 1.0, BATCH), 1.0)
        Optimal(self.source.subset(slice(0, 64)))(noisy(self.source, 1.0, 1), 1.0)
        yield from self.pspc_square()
        yield from self.optimal()
        yield from self.flips()
        yield from self.other_windows()
        yield from self.other_backends()
        yield self.samples()
        yield from self.processes()

    def floors(self, side: int) -> tuple[float, float]:
        """Memory and arithmetic bound of one PSPC-Square query, seconds."""
        memory = 2 * np.asarray(self.source.images).nbytes / self.read
        return memory, len(self.source) * operations(self.source.shape, side) / self.rate

    def _published(self, work: Callable[[torch.Tensor], object], images: torch.Tensor, queries: int) -> float:
        work(images[:100])
        return best(lambda: work(images), 2) * len(self.source) / len(images) / queries

    def pspc_square(self) -> Iterator[Measurement]:
        for side in self.sides:
            sigma = table_1_sigma(side)
            denoiser, z = PSPCSquare(self.source, patch_size=side), noisy(self.source, sigma, BATCH)
            ours = self.one[side] = best(partial(denoiser, z[:1], sigma), 5)
            published = self._published(partial(crop_by_crop, z[:1], sigma, side=side), self.slice, 1)
            sliced = self._published(partial(crop_by_crop, z[:1], sigma, side=side, by_mask=False), self.slice, 1)
            self.advance(1)
            memory, arithmetic = self.floors(side)
            note = f"bounds: memory {memory:.3f} s, arithmetic {arithmetic:.3f} s"
            what = f"PSPC-Square p={side}, sigma={sigma:.3g}"
            yield Measurement(
                f"{what}, one query", ours, published, sliced, at_least=150, floor=max(memory, arithmetic), note=note
            )
            ours = best(partial(denoiser, z, sigma), 3) / BATCH
            in_batch = self._published(partial(crop_by_crop, z, sigma, side=side), self.short, BATCH)
            self.advance(1)
            what = f"{what}, batch of {BATCH}"
            yield Measurement(what, ours, published, in_batch, at_least=200, floor=max(memory / BATCH, arithmetic))
        for side in self.sides[1:]:
            relation = self.one[side] / self.one[3]
            yield Measurement(f"PSPC-Square p={side} against p=3", self.one[side], at_most=1.6, relation=relation)

    def optimal(self) -> Iterator[Measurement]:
        sigma = table_1_sigma(32)
        denoiser, z = Optimal(self.source), noisy(self.source, sigma, BATCH)
        ours = best(lambda: denoiser(z[:1], sigma), 5)
        batch = best(lambda: denoiser(z, sigma), 3) / BATCH
        # a loop over whole images is quick enough to be timed on the whole source; a slice would fit the cache and flatter it
        flat = torch.from_numpy(np.array(self.source.images)).flatten(1)
        here = self._published(lambda x: batched_loop(z[:1].flatten(1), sigma, x), flat, 1)
        here_many = self._published(lambda x: batched_loop(z.flatten(1), sigma, x), flat, BATCH)
        one, many = (published_optimal_seconds(self.source, sigma, count) for count in (1, BATCH))
        self.advance(1)
        memory = 2 * np.asarray(self.source.images).nbytes / self.read
        what, note = f"Optimal, sigma={sigma:.3g}", f"bounds: memory {memory:.3f} s"
        yield Measurement(f"{what}, one query", ours, one, here, at_least=10, floor=memory, note=note)
        yield Measurement(f"{what}, batch of {BATCH}", batch, one, min(many, here_many), at_least=20)

    def flips(self) -> Iterator[Measurement]:
        side = 7
        sigma = table_1_sigma(side)
        z = noisy(self.source, sigma, 1)
        plain = PSPCSquare(self.source.with_hflip(False), patch_size=side)
        flipped = PSPCSquare(self.source.with_hflip(True), patch_size=side)
        once, twice = best(lambda: plain(z, sigma), 5), best(lambda: flipped(z, sigma), 5)
        self.advance(1)
        what = f"PSPC-Square p={side}, hflip=True against False"
        yield Measurement(what, twice, at_most=2.1, relation=twice / once)

    def other_windows(self) -> Iterator[Measurement]:
        for window in (3, 15):
            z = noisy(self.source, 1.0, 1)
            ours = best(partial(LocalScore(self.source, window=window), z, 1.0), 3)
            yield Measurement(f"LocalScore window={window}, one query", ours)
        self.advance(1)

    def other_backends(self) -> Iterator[Measurement]:
        side = 7
        sigma = table_1_sigma(side)
        z = noisy(self.source, sigma, 1)
        ours = best(lambda: PSPCSquare(self.source, patch_size=side, backend="torch")(z, sigma), 1 if self.quick else 2)
        published = self._published(partial(crop_by_crop, z, sigma, side=side), self.slice, 1)
        self.advance(1)
        yield Measurement(f"PSPC-Square p={side}, torch backend on the CPU, one query", ours, published, at_least=10)

    def samples(self) -> Measurement:
        start = time.perf_counter()
        sample(PSPCSquare(self.source), n=BATCH, steps=4 if self.quick else 18, solver="heun", keep_states=False)
        seconds = time.perf_counter() - start
        self.advance(1)
        steps = "4 Heun steps (quick)" if self.quick else "18 Heun steps"
        return Measurement(f"{BATCH} PSPC-Square samples, {steps}, in all", seconds, at_most=90)

    def processes(self) -> Iterator[Measurement]:
        cold, warm = first_call_seconds(cold=True), first_call_seconds(cold=False)
        self.advance(1)
        yield Measurement("first call of a new process, kernels compiled", cold)
        yield Measurement("first call of a new process, kernels from the cache", warm)
        memory = peak_memory_mb(self.source)
        self.advance(1)
        what = f"peak memory beyond the import and one read of the source, batch of {BATCH}, all levels"
        yield Measurement(what, memory, at_most=300)


def measure(source: Source, quick: bool, advance: Callable[[int], None] = lambda n: None) -> Results:
    """All rows of the benchmark.

    Args:
        source: what to measure on; the wanted ratios are for N = 50,000 images of 3 x 32 x 32.
        quick: fewer patch sizes and steps.
        advance: told of every finished step.
    """
    from smalti.bench.machine import describe_machine

    bench = Bench(source, quick, advance)
    machine = describe_machine(source) | {"read_GB_per_s": bench.read / 1e9, "multiply_adds_G_per_s": bench.rate / 1e9}
    results = Results(machine)
    for row in bench.rows():
        results.rows.append(row)
    return results
