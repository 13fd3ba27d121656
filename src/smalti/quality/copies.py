"""Copies: samples, or patches of them, that are nearer to the training set than photographs that are not in it ever are.

    distance   RMS difference of an image from the nearest training image (with flips where they count), working scale
    limit      1 % quantile of the distances of held-out images
    copies     share of samples below the limit; of held-out images 1 % is, by definition

The same for patches: each p x p patch of a grid is compared with those of all training images at the same place and up to `shift` pixels
beside it. Flat patches have near neighbours everywhere, those of held-out images too: hence the same quantile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from smalti.core.errors import InputError
from smalti.core.validation import check_count, check_integer
from smalti.engine.neighbours import nearest
from smalti.source import Source

__all__ = ["QUANTILE", "Copies", "copies", "nearest_distances", "patch_distances"]

QUANTILE = 0.01
BATCH = 64  # images whose neighbours are looked for together
BLOCK = 2048  # training images whose patches are in memory at a time

Advance = Callable[[int], None] | None


@dataclass(frozen=True)
class Copies:
    """Distances to the training set, of samples and of held-out images.

    Attributes:
        share: share of samples nearer than `limit`.
        limit: the 1 % quantile of the held-out distances.
        median, smallest: of the samples' distances.
        held_out_median: of the held-out distances.
    """

    share: float
    limit: float
    median: float
    smallest: float
    held_out_median: float


def copies(samples: torch.Tensor, held_out: torch.Tensor) -> Copies:
    """What distances (n,) of samples and (m,) of held-out images say.

    Raises:
        InputError: none on a side.
    """
    if not (samples.numel() and held_out.numel()):
        raise InputError("copies are judged by held-out images; give at least one sample and one held-out image")
    limit = torch.quantile(held_out.double().flatten(), QUANTILE)
    return Copies(
        float((samples < limit).double().mean()),
        float(limit),
        float(samples.double().median()),
        float(samples.min()),
        float(held_out.double().median()),
    )


def nearest_distances(
    source: Source, images: torch.Tensor, advance: Advance = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest training image of each image: (n,) int64 numbers and (n,) float64 RMS distances, working scale.

    Args:
        source: the training images; flips count where they count in it.
        images: (n, C, H, W), working scale.
        advance: called with the number of images done.
    """
    numbers, distances = [], []
    for part in images.split(BATCH):
        index, squared = nearest(source, part)
        numbers.append(index[:, 0])
        distances.append((squared[:, 0] / part[0].numel()).sqrt())
        if advance is not None:
            advance(len(part))
    return torch.cat(numbers), torch.cat(distances)


def patch_distances(
    source: Source, images: torch.Tensor, side: int, shift: int = 2, advance: Advance = None
) -> torch.Tensor:
    """The nearest training patch of each patch of a grid, at its place or up to `shift` pixels beside it.

    Args:
        source: the training images.
        images: (n, C, H, W), working scale.
        side: of the patches, 1 <= side <= H, W; the grid's step too.
        shift: in pixels, in both directions, >= 0; patches that would leave the image are not looked at.
        advance: called with the number of images whose patches are done, n in all.

    Returns:
        (n, P) float64 RMS distances, working scale; P = floor(H / side) floor(W / side).

    Raises:
        InputError: a patch that does not fit, a negative shift, images of another shape.
    """
    count, (channels, height, width) = len(images), source.shape
    if images.ndim != 4 or tuple(images.shape[1:]) != source.shape:
        raise InputError(f"images have shape {tuple(images.shape)}; the training images have {source.shape}")
    if not check_count("the side of a patch", side) <= min(height, width):
        raise InputError(f"a patch of {side} does not fit {height} x {width} images")
    if check_integer("shift", shift) < 0:
        raise InputError(f"shift must not be negative, not {shift}")
    places = [(y, x) for y in range(0, height - side + 1, side) for x in range(0, width - side + 1, side)]
    views = (False, True) if source.hflip else (False,)
    best = torch.full((count, len(places)), torch.inf, dtype=torch.float64)
    blocks = range(0, len(source), BLOCK)
    done = 0
    for number, start in enumerate(blocks):
        block = source.working(np.arange(start, min(start + BLOCK, len(source))))
        for flip in views:
            training = block.flip(-1) if flip else block
            for p, (y, x) in enumerate(places):
                patches = images[:, :, y : y + side, x : x + side].double().flatten(1)
                for top in range(max(0, y - shift), min(height - side, y + shift) + 1):
                    for left in range(max(0, x - shift), min(width - side, x + shift) + 1):
                        others = training[:, :, top : top + side, left : left + side].flatten(1)
                        best[:, p] = torch.minimum(best[:, p], _nearest_squares(patches, others))
        if advance is not None:
            upto = count * (number + 1) // len(blocks)
            advance(upto - done)
            done = upto
    return (best / (channels * side * side)).sqrt()


def _nearest_squares(patches: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """(n,) squared distances to the nearest: found by a float32 product, then exact."""
    rough = others.square().sum(1)[None] - 2 * patches.float() @ others.T
    nearest = others[rough.argmin(1)].double()
    return (patches - nearest).square().sum(1)
