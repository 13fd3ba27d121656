"""W Fig. 6: statistics against a network whose deviation is known: the optimal denoiser plus 0.1 on a row of 6 pixels of 36."""

import dataclasses

import numpy as np
import pytest

from laboratories import SIGMAS, TINY, away, laboratory, shown
from smalti import compare, forward_z
from smalti.experiments.exhibits.to_network import DistanceToNetwork
from stand_ins import Away

DEVIATION = 0.1**2 * 6 / 36


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    networks = away(ddpmpp=0, dit=1, same=0)
    return shown(DistanceToNetwork(), laboratory(networks), tmp_path_factory.mktemp("w6")).tables


def test_columns_and_rows(tables):
    table, paired = tables["w6-to-network"], tables["w6-paired"]
    assert table.columns[:5] == ("process", "denoiser", "sigma", "n", "mse")
    assert {"cosine_low", "r2_high", "fraction_standard_error"} < set(table.columns)
    assert paired.columns[:6] == ("process", "denoiser", "against", "sigma", "n", "difference")
    assert len(table) == 2 * 6 * len(SIGMAS)
    assert set(table["n"]) == {6}


@pytest.mark.parametrize("process", ["forward", "reverse"])
def test_known_distances_and_fractions(tables, process):
    table = tables["w6-to-network"]
    for name, mse, fraction in (("optimal", DEVIATION, 0), ("dit", 2 * DEVIATION, -1), ("same", 0, 1)):
        rows = table.where(process=process, denoiser=name)
        assert rows["mse"] == pytest.approx([mse] * len(SIGMAS), rel=1e-3, abs=1e-9)
        assert rows["fraction"] == pytest.approx([fraction] * len(SIGMAS), abs=1e-3)


def test_known_paired_differences(tables):
    paired = tables["w6-paired"]
    rows = paired.where(denoiser="dit", against="optimal")
    assert rows["difference"] == pytest.approx([DEVIATION] * len(rows), rel=1e-3)
    other = paired.where(process="reverse", denoiser="pspc-square", against="gaussian")
    table = tables["w6-to-network"]
    for sigma, difference in zip(other["sigma"], other["difference"], strict=True):
        a, b = (
            table.where(process="reverse", denoiser=name, sigma=sigma)["mse"][0] for name in ("pspc-square", "gaussian")
        )
        assert difference == pytest.approx(a - b, rel=1e-6, abs=1e-12)
    assert not len(paired.where(denoiser="optimal", against="optimal"))


def test_flex_is_held_against_pair_by_pair(tables):
    against = set(tables["w6-paired"].where(denoiser="pspc-square")["against"])
    assert against == {"optimal", "gaussian", "pspc-flex"}


def test_differences_that_do_not_matter_are_ties(tmp_path):
    """The network is optimal plus 0.1 on a row; of the denoisers one is 1e-3 from optimal, which is within the floor."""
    lab = laboratory(away(ddpmpp=0), dataclasses.replace(TINY, z=8))
    near = Away(lab.source, 1e-3, 1)
    lab = dataclasses.replace(lab, denoisers={"optimal": lab.denoisers["optimal"], "pspc-flex": near}, _identities={})
    found = shown(DistanceToNetwork(), lab, tmp_path)
    rows = found.tables["w6-paired"].where(denoiser="pspc-flex", against="optimal")
    assert min(rows["difference_low"]) > 0, "statistics alone tells them apart"
    assert "by several alike at 3 of 3 levels" in found.pictures[0].caption
    assert (
        "held against optimal, of 3 levels: pspc-flex nearer at 0, further at 0, alike at 3."
        in found.pictures[2].caption
    )


def test_each_process_has_its_own_n(tmp_path):
    lab = laboratory(away(ddpmpp=0), dataclasses.replace(TINY, z=200), seconds=0.3)
    costs = {**lab.costs.seconds, "ddpmpp": (5e-3,) * 3}  # its own process takes longer
    lab = dataclasses.replace(lab, costs=dataclasses.replace(lab.costs, seconds=costs))
    table = shown(DistanceToNetwork(), lab, tmp_path)
    caption = table.pictures[0].caption
    table = table.tables["w6-to-network"]
    ns = [max(table.where(process=process)["n"]) for process in ("forward", "reverse")]
    assert ns[0] != ns[1]
    assert f"Forward n = {ns[0]} z a level" in caption
    assert f"reverse n = {ns[1]} z a level" in caption


def test_the_numbers_are_those_of_compare(tables):
    lab = laboratory()
    z = forward_z(lab.source, lab.sigmas, 6, lab.seed)
    names = ("optimal", "pspc-flex", "gaussian")
    wanted = compare(
        lab.networks["ddpmpp"], {name: lab.denoisers[name] for name in names}, z, resamples=50, progress=False
    )
    for name in names:
        ours = tables["w6-to-network"].where(process="forward", denoiser=name)
        theirs = wanted.where(denoiser=name)
        for column in ("mse", "cosine", "r2", "fraction", "fraction_low", "mse_standard_error"):
            assert np.allclose(ours[column], theirs[column], rtol=1e-5, atol=1e-7)


def test_slow_denoisers_get_fewer_z_and_the_rest_is_shared(tmp_path):
    lab = laboratory(seconds=0.06)
    costs = dataclasses.replace(
        lab.costs, seconds={**lab.costs.seconds, "pspc-flex": (5e-3,) * 3, "gaussian": (1.0,) * 3}
    )
    lab = dataclasses.replace(lab, costs=costs, limited={"pspc-flex": 10})
    found = shown(DistanceToNetwork(), lab, tmp_path)
    table = found.tables["w6-to-network"]
    assert set(table.where(denoiser="pspc-flex")["n"]) == {2}
    assert set(table.where(denoiser="pspc-flex")["images"]) == {10}
    assert min(table.where(denoiser="optimal")["n"]) > 2
    assert "gaussian" not in table["denoiser"]
    assert any("gaussian" in note for note in found.notes)
    assert any("pspc-flex (N=10)" in note for note in found.notes)
    assert set(found.tables["w6-paired"].where(denoiser="pspc-flex", against="optimal")["n"]) == {2}


def test_a_changed_denoiser_changes_its_own_steps_only():
    lab = laboratory()
    other = dataclasses.replace(
        lab, denoisers={**lab.denoisers, "gaussian": lab.denoisers["pspc-square"]}, _identities={}
    )
    before, after = ({step.name: step.key for step in DistanceToNetwork().steps(each)} for each in (lab, other))
    changed = {name for name, key in before.items() if after[name] != key}
    assert changed == {"to-network/forward/gaussian", "to-network/reverse/gaussian"}


def test_a_network_is_needed():
    assert "needs a network" in DistanceToNetwork().missing(laboratory({}))
    assert DistanceToNetwork().missing(laboratory()) is None
