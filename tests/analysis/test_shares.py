"""Intervals of shares."""

import pytest

from smalti import InputError
from smalti.analysis.shares import share_interval


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
