"""The side of the square that holds a share of the gradient, over the noise level (workshop paper, Fig. 4, left)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from smalti.core.table import Table
from smalti.report.curves import sigma_axis
from smalti.report.figures import banded, looks_of

__all__ = ["sides_figure"]

GREY = "#777777"
WIDTH, PANEL = 5.2, 1.9  # inches
MARKERS = "osD^vP*X" * 4


def sides_figure(table: Table) -> Figure:
    """Panels below each other, one a share, a line for each subject with its 95 % interval; the grey line is an even spread over the image.

    To be drawn inside `style()`. There is no band for n < 8.

    Args:
        table: columns subject, sigma, share, side, side_low, side_high, even.
    """
    shares = table.distinct("share")
    figure = Figure(figsize=(WIDTH, 0.8 + PANEL * len(shares)), layout="constrained")
    panels = figure.subplots(len(shares), 1, sharex=True, squeeze=False)[:, 0]
    for axes, share in zip(panels, shares, strict=True):
        for (name, look), marker in zip(looks_of(table.distinct("subject")).items(), MARKERS, strict=False):
            part = table.where(subject=name, share=share)
            order = np.argsort(part["sigma"])
            sigma, side, low, high = (
                np.array(part[c], float)[order] for c in ("sigma", "side", "side_low", "side_high")
            )
            axes.plot(sigma, side, look.dashes, color=look.colour, marker=marker, markersize=3, label=name)
            axes.fill_between(sigma, low, high, where=banded(part)[order], color=look.colour, alpha=0.2, linewidth=0)
        axes.axhline(
            table.where(share=share)["even"][0], color=GREY, linewidth=1, linestyle=(0, (1, 1)), label="even spread"
        )
        sigma_axis(axes, table["sigma"])
        axes.set(title=f"{100 * share:g} % of the gradient", ylabel="side, pixels", ylim=(0, None))
        axes.set_xlabel("noise level sigma" if axes is panels[-1] else "")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure
