"""Limits from held-out images: the promised rate of false alarms, exactly."""

from __future__ import annotations

import numpy as np
import pytest

from smalti import InputError
from smalti.audit.limits import Limits, needed, set_limits


def test_the_rate_of_false_alarms_is_the_promised_one():
    """Two looks that depend on each other: over many draws the false alarms are k / (n + 1), 5 % of the draws exceed `upper`."""
    random = np.random.default_rng(0)

    def looks(count):
        common = random.gamma(2, size=count)
        return {"a": common + random.random(count), "b": common * random.random(count)}

    rates, uppers = [], []
    for _ in range(400):
        limits = set_limits(looks(99), 0.03)
        rates.append(limits.near(looks(2000)).mean())
        uppers.append(limits.upper)
    assert (limits.cuts, limits.realised, limits.enough) == (3, 0.03, True)
    assert np.mean(rates) == pytest.approx(0.03, abs=4 * np.std(rates) / 20)
    assert np.mean(np.array(rates) > uppers) == pytest.approx(0.05, abs=0.04)


def test_looks_cut_in_turn_and_each_from_what_is_left():
    limits = set_limits({"a": np.array([1, 2, 3, 4.0]), "b": np.array([1, 9, 2, 8.0])}, 0.6)
    assert limits.cuts == 3
    assert limits.limits == {"a": 2, "b": 2}  # a takes the first, b the third, a the second
    near = limits.near({"a": np.array([1.9, 2, 5]), "b": np.array([9, 2, 1.9])})
    assert near.tolist() == [True, False, True]


def test_one_look_has_the_order_statistic():
    values = np.random.default_rng(1).random(299)
    assert set_limits({"a": values}, 0.01).limits["a"] == np.sort(values)[2]


def test_with_too_few_the_strictest_limit_is_given_and_said():
    limits = set_limits({"a": np.arange(1, 20.0), "b": np.arange(1, 20.0)}, 0.01)
    assert not limits.enough
    assert limits.limits == {"a": 1.0, "b": None}
    assert limits.realised == pytest.approx(0.05)
    assert limits.upper == pytest.approx(1 - 0.05 ** (1 / 19))  # Beta(1, 19)
    assert (needed(0.01), needed(0.01, 2), needed(0.05)) == (99, 199, 19)


def test_the_chance_of_false_alarms_is_that_of_drawing_ranks():
    """m images among n held-out ones: all orders alike, so that the k-th smallest held-out distance lies where it may."""
    limits = Limits(0.1, 19, 2, {"a": 1.0}, True)
    random = np.random.default_rng(2)
    values = random.random((20_000, 24))
    counts = (values[:, 19:] < np.sort(values[:, :19], 1)[:, 1:2]).sum(1)
    for flagged in range(6):
        assert limits.chance(flagged, 5) == pytest.approx((counts >= flagged).mean(), abs=0.012)
    assert limits.chance(0, 5) == pytest.approx(1)


def test_bad_input_is_said():
    for rate in (0, 1, -1, float("nan")):
        with pytest.raises(InputError, match="rate"):
            set_limits({"a": np.ones(9)}, rate)
    with pytest.raises(InputError, match="at least one"):
        set_limits({"a": np.ones(0)})
    with pytest.raises(InputError, match="finite"):
        set_limits({"a": np.array([np.nan, 1])})
