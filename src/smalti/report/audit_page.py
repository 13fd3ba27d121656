"""The page of an audit: verdicts, numbers, and pictures beside each other; one HTML file, without scripts, that needs nothing else.

All text that comes from data (file names, classes) reaches the page as text, never as markup.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import jinja2
import numpy as np
import torch
from PIL import Image

from smalti.core.pixels import as_array, to_u8
from smalti.core.table import Table
from smalti.core.text import printable
from smalti.report.html import Drawn, table_cell

__all__ = ["AuditPage", "AuditSection", "Dots", "Exhibit", "Panel", "Verdict", "panel", "render_audit"]

PREVIEW = 30  # rows of a table that the page shows; its CSV has all
MARKS = ("yes", "partly", "no", "none")


@dataclass(frozen=True)
class Verdict:
    """A finding: `mark` (one of "yes", "partly", "no", "none") colours the label; the sentence says it all."""

    mark: str
    label: str
    sentence: str


@dataclass(frozen=True)
class Panel:
    """A picture, each pixel a square.

    Attributes:
        caption: above it.
        note: below it, small: a file's name, a number.
        uri: the picture as a data URI.
        size: (width, height) in pixels of the picture.
        boxes: (left, top, width, height) of what is marked.
    """

    caption: str
    note: str
    uri: str
    size: tuple[int, int]
    boxes: Sequence[tuple[int, int, int, int]] = ()


@dataclass(frozen=True)
class Exhibit:
    """One image with what was found.

    Attributes:
        name: of the image.
        verdict: its finding.
        rows: (heading, panels) each.
        facts: sentences.
    """

    name: str
    verdict: Verdict
    rows: Sequence[tuple[str, Sequence[Panel]]]
    facts: Sequence[str] = ()


@dataclass(frozen=True)
class Dots:
    """Distances on a line: held-out images below, the images asked about above, and the limit.

    Attributes:
        title: what the distance is.
        held_out: of held-out images.
        asked: of the images, with their names, and whether they are near.
        limit: or None.
        note: a sentence below.
    """

    title: str
    held_out: Sequence[float]
    asked: Sequence[tuple[str, float, bool]]
    limit: float | None
    note: str = ""

    @property
    def end(self) -> float:
        """Where the line ends."""
        return 1.05 * max([*self.held_out, *(value for _, value, _ in self.asked), self.limit or 0, 1e-9])

    def at(self, value: float) -> float:
        """Place on a line of 1000."""
        return round(1000 * value / self.end, 1)

    def height(self, number: int) -> int:
        """A dot's height among 40, so that dots of a value lie apart."""
        return number * 17 % 40


@dataclass(frozen=True)
class AuditSection:
    """A part of the page: texts, dots, exhibits, figures, tables (name, table, path of its CSV), in that order."""

    key: str
    title: str
    texts: Sequence[str] = ()
    dots: Sequence[Dots] = ()
    exhibits: Sequence[Exhibit] = ()
    figures: Sequence[Drawn] = ()
    tables: Sequence[tuple[str, Table, str]] = ()
    note: str = ""


@dataclass(frozen=True)
class AuditPage:
    """Everything on the page, in its order."""

    title: str
    verdicts: Sequence[Verdict]
    sections: Sequence[AuditSection]
    knows: Sequence[str]
    limits: Sequence[str]
    facts: Sequence[tuple[str, str]] = ()
    command: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    version: str = ""


def render_audit(page: AuditPage) -> str:
    """The page as one HTML text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("smalti.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": table_cell, "printable": printable}
    return environment.get_template("audit.html").render(page=page, preview=PREVIEW)


def panel(
    caption: str,
    image: torch.Tensor | np.ndarray,
    note: str = "",
    boxes: Sequence[tuple[int, int, int, int]] = (),
    dimmed: np.ndarray | None = None,
) -> Panel:
    """A panel of one image.

    Args:
        caption, note, boxes: as in `Panel`.
        image: (C, H, W) working scale or uint8; of other than one or three channels the first is shown.
        dimmed: (H, W) bool, pixels that are shown faint.
    """
    pixels = to_u8(as_array(image))
    pixels = pixels if pixels.shape[0] == 3 else np.repeat(pixels[:1], 3, axis=0)
    if dimmed is not None:
        grey = np.repeat(pixels.mean(0, keepdims=True), 3, axis=0)
        pixels = np.where(dimmed, np.rint(0.18 * grey + 0.82 * 235), pixels).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(stream, "PNG", optimize=True)
    uri = f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
    return Panel(printable(caption), printable(note), uri, (pixels.shape[2], pixels.shape[1]), boxes)
