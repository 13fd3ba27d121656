"""What the rows of the benchmark share: the source, slices of it, noisy images, its Wiener filter, and the machine's rates."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch

from smalti.bench.floor import multiply_add_rate, operations, operations_of_a_pair, read_rate
from smalti.bench.results import best
from smalti.core.noise import standard_normal
from smalti.core.schedule import edm_sigmas
from smalti.denoisers.gaussian import Gaussian
from smalti.denoisers.pspc import TABLE_1
from smalti.engine.compiled.sketch_rows import COARSE
from smalti.source import Source

__all__ = ["BATCH", "Setup", "evenly", "noisy", "synthetic", "table_1_sigma"]

SLICE, SLICE_OF_BATCH = 1000, 200  # images that the published algorithm is timed on, for one query and for a batch
SLICE_OF_SHIFTS = 64  # the same of the equivariant machines: one of their batches
OURS_OF_SHIFTS = 5000  # images that ours is timed on there
BATCH = 16


class Setup:
    """The source and what is known of it.

    Attributes:
        source: all images.
        quick: fewer rows.
        slice, short, shortest: (n, C, H, W) uint8 images that the published algorithms are timed on, evenly spaced.
        read, rate: bytes per second of reading the images; float32 multiply-adds per second.
        one: seconds of PSPC-Square for one query by patch side, filled as they are measured.
        heats: heatmaps and share of PSPC-Flex's masks by their average size, filled as they are made.
    """

    def __init__(self, source: Source, quick: bool) -> None:
        self.source, self.quick = source, quick
        images = np.asarray(source.images)
        self.slice = torch.from_numpy(np.array(images[evenly(SLICE, len(source))]))
        self.short = self.slice[:SLICE_OF_BATCH]
        self.shortest = torch.from_numpy(np.array(images[evenly(SLICE_OF_SHIFTS, len(source))]))
        self.one: dict[int, float] = {}
        self.heats: dict[int, tuple[torch.Tensor, float]] = {}
        self._filters: dict[float, torch.Tensor] = {}

    @cached_property
    def read(self) -> float:
        return read_rate(self.source.images)

    @cached_property
    def rate(self) -> float:
        return multiply_add_rate()

    @cached_property
    def part(self) -> Source:
        """The images that ours is timed on where the whole source takes too long."""
        return self.source.subset(evenly(OURS_OF_SHIFTS, len(self.source)))

    @cached_property
    def others(self) -> Source:
        """All images but the first, of which one noisy z is made."""
        return self.source.subset(np.arange(1, len(self.source)))

    def wiener(self, sigma: float) -> torch.Tensor:
        """|F|, F = S (S + sigma^2 I)^-1 with the covariance S of the whole source: (D, D) float64. The first call takes half a minute."""
        if sigma not in self._filters:
            factor = self._gaussian.filter_factor(sigma)
            self._filters = {sigma: (factor @ factor.T).abs_()}  # the latest alone: 75 MB
        return self._filters[sigma]

    @cached_property
    def _gaussian(self) -> Gaussian:
        return Gaussian(self.source)

    def published(
        self, work: Callable[[torch.Tensor], object], images: torch.Tensor, queries: int = 1, warm: int = 100
    ) -> float:
        """Seconds per query of `work` on some images, scaled to the whole source: the better of two runs after one on `warm` images."""
        work(images[:warm])
        return best(lambda: work(images), 2) * len(self.source) / len(images) / queries

    def floors(self, side: int) -> tuple[float, float]:
        """Memory and arithmetic bound of one PSPC-Square query, seconds."""
        memory = 2 * np.asarray(self.source.images).nbytes / self.read
        return memory, len(self.source) * operations(self.source.shape, side) / self.rate

    def floor_of_pairs(self, side: int, pairs: int) -> float:
        """Arithmetic bound of one query of a local score machine that compares `pairs` windows and places for each image, seconds."""
        return len(self.source) * pairs * operations_of_a_pair(self.source.shape[0], side) / self.rate

    def floor_of_search(self, pairs: int) -> float:
        """The same where only sketches are compared (see `smalti.engine.programs.sketches`); subtractions run beside multiplications."""
        return len(self.source) * pairs * COARSE / self.rate


def evenly(count: int, total: int) -> np.ndarray:
    """`count` numbers below `total`, evenly spaced from 0 on; all if there are no more."""
    return np.arange(min(count, total)) * total // min(count, total)


def table_1_sigma(side: int) -> float:
    """The first noise level that Table 1 serves with patches of this side (the last of whole images for 32)."""
    levels = [i for i, p in enumerate(TABLE_1) if p == side]
    return float(edm_sigmas()[levels[-1] if side == 32 else levels[0]])


def synthetic(count: int) -> Source:
    """Smooth random 32 x 32 colour images for a benchmark without data: uint8, seeded."""
    rng = np.random.default_rng(0)
    images = np.empty((count, 3, 32, 32), np.uint8)
    for start in range(0, count, 1000):
        coarse = torch.from_numpy(rng.standard_normal((min(1000, count - start), 3, 5, 5), dtype=np.float32))
        smooth = torch.nn.functional.interpolate(coarse, size=32, mode="bicubic", align_corners=True)
        images[start : start + 1000] = ((smooth * 0.5 + 1) * 127.5).clamp(0, 255).round().byte().numpy()
    return Source(images, name="synthetic")


def noisy(source: Source, sigma: float, count: int) -> torch.Tensor:
    """`count` noisy images of the source, evenly spaced: (count, C, H, W) float32."""
    clean = source.working(np.arange(count) * len(source) // count)
    return clean + sigma * standard_normal(0, range(count), source.shape).float()
