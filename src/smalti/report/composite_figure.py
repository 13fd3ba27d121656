"""How a patch posterior composite is made (workshop paper, Fig. 7; full paper, Figs. 5-6): pictures of one image on its way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from smalti.core.pixels import tile

__all__ = ["CompositeParts", "composite_figure", "masks_figure"]

WIDTH = 6.4
FRAME = "#D55E00"
BACKGROUND = (190, 208, 226)  # between patches: no grey, which patches may be
GAP = 1 / 3  # between patches that are drawn apart, in sides of a patch


@dataclass(frozen=True, eq=False)
class CompositeParts:
    """One image on its way through a composite; images (C, H, W), patches (M, C, p, p), the noisy ones already scaled for showing.

    Attributes:
        images: title -> whole image, in the order of the first row, the first two the clean and the noisy one.
        side: p.
        corners: (M, 2) int, the first pixels of the patches that are drawn apart.
        noisy, means: (M, C, p, p), those patches of the noisy image and their posterior means.
        query: (2,) int, the first pixel of the patch that is looked at.
        query_noisy, query_mean: (C, p, p).
        matches: (T, C, p, p), the patches of training images of most weight, heaviest first.
        weights: (T,), their weights.
        count: how many patches the composite has in all.
    """

    images: dict[str, np.ndarray]
    side: int
    corners: np.ndarray
    noisy: np.ndarray
    means: np.ndarray
    query: np.ndarray
    query_noisy: np.ndarray
    query_mean: np.ndarray
    matches: np.ndarray
    weights: np.ndarray
    count: int


def composite_figure(parts: CompositeParts) -> Figure:
    """Three rows: the images; the patches of the noisy image and their means drawn apart, and the composite; one patch and its matches."""
    figure = Figure(figsize=(WIDTH, 5.15), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03)  # type: ignore[union-attr, call-arg]
    rows: Any = figure.subfigures(3, 1, height_ratios=(1.3, 2.4, 1.4))
    top, middle, bottom = rows
    for number, (axes, (title, image)) in enumerate(
        zip(top.subplots(1, len(parts.images), squeeze=False)[0], parts.images.items(), strict=True)
    ):
        _image(axes, image, title)
        if number < 2:
            _frame(axes, int(parts.query[1]), int(parts.query[0]), parts.side)
    composite = parts.images["composite"]
    panels = middle.subplots(1, 3)
    _image(panels[0], _apart(parts.noisy, parts.corners, composite.shape), f"1. patches of side {parts.side}")
    _image(panels[1], _apart(parts.means, parts.corners, composite.shape), "2. their posterior means")
    _image(panels[2], composite, f"3. average of all {parts.count}")
    cells = bottom.subplots(1, len(parts.matches) + 2, squeeze=False)[0]
    _image(cells[0], parts.query_noisy, "framed")
    _image(cells[1], parts.query_mean, "its mean")
    for axes, patch, weight in zip(cells[2:], parts.matches, parts.weights, strict=True):
        _image(axes, patch, f"{float(f'{100 * weight:.2g}'):g} %")
    for axes in cells:
        for spine in axes.spines.values():
            spine.set(
                visible=True,
                color=FRAME if axes in cells[:2] else "#999999",
                linewidth=1.4 if axes in cells[:2] else 0.8,
            )
    bottom.supxlabel(
        "then the training patches of most weight at this place, with their shares of the mean", fontsize=8
    )
    return figure


def masks_figure(
    masks: Sequence[np.ndarray], pixels: Sequence[tuple[str, int, int]], sigmas: Sequence[float]
) -> Figure:
    """Masks of output pixels by noise level.

    Args:
        masks: for each pixel (L, H, W) bool: which input pixels are looked at.
        pixels: (what it is called, row, column).
        sigmas: (L,).
    """
    columns = min(6, len(sigmas))
    rows = -(-len(sigmas) // columns)
    figure = Figure(figsize=(WIDTH, (1.22 * rows + 0.3) * len(pixels)), layout="constrained")
    blocks = figure.subfigures(len(pixels), 1, squeeze=False)[:, 0]
    for block, of_pixel, (name, y, x) in zip(blocks, masks, pixels, strict=True):
        block.suptitle(f"{name} pixel, row {y}, column {x}", fontsize=9)
        grid = block.subplots(rows, columns, squeeze=False).ravel()
        for axes in grid[len(sigmas) :]:
            axes.set_axis_off()
        for axes, mask, sigma in zip(grid, of_pixel, sigmas, strict=False):
            axes.imshow(np.where(mask[..., None], (86, 180, 233), (238, 238, 238)).astype(np.uint8))
            _bare(axes)
            axes.set_title(f"\u03c3 {float(f'{sigma:.2g}'):g}: {int(mask.sum())} px", fontsize=8, pad=3)
            _frame(axes, x, y, 1)
    return figure


def _apart(patches: np.ndarray, corners: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Patches at their places, moved apart: (C, H', W') float with NaN, white, between."""
    side = patches.shape[-1]
    gap = max(1, round(side * GAP))
    rows, columns = (sorted(set(corners[:, axis].tolist())) for axis in (0, 1))
    canvas = np.full((shape[0], *(len(axis) * (side + gap) - gap for axis in (rows, columns))), np.nan)
    for patch, (y, x) in zip(patches, corners.tolist(), strict=True):
        top, left = rows.index(y) * (side + gap), columns.index(x) * (side + gap)
        canvas[:, top : top + side, left : left + side] = patch
    return canvas


def _image(axes: Axes, image: np.ndarray, title: str) -> None:
    hidden = np.isnan(image[0])
    picture = tile(np.nan_to_num(image), 1)
    picture[hidden] = BACKGROUND
    axes.imshow(picture)
    _bare(axes)
    axes.set_title(title, fontsize=8, pad=3)


def _bare(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _frame(axes: Axes, x: int, y: int, side: int) -> None:
    for colour, width in (("white", 2.6), (FRAME, 1.6)):
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), side, side, fill=False, edgecolor=colour, linewidth=width))
