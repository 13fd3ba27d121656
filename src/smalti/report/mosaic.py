"""A mosaic: tiles in rows and columns with captions around them. Nothing is cut off: the canvas grows with its text."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["Captions", "mosaic"]

PAPER, INK, QUIET = (255, 255, 255), (20, 20, 20), (95, 95, 95)
MARGIN, GAP, BLOCK_GAP, TEXT_GAP = 12, 4, 14, 6
TEXT, TITLE = 12, 15  # font sizes in pixels
TEXT_WIDTH = 420  # a title or note is wrapped to the picture's width, but to no less than this

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Captions:
    """The words around a mosaic; each may be empty.

    Attributes:
        title: above everything.
        note: below everything.
        rows: one per row, left of it.
        columns: one per column, above it.
        under: per row, per column, below the tile.
    """

    title: str = ""
    note: str = ""
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    under: Sequence[Sequence[str]] = ()


def mosaic(cells: Sequence[Sequence[np.ndarray | None]], captions: Captions, block: int = 0) -> Image.Image:
    """Draw tiles of one size.

    Args:
        cells: rows of (h, w, 3) uint8 tiles; None stays blank. Rows may differ in length.
        captions: the words.
        block: after every `block` rows comes a wider gap; 0 for none.

    Returns:
        An RGB picture in which every tile's pixels are exact.
    """
    font, title_font = _font(TEXT), _font(TITLE)
    height, width = next(cell.shape[:2] for row in cells for cell in row if cell is not None)
    rows, columns = len(cells), max(len(row) for row in cells)
    line = _line(font)

    under = [text for row in captions.under for text in row]
    pitch_x = GAP + max(width, *(_width(t, font) + TEXT_GAP for t in [*captions.columns, *under, ""]))
    under_height = [line if any(row) else 0 for row in captions.under] or [0] * rows
    left = MARGIN + max((_width(t, font) + TEXT_GAP for t in captions.rows), default=0)
    text_width = max(left - MARGIN + columns * pitch_x - GAP, TEXT_WIDTH)
    title, note = _wrap(captions.title, title_font, text_width), _wrap(captions.note, font, text_width)

    title_bottom = MARGIN + len(title) * _line(title_font) + (TEXT_GAP if title else 0)
    y = title_bottom + (line if captions.columns else 0)
    tops = []
    for row in range(rows):
        y += BLOCK_GAP if block and row and row % block == 0 else 0
        tops.append(y)
        y += height + under_height[row] + GAP
    bottom = y - GAP + (2 * TEXT_GAP if note else 0)
    used = max([left - MARGIN + columns * pitch_x - GAP, *(_width(t, title_font) for t in title)])
    used = max([used, *(_width(t, font) for t in note)])
    picture = Image.new("RGB", (used + 2 * MARGIN, bottom + len(note) * line + MARGIN), PAPER)
    draw = ImageDraw.Draw(picture)

    for number, text in enumerate(title):
        draw.text((MARGIN, MARGIN + number * _line(title_font)), text, INK, title_font)
    for number, text in enumerate(note):
        draw.text((MARGIN, bottom + number * line), text, QUIET, font)
    middles = [left + column * pitch_x + (pitch_x - GAP) // 2 for column in range(columns)]
    for middle, text in zip(middles, captions.columns, strict=False):
        draw.text((middle - _width(text, font) // 2, title_bottom), text, INK, font)
    for top, text in zip(tops, captions.rows, strict=False):
        draw.text((left - TEXT_GAP - _width(text, font), top + (height - line) // 2), text, INK, font)
    for tiles, top in zip(cells, tops, strict=True):
        for middle, cell in zip(middles, tiles, strict=False):
            if cell is not None:
                picture.paste(Image.fromarray(np.ascontiguousarray(cell)), (middle - width // 2, top))
    for texts, top in zip(captions.under, tops, strict=False):
        for middle, text in zip(middles, texts, strict=False):
            draw.text((middle - _width(text, font) // 2, top + height + 1), text, QUIET, font)
    return picture


@functools.cache
def _font(size: int) -> Font:
    """matplotlib's DejaVu Sans, found without importing matplotlib (it would make folders); else Pillow's."""
    found = importlib.util.find_spec("matplotlib")
    if found is not None and found.origin is not None:
        path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)


def _width(text: str, font: Font) -> int:
    return int(np.ceil(font.getlength(text)))


def _line(font: Font) -> int:
    """Height of a line of text, descenders and spacing included."""
    return int(np.ceil(font.getbbox("Agjpqy|")[3])) + 4


def _wrap(text: str, font: Font, width: int) -> list[str]:
    """`text` in lines of at most `width` pixels, broken at spaces; its own line breaks stay."""
    lines = []
    for paragraph in text.splitlines():
        current = ""
        for word in paragraph.split():
            longer = f"{current} {word}" if current else word
            if current and _width(longer, font) > width:
                lines.append(current)
                current = word
            else:
                current = longer
        lines.append(current)
    return lines
