"""Seconds of one query against the number of images and the noise level, for every denoiser that reads the images.

(Gaussian does not, once it has their covariance; a Blend is its parts.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from functools import partial

from smalti.bench.results import best
from smalti.bench.rows.masks import flex_of_size, pca_masks, prepare
from smalti.bench.setup import Setup, evenly, noisy
from smalti.core.denoiser import Denoiser
from smalti.core.table import Table
from smalti.denoisers import (
    ClosedFormDiffusion,
    EquivariantLocalScore,
    GaussianWindow,
    HeatmapWeighted,
    LocalScore,
    Nearest,
    Optimal,
    PCALocality,
    PSPCSquare,
)
from smalti.source import Source

__all__ = ["COLUMNS", "COUNTS", "KINDS", "SIGMAS", "markdown", "scaling", "steps"]

COUNTS = (1_000, 5_000, 20_000, 50_000)
SIGMAS = (0.05, 0.3, 2.0, 10.0)
COLUMNS = ("denoiser", "images", "sigma", "seconds", "microseconds_per_image", "exponent")
NOTE = (
    "Seconds of one query, a noisy image of the data; the images are evenly spaced. `exponent`: time grows as N to it, from the number of "
    "images before. PSPC-Flex and HeatmapWeighted have the windows of sigma = 1.09 at all sigma, PCA-locality those of the sigma; "
    "making them is not counted."
)

Maker = Callable[[Setup, Source, float], Denoiser]


def _flex(setup: Setup, source: Source, sigma: float) -> Denoiser:
    denoiser, own, _ = flex_of_size(setup, source, 27)
    prepare(denoiser, noisy(source, own, 1), own)
    return denoiser


def _heatmaps(setup: Setup, source: Source, sigma: float) -> Denoiser:
    flex, own, _ = flex_of_size(setup, source, 27)
    denoiser = HeatmapWeighted(source, flex.heatmaps, sigmas=[own])
    prepare(denoiser, noisy(source, own, 1), own)
    return denoiser


def _pca(setup: Setup, source: Source, sigma: float) -> Denoiser:
    looks = pca_masks(setup.wiener(sigma))
    denoiser = PCALocality(source, masks=looks.T.contiguous().unflatten(1, source.shape))
    prepare(denoiser, noisy(source, sigma, 1), sigma)
    return denoiser


KINDS: dict[str, dict[str, Maker]] = {
    "optimal": {"Optimal": lambda setup, source, sigma: Optimal(source)},
    "nearest": {"Nearest": lambda setup, source, sigma: Nearest(source)},
    "cfd": {"ClosedFormDiffusion, M=10": lambda setup, source, sigma: ClosedFormDiffusion(source)},
    "pspc": {"PSPC-Square p=7": lambda setup, source, sigma: PSPCSquare(source, patch_size=7)},
    "ls": {"LocalScore window=7": lambda setup, source, sigma: LocalScore(source, window=7)},
    "soft": {
        "GaussianWindow width=2": lambda setup, source, sigma: GaussianWindow(source, width=2.0),
        "HeatmapWeighted": _heatmaps,
    },
    "flex": {"PSPC-Flex, masks of 27 pixels": _flex},
    "pca": {"PCA-locality": _pca},
    "els": {
        "ELS circular, window=7": lambda setup, source, sigma: EquivariantLocalScore(source, 7, "circular"),
        "ELS border-aware, window=7": lambda setup, source, sigma: EquivariantLocalScore(source, 7, "aware"),
    },
}


def scaling(
    source: Source, quick: bool, only: Collection[str] | None, advance: Callable[..., None] = lambda n, note="": None
) -> Table:
    """The table: a row for each denoiser, sigma and number of images. `advance` is told of every row."""
    setup = Setup(source, quick)
    rows: list[dict] = []
    for name, maker in _chosen(only):
        for sigma in SIGMAS:
            before: dict | None = None
            for count in counts(source, quick):
                row = _row(setup, name, maker, count, sigma, before)
                advance(1, note=name)
                rows.append(row)
                before = row
    return Table(COLUMNS, rows, NOTE)


def steps(source: Source, quick: bool, only: Collection[str] | None) -> int:
    """Rows that `scaling` will have."""
    return len(list(_chosen(only))) * len(SIGMAS) * len(counts(source, quick))


def counts(source: Source, quick: bool) -> list[int]:
    """Numbers of images: what there is of `COUNTS`, and all; the two smallest if quick."""
    found = [count for count in COUNTS if count < len(source)] + [min(len(source), COUNTS[-1])]
    return found[:2] if quick else found


def _chosen(only: Collection[str] | None) -> Iterator[tuple[str, Maker]]:
    for kind, makers in KINDS.items():
        if only is None or kind in only:
            yield from makers.items()


def _row(setup: Setup, name: str, maker: Maker, count: int, sigma: float, before: dict | None) -> dict:
    denoiser = maker(setup, setup.source.subset(evenly(count, len(setup.source))), sigma)
    seconds = best(partial(denoiser, noisy(setup.source, sigma, 1), sigma), 5, 1.0)
    exponent = None
    if before is not None:
        exponent = math.log(seconds / before["seconds"]) / math.log(count / before["images"])
    return dict(zip(COLUMNS, (name, count, sigma, seconds, seconds / count * 1e6, exponent), strict=True))


def markdown(table: Table) -> str:
    """A line for each denoiser and sigma: seconds for each number of images, and the last exponent."""
    found = table.distinct("images")
    heads = ["denoiser", "sigma", *(f"N = {count:,}" for count in found), "grows as N to the"]
    lines = [table.note, "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for name in table.distinct("denoiser"):
        for sigma in table.distinct("sigma"):
            rows = list(table.where(denoiser=name, sigma=sigma))
            last = rows[-1]["exponent"]
            cells = [
                name,
                f"{sigma:g}",
                *(f"{row['seconds']:.3g} s" for row in rows),
                "" if last is None else f"{last:.2f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
