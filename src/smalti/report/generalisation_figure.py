"""Networks of disjoint halves of a data set: how they agree over the noise level, and how near their samples are to training images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from smalti.core.table import Table
from smalti.report.curves import error_axis, sigma_axis
from smalti.report.figures import PALETTE, Look
from smalti.report.levels import band

__all__ = ["agreement_figure", "ratios_figure"]

WIDTH = 6.0
COLOURS = {"networks": "vermillion", "network-optimal": "blue", "optimals": "black"}
DASHES = ("-", "--", ":", "-.")
DOTS = 300  # in a row, about
GOLDEN = 0.6180339887498949


def agreement_figure(table: Table, labels: Mapping[str, str]) -> Figure:
    """MSE of pairs over sigma, log axes, with 95 % bands.

    Args:
        table: comparison, a, b, sigma, n, mse, mse_low, mse_high.
        labels: comparison -> what the legend says of it; the comparisons that are drawn.
    """
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    axes = figure.subplots()
    for comparison, label in labels.items():
        part = table.where(comparison=comparison)
        pairs = list(dict.fromkeys(zip(part["a"], part["b"], strict=True)))
        for (a, b), dashes in zip(pairs, DASHES, strict=False):
            look = Look(PALETTE[COLOURS[comparison]], dashes)
            band(axes, part.where(a=a, b=b), "mse", look, f"{label}: {a}, {b}")
    sigma_axis(axes, table["sigma"])
    error_axis(axes, table["mse"])
    axes.set_ylabel("MSE between outputs")
    figure.legend(loc="outside lower center", ncols=1)
    return figure


def ratios_figure(ratios: Mapping[str, np.ndarray], looks: Mapping[str, Look], limit: float) -> Figure:
    """Distance ratios d_1 / d_2, a row for each set of samples and a dot for each sample; copies lie in the shaded part.

    Args:
        ratios: name -> (n,), 0 to 1.
        looks: of the names.
        limit: below it a sample counts as a copy.
    """
    figure = Figure(figsize=(WIDTH, 0.8 + 0.36 * len(ratios)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-0.02, limit, color="#eeeeee", zorder=0)
    for row, (name, values) in enumerate(ratios.items()):
        shown = np.sort(values)[:: max(1, len(values) // DOTS)]
        offsets = 0.26 * ((np.arange(len(shown)) * GOLDEN) % 1 - 0.5) * 2  # apart, so that equal ones are seen
        axes.plot(shown, row + offsets, "o", color=looks[name].colour, markersize=4, alpha=0.6, markeredgewidth=0)
    axes.set_yticks(range(len(ratios)), list(ratios))
    axes.set(xlim=(-0.02, 1.02), ylim=(len(ratios) - 0.5, -0.5))
    axes.grid(False, axis="y")
    axes.set_xlabel("distance to the nearest / to the second nearest training image (grey: copies)")
    return figure
