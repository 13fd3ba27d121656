import numpy as np
import pytest

from smalti.analysis.pixels import choose_pixels
from smalti.core.errors import InputError


def test_names():
    assert choose_pixels(None, 2, 3).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert choose_pixels("all", 2, 3).tolist() == choose_pixels(None, 2, 3).tolist()
    assert choose_pixels("centre-edge", 32, 32).tolist() == [[15, 15], [15, 0]]
    assert choose_pixels("centre-edge", 3, 1).tolist() == [[1, 0]]
    assert choose_pixels(3, 32, 32).tolist() == choose_pixels("grid:3", 32, 32).tolist()
    assert sorted(set(choose_pixels(3, 32, 32)[:, 0].tolist())) == [5, 16, 26]
    assert choose_pixels(8, 8, 8).tolist() == choose_pixels(None, 8, 8).tolist()
    assert choose_pixels(np.array([[1, 2], [0, 0]]), 4, 4).tolist() == [[1, 2], [0, 0]]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        ("center", "must be all, centre-edge"),
        (0, "has 1 to 4 along a side"),
        ("grid:5", "has 1 to 4 along a side"),
        (1.5, "whole number"),
        ([], "no pixels are named"),
        ([(0, 4)], "lies outside"),
        ([(-1, 0)], "lies outside"),
        ([(1, 1), (1, 1)], "named twice"),
        ([1, 2], "pairs of whole numbers"),
        ([(1.5, 2)], "whole number"),
    ],
)
def test_bad_pixels(pixels, message):
    with pytest.raises(InputError, match=message):
        choose_pixels(pixels, 4, 4)
