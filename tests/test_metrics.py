"""`smalti.metrics` against closed forms."""

import math

import numpy as np
import pytest
import torch

from helpers import random_source
from smalti import Crops, InputError, PosteriorMeanCollection, Source, metrics
from smalti.metrics import C1, C2, ssim, ssim_window


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 3, 4, 4, generator=generator), torch.randn(5, 3, 4, 4, generator=generator)


def test_of_equals(pair):
    a, _ = pair
    assert metrics.mse(a, a).tolist() == [0] * 5
    assert torch.allclose(metrics.cosine(a, a), torch.ones(5, dtype=torch.float64))
    assert metrics.psnr(a, a).tolist() == [math.inf] * 5
    assert float(metrics.r2(a, a)) == 1
    assert torch.allclose(metrics.pearson_r2(a, a), torch.ones(5, dtype=torch.float64))


def test_definitions(pair):
    a, b = (x.double() for x in pair)
    assert torch.allclose(metrics.mse(*pair), ((a - b) ** 2).mean((1, 2, 3)))
    assert torch.allclose(metrics.cosine(*pair), torch.nn.functional.cosine_similarity(a.flatten(1), b.flatten(1)))
    assert torch.allclose(metrics.psnr(a, a + 0.2), torch.full((5,), 20.0, dtype=torch.float64))
    assert torch.allclose(metrics.psnr(a, a + 0.1, value_range=1.0), torch.full((5,), 20.0, dtype=torch.float64))
    expected = 1 - ((a - b) ** 2).sum() / ((a - a.mean(0)) ** 2).sum()
    assert torch.allclose(metrics.r2(*pair), expected)
    correlation = torch.stack(
        [torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1] for x, y in zip(a, b, strict=True)]
    )
    assert torch.allclose(metrics.pearson_r2(*pair), correlation**2)


def test_the_two_r2_differ(pair):
    a, _ = pair
    assert abs(float(metrics.r2(a, a.mean(0).expand_as(a)))) < 1e-6, "the mean image explains no variance"
    assert torch.allclose(metrics.pearson_r2(a, 3 * a - 1), torch.ones(5, dtype=torch.float64)), "any gain and offset"
    assert float(metrics.r2(a, 3 * a - 1)) < 0


def test_undefined():
    zero, one = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    assert metrics.cosine(zero, one).isnan().all()
    assert metrics.pearson_r2(one, one).isnan().all()
    assert float(metrics.r2(one, one)) == 1
    assert metrics.r2(one, zero).isnan()
    with pytest.raises(InputError, match="at least two"):
        metrics.r2(zero[:1], one[:1])
    with pytest.raises(InputError, match="one shape"):
        metrics.mse(zero, one[:1])


def test_half_precision_is_summed_in_double():
    a = torch.full((1, 1, 64, 64), 1.0, dtype=torch.float16)
    assert float(metrics.mse(a, a * 0)) == 1


def test_how_near_to_a_training_set():
    images = torch.zeros(4, 1, 1, 2)
    images[:, 0, 0, 0] = torch.tensor([0.0, 0.3, 0.4, 1.0])
    source = Source(images)
    x = torch.tensor([[[[0.1, 0.0]]], [[[0.0, 0.0]]], [[[-1.0, 0.0]]]])
    assert torch.allclose(metrics.distance_ratio(x, source), torch.tensor([0.5, 0, 1 / 1.3], dtype=torch.float64))
    assert torch.allclose(metrics.distance_ratio(x, source, 3), torch.tensor([1 / 3, 0, 1 / 1.4], dtype=torch.float64))
    assert torch.allclose(metrics.adaptive_distance(x[:1], source, 3), torch.tensor([0.1 / (0.5 * 0.2)]).double())
    assert torch.allclose(metrics.adaptive_distance(x[2:], source, 1, 0.25), torch.tensor([4.0]).double())
    twice = Source(images[[0, 0, 1]])
    assert metrics.distance_ratio(x[1:2], twice).isnan().all()
    assert metrics.distance_ratio(x[1:2], twice, 3).tolist() == [0]
    flipped = torch.tensor([[[[0.0, 0.3]]]])
    assert float(metrics.distance_ratio(flipped, source.with_hflip(True))) < 1e-6
    assert float(metrics.distance_ratio(flipped, source)) > 0.5
    for wrong in (1, 5, 2.5):
        with pytest.raises(InputError, match="k"):
            metrics.distance_ratio(x, source, wrong)
    with pytest.raises(InputError, match="alpha"):
        metrics.adaptive_distance(x, source, 2, 0)


def test_effective_numbers():
    equal = torch.full((3, 7), 2.0)
    assert torch.allclose(metrics.effective_number(equal), torch.full((3,), 7.0, dtype=torch.float64))
    assert torch.allclose(metrics.participation(equal), torch.full((3,), 7.0, dtype=torch.float64))
    one = torch.eye(4)
    assert metrics.effective_number(one).tolist() == metrics.participation(one).tolist() == [1] * 4
    w = torch.tensor([0.5, 0.25, 0.25])
    assert math.isclose(float(metrics.effective_number(w)), 2**1.5)
    assert math.isclose(float(metrics.participation(w)), 1 / 0.375)
    for wrong in (torch.zeros(3), torch.tensor([1.0, -1.0, 3.0]), torch.tensor([math.nan]), torch.tensor(1.0), [1.0]):
        with pytest.raises(InputError, match="weights must be"):
            metrics.effective_number(wrong)


def test_effective_number_is_that_of_a_posterior():
    source = Source(torch.rand(9, 1, 3, 3, generator=torch.Generator().manual_seed(0)))
    collection = PosteriorMeanCollection(source, Crops(2))
    z = source.working(slice(0, 2)) + 0.3
    posterior = collection.posterior(z, 0.5, [0, 3], top=9)
    assert torch.allclose(metrics.effective_number(posterior.weights), posterior.effective_number)
    assert bool((metrics.participation(posterior.weights) <= posterior.effective_number).all())


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
