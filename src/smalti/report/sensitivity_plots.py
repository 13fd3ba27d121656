"""What output pixels depend on: sides of squares over the noise level, heatmaps of a pixel (workshop paper, Fig. 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from smalti.analysis.heatmaps import SHARES, Sensitivity
from smalti.analysis.pixels import centre_and_edge
from smalti.core.table import Table
from smalti.report.curves import sigma_axis
from smalti.report.figures import banded, looks_of
from smalti.report.pictures import sigma_caption

__all__ = ["heatmap_grid", "sensitivity_figure", "sides_figure"]

SHOWN_SIGMAS = (0.03, 0.3, 3.0, 30.0)  # the nearest levels are shown; the first, third and fourth are the papers'
NORMAL_95 = 1.96
EDGE = "#ff3030"


def sensitivity_figure(
    results: Mapping[str, Sensitivity],
    shares: Sequence[float] = SHARES,
    shown: Sequence[float] = SHOWN_SIGMAS,
) -> Figure:
    """One panel a share with a line for each denoiser, and below the heatmaps of a central and an edge pixel at some levels.

    To be drawn inside `style()`. Bands are 95 % intervals over z. Each heatmap is scaled by its own largest value; the red square marks the
    output pixel.

    Args:
        results: name -> heatmaps, at least one.
        shares: of the total, each above 0 and at most 1.
        shown: noise levels; the nearest ones of each denoiser's are shown.
    """
    rows = [(name, result, pixel) for name, result in results.items() for pixel in _shown_pixels(result)]
    heights = 2.7, 1.25 * len(rows) + 0.3
    figure = Figure(figsize=(max(2.4 * len(shares), 7.2), sum(heights)), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=heights)
    above, below = parts
    _draw_sides(above, results, shares)
    _draw_heatmaps(below, rows, shown)
    return figure


def _draw_sides(figure: Any, results: Mapping[str, Sensitivity], shares: Sequence[float]) -> None:
    panels = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    for name, look in looks_of(results).items():
        result = results[name]
        order = np.argsort(result.sigmas)
        sigmas = result.sigmas[order]
        sides, errors = result.sides(shares)[order], result.sides_standard_errors(shares)[order]
        for axes, side, error in zip(panels, sides.T, errors.T, strict=True):
            axes.plot(sigmas, side, color=look.colour, linestyle=look.dashes, marker="o", markersize=2.5, label=name)
            low, high = side - NORMAL_95 * error, side + NORMAL_95 * error
            axes.fill_between(sigmas, low, high, color=look.colour, alpha=0.25, linewidth=0)
    for axes, share in zip(panels, shares, strict=True):
        axes.set(xscale="log", xlabel="noise level sigma", title=f"{100 * share:g} % of the gradient")
    panels[0].set(ylabel="side of the square, pixels", ylim=(0, None))
    panels[0].yaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 4))


def _draw_heatmaps(
    figure: Any, rows: Sequence[tuple[str, Sensitivity, tuple[str, int]]], shown: Sequence[float]
) -> None:
    chosen = [_nearest_levels(result.sigmas, shown) for _, result, _ in rows]
    grid = figure.subplots(len(rows), max(map(len, chosen)), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    drawn = None
    for line, (name, result, (place, number)), levels in zip(grid, rows, chosen, strict=True):
        y, x = result.pixels[number]
        for axes, level in zip(line, levels, strict=False):
            heatmap = result.heatmaps[level, number] if result.depends()[level, number] else np.zeros(result.shape[1:])
            drawn = _draw_heatmap(axes, heatmap, result.reduction == "signed")
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=EDGE, linewidth=0.9))
            axes.set_title(sigma_caption(result.sigmas[level]), fontsize=8, pad=3)
        label = f"{name.replace(':', chr(10), 1)}\n{place} ({y}, {x})"
        line[0].set_axis_on()
        line[0].set(xticks=[], yticks=[])
        line[0].spines[:].set_visible(False)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", labelpad=6, fontsize=8)
    if drawn is not None:
        label = "mean gradient / largest" if rows[0][1].reduction == "signed" else "gradient / largest"
        figure.colorbar(drawn, ax=grid[:, -1], shrink=max(0.3, 1 / len(rows)), label=label)


def _draw_heatmap(axes: Any, heatmap: np.ndarray, signed: bool) -> Any:
    largest = np.abs(heatmap).max()
    if not largest > 0:
        axes.text(
            0.5, 0.03, "no gradient", transform=axes.transAxes, color="white", fontsize=7, ha="center", va="bottom"
        )
    picture = heatmap / (largest or 1)
    return axes.imshow(picture, cmap="RdBu_r" if signed else "viridis", vmin=-1 if signed else 0, vmax=1)


def _shown_pixels(result: Sensitivity) -> list[tuple[str, int]]:
    """("centre", number) and ("edge", number) of the output pixels that are nearest to those; one if they are the same."""
    wanted = centre_and_edge(*result.shape[1:])
    numbers = [int(np.abs(result.pixels - pixel).max(1).argmin()) for pixel in wanted]
    named = dict(zip(("centre", "edge"), numbers, strict=False))
    if len(set(named.values())) == 1:
        return [("pixel", numbers[0])]
    return list(named.items())


def _nearest_levels(sigmas: np.ndarray, shown: Sequence[float]) -> list[int]:
    """Numbers of the levels nearest to some noise levels on a log scale, each once, by rising sigma."""
    found = {int(np.abs(np.log(sigmas) - np.log(sigma)).argmin()) for sigma in shown}
    return sorted(found, key=lambda level: sigmas[level])


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


MARK = "#ff3030"
TILE, LABEL = 0.95, 1.2  # inches


def heatmap_grid(results: Mapping[str, Sensitivity], pixel: tuple[int, int], levels: Sequence[int]) -> Figure:
    """Each heatmap is scaled by its own largest value; the red square marks the output pixel. To be drawn inside `style()`.

    Args:
        results: name -> heatmaps, all at the same noise levels; `pixel` is among the pixels of each.
        pixel: (row, column) of the output.
        levels: numbers of the noise levels that are shown.
    """
    height = TILE * len(results) + 0.3
    figure = Figure(figsize=(LABEL + TILE * len(levels) + 0.75, height), layout="constrained")
    grid = figure.subplots(len(results), len(levels), squeeze=False)
    drawn = None
    for line, (name, result) in zip(grid, results.items(), strict=True):
        number = int(np.abs(result.pixels - pixel).max(1).argmin())
        for axes, level in zip(line, levels, strict=True):
            depends = bool(result.depends()[level, number])
            heatmap = result.heatmaps[level, number] if depends else np.zeros(result.shape[1:])
            drawn = axes.imshow(heatmap / (heatmap.max() or 1), cmap="viridis", vmin=0, vmax=1)
            axes.add_patch(Rectangle((pixel[1] - 0.5, pixel[0] - 0.5), 1, 1, fill=False, edgecolor=MARK, linewidth=1.2))
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            axes.spines[:].set_visible(False)
            if not depends:
                axes.text(
                    0.5, 0.1, "none", transform=axes.transAxes, color="white", fontsize=8, ha="center", va="center"
                )
        line[0].set_ylabel(name.replace(":", "\n"), rotation=0, ha="right", va="center")
    for axes, level in zip(grid[0], levels, strict=True):
        axes.set_title(sigma_caption(float(next(iter(results.values())).sigmas[level])))
    if drawn is not None:
        figure.colorbar(drawn, ax=grid[:, -1], shrink=max(0.35, 1 / len(results)), label="gradient / largest")
    return figure
