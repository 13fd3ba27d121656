"""Tables of small images as figures: rows and columns with captions, each pixel a square of one colour."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smalti.core.errors import InputError
from smalti.core.pixels import channels_note, tiled

__all__ = ["broken", "draw_grid", "grid_figure", "image_grid"]

Image = torch.Tensor | np.ndarray

WIDTH, TILE, GAP = 6.2, 1.0, 0.06  # inches: at most, and at most
NARROW = 4.0  # inches that a note is not wrapped to less of
PIXELS = 192  # of a tile that is about an inch wide, so that its pixels stay squares of nearly one size
FONT, LINE, LETTER = 8, 0.15, 0.074  # points; inches of a line and of a wide letter at that size


def image_grid(
    cells: Sequence[Sequence[Image | None]],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    note: str = "",
    width: float = WIDTH,
) -> Figure:
    """Draw images in the working scale; to be drawn and saved inside `style()`.

    Args:
        cells: rows of (C, H, W) images in [-1, 1] (values outside are clipped), all of one shape; None stays blank.
        rows, columns: a caption for each row and column, or none; lines are broken by "\\n".
        note: below, wrapped.
        width: inches, at most.

    Raises:
        InputError: no image; numbers of captions that do not fit.
    """
    images = [image for row in cells for image in row if image is not None]
    if not images:
        raise InputError("there is no image to draw")
    across = max(map(len, cells))
    for what, captions, length in (("row", rows, len(cells)), ("column", columns, across)):
        if len(captions) not in (0, length):
            raise InputError(f"{len(captions)} {what} captions for {length} {what}s")
    channels, high, wide = images[0].shape
    left = 0.08 + LETTER * max((len(line) for text in rows for line in text.split("\n")), default=0)
    side = min(TILE, (width - left) / across - GAP)
    tall = side * high / wide
    total_width = max(left + across * (side + GAP), min(width, NARROW))
    notes = textwrap.wrap(" ".join(filter(None, (note, channels_note(channels)))), int(total_width / (0.9 * LETTER)))
    top = 0.05 + LINE * max((text.count("\n") + 1 for text in columns), default=0)
    bottom = 0.05 + LINE * len(notes)
    total_height = top + len(cells) * (tall + GAP) + bottom
    figure = Figure(figsize=(total_width, total_height))
    scale = max(1, round(PIXELS / max(high, wide)))
    picture = tiled(cells, (high, wide), scale, round(GAP / side * scale * wide))
    place = (left, bottom, across * (side + GAP) - GAP, len(cells) * (tall + GAP) - GAP)
    axes = figure.add_axes(
        (place[0] / total_width, (place[1] + GAP) / total_height, place[2] / total_width, place[3] / total_height)
    )
    axes.imshow(picture, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for r, text in enumerate(rows):
        y = 1 - (top + r * (tall + GAP) + tall / 2) / total_height
        figure.text((left - 0.06) / total_width, y, text, fontsize=FONT, ha="right", va="center")
    for c, text in enumerate(columns):
        x = (left + c * (side + GAP) + side / 2) / total_width
        figure.text(x, 1 - (top - 0.03) / total_height, text, fontsize=FONT, ha="center", va="bottom")
    if notes:
        figure.text(
            0.05 / total_width, 0.03 / total_height, "\n".join(notes), fontsize=FONT, color="#555555", va="bottom"
        )
    return figure


WIDEST = 6.4
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
    cell = min(LARGEST, (WIDEST - left - MARGIN) / count)
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
