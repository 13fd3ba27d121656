"""Figures over the noise level: what is drawn is what the tables say."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from smalti.core.table import Table
from smalti.report.figures import colour_of, style
from smalti.report.levels import ALIKE, FEW, FURTHER, NEARER, fraction_figure, mse_figure, verdict_figure, verdict_of

SIGMAS = (10.0, 1.0, 0.1)
LABELS = {"optimal": "optimal", "gaussian": "gaussian (N=9)"}


def comparisons() -> Table:
    rows = []
    for process in ("forward", "reverse"):
        for name, mse in (("optimal", 0.1), ("gaussian", 0.0)):
            for sigma in SIGMAS:
                row = {"process": process, "denoiser": name, "sigma": sigma}
                for column, value in (("mse", mse), ("fraction", -3.0)):
                    row |= {column: value, f"{column}_low": value * 0.9, f"{column}_high": value * 1.1}
                rows.append(row)
    return Table(tuple(rows[0]), rows)


@pytest.fixture(autouse=True)
def styled():
    with style():
        yield


def test_a_panel_for_each_process_and_a_line_for_each_denoiser():
    figure = mse_figure(comparisons(), LABELS, "process", "MSE")
    assert [axes.get_title() for axes in figure.axes] == ["forward process", "reverse process"]
    optimal, gaussian = figure.axes[0].lines[:2]
    assert optimal.get_color() == colour_of("optimal")
    assert list(optimal.get_xdata()) == sorted(SIGMAS)
    assert list(optimal.get_ydata()) == [0.1] * 3
    assert np.isnan(gaussian.get_ydata()).all()  # 0 has no place on a log axis
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(LABELS.values())


def test_fractions_are_cut_off_at_minus_1():
    assert fraction_figure(comparisons(), LABELS, "process", "net").axes[0].get_ylim() == (-1.0, 1.05)


@pytest.mark.parametrize(
    ("n", "low", "high", "colour"),
    [
        (8, -2.0, -1.0, NEARER),
        (8, 1.0, 2.0, FURTHER),
        (8, -1.0, 1.0, "#ffffff"),
        (1, np.nan, np.nan, FEW),
        (7, -2.0, -1.0, FEW),
        (8, -0.5, -0.1, ALIKE),  # within the floor
        (8, -0.1, 0.2, ALIKE),
        (8, 0.1, 0.6, FURTHER),
    ],
)
def test_verdicts_follow_the_intervals(n, low, high, colour):
    row = {"process": "forward", "denoiser": "gaussian", "against": "optimal", "sigma": 1.0, "n": n}
    paired = Table(
        (*row, "difference_low", "difference_high"), [{**row, "difference_low": low, "difference_high": high}]
    )
    figure = verdict_figure(paired, LABELS, ("optimal", "gaussian"), {"forward": 0.5})
    (cell,) = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert to_hex(cell.get_facecolor()).lower() == colour.lower()
    assert cell.get_hatch() == ("////" if n < 8 else None)
    assert len(figure.axes) == 1


def test_differences_of_rounding_are_none_without_a_floor():
    assert verdict_of({"n": 99, "difference_low": 1e-11, "difference_high": 3e-11}) == "alike"
    assert verdict_of({"n": 99, "difference_low": 1e-8, "difference_high": 3e-8}) == "further"


@pytest.mark.parametrize(("n", "bands"), [(7, 0), (8, 4)])
def test_few_z_have_no_band(n, bands):
    table = comparisons()
    table = Table((*table.columns, "n"), [{**row, "n": n} for row in table])
    figure = fraction_figure(table, LABELS, "process", "net")
    assert sum(len(band.get_paths()) for axes in figure.axes for band in axes.collections) == bands
