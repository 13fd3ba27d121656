"""What exhibits share: how a time budget is shared out, and which names are taken."""

import dataclasses
import math

import pytest
import torch

from laboratories import away, laboratory
from smalti import InputError
from smalti.experiments.costs import Costs
from smalti.experiments.laboratory import Laboratory, check_names
from smalti.experiments.scale import QUICK

COSTS = Costs({"quick": (0.001, 0.001), "middling": (0.01, 0.01), "slow": (0.5, 0.5)})


@pytest.fixture
def lab(digits) -> Laboratory:
    return Laboratory(digits, None, {}, {}, {}, {}, torch.tensor([2.0, 1.0]), QUICK, COSTS, 10.0)


def test_what_quick_ones_leave_goes_to_the_slower_ones(lab):
    found = lab.share_out(["slow", "quick", "middling"], 12.0, most=100)
    assert list(found) == ["slow", "quick", "middling"]
    assert found == {"quick": 100, "middling": 100, "slow": 9}  # 12 - 0.2 - 2 = 9.8 seconds


def test_all_keep_within_the_budget(lab):
    found = lab.share_out(["slow", "quick", "middling"], 6.0, most=700)
    assert sum(n * COSTS.of(name) for name, n in found.items()) <= 6.0
    assert found["quick"] > found["middling"] > found["slow"] >= lab.scale.least


def test_the_least_is_kept_and_what_is_too_slow_left_out(lab):
    assert lab.share_out(["slow"], 3.0, most=100) == {"slow": 3}
    assert lab.share_out(["quick", "slow"], 2.0, most=1000)["slow"] == lab.scale.least
    assert lab.share_out(["quick", "slow"], 1.9, most=100) == {"quick": 100, "slow": 0}


def test_without_a_budget_all_get_the_most(lab):
    free = dataclasses.replace(lab, seconds=math.inf)
    assert free.share_out(["slow", "quick"], free.seconds, most=10_000) == {"slow": 10_000, "quick": 10_000}


def test_weights_are_of_time(lab):
    found = lab.share_out(["middling", "slow"], 9.0, most=1000, weights={"slow": 2.0})
    assert found == {"middling": 150, "slow": 6}


DENOISERS = ("optimal", "gaussian")


@pytest.mark.parametrize(
    "name", ["gaussian", "Optimal", "half1", "optimal-half2", "optimal-mine", "mine", "z", "reference"]
)
def test_networks_do_not_take_the_names_of_others(name):
    with pytest.raises(InputError, match=f"a network cannot be called '{name}'.*rename its file"):
        check_names(["ddpmpp", name], ["mine", "yours"], DENOISERS)


def test_other_names_are_free():
    check_names(["ddpmpp", "ddpmpp-half1", "halfway", "gaussian-like"], ["half1", "half2"], DENOISERS)
    with pytest.raises(InputError, match="more than capitals"):
        check_names(["dit", "DiT"], [], DENOISERS)
    with pytest.raises(InputError, match="network of a half cannot be called 'gaussian'"):
        check_names(["dit"], ["gaussian"], DENOISERS)


def test_a_laboratory_has_no_two_of_a_name():
    with pytest.raises(InputError, match="cannot be called 'gaussian'"):
        laboratory(away(gaussian=0))
    lab = laboratory()
    with pytest.raises(InputError, match="cannot be called 'ddpmpp'"):
        dataclasses.replace(lab, halves={"ddpmpp": (lab.networks["dit"], lab.source)})
