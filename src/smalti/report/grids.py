"""Tables of images as one picture within a figure: quick to draw, with the names of rows and columns as its ticks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smalti.core.pixels import tiled

__all__ = ["broken", "draw_grid", "grid_figure"]

WIDTH = 6.4
MARGIN = 0.1  # inches
LARGEST = 0.75  # inches, of an image
CHARACTER = 0.068  # inches, of a letter of the names of rows


def grid_figure(
    blocks: Sequence[np.ndarray],
    rows: Sequence[Sequence[str]],
    columns: Sequence[str],
    titles: Sequence[str] = (),
    xlabel: str = "",
) -> Figure:
    """Blocks of images below each other, all with the same columns.

    Args:
        blocks: each (R, K, C, H, W), working scale; a NaN image stays blank.
        rows: R names for each block.
        columns: K names, shown above the first block.
        titles: one for each block, or none.
        xlabel: what the columns are.
    """
    _, count, _, height, width = blocks[0].shape
    rows = [[broken(name) for name in names] for names in rows]
    left = CHARACTER * max(len(line) for names in rows for name in names for line in name.split("\n")) + 0.15
    cell = min(LARGEST, (WIDTH - left - MARGIN) / count)
    heights = [len(block) * cell * height / width for block in blocks]
    above = [0.25 * bool(titles) + 0.22 * (number == 0) for number in range(len(blocks))]
    tall = sum(heights) + sum(above) + MARGIN * len(blocks) + 0.3 * bool(xlabel)
    wide = left + count * cell + MARGIN
    figure = Figure(figsize=(wide, tall))
    top = tall
    for number, (block, names) in enumerate(zip(blocks, rows, strict=True)):
        top -= above[number] + heights[number]
        ax = figure.add_axes((left / wide, top / tall, count * cell / wide, heights[number] / tall))
        top -= MARGIN
        draw_grid(ax, block, names, columns if number == 0 else ())
        if titles:
            ax.set_title(titles[number], fontsize=9, pad=4, loc="left")
        if xlabel and number == len(blocks) - 1:
            ax.set_xlabel(xlabel)
    return figure


def broken(name: str) -> str:
    """A name in two lines where it ends in parentheses: "pca-locality (N=500)"."""
    return name.replace(" (", "\n(", 1)


def draw_grid(axes: Axes, images: np.ndarray, rows: Sequence[str], columns: Sequence[str] = ()) -> None:
    """(R, K, C, H, W) images, working scale, on `axes`; names of rows left, of columns above, or none."""
    count, wide, _, height, width = images.shape
    gap = max(1, round(max(height, width) / 12))
    scale = max(1, round(48 / max(height, width)))
    down, right = (height + gap) * scale, (width + gap) * scale
    cells = [[None if np.isnan(image).any() else image for image in row] for row in images]
    axes.imshow(tiled(cells, (height, width), scale, gap * scale))
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0, pad=3)
    axes.set_yticks([r * down + height * scale / 2 for r in range(count)], rows)
    axes.set_xticks([k * right + width * scale / 2 for k in range(wide)] if len(columns) else [], columns)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("bottom")
