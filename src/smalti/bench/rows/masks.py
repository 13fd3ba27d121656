"""PSPC-Flex and PCA-locality, with masks cut from the Wiener filter of the data, as the denoisers themselves do.

`filter_` is |F|, F = S (S + sigma^2 I)^-1, (D, D) float64, D = C H W.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import torch

from smalti.bench.published import mask_by_mask, pca_locality
from smalti.bench.results import Measurement, best
from smalti.bench.setup import BATCH, Setup, noisy
from smalti.core.schedule import edm_sigmas
from smalti.denoisers import PCALocality, PSPCFlex
from smalti.denoisers.base import AdaptedWindowDenoiser
from smalti.denoisers.heatmap_windows import hard_windows
from smalti.source import Source

__all__ = ["flex", "flex_of_size", "heat_of", "pca", "pca_masks", "share_for"]

FLEX = {3: (13, 60), 27: (10, 60), 357: (7, 50)}  # pixels on average: level of the EDM schedule, what is asked
PCA = (6, 8, 9, 10, 12)  # levels: masks are .79, .50, .28, .15 and .05 full on CIFAR-10
SPARSE = 0.2  # how full masks are at most of which more is asked
ENOUGH = 30.0  # seconds of repetitions
STEPS = 12  # of the bisection: shares to a thousandth

Jobs = list[Callable[[], Iterator[Measurement]]]


def flex_of_size(setup: Setup, source: Source, wanted: int) -> tuple[PSPCFlex, float, float]:
    """PSPC-Flex with Wiener masks of the whole data that have `wanted` pixels on average: it, sigma and share."""
    sigma = float(edm_sigmas()[FLEX[wanted][0]])
    channels, height, width = source.shape
    if wanted not in setup.heats:
        heat = heat_of(setup.wiener(sigma), channels)
        setup.heats[wanted] = heat, share_for(heat, wanted)
    heat, share = setup.heats[wanted]
    heatmaps = heat.reshape(1, height, width, height, width).numpy()
    return PSPCFlex(source, heatmaps, share, sigmas=[sigma]), sigma, share


def prepare(denoiser: AdaptedWindowDenoiser, z: torch.Tensor, sigma: float) -> float:
    """Make what is made once for a noise level; seconds."""
    start = time.perf_counter()
    denoiser.collection(sigma).log_normalisers(z, sigma, images=slice(0, 16))
    return time.perf_counter() - start


def flex(setup: Setup) -> Jobs:
    return [partial(_flex, setup, wanted) for wanted in ((27,) if setup.quick else FLEX)]


def _flex(setup: Setup, wanted: int) -> Iterator[Measurement]:
    denoiser, sigma, share = flex_of_size(setup, setup.source, wanted)
    z = noisy(setup.source, sigma, BATCH)
    once = prepare(denoiser, z[:1], sigma)
    masks = denoiser.collection(sigma).queries.masks(setup.source.shape)[:, 0] > 0
    size = float(masks.sum((1, 2)).double().mean())
    ours = best(partial(denoiser, z[:1], sigma), 3, ENOUGH)
    published = setup.published(partial(mask_by_mask, z[:1], sigma, masks=masks), setup.slice)
    what = f"PSPC-Flex, masks of {size:.3g} pixels on average, sigma={sigma:.3g}"
    note = (
        f"masks: Wiener filter of the data, share {share:.3f} of the heat, made once for a level in {once:.2g} s; "
        f"published: {len(setup.slice)} images, all pixels, masks cut beforehand"
    )
    asked = FLEX[wanted][1]
    yield Measurement(f"{what}, one query", ours, published, at_least=asked, note=note)
    ours = best(partial(denoiser, z, sigma), 2, ENOUGH) / BATCH
    in_batch = setup.published(partial(mask_by_mask, z, sigma, masks=masks), setup.short, BATCH)
    note = f"quicker baseline: {len(setup.short)} images"
    yield Measurement(f"{what}, batch of {BATCH}", ours, published, in_batch, at_least=asked, note=note)


def pca(setup: Setup) -> Jobs:
    return [partial(_pca, setup, level) for level in ((10,) if setup.quick else PCA)]


def _pca(setup: Setup, level: int) -> Iterator[Measurement]:
    sigma = float(edm_sigmas()[level])
    looks = pca_masks(setup.wiener(sigma))
    denoiser = PCALocality(setup.source, masks=looks.T.contiguous().unflatten(1, setup.source.shape))
    z = noisy(setup.source, sigma, 1)
    once = prepare(denoiser, z, sigma)
    ours = best(partial(denoiser, z, sigma), 3, ENOUGH)
    mask = looks.float()
    published = setup.published(partial(pca_locality, z, sigma, mask=mask), setup.slice)
    full = float(mask.mean())
    note = (
        f"sums prepared once for a level in {once:.2g} s; published: {len(setup.slice)} images, filter made beforehand"
    )
    what = f"PCA-locality, masks {full:.2g} full, sigma={sigma:.3g}, one query"
    yield Measurement(what, ours, published, at_least=10 if full <= SPARSE else 4, note=note)


def heat_of(filter_: torch.Tensor, channels: int) -> torch.Tensor:
    """|F| summed over channels, as the heatmaps of PSPC-Flex: (H W, H W)."""
    size = len(filter_) // channels
    return sum(filter_[i : i + size, i : i + size] for i in range(0, len(filter_), size))  # type: ignore[return-value]


def share_for(heat: torch.Tensor, wanted: float) -> float:
    """The share of the heat whose masks come nearest to `wanted` pixels on average."""
    low, high = 0.0, 1.0
    found = []
    for _ in range(STEPS):
        share = (low + high) / 2
        mean = float(hard_windows(heat, share).sum(1).double().mean())
        found.append((abs(mean - wanted), share))
        low, high = (share, high) if mean < wanted else (low, share)
    return min(found)[1]


def pca_masks(filter_: torch.Tensor, threshold: float = 0.02, smallest: float = 1e-6) -> torch.Tensor:
    """PCA-locality's: which input entries count for which output entry, |F_nm|/F_nn >= threshold times the largest; (D, D) bool."""
    diagonal = filter_.diagonal()
    scaled = filter_ / torch.where(diagonal < smallest, 1, diagonal)[:, None]
    looks = (scaled >= threshold * scaled.max()) & (scaled > 0)
    alone = (~looks.any(0)).nonzero()[:, 0]
    looks[alone, alone] = True
    return looks
