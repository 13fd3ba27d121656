"""The error to optimal: known for stand-ins, and the agreement of their deviations."""

import dataclasses
import math

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
    cosines = found.tables["w2-agreement"].where(a="ddpmpp")
    assert cosines.columns[:5] == ("a", "b", "sigma", "n", "cosine")
    assert cosines["cosine"] == pytest.approx([0] * lab.scale.error_levels, abs=1e-3)  # other rows of pixels


def test_networks_that_deviate_alike_have_cosine_1(tmp_path):
    found = shown(ErrorToOptimal(), laboratory(away(ddpmpp=2, dit=2)), tmp_path)
    assert found.tables["w2-agreement"].where(a="ddpmpp")["cosine"] == pytest.approx([1] * 4, abs=1e-6)


def test_denoisers_that_are_no_networks_stand_beside_on_the_same_z(tmp_path):
    lab = laboratory()
    lab = dataclasses.replace(lab, networks={**lab.networks, "square": lab.denoisers["pspc-square"]}, _identities={})
    found = shown(ErrorToOptimal(), lab, tmp_path)
    rows = found.tables["w2-agreement"]
    assert rows.distinct("a")[-2:] == ["gaussian", "pspc-square"]
    same = rows.where(a="pspc-square", b="square")["cosine"]
    assert [value for value in same if not math.isnan(value)] == pytest.approx([1] * sum(map(math.isfinite, same)))
    assert any(map(math.isfinite, same))
    assert rows.where(a="gaussian", b="square")["cosine"] != same
    assert len(rows.where(a="gaussian")) == len(lab.networks) * lab.scale.error_levels
    assert "gaussian and ddpmpp" in found.pictures[1].caption


def test_what_is_slow_or_limited_does_not_stand_beside():
    names = [
        step.name for step in ErrorToOptimal().steps(dataclasses.replace(laboratory(), limited={"pspc-square": 9}))
    ]
    assert names == ["w2/deviations", "w2/examples", "w2/deviations/gaussian"]
    slow = laboratory(seconds=1.0)
    costs = dataclasses.replace(slow.costs, seconds={**slow.costs.seconds, "gaussian": (1.0,) * 3})
    names = [step.name for step in ErrorToOptimal().steps(dataclasses.replace(slow, costs=costs))]
    assert names == ["w2/deviations", "w2/examples", "w2/deviations/pspc-square"]


def test_levels_of_large_errors_are_said_as_stretches_and_few_z_have_no_band(tmp_path):
    found = shown(ErrorToOptimal(), laboratory(), tmp_path)
    assert "above a quarter of its peak at all levels (ddpmpp)" in found.pictures[0].caption
    assert "none for n < 8" in found.pictures[0].caption
    bands = found.pictures[0].figure.axes[0].collections
    assert all(not len(band.get_paths()) for band in bands)
    enough = shown(ErrorToOptimal(), laboratory(scale=dataclasses.replace(TINY, z=8)), tmp_path)
    assert all(len(band.get_paths()) for band in enough.pictures[0].figure.axes[0].collections)


def test_one_network_has_no_agreement(tmp_path):
    found = shown(ErrorToOptimal(), laboratory(away(ddpmpp=0)), tmp_path)
    assert found.tables["w2-agreement"].distinct("a") == ["gaussian", "pspc-square"]
    assert [picture.name for picture in found.pictures] == ["w2-error", "w2-outputs"]
    assert "needs a network" in ErrorToOptimal().missing(laboratory({}))


def test_the_budget_limits_the_number_of_z():
    exhibit, z = ErrorToOptimal(), 3 * 4 * 1e-3  # seconds: 3 subjects at 4 levels, 1 ms each
    scale = dataclasses.replace(TINY, z=100)
    step, *_ = exhibit.steps(laboratory(scale=scale, seconds=20.5 * z / exhibit.share))
    assert step.parameters["n"] == 20
    assert step.seconds == pytest.approx(20 * z)
