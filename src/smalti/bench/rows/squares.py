"""PSPC-Square and Optimal: every patch side, batches, flips, another backend, whole samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

from smalti.bench.published import batched_loop, crop_by_crop
from smalti.bench.results import Measurement, best
from smalti.bench.rows.processes import published_optimal_seconds
from smalti.bench.setup import BATCH, Setup, noisy, table_1_sigma
from smalti.denoisers import Optimal, PSPCSquare
from smalti.sampling import sample

__all__ = ["flips", "optimal", "other_backends", "pspc_square", "samples"]

Jobs = list[Callable[[], Iterator[Measurement]]]


def pspc_square(setup: Setup) -> Jobs:
    sides = (3, 7, 23) if setup.quick else (3, 5, 7, 11, 15, 23)
    return [*(partial(_square, setup, side) for side in sides), partial(_against_the_smallest, setup)]


def _square(setup: Setup, side: int) -> Iterator[Measurement]:
    sigma = table_1_sigma(side)
    denoiser, z = PSPCSquare(setup.source, patch_size=side), noisy(setup.source, sigma, BATCH)
    ours = setup.one[side] = best(partial(denoiser, z[:1], sigma), 5)
    published = setup.published(partial(crop_by_crop, z[:1], sigma, side=side), setup.slice)
    sliced = setup.published(partial(crop_by_crop, z[:1], sigma, side=side, by_mask=False), setup.slice)
    memory, arithmetic = setup.floors(side)
    note = f"bounds: memory {memory:.3f} s, arithmetic {arithmetic:.3f} s"
    what = f"PSPC-Square p={side}, sigma={sigma:.3g}"
    yield Measurement(
        f"{what}, one query", ours, published, sliced, at_least=150, floor=max(memory, arithmetic), note=note
    )
    ours = best(partial(denoiser, z, sigma), 3) / BATCH
    in_batch = setup.published(partial(crop_by_crop, z, sigma, side=side), setup.short, BATCH)
    what = f"{what}, batch of {BATCH}"
    yield Measurement(what, ours, published, in_batch, at_least=200, floor=max(memory / BATCH, arithmetic))


def _against_the_smallest(setup: Setup) -> Iterator[Measurement]:
    for side, seconds in list(setup.one.items())[1:]:
        relation = seconds / setup.one[3]
        yield Measurement(f"PSPC-Square p={side} against p=3", seconds, at_most=1.6, relation=relation)


def optimal(setup: Setup) -> Jobs:
    def rows() -> Iterator[Measurement]:
        sigma = table_1_sigma(32)
        denoiser, z = Optimal(setup.source), noisy(setup.source, sigma, BATCH)
        ours = best(lambda: denoiser(z[:1], sigma), 5)
        batch = best(lambda: denoiser(z, sigma), 3) / BATCH
        # a loop over whole images is quick enough to be timed on the whole source; a slice would fit the cache and flatter it
        flat = torch.from_numpy(np.array(setup.source.images)).flatten(1)
        here = setup.published(lambda x: batched_loop(z[:1].flatten(1), sigma, x), flat)
        here_many = setup.published(lambda x: batched_loop(z.flatten(1), sigma, x), flat, BATCH)
        one, many = (published_optimal_seconds(setup.source, sigma, count) for count in (1, BATCH))
        memory, _ = setup.floors(1)
        what, note = f"Optimal, sigma={sigma:.3g}", f"bounds: memory {memory:.3f} s"
        yield Measurement(f"{what}, one query", ours, one, here, at_least=10, floor=memory, note=note)
        yield Measurement(f"{what}, batch of {BATCH}", batch, one, min(many, here_many), at_least=20)

    return [rows]


def flips(setup: Setup) -> Jobs:
    def rows() -> Iterator[Measurement]:
        side = 7
        sigma = table_1_sigma(side)
        z = noisy(setup.source, sigma, 1)
        plain = PSPCSquare(setup.source.with_hflip(False), patch_size=side)
        flipped = PSPCSquare(setup.source.with_hflip(True), patch_size=side)
        once, twice = best(lambda: plain(z, sigma), 5), best(lambda: flipped(z, sigma), 5)
        what = f"PSPC-Square p={side}, hflip=True against False"
        yield Measurement(what, twice, at_most=2.1, relation=twice / once)

    return [rows]


def other_backends(setup: Setup) -> Jobs:
    def rows() -> Iterator[Measurement]:
        side = 7
        sigma = table_1_sigma(side)
        z = noisy(setup.source, sigma, 1)
        denoiser = PSPCSquare(setup.source, patch_size=side, backend="torch")
        ours = best(lambda: denoiser(z, sigma), 1 if setup.quick else 2)
        published = setup.published(partial(crop_by_crop, z, sigma, side=side), setup.slice)
        yield Measurement(f"PSPC-Square p={side}, torch backend on the CPU, one query", ours, published, at_least=10)

    return [rows]


def samples(setup: Setup) -> Jobs:
    def rows() -> Iterator[Measurement]:
        start = time.perf_counter()
        sample(PSPCSquare(setup.source), n=BATCH, steps=4 if setup.quick else 18, solver="heun", keep_states=False)
        seconds = time.perf_counter() - start
        steps = "4 Heun steps (quick)" if setup.quick else "18 Heun steps"
        yield Measurement(f"{BATCH} PSPC-Square samples, {steps}, in all", seconds, at_most=90)

    return [rows]
