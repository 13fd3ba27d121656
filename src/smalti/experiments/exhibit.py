"""An exhibit: one figure of the papers, from the steps that compute it to its picture, its table and what to see in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from matplotlib.figure import Figure

from smalti.core.table import Table
from smalti.experiments.steps import Results, Step

if TYPE_CHECKING:
    from smalti.experiments.laboratory import Laboratory

__all__ = ["SHARES", "Exhibit", "Picture", "Shown"]

SHARES = 7.2  # what a `share` is a share of. A constant and no sum: another exhibit changes the n, and so the results, of no other


@dataclass(frozen=True)
class Picture:
    """One figure of an exhibit.

    Attributes:
        name: of its files, unique in the report: "w2-error".
        figure: drawn within `smalti.report.figures.style`.
        alternative: what a reader who cannot see it must know, a sentence or two with the numbers that matter.
        caption: what is drawn, and what to see: written from the results, never from what was expected.
        vector: lines and text (SVG in the report); False for grids of images (PNG in the report).
    """

    name: str
    figure: Figure
    alternative: str
    caption: str
    vector: bool = True


@dataclass(frozen=True)
class Shown:
    """What an exhibit shows.

    Attributes:
        pictures: in order.
        tables: tidy tables by the names of their CSV files, "w2-error"; one row an observation, with n and intervals.
        notes: what was left out or limited, and why; one sentence each.
    """

    pictures: list[Picture]
    tables: dict[str, Table]
    notes: list[str] = field(default_factory=list)


class Exhibit(ABC):
    """One item of the report.

    Attributes:
        key: what `--only` takes: "w2".
        title: what is shown, a short sentence.
        origin: which figures of the papers it reproduces: "Workshop Fig. 2".
        share: of the time budget that its steps may take, out of `SHARES`.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    origin: ClassVar[str]
    share: ClassVar[float] = 1.0

    def missing(self, lab: Laboratory) -> str | None:
        """Why it cannot be shown with what is at hand ("needs a network"), or None."""
        return None

    @abstractmethod
    def steps(self, lab: Laboratory) -> tuple[Step, ...]:
        """What must be computed; steps that other exhibits declare too (same key) are computed once."""

    @abstractmethod
    def show(self, lab: Laboratory, results: Results) -> Shown:
        """Pictures and tables from the results of `steps`, by name. Quick: nothing is computed here that takes seconds."""
