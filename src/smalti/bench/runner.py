"""The benchmark: ours against the published algorithms, in one run on one machine.

Ours is timed on the whole source (the equivariant machines, where every image takes a thousand times as long, on a slice), the published
algorithms (`published`) on a slice and scaled by N / slice, since they are loops over images; the published loop over whole images is
timed on all of them. Times are the best of a few repetitions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from smalti.bench.results import Measurement, Results, describe_machine
from smalti.bench.rows.local import equivariant_local_score, same_place
from smalti.bench.rows.masks import flex, pca
from smalti.bench.rows.pictures import generation
from smalti.bench.rows.processes import processes
from smalti.bench.rows.squares import flips, optimal, other_backends, pspc_square, samples
from smalti.bench.setup import BATCH, Setup, noisy
from smalti.denoisers import Optimal, PSPCSquare
from smalti.source import Source

__all__ = ["KINDS", "Bench", "measure"]

KINDS: dict[str, Callable[[Setup], list[Callable[[], Iterator[Measurement]]]]] = {
    "pspc": pspc_square,
    "optimal": optimal,
    "flips": flips,
    "ls": same_place,
    "flex": flex,
    "pca": pca,
    "els": equivariant_local_score,
    "torch": other_backends,
    "samples": samples,
    "generate": generation,
    "processes": processes,
}


class Bench:
    """The chosen kinds of rows, all by default."""

    def __init__(self, source: Source, quick: bool, only: Collection[str] | None = None) -> None:
        self.setup = Setup(source, quick)
        self.jobs = [
            (name, job) for name, kind in KINDS.items() if only is None or name in only for job in kind(self.setup)
        ]

    def rows(self, advance: Callable[..., None]) -> Iterator[Measurement]:
        warm = PSPCSquare(self.setup.source.subset(slice(0, 64)), patch_size=3)
        warm(noisy(self.setup.source, 1.0, BATCH), 1.0)
        Optimal(self.setup.source.subset(slice(0, 64)))(noisy(self.setup.source, 1.0, 1), 1.0)
        for name, job in self.jobs:
            yield from job()
            advance(1, note=name)


def measure(bench: Bench, advance: Callable[..., None] = lambda n, note="": None) -> Results:
    """All its rows; the wanted ratios are for N = 50,000 images of 3 x 32 x 32. `advance` is told of every finished step."""
    setup = bench.setup
    rates: dict[str, str | float] = {"read_GB_per_s": setup.read / 1e9, "multiply_adds_G_per_s": setup.rate / 1e9}
    return Results(describe_machine(setup.source) | rates, list(bench.rows(advance)))
