"""Where a picture comes from, level by level: what the page of `smalti explain` shows.

Three things are kept apart:

    decomposition    shares of training images in the pixels of D(z, sigma), exactly (`denoiser.attribute`)
    influence        derivatives of a region of the sample with respect to images' weights, through the sampler (`smalti.influence`)
    counterfactual   what really changes when an image is left out and the same noise is sampled again (`smalti.without`)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from smalti.core.errors import InputError
from smalti.core.noise import standard_normal
from smalti.core.pieces import Arrays, Pieces
from smalti.core.validation import check_count
from smalti.engine.decomposition import Attribution
from smalti.provenance.counterfactual import without
from smalti.provenance.influence import STOP, influence
from smalti.sampling.sampler import sample, sampling_sigmas

__all__ = ["Explanation", "Influential", "explain_image", "explain_noisy", "explain_sample"]

TOP = 5
COUNTERFACTUALS = 5
RANKED = 10
DEEPER = 4  # times as many elements are listed for each draw of noise, so that those of the mean are among them
Progress = Callable[[int], None] | None


@dataclass(frozen=True)
class Influential:
    """A training image that moved a region: its number, influence, and what really changes without it (None: not computed)."""

    number: int
    influence: float
    counterfactual: float | None = None


@dataclass(frozen=True)
class Explanation:
    """L levels, T listed elements a pixel, pixels row by row.

    Attributes:
        sigmas: (L,) noise levels, largest first.
        noisy, denoised: (L, C, H, W): z and D(z, sigma).
        images: (L, H W, T) int64, stored images, largest share first.
        shares: (L, H W, T) float64, 0 where there are fewer.
        places: (L, H W, T, 3) int64, (dy, dx, flip) as in `Attribution`.
        rest: (L, H W) float64, the share of all others.
        effective: (L, H W) float64, effective number of images.
        errors: (L, H W, T) standard errors of the shares over draws of noise, or None for a z that is given.
        unlisted: the most that a share may be too small because its element was not among the listed ones of every draw; 0 for one z.
        ranking: influence on the region, largest magnitude first; none where there is no sampler.
        region: (row, column, height, width) that the influence is on.
        influence_sigma: where the image was read for it.
    """

    sigmas: tuple[float, ...]
    noisy: torch.Tensor
    denoised: torch.Tensor
    images: torch.Tensor
    shares: torch.Tensor
    places: torch.Tensor
    rest: torch.Tensor
    effective: torch.Tensor
    errors: torch.Tensor | None = None
    unlisted: float = 0.0
    ranking: tuple[Influential, ...] = ()
    region: tuple[int, int, int, int] | None = None
    influence_sigma: float = 0.0


def explain_noisy(
    denoiser: Any,
    z: torch.Tensor,
    sigma: float,
    top: int = TOP,
    labels: Any = None,
    progress: Progress = None,
    keep: Pieces | None = None,
) -> Explanation:
    """One noisy image at one level.

    Args:
        denoiser: a window denoiser.
        z: (C, H, W) or (1, C, H, W).
        sigma: its noise level.
        top: elements listed for each pixel.
        labels: its class, or None.
        progress: called with 1 when it is done.
        keep: where finished levels are kept.

    Raises:
        InputError: more than one image, a denoiser without shares, what a call refuses.
    """
    z = z[None] if z.ndim == 3 else z
    if len(z) != 1:
        raise InputError(f"one noisy image is explained at a time, not {len(z)}; choose one")
    return _of_states(denoiser, z, [float(sigma)], top, labels, progress, keep)


def explain_sample(
    denoiser: Any,
    seed: int = 0,
    steps: int = 18,
    solver: str = "euler",
    top: int = TOP,
    labels: Any = None,
    region: tuple[int, int, int, int] | None = None,
    stop: float = STOP,
    init: torch.Tensor | None = None,
    counterfactuals: int = COUNTERFACTUALS,
    progress: Progress = None,
    keep: Pieces | None = None,
) -> Explanation:
    """A sample of the sampler: shares at every level of its run, and the influence of training images on a region with its counterfactual.

    Args:
        denoiser: a window denoiser.
        seed, steps, solver, labels, init: as for `smalti.sample`; one sample.
        top: elements listed for each pixel.
        region: (row, column, height, width) whose mean is asked for; the middle third by default.
        stop: the level at which the image is read for influence.
        counterfactuals: for how many of the most influential images the sample is made again without them.
        progress: called with the number of levels and samples done: steps + 1 + counterfactuals in all.
        keep: where finished levels and samples are kept, so that a run that was stopped goes on.

    Raises:
        InputError: a region outside the image, what `smalti.sample` and `smalti.influence` refuse.
    """
    check_shares(denoiser)
    shape = tuple(denoiser.shape)
    row, column, height, width = region = check_region(region, shape)
    start = None if init is None else init[:1]
    run = sample(denoiser, n=1, steps=steps, solver=solver, seed=seed, init=start, labels=labels, progress=False)
    assert run.states is not None
    sigmas = run.sigmas[:-1].tolist()
    found = _of_states(denoiser, run.states[:-1, 0], sigmas, top, labels, progress, keep)

    def of(image: torch.Tensor) -> torch.Tensor:
        return image[:, row : row + height, column : column + width].mean()

    kept = keep or Pieces()
    moved = torch.from_numpy(
        kept.computed(
            "influence",
            lambda: {
                "influence": influence(denoiser, of, seed, 1, steps, solver, stop, start, labels, progress=False)[
                    0
                ].numpy()
            },
        )["influence"]
    )
    read = min(range(len(sigmas)), key=lambda i: abs(sigmas[i] - stop))
    if progress is not None:
        progress(1)

    def value(number: int) -> Arrays:
        """What the region is without a training image."""
        again = sample(without(denoiser, [number]), 1, steps, solver, seed, start, labels=labels, progress=False)
        assert again.denoised is not None
        return {"value": np.array(float(of(again.denoised[read, 0].double())))}

    ranking = []
    assert run.denoised is not None
    before = float(of(run.denoised[read, 0].double()))
    for place, number in enumerate(moved.abs().topk(min(RANKED, len(moved))).indices.tolist()):
        change = None
        if place < counterfactuals and len(moved) > 1:
            after = kept.computed(f"without-{number}", partial(value, number))
            change = float(after["value"]) - before
            if progress is not None:
                progress(1)
        ranking.append(Influential(number, float(moved[number]), change))
    return replace(found, ranking=tuple(ranking), region=region, influence_sigma=sigmas[read])


def explain_image(
    denoiser: Any,
    image: torch.Tensor,
    sigmas: Sequence[float] | None = None,
    draws: int = 8,
    seed: int = 0,
    top: int = TOP,
    labels: Any = None,
    progress: Progress = None,
    keep: Pieces | None = None,
) -> Explanation:
    """An image from elsewhere: noise is added at chosen levels, several draws of it, and shares are averaged over the draws.

    Args:
        denoiser: a window denoiser.
        image: (C, H, W), working scale.
        sigmas: levels, largest first; those of the EDM schedule from 3.3 to 0.06 by default.
        draws: of noise at each level, >= 2.
        seed: of the noise.
        top: elements listed for each pixel.
        labels: its class, or None.
        progress: called with the number of levels done.
        keep: where finished levels are kept.

    Raises:
        InputError: fewer than two draws, an image of another shape, what a call refuses.
    """
    check_shares(denoiser)
    if check_count("draws", draws) < 2:
        raise InputError("draws must be at least 2, since standard errors are taken over them")
    if tuple(image.shape) != tuple(denoiser.shape):
        raise InputError(f"the image has shape {tuple(image.shape)}; the training images have {tuple(denoiser.shape)}")
    levels = default_levels() if sigmas is None else [float(s) for s in sigmas]
    noise = standard_normal(seed, range(draws), tuple(image.shape))
    height, width = image.shape[1:]

    def level(sigma: float) -> Arrays:
        found = denoiser.attribute(image.double() + sigma * noise, sigma, top=DEEPER * top, labels=labels)
        return _averaged(found, top) | {"denoised": found.total.mean(0).T.reshape(-1, height, width).numpy()}

    parts = _levels(level, levels, progress, keep)
    noisy = torch.stack([image.double() + sigma * noise[0] for sigma in levels])
    return replace(
        _explanation(levels, noisy, parts),
        errors=_joined(parts, "errors"),
        unlisted=max(float(part["unlisted"]) for part in parts),
    )


def default_levels() -> list[float]:
    """Levels at which an image from elsewhere is asked about: enough noise to be compared, not so much that it is forgotten."""
    return [s for s in sampling_sigmas(18)[:-1].tolist() if 0.05 < s < 3.5]


def check_shares(denoiser: Any) -> None:
    """Raise InputError unless `denoiser` has shares of training images."""
    if not callable(getattr(denoiser, "attribute", None)):
        raise InputError(
            f"{type(denoiser).__name__} is not made of shares of training images; give a window denoiser, such as smalti.PSPCSquare"
        )


def _of_states(
    denoiser: Any,
    states: torch.Tensor,
    sigmas: Sequence[float],
    top: int,
    labels: Any,
    progress: Progress,
    keep: Pieces | None,
) -> Explanation:
    """Shares at states (L, C, H, W) and their levels."""
    check_shares(denoiser)
    height, width = denoiser.shape[1:]
    state_of = dict(zip(sigmas, states, strict=True))

    def level(sigma: float) -> Arrays:
        found = denoiser.attribute(state_of[sigma][None], sigma, top=top, labels=labels)
        arrays = {name: getattr(found, name)[0].numpy() for name in ("images", "shares", "places", "rest", "effective")}
        return arrays | {"denoised": found.total[0].T.reshape(-1, height, width).numpy()}

    return _explanation(sigmas, states, _levels(level, sigmas, progress, keep))


def _levels(
    compute: Callable[[float], Arrays], sigmas: Sequence[float], progress: Progress, keep: Pieces | None
) -> list[Arrays]:
    """One result a level, each kept when it is finished."""
    kept, found = keep or Pieces(), []
    for number, sigma in enumerate(sigmas):
        found.append(kept.computed(f"level-{number:04d}", partial(compute, sigma)))
        if progress is not None:
            progress(1)
    return found


def _joined(parts: Sequence[Arrays], name: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([part[name] for part in parts]))


def _explanation(sigmas: Sequence[float], noisy: torch.Tensor, parts: Sequence[Arrays]) -> Explanation:
    names = ("denoised", "images", "shares", "places", "rest", "effective")
    denoised, images, shares, places, rest, effective = (_joined(parts, name) for name in names)
    return Explanation(tuple(sigmas), noisy, denoised, images, shares, places, rest, effective)


def _averaged(found: Attribution, top: int) -> Arrays:
    """The largest `top` mean shares over draws, of the elements that any draw lists, with their standard errors; and the most that a
    mean may lack because an element was not listed in a draw."""
    draws, pixels, listed = found.shares.shape
    lowest = found.shares[..., -1].mean(0)  # what an element that a draw does not list has there at most
    columns = (
        torch.cat([found.images[..., None], found.places], -1).permute(1, 0, 2, 3).reshape(pixels * draws * listed, 4)
    )
    of_pixel = torch.arange(pixels).repeat_interleave(draws * listed)
    elements, which = torch.cat([of_pixel[:, None], columns], 1).unique(
        dim=0, return_inverse=True
    )  # in the order of the pixels
    table = torch.zeros(draws, len(elements), dtype=torch.float64)
    table.scatter_add_(
        1, which.reshape(pixels, draws, listed).transpose(0, 1).reshape(draws, -1), found.shares.reshape(draws, -1)
    )
    mean, error = table.mean(0), table.std(0) / draws**0.5
    order = torch.from_numpy(np.lexsort((-mean.numpy(), elements[:, 0].numpy())))
    elements, mean, error = elements[order], mean[order], error[order]
    starts = torch.searchsorted(elements[:, 0].contiguous(), torch.arange(pixels))
    rank = torch.arange(len(elements)) - starts[elements[:, 0]]
    kept = rank < top
    at = elements[kept, 0], rank[kept]
    images, shares = torch.zeros(pixels, top, dtype=torch.int64), torch.zeros(pixels, top, dtype=torch.float64)
    errors, places = torch.zeros_like(shares), torch.zeros(pixels, top, 3, dtype=torch.int64)
    images[at], places[at], shares[at], errors[at] = elements[kept, 1], elements[kept, 2:], mean[kept], error[kept]
    return {
        "images": images.numpy(),
        "shares": shares.numpy(),
        "errors": errors.numpy(),
        "places": places.numpy(),
        "rest": (1 - shares.sum(-1)).clamp_min(0).numpy(),
        "effective": found.effective.mean(0).numpy(),
        "unlisted": lowest.max().numpy(),
    }


def check_region(region: tuple[int, int, int, int] | None, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(row, column, height, width), the middle third where None is given.

    Raises:
        InputError: it does not lie in images of `shape`.
    """
    _, height, width = shape
    if region is None:
        third = max(1, height // 3), max(1, width // 3)
        return (height - third[0]) // 2, (width - third[1]) // 2, *third
    row, column, rows, columns = (int(v) for v in region)
    if not (
        row >= 0 and column >= 0 and rows > 0 and columns > 0 and row + rows <= height and column + columns <= width
    ):
        raise InputError(
            f"the region {row},{column},{rows},{columns} (row, column, height, width) does not lie in {height} x {width} images"
        )
    return row, column, rows, columns
