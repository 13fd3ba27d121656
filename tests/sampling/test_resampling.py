import pytest
import torch

from smalti.core.errors import InputError
from smalti.sampling.resampling import area_adjoint, area_down, replace_low, smooth_up

SIZES = [((8, 12), (4, 6)), ((9, 7), (4, 5)), ((5, 6), (5, 3)), ((6, 6), (1, 1))]


def images(size, seed=0, dtype=torch.float64):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(("large", "small"), SIZES)
def test_up_is_a_right_inverse_of_down(large, small):
    coarse = images(small)
    torch.testing.assert_close(area_down(smooth_up(coarse, large), small), coarse, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("large", "small"), SIZES)
def test_the_adjoint_of_down(large, small):
    x, c = images(large), images(small, 1)
    left, right = (area_down(x, small) * c).sum(), (x * area_adjoint(c, large)).sum()
    torch.testing.assert_close(left, right, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("large", "small"), SIZES)
def test_constants_stay(large, small):
    torch.testing.assert_close(area_down(torch.ones(large).double(), small), torch.ones(small).double())
    torch.testing.assert_close(smooth_up(torch.ones(small).double(), large), torch.ones(large).double())


def test_down_is_the_mean_of_blocks_where_sizes_divide_and_of_cut_areas_elsewhere():
    x = images((8, 6))
    blocks = x.reshape(2, 3, 4, 2, 2, 3).mean((3, 5))
    torch.testing.assert_close(area_down(x, (4, 2)), blocks)
    row = torch.tensor([[1.0, 2.0, 4.0]]).double()
    torch.testing.assert_close(area_down(row, (1, 2)), torch.tensor([[(1 + 1) / 1.5, (1 + 4) / 1.5]]).double())


def test_up_is_the_smoothest_with_these_means():
    coarse = images((1, 4))[0, 0]
    up = smooth_up(coarse, (1, 8))
    rough = up.diff(dim=1).square().sum()
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        other = torch.randn(1, 8, generator=generator, dtype=torch.float64)
        other = up + 0.1 * (other - area_down(other, (1, 4)).repeat_interleave(2, 1))  # the same means
        assert other.diff(dim=1).square().sum() > rough


def test_replaced_low_frequencies_are_those_of_the_coarser_image():
    fine, coarse = images((8, 8)), images((4, 4), 1)
    new = replace_low(fine, coarse)
    torch.testing.assert_close(area_down(new, (4, 4)), coarse)
    detail = fine - smooth_up(area_down(fine, (4, 4)), (8, 8))
    torch.testing.assert_close(new - smooth_up(coarse, (8, 8)), detail)


def test_dtype_stays():
    assert area_down(images((4, 4), dtype=torch.float32), (2, 2)).dtype == torch.float32


def test_a_wrong_direction_is_an_error():
    with pytest.raises(InputError, match="4 rows cannot be averaged to 8"):
        area_down(images((4, 4)), (8, 4))
    with pytest.raises(InputError, match="2 rows cannot be averaged to 4"):
        smooth_up(images((4, 4)), (2, 8))
