"""Local score machines: windows at the same place, and at every place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import numpy as np

from smalti.bench.floor import admitted
from smalti.bench.published import border_aware, equivariant, local_score
from smalti.bench.results import Measurement, best
from smalti.bench.setup import Setup, noisy, table_1_sigma
from smalti.denoisers import EquivariantLocalScore, LocalScore
from smalti.source import Source

__all__ = ["equivariant_local_score", "same_place"]

LOCAL = {3: 15, 7: 30, 15: 150}  # window: what is asked
EQUIVARIANT, LEFT_OUT = 20, 60  # what is asked at any sigma, and where nearly everything is certified to weigh nothing
LOW = 0.06  # sigma: there
SMALL = 8  # images: the published calibration's batches, quicker on a CPU than the module's own of 64
PUBLISHED: dict[Literal["circular", "aware"], Callable] = {"circular": equivariant, "aware": border_aware}

Jobs = list[Callable[[], Iterator[Measurement]]]


def same_place(setup: Setup) -> Jobs:
    return [partial(_local_score, setup, window) for window in ((3, 15) if setup.quick else LOCAL)]


def _local_score(setup: Setup, window: int) -> Iterator[Measurement]:
    sigma = table_1_sigma(window)
    z = noisy(setup.source, sigma, 1)
    ours = best(partial(LocalScore(setup.source, window=window), z, sigma), 5)
    published = setup.published(partial(local_score, z, sigma, window=window), setup.slice)
    memory = np.asarray(setup.source.images).nbytes / setup.read
    arithmetic = setup.floor_of_pairs(window, setup.source.shape[1] * setup.source.shape[2])
    what = f"LocalScore window={window}, sigma={sigma:.3g}, one query"
    note = f"bounds: memory {memory:.3f} s, arithmetic {arithmetic:.3f} s; published: {len(setup.slice)} images"
    yield Measurement(what, ours, published, at_least=LOCAL[window], floor=max(memory, arithmetic), note=note)


def equivariant_local_score(setup: Setup) -> Jobs:
    windows = (7,) if setup.quick else LOCAL
    return [partial(_equivariant, setup, borders, window) for borders in PUBLISHED for window in windows]


def _equivariant(setup: Setup, borders: Literal["circular", "aware"], window: int) -> Iterator[Measurement]:
    """At the sigma of Table 1 and at a low one; the published algorithm does the same at both and is timed at the first."""
    sigma = table_1_sigma(window)
    z = noisy(setup.source, sigma, 1)
    work, few = partial(PUBLISHED[borders], z, sigma, window=window), setup.shortest
    published = setup.published(work, few, warm=4)
    products = setup.published(partial(work, by_products=True, batch=SMALL), few, warm=4)
    names = {"circular": "circular", "aware": "border-aware"}
    pairs = admitted(*setup.source.shape[1:], window, borders)
    everything, searched = setup.floor_of_pairs(window, pairs), setup.floor_of_search(pairs)
    cases: tuple[tuple[float, int | None, Source, float, str, str], ...] = (
        # where distances are computed, on fewer images; and all images where most are certified to weigh nothing, with z's own or without
        (sigma, EQUIVARIANT, setup.part, everything, "", f"ours: {len(setup.part)} images, scaled; bound: arithmetic"),
        (LOW, LEFT_OUT, setup.source, searched, "", "ours: all images; bound: comparing sketches"),
        (LOW, None, setup.others, searched, ", z of an image that is not in the source", "bound: comparing sketches"),
    )
    for level, asked, source, floor, which, how in cases:
        denoiser = EquivariantLocalScore(source, window, borders)
        ours = best(partial(denoiser, noisy(setup.source, level, 1), level), 2, 20.0) * len(setup.source) / len(source)
        note = f"{how} {floor:.3g} s; published: {len(few)} images, scaled"
        name = f"ELS {names[borders]}, window={window}, sigma={level:.3g}, one query{which}"
        yield Measurement(name, ours, published, products, at_least=asked, floor=floor, note=note)
