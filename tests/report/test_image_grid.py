"""Tables of images: exact pixels, room for captions."""

import io

import numpy as np
import pytest
from PIL import Image

from smalti.core.errors import InputError
from smalti.report.figures import save_figure, style
from smalti.report.image_grid import image_grid

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
