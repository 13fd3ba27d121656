"""Tables of images as figures, and what else is drawn of samples."""

import io

import numpy as np
import pytest
from PIL import Image

from smalti.core.errors import InputError
from smalti.report.composite_figure import _apart
from smalti.report.figures import save_figure, style
from smalti.report.image_grid import broken, grid_figure, image_grid
from smalti.report.sample_figures import matrix_figure

BLACK, WHITE = -np.ones((1, 2, 2)), np.ones((1, 2, 2))


def test_images_are_where_they_belong(tmp_path):
    grey = np.zeros((1, 2, 2))
    with style():
        figure = image_grid([[BLACK, WHITE], [None, grey]], ["one", "two"], ["a", "b"], "what is shown")
        save_figure(figure, tmp_path / "grid.png")
    (axes,) = figure.axes
    picture = axes.images[0].get_array()
    height, width = picture.shape[:2]
    quarters = [picture[y, x, 0] for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    assert quarters == [0, 255, 255, 128]
    drawn = np.asarray(Image.open(io.BytesIO((tmp_path / "grid.png").read_bytes())).convert("L"))
    assert (drawn == 0).mean() > 0.03  # the black tile


@pytest.mark.parametrize("columns", [1, 5, 12])
def test_it_is_never_wider_than_asked(columns):
    with style():
        figure = image_grid([[BLACK] * columns], ["a rather long name"], note="words " * 60, width=6)
    assert figure.get_size_inches()[0] <= 6 + 1e-9
    figure.draw_without_rendering()


def test_captions_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="2 row captions for 1 rows"):
        image_grid([[BLACK]], ["a", "b"])
    with pytest.raises(InputError, match="no image"):
        image_grid([[None]])


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
