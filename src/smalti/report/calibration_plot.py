"""The curves of a calibration: the error of every candidate over the noise level, and what is chosen (workshop paper, Fig. 5)."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smalti.analysis.calibration import Calibration
from smalti.core.table import Table
from smalti.report.curves import error_axis, sigma_axis

__all__ = ["calibration_figure"]

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
            _curve(one, part.where(candidate=text), text, colour, labelled=process == processes[0])
        _mark(one, calibration.choices(process), dict(zip(calibration.texts, colours, strict=True)))
        one.set_title("held-out images" if calibration.network is None else f"{process} z")
        sigma_axis(one, part["sigma"])
    error_axis(axes[0], table["error"])
    axes[0].set_ylim(bottom=max(axes[0].get_ylim()[0], 0.5 * min((e for e in table["error"] if e > 0), default=0)))
    what = "MSE of patches" if calibration.error == "patch" else "MSE"
    axes[0].set_ylabel(f"{what} to {against}")
    figure.legend(loc="outside right center", title=NAMES[calibration.parameter], ncols=columns)
    return figure


def _curve(axes: Axes, part: Table, text: str, colour: np.ndarray, labelled: bool) -> None:
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
