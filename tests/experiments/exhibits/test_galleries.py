"""Galleries: shared z, outputs by subject and level, distances to the reference."""

import pytest

from laboratories import SIGMAS, away, laboratory, shown
from smalti.experiments.exhibits.galleries import Galleries


def test_outputs_are_of_shared_z_and_their_errors_are_tabled(tmp_path):
    lab = laboratory()
    found = shown(Galleries(), lab, tmp_path)
    assert [picture.name for picture in found.pictures] == [
        "w1-overview",
        "w1-sigma-0.3",
        "w1-sigma-1.9",
        "w1-sigma-13",
    ]
    table = found.tables["w1-outputs"]
    assert sorted(table.distinct("sigma")) == sorted(SIGMAS)
    assert table.distinct("against") == ["ddpmpp"]
    assert set(table["n"]) == {lab.scale.gallery}
    assert table.where(subject="optimal")["mse"] == pytest.approx(
        [0.01 / 6] * 3, rel=1e-4
    )  # a row of six is off by 0.1
    assert table.where(subject="dit")["mse"] == pytest.approx([0.02 / 6] * 3, rel=1e-4)  # and one more


def test_another_network_changes_no_step_but_its_own():
    exhibit = Galleries()
    before = {step.name: step.key for step in exhibit.steps(laboratory(away(ddpmpp=0, dit=1)))}
    after = {step.name: step.key for step in exhibit.steps(laboratory(away(ddpmpp=0, dit=2)))}
    assert [name for name, key in before.items() if after[name] != key] == ["w1/dit"]


def test_one_network_is_enough_and_none_is_not(tmp_path):
    found = shown(Galleries(), laboratory(away(ddpmpp=0)), tmp_path)
    assert found.tables["w1-outputs"].distinct("subject") == ["optimal", "pspc-square", "pspc-flex"]
    assert "needs a network" in Galleries().missing(laboratory({}))
