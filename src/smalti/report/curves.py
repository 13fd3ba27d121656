"""Curves over the noise level, with their 95 % intervals as bands: errors, agreement, comparisons with a network.

The functions return matplotlib figures; `smalti.report.figures.save_figure` writes them, within `style()`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import LogLocator, NullFormatter

from smalti.core.pixels import channels_note, shown_noisy, tile
from smalti.core.table import Table
from smalti.report.figures import PALETTE, Look, banded, looks_of

__all__ = ["agreement_figure", "comparison_figure", "error_axis", "error_figure", "sigma_axis"]

DEPTH = 1e-5  # an axis of errors goes down to this much of the largest: below is rounding
LEGEND_ROW = 4
CYCLE = [PALETTE[name] for name in ("blue", "vermillion", "green", "orange", "purple", "sky", "grey", "black")]


def error_figure(
    errors: Table, examples: Mapping[str, torch.Tensor] | None = None, sigmas: Sequence[float] = ()
) -> Figure:
    """MSE to the optimal denoiser over sigma (workshop paper, Fig. 2): curves left, outputs at a few sigmas right.

    Args:
        errors: from `smalti.analysis.errors.Deviations.errors`.
        examples: "z", "optimal" and denoisers -> (S, C, H, W); None for the curves alone.
        sigmas: the S noise levels of the examples.
    """
    columns = len(examples) if examples else 0
    figure = Figure(figsize=(4.2 + 0.95 * columns, 3.4), layout="constrained")
    left: FigureBase = figure
    if examples:
        left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(4.2, 0.95 * columns))[0]
        _gallery(right, examples, sigmas)
    axes = left.subplots()
    names = errors.distinct("denoiser")
    for name, look in looks_of(names).items():
        _curve(axes, errors.where(denoiser=name), "mse", look, name, ("low", "high"))
    sigma_axis(axes, errors["sigma"])
    error_axis(axes, errors["mse"])
    axes.set_ylabel("MSE to the optimal denoiser")
    for sigma in sigmas if examples else ():
        axes.axvline(sigma, color="#bbbbbb", linewidth=0.8, zorder=0)
    left.legend(loc="outside lower center", ncols=min(len(names), LEGEND_ROW - 1))
    return figure


def agreement_figure(agreement: Table) -> Figure:
    """Cosines of pairs of deviations over sigma: 1 where two denoisers err in the same way.

    Args:
        agreement: from `smalti.analysis.errors.Deviations.agreement`.
    """
    pairs = list(dict.fromkeys(zip(agreement["first"], agreement["second"], strict=True)))
    longest = max((len(first) + len(second) for first, second in pairs), default=0)
    per_row = 2 if longest < 30 else 1
    figure = Figure(figsize=(5, 3 + 0.17 * -(-len(pairs) // per_row)), layout="constrained")
    axes = figure.subplots()
    for number, (first, second) in enumerate(pairs):
        look = Look(CYCLE[number % len(CYCLE)], ("-", "--", ":", "-.")[number // len(CYCLE) % 4])
        part = agreement.where(first=first, second=second)
        _curve(axes, part, "cosine", look, f"{first}, {second}", ("low", "high"))
    axes.axhline(0, color="black", linewidth=0.6)
    sigma_axis(axes, agreement["sigma"])
    axes.set_ylim(min(-0.05, np.nanmin([0, *agreement["low"], *agreement["cosine"]]) - 0.05), 1.03)
    axes.set_ylabel("cosine of deviations from optimal")
    figure.legend(loc="outside lower center", ncols=per_row)
    return figure


def comparison_figure(table: Table, network: str = "the network") -> Figure:
    """MSE to a network and the fraction of its deviation explained, over sigma, one column for each set of z (workshop paper, Fig. 6).

    Args:
        table: from `smalti.compare`.
        network: its name.
    """
    sets, names = table.distinct("set"), table.distinct("denoiser")
    figure = Figure(figsize=(0.8 + 3.2 * len(sets), 5.2), layout="constrained")
    grid = figure.subplots(2, len(sets), sharex="col", sharey="row", squeeze=False)
    for column, name in enumerate(sets):
        for denoiser, look in looks_of(names).items():
            part = table.where(set=name, denoiser=denoiser)
            for row, statistic in enumerate(("mse", "fraction")):
                _curve(grid[row, column], part, statistic, look, denoiser if not row and not column else None)
        grid[0, column].set_title(f"{name} z")
        sigma_axis(grid[1, column], table.where(set=name)["sigma"])
        grid[1, column].axhline(1, color="#bbbbbb", linewidth=0.8, zorder=0)
    error_axis(grid[0, 0], table["mse"])
    grid[1, 0].set_ylim(max(-1, np.nanmin([0, *table["fraction"], *table["fraction_low"]]) - 0.05), 1.05)
    grid[0, 0].set_ylabel(f"MSE to {network}")
    grid[1, 0].set_ylabel("fraction of its deviation\nfrom optimal explained")
    figure.legend(loc="outside lower center", ncols=min(len(names), LEGEND_ROW if len(sets) > 1 else 2))
    return figure


def _curve(
    axes: Axes, part: Table, column: str, look: Look, label: str | None, ends: tuple[str, str] | None = None
) -> None:
    """One line over sigma with its band, where n allows one (`banded`); `ends` are the columns of the band."""
    low, high = ends or (f"{column}_low", f"{column}_high")
    order = np.argsort(part["sigma"])
    sigma, middle, bottom, top = (np.array(part[name], float)[order] for name in ("sigma", column, low, high))
    if column == "mse":  # 0 is nowhere on a log axis: the line ends there
        middle, bottom, top = (np.where(values > 0, values, np.nan) for values in (middle, bottom, top))
    (line,) = axes.plot(sigma, middle, look.dashes, color=look.colour, label=label)
    if np.isfinite(middle).sum() == 1:
        line.set_marker("o")
    drawn = banded(part)[order]
    axes.fill_between(sigma, bottom, top, where=drawn, color=look.colour, alpha=0.2, linewidth=0)


def sigma_axis(axes: Axes, sigmas: Sequence[float]) -> None:
    """A log axis of noise levels."""
    axes.set_xscale("log")
    if min(sigmas) < max(sigmas):
        axes.set_xlim(min(sigmas), max(sigmas))
    axes.xaxis.set_major_locator(LogLocator(10, numticks=12))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("noise level sigma")


def error_axis(axes: Axes, values: Sequence[float]) -> None:
    """A log axis that leaves out what is rounding only; linear where everything is 0."""
    largest = max((value for value in values if np.isfinite(value)), default=0)
    if largest > 0:
        axes.set_yscale("log")
        axes.set_ylim(largest * DEPTH, largest * 2)
        axes.yaxis.set_major_locator(LogLocator(10, numticks=12))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _gallery(figure: FigureBase, examples: Mapping[str, torch.Tensor], sigmas: Sequence[float]) -> None:
    """Rows: sigmas, columns: z, the optimal denoiser, the others."""
    grid = figure.subplots(len(sigmas), len(examples), squeeze=False)
    for column, (name, images) in enumerate(examples.items()):
        for row, sigma in enumerate(sigmas):
            axes = grid[row, column]
            image = images[row]
            axes.imshow(tile(shown_noisy(image, sigma) if name == "z" else image, 1))
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            for spine in axes.spines.values():
                spine.set_visible(False)
            if row == 0:
                axes.set_title(name.replace(":", "\n"), fontsize=8)
            if column == 0:
                axes.set_ylabel(f"sigma {sigma:g}")
    note = channels_note(next(iter(examples.values())).shape[1])
    if note:
        figure.supxlabel(note, fontsize=7)
