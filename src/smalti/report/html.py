"""The page of a report: one HTML file that holds its pictures and needs nothing from elsewhere.

No script, no font, no style sheet from outside; light and dark as the reader's system says; readable at the width of a phone. Pictures
are on white cards, since figures are drawn on white.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import jinja2

from smalti.core.table import Table

__all__ = ["Claim", "Drawn", "Page", "Section", "data_uri", "render", "table_cell"]

PREVIEW = 30  # rows of a table that the page shows; its CSV has all
TYPES = {"svg": "image/svg+xml", "png": "image/png"}
MARKS = {"supported": "yes", "partly": "partly", "undecided": "none", "not supported": "no", "not tested here": "none"}


class Claim(Protocol):
    """A claim with what was measured for or against it (`smalti.experiments.claims.Verdict`)."""

    @property
    def claim(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def verdict(self) -> str: ...

    @property
    def scope(self) -> str: ...

    @property
    def evidence(self) -> str: ...


@dataclass(frozen=True)
class Drawn:
    """A picture on the page.

    Attributes:
        name: unique on the page.
        uri: its content as a data URI.
        size: (width, height) in CSS pixels, as drawn.
        alternative: for who cannot see it.
        caption: what is drawn, and what to see.
        files: label -> relative path: {"PDF": "figures/w2-error.pdf"}.
    """

    name: str
    uri: str
    size: tuple[int, int]
    alternative: str
    caption: str
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """One item of the report.

    Attributes:
        key, title, origin: of the exhibit.
        missing: why it is not shown, or None.
        pictures: in order.
        notes: one sentence each.
        tables: (name, table, relative path of its CSV) each.
        seconds: that its computation took, or None.
    """

    key: str
    title: str
    origin: str
    missing: str | None = None
    pictures: Sequence[Drawn] = ()
    notes: Sequence[str] = ()
    tables: Sequence[tuple[str, Table, str]] = ()
    seconds: float | None = None


@dataclass(frozen=True)
class Page:
    """Everything on the page, in its order.

    Attributes:
        title: of the page.
        lead: what this is, sentences.
        terms: words of this page -> what they mean, before they are used.
        claims: each with its verdict; the first thing that is shown.
        sections: the exhibits.
        counts: how many z each denoiser got.
        notes: what holds for all sections.
        facts: heading -> (name, value) pairs: data, networks, environment, versions, seeds, times.
        command: that makes the same report again.
        files: label -> relative path: the run's log and record, the sets of z.
    """

    title: str
    lead: Sequence[str]
    claims: Sequence[Claim]
    sections: Sequence[Section]
    counts: Table
    notes: Sequence[str] = ()
    facts: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    command: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    terms: Mapping[str, str] = field(default_factory=dict)


def render(page: Page) -> str:
    """The page as one HTML text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("smalti.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": table_cell, "seconds": _seconds}
    return environment.get_template("report.html").render(page=page, marks=MARKS, preview=PREVIEW, tally=_tally(page))


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of an "svg" or "png" as a data URI."""
    return f"data:{TYPES[kind]};base64,{base64.b64encode(content).decode()}"


def _tally(page: Page) -> list[tuple[str, int]]:
    """How many claims have each verdict; verdicts that none has are left out."""
    found = [(verdict, sum(claim.verdict == verdict for claim in page.claims)) for verdict in MARKS]
    return [(verdict, count) for verdict, count in found if count]


def table_cell(value: Any) -> str:
    """A cell of a table: four significant digits, a dash for what is not defined."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "\u2013"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f} s" if value < 90 else f"{value / 60:.0f} min"
