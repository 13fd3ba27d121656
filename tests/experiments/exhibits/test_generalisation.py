"""Generalisation: networks of halves that agree, denoisers that copy."""

import dataclasses

import numpy as np
import pytest
import torch

from helpers import random_source
from laboratories import TINY, away, laboratory, shown
from smalti import Gaussian, Optimal
from smalti.experiments.exhibits.generalisation import Generalisation

SIGMAS = (12.9, 1.9, 0.3, 0.02)  # down to where samples of optimal denoisers are copies
COLUMNS = ("comparison", "a", "b", "sigma", "n", "value", "value_low", "value_high", "value_standard_error")


def with_halves(networks=None, agree=True, z=8, **changes):
    """Two halves of the images; their "networks" are one Gaussian denoiser of all, or each half's own optimal denoiser."""
    lab = laboratory(networks, dataclasses.replace(TINY, z=z, samples=8))
    lab = dataclasses.replace(lab, sigmas=torch.tensor(SIGMAS, dtype=torch.float64))
    halves = {}
    for part in (0, 1):
        half = lab.source.subset(np.arange(part, len(lab.source), 2))
        halves[f"half{part + 1}"] = (Gaussian(lab.source) if agree else Optimal(half), half)
    return dataclasses.replace(lab, halves=halves, held_out=random_source(10, lab.source.shape, seed=5), **changes)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return shown(Generalisation(), with_halves(), tmp_path_factory.mktemp("halves"))


def rows(found, comparison):
    return found.tables["halves"].where(comparison=comparison)


def test_networks_that_are_equal_agree_and_the_optimal_denoisers_do_not(found):
    assert found.tables["halves"].columns == COLUMNS
    assert rows(found, "networks")["value"] == [0.0] * len(SIGMAS)
    assert rows(found, "networks")["sigma"] == list(SIGMAS)
    assert min(rows(found, "optimals")["value"]) > 0
    assert len(rows(found, "network-optimal")) == 2 * len(SIGMAS)
    paired = rows(found, "networks-less-network-optimal")
    assert all(value < 0 for value in paired["value_high"])
    for row in paired:
        own = rows(found, "network-optimal").where(a=row["a"], sigma=row["sigma"])["value"][0]
        assert row["value"] == pytest.approx(-own)


def test_samples_of_the_optimal_denoisers_are_copies(found):
    copies = {row["a"]: row for row in rows(found, "sample-copies")}
    for name, images in (("optimal-half1", "half1 images"), ("optimal-half2", "half2 images"), ("optimal", "images")):
        assert copies[name]["value"] == 1
        assert copies[name]["b"] == images
        assert 0.6 < copies[name]["value_low"] < 1
        assert copies[name]["sigma"] is None
    assert copies["half1"]["value"] == 0
    distances = {(row["a"], row["b"]): row["value"] for row in rows(found, "sample-distance")}
    assert distances["half1", "half2"] == 0
    assert distances["optimal-half1", "optimal-half2"] > 0.01


def test_it_can_come_out_otherwise(tmp_path):
    found = shown(Generalisation(), with_halves(agree=False), tmp_path)
    assert max(rows(found, "network-optimal")["value"]) < 1e-9
    assert all(value > 0 for value in rows(found, "networks-less-network-optimal")["value_low"])
    assert "at 0 of 4 levels, less at 4" in found.pictures[0].caption
    assert {row["a"]: row["value"] for row in rows(found, "sample-copies")}["half1"] == 1


def test_without_halves_copies_are_looked_at(tmp_path):
    found = shown(Generalisation(), laboratory(away(ddpmpp=0)), tmp_path)
    assert found.tables["halves"].distinct("comparison") == ["sample-ratio", "sample-copies"]
    assert set(found.tables["halves"]["a"]) == {"optimal", "ddpmpp"}
    assert "No networks of disjoint halves" in found.notes[0]
    assert [picture.name for picture in found.pictures] == ["halves-copies"]


def test_few_z_give_no_verdict(tmp_path):
    caption = shown(Generalisation(), with_halves(z=6), tmp_path).pictures[0].caption
    assert "Fewer than 8 z do not tell" in caption
    assert "of 4 levels" not in caption


def test_the_title_does_not_tell_the_result():
    assert not {"agree", "copies;"} & set(Generalisation().title.split())


def test_what_is_missing():
    assert "(--half)" in Generalisation().missing(laboratory({}))
    assert Generalisation().missing(with_halves({})) is None
