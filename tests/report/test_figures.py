"""Colours that never change, and figures as files."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from smalti import denoisers
from smalti.analysis.heatmaps import Sensitivity
from smalti.core.errors import InputError
from smalti.experiments.building import DENOISERS
from smalti.report.figures import PALETTE, colour_of, figure_bytes, looks_of, save_figure, style
from smalti.report.sensitivity_plots import sensitivity_figure


def test_no_two_of_the_report_look_alike():
    networks = ("ddpmpp", "ncsnpp", "dit")
    looks = looks_of([*DENOISERS, *networks])
    assert len({look.colour for look in looks.values()}) == len(looks)
    assert len({looks[name].dashes for name in networks}) == 3
    assert len(set(looks_of(["dit", "dit-half1", "dit-half2"]).values())) == 3


def test_every_named_denoiser_has_a_colour_of_its_own():
    assert len({colour_of(name) for name in denoisers.REGISTRY}) == len(denoisers.REGISTRY)
    assert colour_of("optimal") == PALETTE["black"]
    assert colour_of("ddpmpp-digits") == PALETTE["vermillion"]
    assert colour_of("somebody's own") == colour_of("somebody's own")


def test_variants_share_a_colour_and_differ_in_dashes():
    names = ("local-score", "local-score:window=5", "local-score:window=3", "optimal")
    looks = looks_of(names)
    assert len(set(looks.values())) == 4
    assert {looks[name].colour for name in names[:3]} == {PALETTE["green"]}


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_equal_figures_give_equal_files(tmp_path, ending):
    for name in ("a", "b"):
        with style():
            figure = Figure(figsize=(2, 2))
            figure.subplots().plot([1, 2], [3, 4], label="x")
            save_figure(figure, tmp_path / f"{name}.{ending}")
    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
    with pytest.raises(InputError, match=r"written as .png, .pdf or .svg"):
        save_figure(figure, tmp_path / "a.jpg")


def heatmaps(shape, pixels, levels=5, reduction="same-channel", zero=False):
    generator = np.random.default_rng(0)
    values = (
        np.zeros((levels, len(pixels), *shape[1:])) if zero else generator.random((levels, len(pixels), *shape[1:]))
    )
    sigmas = np.geomspace(80, 0.002, levels)
    return Sensitivity("x", sigmas, np.array(pixels), shape, values, 0 * values, 3, reduction)


@pytest.mark.parametrize(
    "results",
    [
        {"optimal": heatmaps((1, 8, 8), [(3, 3), (3, 0)])},
        {"optimal": heatmaps((3, 6, 9), [(2, 4)]), "nearest": heatmaps((3, 6, 9), [(2, 4), (2, 0)], zero=True)},
        {"a": heatmaps((1, 4, 4), [(0, 0)], levels=1), "b": heatmaps((1, 4, 4), [(1, 1), (1, 0)], reduction="signed")},
    ],
    ids=["one", "two", "odd"],
)
def test_the_figure_of_sensitivity_is_drawn(tmp_path, results):
    with style():
        save_figure(sensitivity_figure(results), tmp_path / "a.png")
    picture = Image.open(tmp_path / "a.png")
    assert picture.size[0] >= 1400
    assert len(picture.convert("RGB").getcolors(1 << 24)) > 50


def test_dollars_in_names_are_dollars_and_axes_keep_their_powers():
    with style():
        figure = Figure(figsize=(3, 2))
        axes = figure.subplots()
        axes.loglog([1, 100], [1, 100], label="a$b_1$")
        axes.set_title(r"MSE to $\nonsense$")
        axes.set_xticks([1, 100], ["$x$", "y"])
        axes.legend()
        figure_bytes(figure, "svg")
        shown = {text.get_text(): text.get_parse_math() for text in figure.findobj(Text) if "$" in text.get_text()}
    assert {name for name, math in shown.items() if not math} == {"a$b_1$", r"MSE to $\nonsense$", "$x$"}
    assert any(math and "10^" in name for name, math in shown.items())
