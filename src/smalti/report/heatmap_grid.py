"""Heatmaps of one output pixel: rows denoisers, columns noise levels (workshop paper, Fig. 4, right)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from smalti.analysis.heatmaps import Sensitivity
from smalti.report.pictures import sigma_caption

__all__ = ["heatmap_grid"]

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
