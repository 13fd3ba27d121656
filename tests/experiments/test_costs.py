import math

import numpy as np
import pytest
import torch

from smalti import denoisers
from smalti.analysis import intervals
from smalti.core.schedule import edm_sigmas
from smalti.experiments import costs, evidence
from smalti.experiments import costs as module
from smalti.experiments.building import build_laboratory, short_names
from smalti.experiments.costs import Costs, cost_step, count_within
from smalti.experiments.steps import Store, run

KNOWN = Costs({"fast": (0.1, 0.2), "slow": (10.0, 30.0)})


def test_the_cost_of_levels():
    assert KNOWN.of("fast") == pytest.approx(0.3)
    assert KNOWN.of("slow", [1]) == 30
    assert KNOWN.of("unknown") == pytest.approx(0.02)
    assert Costs().of("unknown", [0]) == pytest.approx(0.01)
    assert KNOWN.scaled("slow", 0.5).of("slow") == 20


def test_affordable_is_within_its_bounds():
    assert KNOWN.affordable("fast", 3.1) == 10
    assert KNOWN.affordable("fast", 3.1, most=7) == 7
    assert KNOWN.affordable("slow", 3.1) == 2
    assert KNOWN.affordable("slow", 3.1, most=1) == 1
    assert KNOWN.affordable("slow", math.inf, most=10_000) == 10_000
    assert KNOWN.affordable("slow", 0, least=5, most=8) == 5


@pytest.fixture
def clock(monkeypatch):
    """Measured times are a second for each image of the source, whatever the machine does; the sizes that were timed."""
    timed = []

    def seconds(denoiser, sigma, n):
        timed.append(len(denoiser.source))
        return float(len(denoiser.source))

    monkeypatch.setattr(module, "_seconds", seconds)
    return timed


def measured(tmp_path, digits, limit):
    step = cost_step("x", denoisers.create("gaussian", digits), {}, edm_sigmas(), limit)
    return run([step], Store(tmp_path))["costs/x"]["seconds"]


def test_all_levels_get_a_cost(tmp_path, digits, clock):
    np.testing.assert_allclose(measured(tmp_path, digits, 1e9), np.full(18, len(digits)))


def test_slow_denoisers_are_measured_on_few_images_and_scaled(tmp_path, digits, clock, monkeypatch):
    monkeypatch.setattr(module, "PROBE", 30)
    np.testing.assert_allclose(measured(tmp_path, digits, 10.0), np.full(18, len(digits)))
    assert set(clock) == {30}


def test_real_costs_are_positive_and_kept(tmp_path, digits):
    first = measured(tmp_path, digits, 1.0)
    assert first.shape == (18,)
    assert (first > 0).all()
    assert (measured(tmp_path, digits, 1.0) == first).all(), "measured once"


def test_denoisers_that_do_not_fit_are_put_on_fewer_images_and_this_is_said(tmp_path, digits, monkeypatch):
    monkeypatch.setattr("smalti.experiments.building.FEWEST", 10)

    def seconds(denoiser, sigma, n):
        return 1e-3 * len(denoiser.source) if denoiser.name == "equivariant-local-score" else 1e-6

    monkeypatch.setattr(module, "_seconds", seconds)
    # 2 z of 2 processes at 3 levels take 12 * 0.12 s on all 120 images, and 4 % of 18.1 s are there
    lab = build_laboratory(digits, {}, Store(tmp_path), budget=18.1, sigmas=torch.tensor([80.0, 1, 0.1]).double())
    assert lab.limited == {"equivariant-local-score": 60}
    assert len(lab.denoisers["equivariant-local-score"].source) == 60
    assert len(lab.denoisers["optimal"].source) == 120
    assert lab.costs.of("equivariant-local-score") == pytest.approx(3 * 0.06)
    assert any("equivariant-local-score on 60" in note for note in lab.notes)
    assert lab.identity("equivariant-local-score")["source"]["images"] == 60
    everything = build_laboratory(digits, {}, Store(tmp_path), sigmas=lab.sigmas)
    assert everything.limited == {}


def test_short_names_stay_different():
    assert short_names(["ddpmpp-digits", "dit-digits"]) == ["ddpmpp", "dit"]
    assert short_names(["ddpmpp-digits", "ddpmpp-other"]) == ["ddpmpp-digits", "ddpmpp-other"]
    assert short_names(["edm-cifar10-32x32"]) == ["edm-cifar10-32x32"]


def test_as_many_as_fit_between_least_and_most():
    assert count_within(1.0, 0.1, 100, 2) == 10
    assert count_within(1.0, 0.1, 5, 2) == 5
    assert count_within(0.0, 0.1, 5, 2) == 2
    assert count_within(0.0, 0.1, 1, 2) == 1
    assert count_within(0.5, 0.1, 100, 2) == 8  # overdrawn, so that an interval tells something
    assert count_within(0.35, 0.1, 100, 2) == 3
    assert count_within(math.inf, 0.1, 10_000, 2) == 10_000


def test_claims_figures_and_budgets_agree_on_how_few_z_tell_nothing():
    assert evidence.LEAST == intervals.TELLING == costs.TELLING
