"""How far sampling trajectories from the same noise go apart, step by step (full paper, Fig. 8, in numbers)."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from smalti.core.table import Table
from smalti.report.curves import error_axis
from smalti.report.figures import looks_of
from smalti.report.levels import band

__all__ = ["distances_over_steps"]

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
