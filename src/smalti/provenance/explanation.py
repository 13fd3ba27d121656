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
from smalti.core.validation import check_count, check_labels
from smalti.engine.decomposition import Attribution
from smalti.provenance.counterfactual import without
from smalti.provenance.influence import STOP, evaluations, influence, level_read
from smalti.sampling.coarse_to_fine import MEAN_SIGMA, coarse_to_fine_steps
from smalti.sampling.generation import Factory, Sizes, scale_denoisers, steps_of
from smalti.sampling.sampler import sample, sampling_sigmas
from smalti.source import Source

__all__ = [
    "Explanation",
    "Influential",
    "explain_generated",
    "explain_image",
    "explain_noisy",
    "explain_sample",
    "sample_units",
]

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
        sizes: (H, W) that each level was computed at, where they differ: every pixel of a coarser level is then all those that lie in it.
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
    sizes: tuple[tuple[int, int], ...] | None = None


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
        progress: called with the number of steps done, `sample_units` in all.
        keep: where finished levels and samples are kept, so that a run that was stopped goes on.

    Raises:
        InputError: a region outside the image, what `smalti.sample` and `smalti.influence` refuse.
    """
    check_shares(denoiser)
    shape = tuple(denoiser.shape)
    row, column, height, width = region = check_region(region, shape)
    start = None if init is None else init[:1]
    kept, tell = keep or Pieces(), progress or (lambda done: None)

    def of(image: torch.Tensor) -> torch.Tensor:
        return image[:, row : row + height, column : column + width].mean()

    def piece(name: str, units: int, compute: Callable[[Callable[[int], None]], Arrays]) -> Arrays:
        """Computed or kept; either way all its units are told of."""
        left = units

        def told(done: int) -> None:
            nonlocal left
            left -= done
            tell(done)

        found = kept.computed(name, lambda: compute(told))
        tell(left)
        return found

    def sampled(made: Any, told: Callable[[int], None]) -> Arrays:
        run = sample(made, 1, steps, solver, seed, start, labels=labels, progress=told)
        assert run.states is not None
        assert run.denoised is not None
        return {"states": run.states[:, 0].numpy(), "denoised": run.denoised[:, 0].numpy()}

    sigmas = sampling_sigmas(steps)[:-1].tolist()
    run = piece("sample", steps, partial(sampled, denoiser))
    found = _of_states(denoiser, torch.from_numpy(run["states"][:-1]), sigmas, top, labels, progress, keep)

    def influences(told: Callable[[int], None]) -> Arrays:
        moved = influence(denoiser, of, seed, 1, steps, solver, stop, start, labels, progress=told)
        return {"influence": moved[0].numpy()}

    moved = torch.from_numpy(piece("influence", evaluations(steps, stop), influences)["influence"])
    read = min(level_read(steps, stop), len(sigmas) - 1)

    def value(denoised: np.ndarray) -> float:
        """What the region is in the image read."""
        return float(of(torch.from_numpy(denoised[read]).double()))

    def left_out(number: int, told: Callable[[int], None]) -> Arrays:
        again = sampled(without(denoiser, [number]), told)
        return {"value": np.array(value(again["denoised"]))}

    ranking = []
    before = value(run["denoised"])
    for place, number in enumerate(moved.abs().topk(min(RANKED, len(moved))).indices.tolist()):
        change = None
        if place < counterfactuals and len(moved) > 1:
            after = piece(f"without-{number}", steps, partial(left_out, number))
            change = float(after["value"]) - before
        ranking.append(Influential(number, float(moved[number]), change))
    return replace(found, ranking=tuple(ranking), region=region, influence_sigma=sigmas[read])


def sample_units(steps: int, stop: float, counterfactuals: int, images: int) -> int:
    """How many steps `explain_sample` tells of: those of the sample, its levels, the influence pass, and a sample for each image that is
    left out."""
    return 2 * steps + evaluations(steps, stop) + min(counterfactuals, RANKED, images if images > 1 else 0) * steps


def explain_generated(
    source: Source,
    index: int = 0,
    seed: int = 0,
    steps: int | Sequence[int] | None = None,
    top: int = TOP,
    labels: Any = None,
    *,
    eta: float = 0.0,
    sizes: Sizes | None = None,
    denoiser: Factory | Sequence[Factory] | None = None,
    progress: Progress = None,
    keep: Pieces | None = None,
) -> Explanation:
    """An image of `smalti.generate`, coarse to fine: the shares in what the denoiser of each scale answers, at every step but the first (at
    infinite noise, where all images count alike).

    At every step but the last of a scale its answer is kept for its detail alone, and takes its low frequencies from the finished coarser
    image; what made those is told by the coarser scales.

    Args:
        source: the training images.
        index, seed, steps, eta, sizes, denoiser, labels: image number `index` of `smalti.generate` with these; one class.
        top: elements listed for each pixel.
        progress: called with the number of levels done: of each scale, all but the first.
        keep: where finished levels are kept.

    Returns:
        `Explanation`, coarse to fine, at the size of the source, with `sizes`.

    Raises:
        InputError: a denoiser without shares, what `smalti.generate` refuses.
    """
    denoisers = scale_denoisers(source, sizes, denoiser)
    for one in denoisers:
        check_shares(one)
    classes = check_labels(labels, 1, source.num_classes)
    _, height, width = source.shape
    with torch.no_grad():
        counts = steps_of(denoisers, steps)
        steps_of_all = coarse_to_fine_steps(denoisers, [index], seed, steps=counts, eta=eta, labels=classes)
        states = [  # z = x / a, a = 1 / (1 + sigma)
            (denoisers[step.scale], step.x[0] * (1 + step.sigma), step.sigma)
            for step in steps_of_all
            if not step.finished and step.sigma < MEAN_SIGMA
        ]
    parts, noisy = [], []

    def level(made: Any, z: torch.Tensor, sigma: float) -> Arrays:
        return _enlarged(_level_arrays(made, z, sigma, top, classes), tuple(made.shape[1:]), (height, width))

    kept = keep or Pieces()
    for number, (made, z, sigma) in enumerate(states):
        parts.append(kept.computed(f"level-{number:04d}", partial(level, made, z, sigma)))
        rows, columns = _cells(tuple(made.shape[1:]), (height, width))
        noisy.append(z[:, rows][:, :, columns])
        if progress is not None:
            progress(1)
    found = _explanation([sigma for _, _, sigma in states], torch.stack(noisy), parts)
    return replace(found, sizes=tuple((made.shape[1], made.shape[2]) for made, _, _ in states))


def _cells(small: tuple[int, int], large: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """For every row and column of a large image, those of the small one that they lie in."""
    rows, columns = (torch.arange(big) * little // big for little, big in zip(small, large, strict=True))
    return rows, columns


def _enlarged(arrays: Arrays, small: tuple[int, int], large: tuple[int, int]) -> Arrays:
    """What is known of the pixels of a small image, told of all pixels of the large one that lie in them."""
    rows, columns = (part.numpy() for part in _cells(small, large))
    cell = (rows[:, None] * small[1] + columns).reshape(-1)
    found = {name: arrays[name][cell] for name in ("images", "shares", "places", "rest", "effective")}
    factors = np.array([large[0] // small[0], large[1] // small[1], 1])
    return found | {"places": found["places"] * factors, "denoised": arrays["denoised"][:, rows][:, :, columns]}


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
    state_of = dict(zip(sigmas, states, strict=True))

    def level(sigma: float) -> Arrays:
        return _level_arrays(denoiser, state_of[sigma], sigma, top, labels)

    return _explanation(sigmas, states, _levels(level, sigmas, progress, keep))


def _level_arrays(denoiser: Any, z: torch.Tensor, sigma: float, top: int, labels: Any) -> Arrays:
    """The shares of one z (C, H, W)."""
    found = denoiser.attribute(z[None], sigma, top=top, labels=labels)
    arrays = {name: getattr(found, name)[0].numpy() for name in ("images", "shares", "places", "rest", "effective")}
    return arrays | {"denoised": found.total[0].T.reshape(-1, *denoiser.shape[1:]).numpy()}


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
