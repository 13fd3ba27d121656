"""`generate_like`: images like one picture, with no training: its own patches, at every place, coarse to fine.

The picture is halved until its short side is 1.6 patches or a little more; at every scale the denoiser is `PicturePatches` of that scale's
picture, z has the size of the image that is made, and `smalti.sampling.coarse_to_fine` runs over the scales. Large structures come from
the coarse scales, in which a patch covers most of the picture.

    another size   the coarsest scale starts from the picture, resized: its content is arranged anew (retargeting)
    tile           z wraps around at every scale
    symmetric      the noise is symmetric and the picture's mirror image is a picture too; then D is symmetric
    flips, quarters   its mirror image and its turns are pictures too
    keep           pixels that stay are put into every D, and only patches that lie wholly in them are used (inpainting)
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from smalti.core.errors import InputError, did_you_mean
from smalti.core.noise import check_seed, standard_normal
from smalti.core.progress import progress as show_progress
from smalti.core.validation import check_count, check_flag, check_integer, shown
from smalti.denoisers.picture_patches import PicturePatches
from smalti.engine.picture import Places
from smalti.sampling.coarse_to_fine import check_eta, coarse_to_fine_steps, linear_levels
from smalti.sampling.generation import GenerateResult
from smalti.sampling.resampling import area_down
from smalti.sampling.sampler import check_room
from smalti.source import decoding
from smalti.source.conventions import scale_doubt

__all__ = ["LikeResult", "check_like", "generate_like", "picture_pyramid", "read_picture", "turned"]

PATCHES = 1.6  # patches in the short side of the coarsest picture, at least
MOST = 1 << 20  # pixels of a picture or an image; the work grows with their product
AXES = {"horizontal": -1, "vertical": -2}

Picture = str | os.PathLike[str] | np.ndarray | torch.Tensor


@dataclass(frozen=True, repr=False)
class LikeResult(GenerateResult):
    """As `GenerateResult`, and where the pixels came from.

    Attributes:
        places: for each image a `Places`: for every pixel the picture, row and column that weigh most at the last level, and
            their share; None where it was not asked for. Rows and columns are the picture's own, and `picture` is 0 where it was used
            as it is, and the number of its mirror image or turn where that was.
    """

    places: tuple[Places, ...] | None = None


def generate_like(
    image: Picture,
    size: tuple[int, int] | None = None,
    n: int = 1,
    seed: int = 0,
    patch_size: int = 15,
    steps: int = 10,
    eta: float = 0.0,
    tile: bool = False,
    symmetric: str | None = None,
    keep: Picture | None = None,
    *,
    flips: bool = False,
    quarters: bool = False,
    first: int = 0,
    sources: bool = False,
    progress: bool | Callable[[int], None] | None = None,
) -> LikeResult:
    """New images like one picture. Image j depends on (seed, j) and the settings alone.

    Args:
        image: a file, or (C, H, W): uint8, or floats in [-1, 1]. Palettes become colours, transparency lies on white.
        size: (h, w) of the images; the picture's by default. With another, the picture is retargeted.
        n: number of images.
        seed: 0 to 2^64 - 1.
        patch_size: p, at least 2; p <= H, W.
        steps: steps at each scale, at least 2.
        eta: share of fresh noise in each step, 0 to 1.
        tile: images continue at the opposite side.
        symmetric: "horizontal" (left and right mirror each other), "vertical", or None.
        keep: (H, W) of the picture's size, or a grey file of it: where it is not 0 (files: 128 or more) pixels stay.
        flips: patches of the picture's mirror image are used too.
        quarters: patches of the picture turned by quarters are used too; each doubles or quadruples the work.
        first: number of the first image: images first .. first + n - 1.
        sources: also say where the pixels came from; costs another evaluation at the last level.
        progress: True or False; None shows it where stderr is a terminal; a function is called with the number of steps done
            (n * scales * steps in all).

    Returns:
        LikeResult; `scales` are the finished images of every scale.

    Raises:
        InputError: a picture that cannot be read, is smaller than the patch or has more than a million pixels; a mask of another
            size, that keeps no whole patch, or with `size`; options out of range.
    """
    picture = read_picture(image)
    check_count("n", n)
    if check_integer("first", first) < 0:
        raise InputError(f"first must not be negative, not {first}")
    check_seed(check_integer("seed", seed))
    check_flag("sources", sources)
    plan = _planned(picture, size, patch_size, steps, eta, tile, symmetric, keep, flips, quarters)
    check_room(n, 1, (picture.shape[0], *plan.sizes[-1]))
    pictures, masks, denoisers = plan.pictures, plan.masks, plan.denoisers
    count, (height, width) = len(pictures), picture.shape[1:]

    coarsest = None
    if plan.sizes[-1] != (height, width):
        small = pictures[0][None]
        coarsest = functional.interpolate(small, plan.sizes[0], mode="bilinear", align_corners=False, antialias=True)
    axis = None if symmetric is None else AXES[symmetric]

    def draw(j: int) -> Callable[[tuple[int, int, int], tuple[int, int]], torch.Tensor]:
        def drawn(shape: tuple[int, int, int], number: tuple[int, int]) -> torch.Tensor:
            noise = standard_normal(seed, [j], shape, number)
            return noise if axis is None else _symmetric_noise(noise, axis)

        return drawn

    def adjust(scale: int, denoised: torch.Tensor) -> torch.Tensor:
        if axis is not None:
            denoised = (denoised + denoised.flip(axis)) / 2  # it is symmetric but for rounding
        if masks is not None:
            stays = masks[scale]
            denoised = torch.where(stays == 1, pictures[scale], stays * pictures[scale] + (1 - stays) * denoised)
        return denoised

    report = progress if callable(progress) else None
    finished: list[list[torch.Tensor]] = []
    places: list[Places] = []
    with show_progress("generating", n * count * steps, False if report else progress) as shown:  # type: ignore[arg-type]
        for j in range(first, first + n):
            run = coarse_to_fine_steps(
                denoisers,
                [j],
                seed,
                steps=steps,
                eta=eta,
                coarsest=coarsest,
                adjust=adjust,
                draw=draw(j),
                wrap=tile,
            )
            images, last = [], None
            for step in run:
                if step.finished:
                    images.append(step.x.float())
                    continue
                last = step
                (report or shown)(1)
            if sources and last is not None:
                a = linear_levels(steps)[-1]
                found = denoisers[-1].places(last.x[0] / a, (1 - a) / a)
                pixels = torch.arange(height * width).reshape(1, height, width)
                places.append(_unturned(found, _views(pixels, symmetric, flips, quarters), width))
            finished.append(images)
    scales = tuple(torch.cat(parts) for parts in zip(*finished, strict=True))
    return LikeResult(scales[-1], scales, tuple(places) if sources else None)


@dataclass(frozen=True)
class _Plan:
    """What is computed with: for every scale, coarse to fine, the picture, the size of the image, what stays, and the denoiser."""

    pictures: list[torch.Tensor]
    sizes: list[tuple[int, int]]
    masks: list[torch.Tensor] | None
    denoisers: list[PicturePatches]


def check_like(
    picture: torch.Tensor,
    size: tuple[int, int] | None = None,
    patch_size: int = 15,
    steps: int = 10,
    eta: float = 0.0,
    tile: bool = False,
    symmetric: str | None = None,
    keep: Picture | None = None,
    flips: bool = False,
    quarters: bool = False,
) -> None:
    """What `generate_like` checks before it computes: the same arguments, the same InputErrors; the picture as `read_picture` gives it."""
    _planned(picture, size, patch_size, steps, eta, tile, symmetric, keep, flips, quarters)


def _planned(
    picture: torch.Tensor,
    size: tuple[int, int] | None,
    patch_size: int,
    steps: int,
    eta: float,
    tile: bool,
    symmetric: str | None,
    keep: Picture | None,
    flips: bool,
    quarters: bool,
) -> _Plan:
    linear_levels(steps)
    check_eta(eta)
    if check_count("the patch size", patch_size) < 2:
        raise InputError("the patch size must be at least 2")
    height, width = picture.shape[1:]
    target = (height, width) if size is None else _size(size)
    _check_sizes((height, width), target, patch_size)
    for name, flag in (("tile", tile), ("flips", flips), ("quarters", quarters)):
        check_flag(name, flag)
    if symmetric is not None and (not isinstance(symmetric, str) or symmetric not in AXES):
        raise InputError(
            f"symmetric is horizontal or vertical, not {shown(symmetric)}{did_you_mean(str(symmetric), AXES)}"
        )
    mask = None if keep is None else _mask(keep, (height, width), target)

    pictures = picture_pyramid(picture, patch_size)
    count = len(pictures)
    sizes = [tuple(max(patch_size, -(-side // 2 ** (count - 1 - k))) for side in target) for k in range(count)]
    # of what does not stay: sums of its zeros are exact at every size, those of ones end beside 1
    masks = None if mask is None else [1 - area_down((~mask).double(), (p.shape[1], p.shape[2])) for p in pictures]
    denoisers = []
    for k, (scaled, at) in enumerate(zip(pictures, sizes, strict=True)):
        whole = None if masks is None else masks[k] == 1
        views = _views(scaled, symmetric, flips, quarters)
        inside = None if whole is None else [view[0] for view in _views(whole[None], symmetric, flips, quarters)]
        denoisers.append(PicturePatches(views, patch_size, at, wrap=tile, masks=inside))  # type: ignore[arg-type]
    return _Plan(pictures, sizes, masks, denoisers)


def read_picture(image: Picture) -> torch.Tensor:
    """A file, a uint8 or a floating (C, H, W) array as (C, H, W) float64 in the working scale.

    Raises:
        InputError: it cannot be read; another shape or dtype; more than a million pixels.
        EnvironmentFailure: the file cannot be opened.
    """
    if isinstance(image, (str, os.PathLike)):
        image = decoding.read_picture(image, most=MOST)
    values = _tensor(image, "a picture is a file or an array")
    if values.ndim != 3 or values.shape[0] not in (1, 3) or not values.numel():
        raise InputError(f"a picture is grey or RGB, (1 or 3, H, W), not {tuple(values.shape)}")
    if values.shape[1] * values.shape[2] > MOST:
        raise InputError(
            f"a picture of {values.shape[1]} x {values.shape[2]} has more than {MOST:,} pixels, and the work grows with their "
            "square; make it smaller, 512 x 512 say"
        )
    if values.dtype == torch.uint8:
        return values.double() / 127.5 - 1
    if not values.dtype.is_floating_point or not bool(torch.isfinite(values).all()):
        raise InputError(f"a picture is uint8, or finite floats in [-1, 1], not {values.dtype} or with NaN")
    doubt = scale_doubt(values[None].double().numpy())
    if doubt is not None:
        warnings.warn(f"the picture: {doubt}", stacklevel=2)
    return values.double()


def _tensor(values: Any, what: str) -> torch.Tensor:
    try:
        return values.detach().cpu() if isinstance(values, torch.Tensor) else torch.from_numpy(np.array(values))
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{what}, not {shown(values)}") from None


def picture_pyramid(picture: torch.Tensor, patch_size: int) -> list[torch.Tensor]:
    """The picture (C, H, W) and its halves, coarse to fine, down to a short side of 1.6 patches or more."""
    pictures = [picture]
    height, width = picture.shape[1:]
    while True:
        half = (-(-height // 2 ** len(pictures)), -(-width // 2 ** len(pictures)))
        if min(half) < PATCHES * patch_size:
            return pictures
        pictures.insert(0, area_down(picture, half))


def turned(picture: torch.Tensor, flips: bool = True, quarters: bool = True) -> list[torch.Tensor]:
    """A picture (C, H, W) and what becomes of it by flips left to right and quarter turns: 1, 2, 4 or 8 pictures."""
    views = [picture, picture.flip(-1)] if flips else [picture]
    return [view.rot90(turns, (-2, -1)) for view in views for turns in (range(4) if quarters else (0,))]


def _views(picture: torch.Tensor, symmetric: str | None, flips: bool, quarters: bool) -> list[torch.Tensor]:
    """What patches are taken from: the picture (C, H, W), turned as asked for, and its mirror image where images are symmetric."""
    views = turned(picture, flips, quarters)
    if symmetric is not None and not (flips and (symmetric == "horizontal" or quarters)):  # else it is among them
        views += [view.flip(AXES[symmetric]) for view in views]
    return views


def _unturned(places: Places, views: Sequence[torch.Tensor], width: int) -> Places:
    """Places of the `_views` of the pixels' numbers as those of the picture itself; `picture` still says which view it was."""
    pixel = np.zeros(places.picture.shape, np.int64)
    for number, view in enumerate(views):
        here = places.picture == number
        pixel[here] = view[0].numpy()[places.row[here], places.column[here]]
    return Places(places.picture, pixel // width, pixel % width, places.share)


def _symmetric_noise(noise: torch.Tensor, axis: int) -> torch.Tensor:
    """Unit noise whose second half mirrors the first."""
    length = noise.shape[axis]
    mirrored = torch.arange(length)
    mirrored = torch.minimum(mirrored, length - 1 - mirrored)
    return noise.index_select(axis, mirrored)


def _size(size: Any) -> tuple[int, int]:
    sides: Sequence[Any] = size if isinstance(size, (tuple, list)) else ()
    if len(sides) != 2:
        raise InputError(f"size is (height, width), not {size!r}")
    return check_count("the height", sides[0]), check_count("the width", sides[1])


def _check_sizes(picture: tuple[int, int], target: tuple[int, int], side: int) -> None:
    for what, sides in (("the picture", picture), ("the image", target)):
        if min(sides) < side:
            raise InputError(
                f"{what} of {sides[0]} x {sides[1]} is smaller than a {side} x {side} patch; use a smaller patch size"
            )
    if target[0] * target[1] > MOST:
        raise InputError(f"an image of {target[0]} x {target[1]} has more than {MOST:,} pixels; choose a smaller size")


def _mask(keep: Picture, picture: tuple[int, int], target: tuple[int, int]) -> torch.Tensor:
    """(H, W) bool."""
    if target != picture:
        raise InputError("keep and size contradict each other: pixels can stay only where the size does; leave one out")
    if isinstance(keep, (str, os.PathLike)):
        values = torch.from_numpy(decoding.read_picture(keep, most=MOST)).amax(0) >= 128
    else:
        values = _tensor(keep, "keep is a file or an array") != 0
        values = values[0] if values.ndim == 3 and len(values) == 1 else values
    if tuple(values.shape) != picture:
        raise InputError(f"the mask has shape {tuple(values.shape)}; the picture is {picture[0]} x {picture[1]}")
    return values
