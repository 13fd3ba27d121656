"""Figures of single experiments: what is drawn where."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from smalti.analysis.heatmaps import Sensitivity
from smalti.core.table import Table
from smalti.report.figures import colour_of, style
from smalti.report.patch_plots import patch_errors_figure, sides_chosen_figure
from smalti.report.sensitivity_plots import heatmap_grid, sides_figure

SIGMAS = (0.1, 1.0, 10.0)


def test_heatmaps_are_scaled_and_the_pixel_is_marked():
    values = np.random.default_rng(0).random((3, 2, 4, 4))
    values[0, 1] = 0
    found = Sensitivity("x", np.array(SIGMAS), np.array([(0, 0), (1, 2)]), (1, 4, 4), values, 0 * values, 2)
    with style():
        figure = heatmap_grid({"optimal": found}, (1, 2), [0, 2])
    empty, last = figure.axes[:2]
    assert last.images[0].get_array().max() == 1
    assert np.allclose(last.images[0].get_array(), values[2, 1] / values[2, 1].max())
    assert [text.get_text() for text in empty.texts] == ["none"]
    assert last.patches[0].get_xy() == (1.5, 0.5)


def test_sides_have_a_panel_a_share_and_an_even_spread():
    columns = ("subject", "sigma", "share", "side", "side_low", "side_high", "even")
    rows = [
        dict(zip(columns, (name, sigma, share, 3.0, 2.0, 4.0, 7.0), strict=True))
        for name in ("optimal", "dit") for sigma in SIGMAS for share in (0.5, 0.95)
    ]  # fmt: skip
    with style():
        figure = sides_figure(Table(columns, rows))
    assert [axes.get_title() for axes in figure.axes] == ["50 % of the gradient", "95 % of the gradient"]
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert set(lines) == {"optimal", "dit", "even spread"}
    assert lines["dit"].get_color() == colour_of("dit")
    assert set(lines["even spread"].get_ydata()) == {7.0}


def test_the_least_patch_error_has_the_ring():
    columns = ("process", "target", "side", "sigma", "error", "error_low", "error_high")
    errors = {3: (1e-3, 2e-3, 5e-3), 8: (4e-3, 1e-3, 0.0)}
    rows = [
        dict(zip(columns, ("forward", "optimal", side, sigma, e, e, e), strict=True))
        for side, values in errors.items() for sigma, e in zip(SIGMAS, values, strict=True)
    ]  # fmt: skip
    with style():
        figure = patch_errors_figure(Table(columns, rows), [("forward", "optimal", "title")])
    rings = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [float(ring.get_ydata()[0]) for ring in rings] == [1e-3, 1e-3]  # none at an error of 0
    assert to_hex(rings[0].get_markerfacecolor()) != to_hex(rings[1].get_markerfacecolor())


@pytest.mark.parametrize("clear", [(True, True, True), (True, False, False)])
def test_unclear_sides_stay_hollow(clear):
    with style():
        figure = sides_chosen_figure({"forward": (SIGMAS, (3, 3, 8), clear)})
    hollow, filled = figure.axes[0].lines[:2]
    assert len(hollow.get_xdata()) == 3
    assert filled.get_xdata().tolist() == [s for s, sure in zip(SIGMAS, clear, strict=True) if sure]
