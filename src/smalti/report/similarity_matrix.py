"""A matrix of similarities of samples (full paper, Fig. 9)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from smalti.report.grids import broken

__all__ = ["matrix_figure"]

WIDTH = 6.4
DARK = 0.5  # cells above have black text, others white


def matrix_figure(names: Sequence[str], values: np.ndarray, title: str) -> Figure:
    """Values by colour, always from 0 to 1 so that matrices can be compared, and as numbers.

    Args:
        names: K.
        values: (K, K) symmetric; NaN stays blank, as does the diagonal.
        title: the measure.
    """
    count, names = len(names), [broken(name) for name in names]
    figure = Figure(figsize=(WIDTH, 1.9 + 0.36 * count), layout="constrained")
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
