"""The loss curve of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from smalti.report.figures import PALETTE

__all__ = ["loss_curve"]


def loss_curve(history: Sequence[Mapping[str, float]], title: str = "") -> Figure:
    """Training and validation loss over steps, both axes logarithmic; to be drawn inside `style()`.

    Args:
        history: rows {"step", "loss"}, some with "validation".
        title: above the plot.
    """
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    marker = "." if len(history) < 60 else ""
    steps, losses = [r["step"] for r in history], [r["loss"] for r in history]
    axes.plot(steps, losses, color=PALETTE["grey"], lw=1, marker=marker, label="training")
    held = [r for r in history if "validation" in r]
    if held:
        marker = "." if len(held) < 60 else ""
        steps, losses = [r["step"] for r in held], [r["validation"] for r in held]
        axes.plot(steps, losses, color=PALETTE["vermillion"], marker=marker, label="held out, averaged weights")
    axes.set(xlabel="step", ylabel="weighted squared error", title=title)
    if history:
        axes.set(xscale="log", yscale="log")
        axes.legend()
    else:
        axes.text(0.5, 0.5, "no row of the log yet", ha="center", transform=axes.transAxes)
    return figure
