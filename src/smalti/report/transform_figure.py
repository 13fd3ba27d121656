"""Figures of `smalti.transforms`: what denoisers make of transformed z (workshop paper, Fig. 3), and how far that differs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from smalti.analysis.transforms import TransformResult
from smalti.core.errors import InputError
from smalti.core.pixels import channels_note, shown_noisy, tile
from smalti.core.table import Table
from smalti.report.figures import banded, looks_of

__all__ = ["distances_figure", "outputs_figure"]

TILE = 1.05  # inches


def outputs_figure(result: TransformResult, which: Sequence[int] = (0,)) -> Figure:
    """One column for each transformation; for each chosen z a row for z itself and one for each denoiser.

    Args:
        result: from `smalti.transforms`.
        which: numbers of the z shown.

    Raises:
        InputError: a z that does not exist.
    """
    n = len(result.clean)
    if not which or not all(0 <= j < n for j in which):
        raise InputError(f"choose z from 0 to {n - 1} to show, at least one, not {list(which)}")
    rows = ("z", *result.outputs)
    height, width = result.clean.shape[-2:]
    tall = TILE * height / width * len(rows) + 0.15
    figure = Figure(figsize=(0.9 + TILE * len(result.names), 0.5 + tall * len(which)), layout="constrained")
    blocks = figure.subfigures(len(which), 1, squeeze=False, hspace=0.03)[:, 0]
    for block, j in zip(blocks, which, strict=True):
        grid = block.subplots(len(rows), len(result.names), squeeze=False)
        for axes_row, name in zip(grid, rows, strict=True):
            images = result.z if name == "z" else result.outputs[name]
            axes_row[0].set_ylabel(name.replace(":", "\n"), fontsize=8)
            for axes, transform, image in zip(axes_row, result.names, images[:, j], strict=True):
                axes.imshow(tile(shown_noisy(image, result.sigma) if name == "z" else image, 1))
                _plain(axes)
                if transform.startswith("noise"):
                    _outline(axes, result)
        for axes, transform in zip(grid[0], result.names, strict=True):
            axes.set_title(_caption(result, transform), fontsize=8)
    note = f"sigma = {result.sigma:g}; z is shown as z / sqrt(1 + sigma^2). {channels_note(result.clean.shape[1])}"
    figure.supxlabel(note, fontsize=7, color="#555555")
    return figure


def distances_figure(distances: Table) -> Figure:
    """Relative distances between outputs, one row for each comparison, with 95 % intervals where n >= 8.

    Args:
        distances: from `TransformResult.distances`.
    """
    keys = ("transform", "compared", "region")
    comparisons = list(dict.fromkeys(tuple(row[key] for key in keys) for row in distances))
    names = distances.distinct("denoiser")
    figure = Figure(figsize=(6.2, 0.9 + (0.25 + 0.11 * len(names)) * len(comparisons)), layout="constrained")
    axes = figure.subplots()
    offsets = np.linspace(-0.3, 0.3, len(names)) if len(names) > 1 else [0.0]
    for (name, look), offset, marker in zip(looks_of(names).items(), offsets, "osD^vP*X" * len(names), strict=False):
        rows = distances.where(denoiser=name)
        middle, low, high = (np.array(rows[f"relative{end}"], float) for end in ("", "_low", "_high"))
        bars = np.where(banded(rows), np.nan_to_num(np.stack([middle - low, high - middle])), 0)
        places = np.arange(len(comparisons)) + offset
        axes.errorbar(middle, places, xerr=bars, fmt=marker, color=look.colour, markersize=4, capsize=2, label=name)
    axes.set_yticks(range(len(comparisons)), [_words(*comparison) for comparison in comparisons])
    axes.set_ylim(len(comparisons) - 0.5, -0.5)
    axes.grid(False, axis="y")
    for place in range(1, len(comparisons)):
        axes.axhline(place - 0.5, color="#e6e6e6", linewidth=0.6)
    axes.axvline(1, color="#999999", linewidth=0.8, zorder=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("squared distance, relative to outputs for unrelated z (1)")
    figure.legend(loc="outside upper center", ncols=4)
    return figure


def _caption(result: TransformResult, transform: str) -> str:
    dx, dy = result.shift
    return {
        "identity": "no change",
        "shift-x": f"shift x by {dx}",
        "shift-y": f"shift y by {dy}",
        "noise-inside": "noise inside",
        "noise-outside": "noise outside",
    }[transform]


def _words(transform: str, compared: str, region: str) -> str:
    what = transform.replace("-", " ")
    return f"{what}\n{compared}" if region == "kept" else f"{what}:\n{compared} {region}"


def _plain(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _outline(axes: Axes, result: TransformResult) -> None:
    """The box, black on a white rim, so that it is seen on any picture."""
    corner = (result.box.left - 0.5, result.box.top - 0.5)
    for colour, width in (("white", 2.2), ("black", 1.2)):
        frame = Rectangle(corner, result.box.width, result.box.height, fill=False, edgecolor=colour, linewidth=width)
        axes.add_patch(frame)
