"""Samples from the same noise: how far trajectories go apart step by step (full paper, Fig. 8, in numbers), how alike samples are (Fig. 9),
whether networks of disjoint halves agree and whose samples are copies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from smalti.core.table import Table
from smalti.report.curves import error_axis, sigma_axis
from smalti.report.figures import PALETTE, Look, looks_of
from smalti.report.image_grid import broken
from smalti.report.levels import band

__all__ = ["agreement_figure", "distances_over_steps", "matrix_figure", "ratios_figure"]

WIDTH = 6.0


def distances_over_steps(table: Table, labels: Mapping[str, str], network: str) -> Figure:
    """MSE between states and those of the network, over the steps of the sampler, with 95 % bands.

    Args:
        table: denoiser, step, sigma, distance, distance_low, distance_high.
        labels: denoiser -> what the legend shows.
        network: its name.
    """
    figure = Figure(figsize=(WIDTH, 3.4 + 0.18 * -(-len(labels) // 3)), layout="constrained")
    axes = figure.subplots()
    for name, look in looks_of(labels).items():
        band(axes, table.where(denoiser=name), "distance", look, labels[name], "step")
    sigmas = dict(zip(table["step"], table["sigma"], strict=True))
    steps = sorted(sigmas)[:: max(1, len(sigmas) // 9)]
    axes.set_xticks(steps, [f"{float(f'{sigmas[step]:.2g}'):g}" for step in steps])
    axes.set_xlim(min(sigmas), max(sigmas))
    error_axis(axes, table["distance"])
    least = min((value for value in table["distance"] if value > 0), default=0)
    if least:
        axes.set_ylim(bottom=max(least / 2, axes.get_ylim()[0]))
    axes.set(xlabel="noise level sigma, from noise to sample", ylabel=f"MSE to the state of {network}")
    figure.legend(loc="outside lower center", ncols=3 if max(map(len, labels.values())) < 26 else 2)
    return figure


MATRIX = 6.4
DARK = 0.5  # cells above have black text, others white


def matrix_figure(names: Sequence[str], values: np.ndarray, title: str) -> Figure:
    """Values by colour, always from 0 to 1 so that matrices can be compared, and as numbers.

    Args:
        names: K.
        values: (K, K) symmetric; NaN stays blank, as does the diagonal.
        title: the measure.
    """
    count, names = len(names), [broken(name) for name in names]
    figure = Figure(figsize=(MATRIX, 1.9 + 0.36 * count), layout="constrained")
    axes = figure.subplots()
    shown = np.where(np.eye(count, dtype=bool), np.nan, values)
    picture = axes.imshow(shown, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (y, x), value in np.ndenumerate(shown):
        if np.isfinite(value):
            text = f"{value:.2f}".replace("0.", ".", 1).replace("-.00", ".00") if abs(value) < 0.995 else f"{value:.1f}"
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color="black" if value > DARK else "white")
    axes.set_xticks(range(count), names, rotation=55, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), names)
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title)
    figure.colorbar(picture, ax=axes, shrink=0.6, aspect=25)
    return figure


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
