"""Errors of patch posterior means over the noise level, and the sides that they choose (workshop paper, Fig. 5 and Table 1); the curves
of a calibration, of any parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from smalti.analysis.calibration import Calibration
from smalti.core.table import Table
from smalti.report.curves import error_axis, sigma_axis
from smalti.report.figures import PALETTE, banded

__all__ = ["calibration_figure", "patch_errors_figure", "sides_chosen_figure"]

WIDTH, PANEL = 5.2, 2.4  # inches
LOOKS = (("vermillion", "-", "o"), ("blue", "--", "s"), ("black", ":", "D"))


def patch_errors_figure(table: Table, panels: Sequence[tuple[str, str, str]]) -> Figure:
    """A panel for each process and target, a line for each side from dark (small) to light, with 95 % bands; rings mark the least error.

    To be drawn inside `style()`. A line ends where its error is 0; there is no band for n < 8.

    Args:
        table: columns process, target, side, sigma, error, error_low, error_high.
        panels: (process, target, title) of each.
    """
    sides = sorted(table.distinct("side"))
    figure = Figure(figsize=(WIDTH, 0.7 + PANEL * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    colours = dict(zip(sides, matplotlib.colormaps["viridis"](np.linspace(0, 0.92, len(sides))), strict=True))
    for axes, (process, target, title) in zip(grid, panels, strict=True):
        part = table.where(process=process, target=target)
        for side, colour in colours.items():
            _curve(axes, part.where(side=side), f"{side} x {side}", colour)
        for sigma in part.distinct("sigma"):
            best = min(part.where(sigma=sigma), key=lambda row: row["error"])
            if best["error"] > 0:
                axes.plot(sigma, best["error"], "o", ms=4.5, mfc=colours[best["side"]], mec="black", mew=0.9, zorder=5)
        sigma_axis(axes, table["sigma"])
        error_axis(axes, part["error"])
        axes.set_ylim(bottom=max(axes.get_ylim()[0], 0.5 * min((e for e in part["error"] if e > 0), default=0)))
        axes.set(title=title, ylabel="MSE of a patch", xlabel="noise level sigma" if axes is grid[-1] else "")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def sides_chosen_figure(
    sides: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[bool]]],
) -> Figure:
    """Sides of patches over the noise level, a line for each way to choose them; markers are hollow where the choice is not clear.

    To be drawn inside `style()`.

    Args:
        sides: what is said of it -> noise levels, sides, whether each is clear.
    """
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    axes = figure.subplots()
    shift = np.linspace(-0.06, 0.06, len(sides)) if len(sides) > 1 else [0.0]  # lines that would hide each other
    for (text, (sigmas, values, clear)), (name, dashes, marker), up in zip(sides.items(), LOOKS, shift, strict=False):
        colour, places = PALETTE[name], np.asarray(values) + up
        axes.plot(
            sigmas, places, dashes, color=colour, marker=marker, markersize=4, markerfacecolor="white", label=text
        )
        sure = np.asarray(clear, bool)
        axes.plot(np.asarray(sigmas)[sure], places[sure], marker, color=colour, markersize=4)
    sigma_axis(axes, next(iter(sides.values()))[0])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(ylabel="side of the patch, pixels", ylim=(0, None))
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _curve(axes: Axes, part: Table, text: str, colour: np.ndarray) -> None:
    order = np.argsort(part["sigma"])
    sigma, *values = (np.array(part[name], float)[order] for name in ("sigma", "error", "error_low", "error_high"))
    error, low, high = (np.where(value > 0, value, np.nan) for value in values)  # 0 is nowhere on a log axis
    (line,) = axes.plot(sigma, error, color=colour, label=text)
    if np.isfinite(error).sum() == 1:
        line.set_marker(".")
    axes.fill_between(sigma, low, high, where=banded(part)[order], color=colour, alpha=0.2, linewidth=0)


NAMES = {
    "patch_sizes": "side of the patches",
    "thresholds": "share of the heat",
    "window": "side of the window",
    "width": "width of the window",
    "smoothing": "smoothing",
}
LEGEND_ROWS = 18


def calibration_figure(calibration: Calibration, against: str = "the network") -> Figure:
    """Error over sigma, a line for each candidate from dark (small) to light, with a band of one standard error; a column for each process.

    Rings mark the candidate of least error at each level, filled ones where it leads the next by more than a standard error of
    their difference. A line ends where its error is 0.

    Args:
        calibration: from `smalti.calibrate`.
        against: what the errors are to.
    """
    table, processes = calibration.table(), list(calibration.errors)
    columns = -(-len(calibration.texts) // LEGEND_ROWS)
    figure = Figure(figsize=(1.6 + 3.4 * len(processes) + 0.7 * (columns - 1), 3.4), layout="constrained")
    axes = figure.subplots(1, len(processes), sharey=True, squeeze=False)[0]
    colours = matplotlib.colormaps["viridis"](np.linspace(0, 0.92, len(calibration.texts)))
    for one, process in zip(axes, processes, strict=True):
        part = table.where(process=process)
        for text, colour in zip(calibration.texts, colours, strict=True):
            _candidate(one, part.where(candidate=text), text, colour, labelled=process == processes[0])
        _mark(one, calibration.choices(process), dict(zip(calibration.texts, colours, strict=True)))
        one.set_title("held-out images" if calibration.network is None else f"{process} z")
        sigma_axis(one, part["sigma"])
    error_axis(axes[0], table["error"])
    axes[0].set_ylim(bottom=max(axes[0].get_ylim()[0], 0.5 * min((e for e in table["error"] if e > 0), default=0)))
    what = "MSE of patches" if calibration.error == "patch" else "MSE"
    axes[0].set_ylabel(f"{what} to {against}")
    figure.legend(loc="outside right center", title=NAMES[calibration.parameter], ncols=columns)
    return figure


def _candidate(axes: Axes, part: Table, text: str, colour: np.ndarray, labelled: bool) -> None:
    order = np.argsort(part["sigma"])
    sigma, error, deviation = (np.array(part[name], float)[order] for name in ("sigma", "error", "standard_error"))
    error = np.where(error > 0, error, np.nan)  # 0 is nowhere on a log axis
    (line,) = axes.plot(sigma, error, color=colour, label=text if labelled else None)
    if np.isfinite(error).sum() == 1:
        line.set_marker(".")
    axes.fill_between(sigma, error - deviation, error + deviation, color=colour, alpha=0.2, linewidth=0)


def _mark(axes: Axes, choices: Table, colour_of: dict[str, np.ndarray]) -> None:
    for row in choices:
        if row["error"] > 0:
            face = colour_of[row["candidate"]] if row["clear"] else "white"
            axes.plot(row["sigma"], row["error"], "o", ms=5, mfc=face, mec="black", mew=0.9, zorder=5, clip_on=False)
