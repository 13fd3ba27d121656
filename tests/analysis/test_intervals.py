import math

import numpy as np
import pytest
import torch

from smalti import InputError
from smalti.analysis.intervals import Bootstrap, Interval, share_interval


def test_mean_of_known_data():
    values = torch.arange(100.0)[:, None]
    interval = Bootstrap(values).mean_interval()
    assert interval.value == 49.5
    standard_error = float(values.std()) / 10
    assert abs(interval.standard_error / standard_error - 1) < 0.1
    assert abs(interval.low - (49.5 - 1.96 * standard_error)) < 1
    assert abs(interval.high - (49.5 + 1.96 * standard_error)) < 1


def test_intervals_cover():
    """95 % intervals of a mean and of a ratio hold the truth about 19 times in 20 (less some for n = 60)."""
    generator = np.random.default_rng(0)
    held = np.zeros(2)
    for _ in range(200):
        noise = generator.exponential(size=(60, 2))
        sums = torch.from_numpy(np.stack([2 * noise[:, 0] + noise[:, 1], noise[:, 0] + noise[:, 1]], 1))  # means 3, 2
        bootstrap = Bootstrap(sums, 400)
        mean, ratio = bootstrap.mean_interval(), bootstrap.interval(lambda means: means[..., 0] / means[..., 1])
        held += [mean.low <= 3 <= mean.high, ratio.low <= 1.5 <= ratio.high]
    assert ((held / 200 > 0.89) & (held / 200 < 0.99)).all(), held / 200


def test_pairs_are_resampled_together():
    generator = torch.Generator().manual_seed(0)
    sums = torch.rand(50, 1, generator=generator, dtype=torch.float64).expand(50, 2)
    ratio = Bootstrap(sums).interval(lambda means: means[..., 0] / means[..., 1])
    assert (ratio.value, ratio.low, ratio.high, ratio.standard_error) == (1, 1, 1, 0)


def test_the_same_every_time_and_blocks_do_not_matter(monkeypatch):
    sums = torch.rand(30, 3, generator=torch.Generator().manual_seed(1))
    first = Bootstrap(sums).replicates
    monkeypatch.setattr("smalti.analysis.intervals.BLOCK", 100)
    assert torch.allclose(Bootstrap(sums).replicates, first, rtol=1e-14)
    assert not torch.equal(Bootstrap(sums, seed=1).replicates, first)


def test_one_value_has_no_interval():
    interval = Bootstrap(torch.tensor([[2.0]])).mean_interval()
    assert interval.value == 2
    assert math.isnan(interval.low)
    assert math.isnan(interval.standard_error)


def test_undefined_statistics_have_no_interval():
    interval = Bootstrap(torch.zeros(5, 2)).interval(lambda means: means[..., 0] / means[..., 1])
    assert math.isnan(interval.value)
    assert math.isnan(interval.low)
    assert list(Interval(1, 0, 2, 0.5).named("x")) == ["x", "x_low", "x_high", "x_standard_error"]


def test_wilsons_interval():
    found = share_interval(7, 10)  # (p + z^2/2n +- z sqrt(p q / n + z^2 / 4 n^2)) / (1 + z^2 / n)
    assert (found.value, found.low, found.high) == pytest.approx((0.7, 0.39677, 0.89221), abs=1e-4)


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0, 0.19361), (16, 0.80639, 1)])
def test_all_or_none_has_a_width(count, low, high):
    found = share_interval(count, 16)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)
    assert found.standard_error > 0


@pytest.mark.parametrize(("count", "n"), [(1, 0), (3, 2), (-1, 2)])
def test_no_share(count, n):
    with pytest.raises(InputError, match="no share"):
        share_interval(count, n)
