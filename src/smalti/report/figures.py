"""What all plots share: one style, one colour for each denoiser throughout, files that are whole or absent.

Colours are those of Okabe & Ito, which stay apart for colour-blind readers. Plots are made without pyplot:

    with style():
        figure = Figure(figsize=(7, 3), layout="constrained")
        ...
        save_figure(figure, "errors.pdf")
"""

from __future__ import annotations

import contextlib
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from smalti.analysis.intervals import TELLING
from smalti.core.errors import InputError
from smalti.core.files import atomic_write
from smalti.core.table import Table
from smalti.core.text import printable

__all__ = ["PALETTE", "Look", "banded", "colour_of", "figure_bytes", "literal", "looks_of", "save_figure", "style"]

# Okabe & Ito, their yellow darkened, which as a line on white cannot be seen; then a grey, three dark ones, and two of networks
PALETTE = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#C2B000",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
    "grey": "#999999",
    "wine": "#882255",
    "brown": "#7F4F24",
    "indigo": "#332288",
    "red": "#E3172D",
    "lime": "#7AB800",
}
_COLOURS = {
    "optimal": "black",
    "pspc-square": "blue",
    "pspc-flex": "sky",
    "local-score": "green",
    "equivariant-local-score": "yellow",
    "pca-locality": "purple",
    "gaussian": "orange",
    "gaussian-window": "brown",
    "heatmap-weighted": "indigo",
    "closed-form-diffusion": "wine",
    "nearest": "grey",
    "network": "vermillion",
}
_FAMILIES = {
    "ddpm": ("vermillion", "-"),
    "ncsn": ("red", "--"),
    "dit": ("lime", "-."),
}  # networks, by what their names contain
_OTHERS = ("vermillion", "purple", "yellow", "sky", "green")
_DASHES = ("-", "--", ":", "-.")
POWER = "$\\mathdefault{"  # what matplotlib's labels of log axes begin with
_UNDATED = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}

_STYLE: dict[str, Any] = {
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.5,
    "image.interpolation": "nearest",
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "smalti",  # equal figures give equal bytes
}


class Look(NamedTuple):
    """How one denoiser's line is drawn: an "#rrggbb" colour and a matplotlib line style."""

    colour: str
    dashes: str


@contextlib.contextmanager
def style() -> Iterator[None]:
    """matplotlib's settings for all of smalti's plots, within the block; drawing and saving belong into it."""
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        yield


def colour_of(name: str) -> str:
    """The "#rrggbb" colour of the denoiser or network called `name`, always the same one.

    What follows a colon ("local-score:window=5") does not change it; `looks_of` keeps such variants apart.
    """
    base = name.partition(":")[0].lower()
    if base in _COLOURS:
        return PALETTE[_COLOURS[base]]
    family = next((colour for part, (colour, _) in _FAMILIES.items() if part in base), None)
    return PALETTE[family or _OTHERS[zlib.crc32(base.encode("utf-8", "backslashreplace")) % len(_OTHERS)]]


def _dashes_of(name: str) -> str:
    """The line style of a name, where nothing else has it: whole for denoisers, one's own for each family of networks."""
    base = name.partition(":")[0].lower()
    return "-" if base in _COLOURS else next((dashes for part, (_, dashes) in _FAMILIES.items() if part in base), "-")


def looks_of(names: Iterable[str]) -> dict[str, Look]:
    """A look for each of the names in one plot: its colour, and dashes that tell those of the same colour apart."""
    looks: dict[str, Look] = {}
    for name in names:
        colour, first = colour_of(name), _dashes_of(name)
        free = [dashes for dashes in (first, *_DASHES) if Look(colour, dashes) not in looks.values()]
        looks[name] = Look(colour, free[0] if free else first)
    return looks


def banded(part: Table) -> np.ndarray:
    """(rows,) bool: whether a row's interval is drawn: not for n < 8 z, where it is too narrow; drawn where the table has no n."""
    if "n" not in part.columns:
        return np.ones(len(part), bool)
    return np.array([n is None or n >= TELLING for n in part["n"]], bool)


def literal(figure: Figure) -> None:
    """Show the figure's texts, names of networks say, as they are: dollar signs not as mathematics, but for powers on log axes, and
    characters that do not print (of file names that are not UTF-8) as escapes."""
    for text in figure.findobj(Text):
        if isinstance(text, Text) and not text.get_text().replace("\n", "").isprintable():
            text.set_text("\n".join(map(printable, text.get_text().split("\n"))))
        if isinstance(text, Text) and "$" in text.get_text() and not text.get_text().startswith(POWER):
            text.set_parse_math(False)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as PNG, PDF or SVG, by the ending of `path`, whole or not at all; equal figures give equal bytes.

    Raises:
        InputError: another ending.
        EnvironmentFailure: the disk is full or the folder may not be written.
    """
    kind = Path(path).suffix.lower().lstrip(".")
    if kind not in _UNDATED:
        raise InputError(f"figures are written as .png, .pdf or .svg, not as {Path(path).name!r}")
    literal(figure)
    with atomic_write(path) as file:
        figure.savefig(file, format=kind, metadata=_UNDATED[kind])


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """A figure as the bytes of a "png", "pdf" or "svg"; equal figures give equal bytes."""
    literal(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=_UNDATED[kind])
    return buffer.getvalue()
