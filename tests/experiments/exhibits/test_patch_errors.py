"""Errors of patch posterior means: those of `smalti.calibrate`, tabled, with the schedule that follows."""

import dataclasses

import pytest

from laboratories import SIGMAS, TINY, laboratory, shown
from smalti import Optimal
from smalti.analysis.calibration import calibrate
from smalti.experiments.exhibits.patch_errors import CROPS, PatchErrors
from stand_ins import Away

LIKE_OPTIMAL = {"ddpmpp": lambda source: Away(source, 0.0)}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return shown(PatchErrors(), laboratory(LIKE_OPTIMAL), tmp_path_factory.mktemp("w5"))


def test_rows_are_those_of_a_calibration(found):
    lab = laboratory(LIKE_OPTIMAL)
    table = found.tables["w5-patches"]
    assert table.columns[:7] == ("process", "target", "side", "sigma", "n", "crops", "error")
    wanted = calibrate("pspc-square", lab.source, Optimal(lab.source), None, SIGMAS, lab.scale.z, crops=min(CROPS, 2))
    forward = table.where(process="forward", target="optimal")
    assert forward["error"] == pytest.approx(wanted.errors["forward"].mean(2).flatten().tolist(), rel=1e-6)
    assert table.distinct("side") == [3, 5, 6]
    assert set(table["n"]) == {lab.scale.z}
    assert [row["crops"] for row in forward][:3] == [2, 2, 1]


def test_a_network_like_optimal_wants_whole_images(found):
    table, schedule = found.tables["w5-patches"], found.tables["w5-schedule"]
    assert max(table.where(side=6)["error"]) < 1e-12
    assert table["difference"] == pytest.approx(table["error"], abs=1e-12)  # nothing is nearer than optimal
    assert schedule.columns[:2] == ("sigma", "side")
    assert schedule.where(sigma=1.9)["side"] == [6]
    assert schedule["side_published"] == [6, 3, 3]
    assert "more than a tenth of that at " in found.pictures[0].caption
    assert "no level at which all sides are nearer" in found.pictures[0].caption


def test_optimal_is_held_against_on_the_same_patches(tmp_path):
    """The network is optimal plus 0.1 on the first row: of 3 x 3 patches a third (or none) of the pixels, of the whole image a sixth."""
    scale = dataclasses.replace(TINY, crops=16)  # all
    found = shown(PatchErrors(), laboratory({"ddpmpp": lambda source: Away(source, 0.1)}, scale), tmp_path)
    table = found.tables["w5-patches"].where(process="forward", target="ddpmpp")
    for side, share in ((3, 1 / 4 * 1 / 3), (5, 1 / 2 * 1 / 5), (6, 1 / 6)):
        rows = table.where(side=side)
        optimal = [row["error"] - row["difference"] for row in rows]
        assert optimal == pytest.approx([0.01 * share] * len(SIGMAS), rel=1e-3)


def test_parts_are_steps_of_their_own_and_keep_to_their_time():
    exhibit = PatchErrors()
    lab = laboratory(LIKE_OPTIMAL, seconds=0.2)
    steps = exhibit.steps(lab)
    assert [step.name for step in steps] == ["w5/forward/optimal", "w5/reverse/ddpmpp", "w5/forward/ddpmpp"]
    assert {step.parameters["n"] for step in steps} <= set(range(2, lab.scale.z + 1))
    assert sum(step.seconds for step in steps) <= 2 * exhibit.share * 0.2
    assert "needs a network" in exhibit.missing(laboratory({}))
