"""The error to optimal: known for stand-ins, and the agreement of their deviations."""

import dataclasses

import pytest

from laboratories import TINY, away, laboratory, shown
from smalti.experiments.exhibits.error import ErrorToOptimal


def test_errors_are_those_of_the_stand_ins(tmp_path):
    lab = laboratory()
    found = shown(ErrorToOptimal(), lab, tmp_path)
    error = found.tables["w2-error"]
    assert error.columns == ("network", "sigma", "n", "mse", "mse_low", "mse_high", "mse_standard_error")
    assert error["mse"] == pytest.approx([0.01 / 6] * 2 * lab.scale.error_levels, rel=1e-3)
    assert (min(error["sigma"]), max(error["sigma"])) == pytest.approx((0.01, 100))
    assert set(error["n"]) == {lab.scale.z}
    assert "0.0017" in found.pictures[0].caption  # the peak, as measured
    cosines = found.tables["w2-agreement"]
    assert cosines.columns[:5] == ("a", "b", "sigma", "n", "cosine")
    assert cosines["cosine"] == pytest.approx([0] * lab.scale.error_levels, abs=1e-3)  # other rows of pixels


def test_networks_that_deviate_alike_have_cosine_1(tmp_path):
    found = shown(ErrorToOptimal(), laboratory(away(ddpmpp=2, dit=2)), tmp_path)
    assert found.tables["w2-agreement"]["cosine"] == pytest.approx([1] * 4, abs=1e-6)


def test_one_network_has_no_agreement(tmp_path):
    found = shown(ErrorToOptimal(), laboratory(away(ddpmpp=0)), tmp_path)
    assert list(found.tables) == ["w2-error"]
    assert [picture.name for picture in found.pictures] == ["w2-error", "w2-outputs"]
    assert "needs a network" in ErrorToOptimal().missing(laboratory({}))


def test_the_budget_limits_the_number_of_z():
    exhibit, z = ErrorToOptimal(), 3 * 4 * 1e-3  # seconds: 3 subjects at 4 levels, 1 ms each
    scale = dataclasses.replace(TINY, z=100)
    (step, _) = exhibit.steps(laboratory(scale=scale, seconds=20.5 * z / exhibit.share))
    assert step.parameters["n"] == 20
    assert step.seconds == pytest.approx(20 * z)
