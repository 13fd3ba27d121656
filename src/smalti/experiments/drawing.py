"""Drawing what exhibits show: their pictures as files and as data URIs, their tables as CSV."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from smalti.core.files import atomic_write
from smalti.core.progress import progress
from smalti.core.table import Table
from smalti.experiments.exhibit import Exhibit, Picture, Shown
from smalti.experiments.laboratory import Laboratory
from smalti.experiments.steps import Results, Step, Store, ordered
from smalti.report.figures import figure_bytes, literal, style
from smalti.report.html import Drawn, Section, data_uri

__all__ = ["Outcome", "draw", "small_png"]

CSS_PIXELS = 96  # per inch


@dataclass(frozen=True)
class Outcome:
    """What became of an exhibit.

    Attributes:
        section: for the page.
        tables: by name.
        files: that were written, relative.
    """

    section: Section
    tables: Mapping[str, Table] = field(default_factory=dict)
    files: Sequence[str] = ()


def draw(
    chosen: Sequence[Exhibit],
    plans: Mapping[str, tuple[Step, ...] | str],
    lab: Laboratory,
    results: Results,
    store: Store,
    out: Path,
    show: bool | None = None,
) -> list[Outcome]:
    """Draw exhibits and write figures/ and tables/ in `out`.

    Args:
        chosen: the exhibits.
        plans: key -> its steps, or why it is not shown.
        lab: the laboratory.
        results: of all steps.
        store: knows how long they took.
        out: the folder of the run.
        show: whether progress is shown.
    """
    outcomes = []
    with progress("drawing", len(chosen), show) as advance, style():
        for exhibit in chosen:
            plan = plans[exhibit.key]
            if isinstance(plan, str):
                section = Section(exhibit.key, exhibit.title, exhibit.origin, missing=plan.rstrip("."))
                outcomes.append(Outcome(section))
            else:
                seconds = store.took(ordered(plan)) if lab.costs.seconds else None
                outcomes.append(_outcome(exhibit, exhibit.show(lab, results), seconds, out))
            advance(1, exhibit.key)
    return outcomes


def _outcome(exhibit: Exhibit, shown: Shown, seconds: float | None, out: Path) -> Outcome:
    drawn: list[Drawn] = []
    files: list[str] = []
    for picture in shown.pictures:
        one = _drawn(picture, out)
        drawn.append(one)
        files += one.files.values()
    tables: list[tuple[str, Table, str]] = []
    for name, table in shown.tables.items():
        path = f"tables/{name}.csv"
        table.save(out / path)
        tables.append((name, table, path))
    section = Section(exhibit.key, exhibit.title, exhibit.origin, None, drawn, shown.notes, tables, seconds=seconds)
    return Outcome(section, dict(shown.tables), [*files, *(path for _, _, path in tables)])


def _drawn(picture: Picture, out: Path) -> Drawn:
    """Write a picture as PDF and PNG; in the page it is an SVG whose letters are outlines, or the PNG."""
    files: dict[str, str] = {}
    content: dict[str, bytes] = {}
    literal(picture.figure)
    picture.figure.draw_without_rendering()
    picture.figure.set_layout_engine("none")  # laid out once, not for every file
    for kind in ("pdf", "png"):
        content[kind] = figure_bytes(picture.figure, kind)
        files[kind.upper()] = f"figures/{picture.name}.{kind}"
        with atomic_write(out / files[kind.upper()]) as file:
            file.write(content[kind])
    if picture.vector:
        with matplotlib.rc_context({"svg.fonttype": "path"}):  # the reader's machine may not have the font
            uri = data_uri(figure_bytes(picture.figure, "svg"), "svg")
    else:
        uri = data_uri(small_png(content["png"]), "png")
    return Drawn(picture.name, uri, _size(picture.figure), picture.alternative, picture.caption, files)


def small_png(content: bytes) -> bytes:
    """The same picture with a palette of 256 colours where it has no more, which takes a fraction of the room."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        opaque = image.convert("RGB")
        if opaque.getcolors(256) is None:
            return content
        buffer = io.BytesIO()
        opaque.convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(buffer, "png", optimize=True)
    return buffer.getvalue() if buffer.tell() < len(content) else content


def _size(figure: Figure) -> tuple[int, int]:
    width, height = figure.get_size_inches()
    return round(CSS_PIXELS * width), round(CSS_PIXELS * height)
