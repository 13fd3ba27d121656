"""What a denoiser's output depends on (workshop paper, Fig. 4): sides of squares over sigma, and heatmaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from smalti.analysis.heatmaps import SHARES, Sensitivity
from smalti.analysis.pixels import centre_and_edge
from smalti.report.figures import looks_of
from smalti.report.pictures import sigma_caption

__all__ = ["sensitivity_figure"]

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
