"""Structural similarity."""

import numpy as np
import pytest
import torch

from helpers import random_source
from smalti import InputError
from smalti.analysis.ssim import C1, C2, ssim, ssim_window


def images(shape=(1, 8, 8), count=4) -> torch.Tensor:
    return random_source(count, shape).working()


def test_equal_images_have_1_and_others_less():
    x = images()
    assert torch.allclose(ssim(x, x), torch.ones(4, dtype=torch.float64))
    assert bool((ssim(x, x.roll(1, 0)) < 0.9).all())


def test_it_is_the_formula_window_by_window():
    a, b = images((2, 8, 9)).double(), images((2, 8, 9)).roll(1, 0).double()
    side, found = 3, []
    assert ssim_window(8, 9) == side
    for c in range(2):
        for y in range(8 - side + 1):
            for x in range(9 - side + 1):
                p, q = (image[0, c, y : y + side, x : x + side].numpy().ravel() for image in (a, b))
                s = np.cov(p, q, ddof=1)
                likeness = (2 * p.mean() * q.mean() + C1) / (p.mean() ** 2 + q.mean() ** 2 + C1)
                found.append(likeness * (2 * s[0, 1] + C2) / (s[0, 0] + s[1, 1] + C2))
    assert float(ssim(a, b)[0]) == pytest.approx(np.mean(found), rel=1e-9)


def test_it_is_symmetric_and_negative_for_opposite_textures():
    a, b = images(), images().roll(1, 0)
    assert torch.allclose(ssim(a, b), ssim(b, a))
    texture = 0.3 * torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert bool((ssim(0.4 + texture, 0.4 - texture) < 0).all())


def test_windows_fit_the_images():
    assert [ssim_window(side, side) for side in (3, 8, 12, 14, 16, 32)] == [3, 3, 5, 7, 7, 7]


@pytest.mark.parametrize("shape", [(2, 1, 2, 2), (2, 8, 8)])
def test_wrong_shapes(shape):
    with pytest.raises(InputError, match="ssim needs"):
        ssim(torch.zeros(shape), torch.zeros(shape))
