"""Sides of sensitive areas: known for denoisers that average squares of pixels."""

import dataclasses

import pytest
import torch

from helpers import random_source
from laboratories import TINY, Blurs, laboratory, shown
from smalti import denoisers
from smalti.experiments.exhibits.sensitivity import SensitiveArea

NETWORKS = {"ddpmpp": lambda source: Blurs(source, 1), "dit": lambda source: Blurs(source, 3)}


def test_sides_are_those_of_the_stand_ins(tmp_path):
    lab = laboratory(NETWORKS)
    found = shown(SensitiveArea(), lab, tmp_path)
    table = found.tables["w4-sides"]
    assert table.columns[:5] == ("subject", "sigma", "share", "n", "side")
    assert set(table.where(subject="ddpmpp")["side"]) == {1.0}
    assert set(table.where(subject="dit")["side"]) == {3.0}
    assert set(table.where(subject="dit")["side_high"]) == {3.0}
    assert table.distinct("share") == [0.5, 0.75, 0.95]
    assert set(table["pixels"]) == {36}
    assert set(table["groups"]) == {3}
    assert "ddpmpp 3 z in 3" in found.pictures[0].caption
    assert {row["subject"]: row["n"] for row in table} == dict.fromkeys(
        (*NETWORKS, "gaussian", "optimal", "pspc-square"), 3
    )
    assert [picture.name for picture in found.pictures] == ["w4-sides", "w4-centre", "w4-edge"]
    assert "100 %" in found.pictures[1].caption  # of the first one's gradient is on the pixel itself


def test_what_does_not_fit_into_the_time_is_left_out_and_said(tmp_path):
    lab = laboratory({"ddpmpp": NETWORKS["ddpmpp"]}, seconds=1e-5)
    found = shown(SensitiveArea(), lab, tmp_path)
    table = found.tables["w4-sides"]
    assert table.distinct("subject") == ["ddpmpp", "gaussian"]
    assert set(table["n"]) == {2, 3}  # the least of a network; one z tells all of the Gaussian denoiser
    assert found.notes == ["Gradients of optimal and pspc-square did not fit into the time budget."]


def test_larger_images_have_a_grid_and_averages_leave_out_the_shown_pixels(tmp_path):
    lab = laboratory(NETWORKS)
    source = random_source(10, (1, 9, 11))
    networks = {name: make(source) for name, make in NETWORKS.items()}
    lab = dataclasses.replace(
        lab, source=source, networks=networks, denoisers={"optimal": denoisers.create("optimal", source)},
        sigmas=torch.tensor([1.0], dtype=torch.float64), scale=dataclasses.replace(TINY, sensitivity=1), seconds=0.04,
    )  # fmt: skip
    found = shown(SensitiveArea(), lab, tmp_path)
    assert set(found.tables["w4-sides"]["pixels"]) == {16}


def test_another_network_changes_no_step_but_its_own():
    exhibit = SensitiveArea()
    before = {step.name: step.key for step in exhibit.steps(laboratory(NETWORKS))}
    after = {step.name: step.key for step in exhibit.steps(laboratory({**NETWORKS, "dit": lambda s: Blurs(s, 5)}))}
    assert [name for name, key in before.items() if after[name] != key] == ["w4/dit"]
    assert "needs a network" in exhibit.missing(laboratory({}))


@pytest.mark.parametrize("seconds", [0.05, 0.2, 1.0])
def test_all_keep_to_their_time(seconds):
    exhibit = SensitiveArea()
    steps = exhibit.steps(laboratory(NETWORKS, seconds=seconds, cost=1e-4))
    assert sum(step.seconds for step in steps) <= 2 * exhibit.share * seconds
