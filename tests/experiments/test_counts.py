"""How a time budget is shared."""

import dataclasses
import math

import pytest
import torch

from smalti.experiments.costs import Costs
from smalti.experiments.counts import share_out
from smalti.experiments.laboratory import Laboratory
from smalti.experiments.scale import QUICK

COSTS = Costs({"quick": (0.001, 0.001), "middling": (0.01, 0.01), "slow": (0.5, 0.5)})


@pytest.fixture
def lab(digits) -> Laboratory:
    return Laboratory(digits, None, {}, {}, {}, {}, torch.tensor([2.0, 1.0]), QUICK, COSTS, 10.0)


def test_what_quick_ones_leave_goes_to_the_slower_ones(lab):
    found = share_out(lab, ["slow", "quick", "middling"], 12.0, most=100)
    assert list(found) == ["slow", "quick", "middling"]
    assert found == {"quick": 100, "middling": 100, "slow": 9}  # 12 - 0.2 - 2 = 9.8 seconds


def test_all_keep_within_the_budget(lab):
    found = share_out(lab, ["slow", "quick", "middling"], 6.0, most=700)
    assert sum(n * COSTS.of(name) for name, n in found.items()) <= 6.0
    assert found["quick"] > found["middling"] > found["slow"] >= lab.scale.least


def test_the_least_is_kept_and_what_is_too_slow_left_out(lab):
    assert share_out(lab, ["slow"], 3.0, most=100) == {"slow": 3}
    assert share_out(lab, ["quick", "slow"], 2.0, most=1000)["slow"] == lab.scale.least
    assert share_out(lab, ["quick", "slow"], 1.9, most=100) == {"quick": 100, "slow": 0}


def test_without_a_budget_all_get_the_most(lab):
    free = dataclasses.replace(lab, seconds=math.inf)
    assert share_out(free, ["slow", "quick"], free.seconds, most=10_000) == {"slow": 10_000, "quick": 10_000}


def test_weights_are_of_time(lab):
    found = share_out(lab, ["middling", "slow"], 9.0, most=1000, weights={"slow": 2.0})
    assert found == {"middling": 150, "slow": 6}
