import pytest
import torch

from smalti.core.errors import InputError
from smalti.quality import kid


def features(count, shift=0.0, seed=0):
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def by_definition(x, y):
    d = x.shape[1]

    def mean(a, b, same):
        pairs = [(float(p @ q) / d + 1) ** 3 for i, p in enumerate(a) for j, q in enumerate(b) if not (same and i == j)]
        return sum(pairs) / len(pairs)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def test_value_is_the_unbiased_estimate():
    x, y = features(7), features(9, 0.5, 1)
    assert kid(x, y).value == pytest.approx(by_definition(x, y), abs=1e-12)


def test_error_is_the_jackknife_by_leaving_each_out():
    x, y = features(6), features(8, 0.5, 1)
    total = 0.0
    for a, left in (
        (x, lambda i: (torch.cat([x[:i], x[i + 1 :]]), y)),
        (y, lambda i: (x, torch.cat([y[:i], y[i + 1 :]]))),
    ):
        values = torch.tensor([by_definition(*left(i)) for i in range(len(a))])
        total += float((len(a) - 1) / len(a) * (values - values.mean()).square().sum())
    found = kid(x, y)
    assert found.standard_error == pytest.approx(total**0.5, rel=1e-6)
    assert found.high - found.low == pytest.approx(2 * 1.959964 * total**0.5, rel=1e-5)


def test_two_sets_of_one_distribution_have_an_interval_about_zero_and_others_not():
    inside = sum(
        found.low <= 0 <= found.high for found in (kid(features(60, 0, s), features(60, 0, 100 + s)) for s in range(20))
    )
    assert inside >= 17
    assert kid(features(60, 1.0), features(60, 0, 1)).low > 0


def test_bad_input():
    with pytest.raises(InputError, match="at least 3 images on both sides, not 2 and 5"):
        kid(features(2), features(5))
    with pytest.raises(InputError, match="features have shapes"):
        kid(features(4), features(4)[:, :3])
