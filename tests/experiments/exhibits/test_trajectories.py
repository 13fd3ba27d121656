"""A Fig. 8: distances of states to those of the network."""

import dataclasses

import numpy as np
import pytest

from laboratories import SIGMAS, TINY, away, laboratory, shown
from smalti.experiments.exhibits.trajectories import Trajectories
from smalti.sampling import sample


@pytest.fixture(scope="module")
def lab():
    return laboratory(away(ddpmpp=0, same=0, dit=1), dataclasses.replace(TINY, samples=4, trajectories=2))


@pytest.fixture(scope="module")
def found(lab, tmp_path_factory):
    return shown(Trajectories(), lab, tmp_path_factory.mktemp("a8"))


def test_distances_are_those_of_states_from_the_same_noise(lab, found):
    table = found.tables["a8-trajectories"]
    assert table.columns[:5] == ("denoiser", "step", "sigma", "n", "distance")
    sigmas = [*SIGMAS, 0.0]
    states = {}
    for name in ("ddpmpp", "gaussian"):
        run = sample(
            lab.subjects[name], 4, seed=lab.seed, solver="euler", sigmas=sigmas, progress=False, sigma_max=80.0
        )
        states[name] = run.states.double().numpy()
    wanted = np.square(states["gaussian"] - states["ddpmpp"]).mean((1, 2, 3, 4))
    rows = table.where(denoiser="gaussian")
    assert rows["sigma"] == sigmas
    assert np.allclose(rows["distance"], wanted, rtol=1e-5, atol=1e-12)
    assert set(rows["n"]) == {4}


def test_the_same_network_stays_at_0_and_others_leave(found):
    table = found.tables["a8-trajectories"]
    assert set(table.where(denoiser="same")["distance"]) == {0.0}
    assert table.where(denoiser="dit")["distance"][0] == 0
    assert table.where(denoiser="dit")["distance"][-1] > 0
    assert "ddpmpp" not in table["denoiser"]


def test_pictures(found):
    assert [picture.name for picture in found.pictures] == ["a8-trajectories", "a8-more", "a8-distance"]
    assert "same 0 [0, 0]" in found.pictures[-1].caption


def test_fewer_samples_of_slow_denoisers(tmp_path, lab):
    costs = dataclasses.replace(lab.costs, seconds={**lab.costs.seconds, "pspc-flex": (0.02,) * 3})
    slow = dataclasses.replace(lab, costs=costs, seconds=0.15)
    table = shown(Trajectories(), slow, tmp_path)
    assert set(table.tables["a8-trajectories"].where(denoiser="pspc-flex")["n"]) == {2}
    assert any("pspc-flex 2" in note for note in table.notes)


def test_a_network_is_needed():
    assert "needs a network" in Trajectories().missing(laboratory({}))
