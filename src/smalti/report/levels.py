"""Figures of many denoisers over the noise level, a panel for each process: errors, fractions explained, verdicts of paired comparisons.

Panels stand below each other, so that they stay readable on a narrow screen; legends take plain names for colours and show labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from smalti.analysis.intervals import ACCURACY, TELLING
from smalti.core.table import Table
from smalti.report.curves import error_axis, sigma_axis
from smalti.report.figures import Look, banded, looks_of

__all__ = ["VERDICTS", "band", "fraction_figure", "mse_figure", "verdict_figure", "verdict_of"]

WIDTH = 6.0
PANEL = 2.7
NEARER, FURTHER, EITHER, ALIKE, FEW = "#7FB4DA", "#F2B85C", "#ffffff", "#c4c4c4", "#eeeeee"
HATCH = "////"
LOWEST_FRACTION = -1.0
COLOURS = {  # verdict -> colour, hatch
    "nearer": (NEARER, None),
    "further": (FURTHER, None),
    "alike": (ALIKE, None),
    "the interval holds 0": (EITHER, None),
    f"fewer than {TELLING} z": (FEW, HATCH),
}
VERDICTS = tuple(COLOURS)


def mse_figure(table: Table, labels: Mapping[str, str], panels: str, ylabel: str) -> Figure:
    """MSE over sigma on log axes, with 95 % bands.

    Args:
        table: denoiser, sigma, mse, mse_low, mse_high and the column `panels`.
        labels: denoiser -> what the legend shows; the order of the lines.
        panels: the column whose values have a panel each.
        ylabel: of the error.
    """
    figure, axes = _panels(table, panels, labels)
    for ax, value in zip(axes, table.distinct(panels), strict=True):
        part = table.where(**{panels: value})
        for name, look in looks_of(labels).items():
            band(ax, part.where(denoiser=name), "mse", look, labels[name])
        sigma_axis(ax, table["sigma"])
        error_axis(ax, table["mse"])
        ax.set(title=f"{value} process" if panels == "process" else value, ylabel=ylabel)
    return _finished(figure, axes, labels)


def fraction_figure(table: Table, labels: Mapping[str, str], panels: str, network: str) -> Figure:
    """Fraction of a network's deviation from optimal that is explained, over sigma; cut off at -1. Arguments as of `mse_figure`."""
    figure, axes = _panels(table, panels, labels)
    lowest = np.nanmin([0.0, *table["fraction"]])
    for ax, value in zip(axes, table.distinct(panels), strict=True):
        part = table.where(**{panels: value})
        for name, look in looks_of(labels).items():
            band(ax, part.where(denoiser=name), "fraction", look, labels[name])
        sigma_axis(ax, table["sigma"])
        ax.axhline(1, color="#bbbbbb", linewidth=0.8, zorder=0)
        ax.set_ylim(max(LOWEST_FRACTION, lowest - 0.05), 1.05)
        ax.set(title=f"{value} process" if panels == "process" else value, ylabel="fraction explained")
    return _finished(figure, axes, labels)


def verdict_figure(
    paired: Table, labels: Mapping[str, str], against: Sequence[str], floors: Mapping[str, float] | None = None
) -> Figure:
    """Which denoisers are nearer to the network than `against`: a row for each denoiser, a column for each noise level.

    Args:
        paired: process, denoiser, against, sigma, n, difference_low, difference_high.
        labels: denoiser -> what is shown.
        against: what they are held against; a panel each, for each process.
        floors: process -> the difference up to which two are alike (`verdict_of`).
    """
    known = paired.distinct("against")
    panels = [(process, other) for process in paired.distinct("process") for other in against if other in known]
    sigmas = sorted(paired.distinct("sigma"))
    names = {panel: paired.where(process=panel[0], against=panel[1]).distinct("denoiser") for panel in panels}
    rows = max(map(len, names.values()))
    figure = Figure(figsize=(WIDTH, 0.7 + (0.19 * rows + 0.45) * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for ax, panel in zip(axes, panels, strict=True):
        part = paired.where(process=panel[0], against=panel[1])
        for row in part:
            x, y = sigmas.index(row["sigma"]), names[panel].index(row["denoiser"])
            colour, hatch = COLOURS[verdict_of(row, (floors or {}).get(panel[0], 0.0))]
            ax.add_patch(
                Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="#bbbbbb", linewidth=0.5, hatch=hatch)
            )
        ax.set_yticks(range(len(names[panel])), [labels[name] for name in names[panel]])
        ax.set_ylim(len(names[panel]) - 0.5, -0.5)
        ax.grid(False)
        ax.set_title(f"{panel[0]} process: nearer to the network than {panel[1]}?")
    axes[-1].set_xlim(-0.5, len(sigmas) - 0.5)
    shown = range(0, len(sigmas), 2 if len(sigmas) > 10 else 1)
    axes[-1].set_xticks(list(shown), [f"{float(f'{sigmas[i]:.2g}'):g}" for i in shown])
    axes[-1].set_xlabel("noise level sigma")
    patches = [
        Patch(facecolor=colour, edgecolor="#bbbbbb", hatch=hatch, label=text)
        for text, (colour, hatch) in COLOURS.items()
    ]
    figure.legend(handles=patches, loc="outside upper center", ncols=3)
    return figure


def band(ax: Axes, part: Table, column: str, look: Look, label: str | None, x: str = "sigma") -> None:
    """One line with the band of its 95 % interval, none for n < 8; single points are marked. Values of 0 are nowhere on a log axis: the
    line ends there."""
    order = np.argsort(part[x])
    place, middle, low, high = (
        np.array(part[name], float)[order] for name in (x, column, f"{column}_low", f"{column}_high")
    )
    if column.startswith("mse") or column.startswith("distance"):
        middle, low, high = (np.where(values > 0, values, np.nan) for values in (middle, low, high))
    (line,) = ax.plot(place, middle, look.dashes, color=look.colour, label=label)
    if np.isfinite(middle).sum() == 1:
        line.set_marker("o")
    ax.fill_between(place, low, high, where=banded(part)[order], color=look.colour, alpha=0.15, linewidth=0)


def verdict_of(row: Mapping[str, Any], floor: float = 0.0) -> str:
    """What a paired difference says: one of `VERDICTS`.

    Args:
        row: n, difference_low, difference_high.
        floor: where the interval lies within +- this, at least the accuracy of the computation, there is no difference.
    """
    low, high = row["difference_low"], row["difference_high"]
    if row["n"] < TELLING or not (np.isfinite(low) and np.isfinite(high)):
        return VERDICTS[-1]
    if max(abs(low), abs(high)) <= max(floor, ACCURACY):
        return "alike"
    if low <= 0 <= high:
        return "the interval holds 0"
    return "nearer" if high < 0 else "further"


def _panels(table: Table, panels: str, labels: Mapping[str, str]) -> tuple[Figure, Sequence[Axes]]:
    count = len(table.distinct(panels))
    figure = Figure(figsize=(WIDTH, 0.3 + PANEL * count + 0.18 * -(-len(labels) // 3)), layout="constrained")
    return figure, list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])


def _finished(figure: Figure, axes: Sequence[Axes], labels: Mapping[str, str]) -> Figure:
    """The common legend, one entry a denoiser; the noise level named below the last panel only."""
    for ax in axes[:-1]:
        ax.set_xlabel("")
    handles, texts = axes[0].get_legend_handles_labels()
    longest = max(map(len, labels.values()))
    figure.legend(handles, texts, loc="outside lower center", ncols=3 if longest < 26 else 2)
    return figure
