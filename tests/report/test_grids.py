"""Tables of images within a figure, the matrix of similarities, the parts of a composite."""

import numpy as np
import pytest

from smalti.report.composite_figure import _apart
from smalti.report.figures import style
from smalti.report.grids import broken, grid_figure
from smalti.report.similarity_matrix import matrix_figure


@pytest.fixture(autouse=True)
def styled():
    with style():
        yield


def test_pixels_are_those_of_the_images_and_missing_ones_are_blank():
    images = np.stack([np.full((2, 1, 8, 8), -1.0), np.full((2, 1, 8, 8), np.nan)])  # (2 rows, 2 columns, C, H, W)
    figure = grid_figure([images], [["black", "missing"]], ["0", "1"])
    picture = figure.axes[0].images[0].get_array()
    scale = 6
    assert (picture[: 8 * scale, : 8 * scale] == 0).all()
    assert (picture[9 * scale :] == 255).all()
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["black", "missing"]
    assert figure.get_size_inches()[0] <= 7


def test_names_break_before_parentheses():
    assert broken("pca-locality (N=500)") == "pca-locality\n(N=500)"


def test_the_matrix_shows_numbers_without_its_diagonal():
    values = np.array([[1, 0.5, np.nan], [0.5, 1, -0.25], [np.nan, -0.25, 1]])
    axes = matrix_figure(["a", "b", "c"], values, "measure").axes[0]
    assert sorted(text.get_text() for text in axes.texts) == ["-.25", "-.25", ".50", ".50"]


def test_patches_apart_keep_their_order():
    patches = np.arange(4.0).reshape(4, 1, 1, 1) * np.ones((4, 1, 3, 3))
    canvas = _apart(patches, np.array([(0, 0), (0, 5), (5, 0), (5, 5)]), (1, 8, 8))
    assert canvas.shape == (1, 7, 7)
    assert [canvas[0, y, x] for y, x in ((0, 0), (0, 4), (4, 0), (6, 6))] == [0, 1, 2, 3]
    assert np.isnan(canvas[0, 3]).all()
