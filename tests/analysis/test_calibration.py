"""Schedules from data: a network whose schedule is known, curves by their definition, what is refused."""

import math

import numpy as np
import pytest
import torch

from helpers import random_source
from smalti import Gaussian, InputError, LocalScore, Optimal, PSPCFlex, PSPCSquare, forward_z, metrics, reverse_z
from smalti.analysis.calibration import calibrate, evaluations, held_out_split
from smalti.analysis.candidates import SIDES, Candidates, default_candidates
from smalti.analysis.patch_errors import patch_errors
from smalti.denoisers import Schedule, create
from smalti.denoisers.registry import REGISTRY, by_level
from stand_ins import Counts

SIGMAS = [5.0, 1.0, 0.3]


@pytest.fixture(scope="module")
def source():
    return random_source(80, (1, 7, 7), labels=True)


@pytest.fixture(scope="module")
def network(source):
    return PSPCSquare(source, patch_sizes=[7, 5, 3], sigmas=SIGMAS)


def run(source, network, *arguments, n=8, sigmas=SIGMAS, **options):
    return calibrate("pspc-square", source, network, *arguments, n=n, sigmas=sigmas, progress=False, **options)


@pytest.mark.parametrize("process", ["forward", "reverse"])
@pytest.mark.parametrize("error", ["patch", "composite"])
def test_a_known_schedule_is_found(source, network, process, error):
    found = run(source, network, process=process, error=error)
    schedule = found.schedule()
    assert schedule.parameters() == {"patch_sizes": [7, 5, 3], "sigmas": SIGMAS}
    assert (schedule.chosen_by["process"], schedule.chosen_by["error"]) == (process, error)
    assert schedule.chosen_by["runner_up_within_one_standard_error_at"] == []
    if error == "composite":
        assert found.choices()["error"] == [0, 0, 0]


@pytest.mark.parametrize(
    ("name", "values", "parameters"),
    [
        ("pspc-flex", [1.0, 0.8, 0.4], {}),
        ("local-score", [13, 5, 3], {}),
        ("equivariant-local-score", [7, 5, 3], {"borders": "circular"}),
        ("gaussian-window", [4.0, 2.0, 1.0], {"response": "window"}),
        ("closed-form-diffusion", [0.0, 0.2, 0.5], {}),
    ],
)
def test_of_every_kind(name, values, parameters):
    source = random_source(40 if name != "equivariant-local-score" else 12, (1, 7, 7))
    known = create(name, source, **parameters, **{by_level(name).parameter: values}, sigmas=SIGMAS)
    for error in ("patch", "composite") if name != "closed-form-diffusion" else ("composite",):
        found = calibrate(name, source, known, None, SIGMAS, 4, error=error, parameters=parameters, progress=False)
        if error == "composite" or name in ("local-score", "equivariant-local-score"):
            assert found.choices()["error"] == [0, 0, 0]
            assert list(found.schedule().values) == values
        else:
            assert found.errors["forward"].shape == (3, len(found.candidates), 4)
            assert bool((found.crops > 0).all())


def test_curves_are_the_means_of_errors(source):
    """Both processes, both errors, with all patches: by their definitions."""
    network = LocalScore(source, 3)
    sets = {"forward": forward_z(source, SIGMAS, 5, 3), "reverse": reverse_z(network, SIGMAS, 5, 3, progress=False)}
    for error in ("patch", "composite"):
        found = run(source, network, [3, 7], n=5, seed=3, process="both", error=error)
        table = found.table()
        assert table.columns == ("process", "sigma", "candidate", "error", "standard_error", "n", "crops")
        assert (found.process, len(table)) == ("forward", 2 * 3 * 2)
        for row in table:
            z_set, level = sets[row["process"]], SIGMAS.index(row["sigma"])
            z, side = z_set.z[level], int(row["candidate"])
            wanted, denoiser = network(z, row["sigma"]), PSPCSquare(source, side)
            each = metrics.mse(denoiser(z, row["sigma"]), wanted)
            if error == "patch" and side == 3:
                every = torch.arange(25).expand(5, -1)
                each = patch_errors(denoiser.collection(row["sigma"]), z, row["sigma"], wanted, every)
            assert np.isclose(row["error"], float(each.mean()), rtol=1e-5)
            assert np.isclose(row["standard_error"], float(each.std()) / math.sqrt(5), rtol=1e-5)
            assert (row["n"], row["crops"]) == (5, 25 if side == 3 else 1)


def test_choices_are_paired(source, network):
    found = run(source, network, process="both", n=6)
    for process in ("forward", "reverse"):
        choices = found.choices(process)
        for row, errors in zip(choices, found.errors[process], strict=True):
            best, next_best = errors.mean(1).argsort()[:2].tolist()
            assert (row["candidate"], row["runner_up"]) == (found.texts[best], found.texts[next_best])
            apart = errors[next_best] - errors[best]
            assert np.isclose(row["difference"], float(apart.mean()))
            assert np.isclose(row["difference_standard_error"], float(apart.std()) / math.sqrt(6))
            assert row["clear"] == (row["difference"] > row["difference_standard_error"])
    with pytest.raises(InputError, match="the other process was not evaluated; there is forward, reverse"):
        found.choices("other")


def test_equals_and_single_ones(source):
    smooth = calibrate("closed-form-diffusion", source, Optimal(source), [0.0, 1e-9], [0.01], 3, progress=False)
    (row,) = smooth.choices()
    assert (row["candidate"], row["clear"]) == ("0", False), "of equals the first"
    (row,) = run(source, Gaussian(source), [3], sigmas=[1.0]).choices()
    assert (row["runner_up"], row["clear"]) == (None, True)
    (row,) = run(source, Gaussian(source), [3, 5], sigmas=[1.0], n=1).choices()
    assert (math.isnan(row["standard_error"]), row["clear"]) == (True, False)


def test_against_the_optimal_denoiser(source):
    """Workshop paper, Fig. 5, left: larger patches are nearer, all are at the ends."""
    found = calibrate(
        "pspc-square", source, Optimal(source), None, [200.0, 1.0, 0.002], 8, progress=False, error="patch"
    )
    errors = found.errors["forward"].mean(2)
    assert errors[:, -1].tolist() == [0, 0, 0]
    assert (errors[1].diff() < 0).all()
    assert float(errors[[0, 2]].max()) < 1e-3


def test_without_a_network(source):
    found = run(source, None, n=10, held_out=20, seed=2)
    split = held_out_split(80, 20)
    assert (found.error, found.network, found.about["held_out"]) == ("composite", None, 20)
    drawn = forward_z(split.validation(source), SIGMAS, 10, 2)
    clean = forward_z(split.validation(source), [1e-9] * 3, 10, 2).z
    for level, sigma in enumerate(SIGMAS):
        for k, side in enumerate(found.candidates):
            x0 = PSPCSquare(split.training(source), side)(drawn.z[level], sigma)
            assert torch.allclose(found.errors["forward"][level, k], metrics.mse(x0, clean[level]), rtol=1e-4)
    assert run(source, None, n=2, error="patch").error == "patch"
    assert held_out_split(5000) == held_out_split(5000, 500)
    assert held_out_split(50_000).held_out == 1000
    assert held_out_split(3).held_out == 1


def test_labels_condition_everything(source):
    network = PSPCSquare(source, patch_sizes=[7, 5, 3], sigmas=SIGMAS)
    for process in ("forward", "reverse"):
        found = run(source, network, labelled=True, process=process, error="composite")
        assert found.choices()["error"] == [0, 0, 0]
        assert list(found.schedule().values) == [7, 5, 3]
    z_set = forward_z(source, [1.0], 6, labelled=True)
    found = calibrate("pspc-flex", source, network, [0.5], [1.0], 6, labelled=True, progress=False)
    flex, z = PSPCFlex(source, thresholds=0.5, sigmas=[1.0]), z_set.z[0]
    for j, label in enumerate(z_set.labels[0].tolist()):
        collection, y = flex.collection(1.0, label), network(z[j : j + 1], 1.0, label)
        own = patch_errors(collection, z[j : j + 1], 1.0, y, torch.arange(49)[None], label)
        whole = calibrate("pspc-flex", source, network, [0.5], [1.0], 6, labelled=True, crops=49, progress=False)
        assert torch.allclose(whole.errors["forward"][0, 0, j], own[0], rtol=1e-5)
    assert int(found.crops[0, 0]) == 32


def test_goes_on_after_a_kill_with_the_same_bits(source, network, tmp_path):
    options = {"process": "both", "batch_size": 3, "n": 7}
    whole_network = Counts(network)
    whole = run(source, whole_network, **options)
    stopped, done = Counts(network, stop=5), []
    with pytest.raises(KeyboardInterrupt):
        calibrate("pspc-square", source, stopped, sigmas=SIGMAS, keep=tmp_path, progress=done.append, **options)
    assert sum(done) == 7 + 7 * 3 + 3, "a level, and a batch of the network's outputs"
    rest, done = Counts(network), []
    again = calibrate("pspc-square", source, rest, sigmas=SIGMAS, keep=tmp_path, progress=done.append, **options)
    assert rest.calls == whole_network.calls - 4, "what was finished is not computed again"
    assert sum(done) == evaluations(3, 3, 7, ("forward", "reverse"))
    for process in ("forward", "reverse"):
        assert torch.equal(again.errors[process], whole.errors[process])
    assert torch.equal(again.crops, whole.crops)
    with pytest.raises(InputError, match="keeps another computation"):
        calibrate("pspc-square", source, rest, sigmas=SIGMAS, keep=tmp_path, progress=False, n=7, seed=1)


def test_batches_do_not_matter(source, network):
    whole, parts = (run(source, network, n=7, batch_size=size, crops=4) for size in (64, 2))
    assert torch.allclose(whole.errors["forward"], parts.errors["forward"], rtol=1e-3, atol=1e-9)


def test_schedules_are_saved_with_what_they_are_from(source, network, tmp_path):
    found = run(source, network, [None, 3, 5])
    found.schedule().save(tmp_path / "s.json")
    loaded = Schedule.load(tmp_path / "s.json")
    assert loaded.chosen_by["against"] == "the outputs of the network"
    assert (loaded.data["images"], loaded.network["name"]) == (80, "pspc-square")
    z = forward_z(source, SIGMAS, 2).z
    taken = create("pspc-square", source, schedule=loaded)
    assert all(torch.equal(taken(z[i], s), network(z[i], s)) for i, s in enumerate(SIGMAS))


def test_default_candidates():
    assert default_candidates("pspc-square", (3, 32, 32)) == list(SIDES)
    assert default_candidates("pspc-square", (1, 8, 8)) == [3, 5, 7, 8]
    assert default_candidates("pspc-square", (3, 64, 64)) == [3, 5, 7, 9, 11, 15, 19, 23, 27, 31, 39, 47, 55, 64]
    assert default_candidates("pspc-square", (3, 4, 9)) == [3, None]
    assert default_candidates("pspc-square", (3, 2, 2)) == [2]
    assert default_candidates("local-score", (1, 8, 8)) == [3, 5, 7, 15]
    assert default_candidates("equivariant-local-score", (1, 8, 8)) == [3, 5, 7]
    assert default_candidates("equivariant-local-score", (1, 8, 8), {"borders": "aware"}) == [3, 5, 7, 15]
    assert default_candidates("pspc-flex", (1, 8, 8))[-1] == 1
    assert default_candidates("gaussian-window", (1, 8, 8))[-1] == 8
    for name in [name for name, kind in REGISTRY.items() if kind.by_level]:
        for shape in ((1, 2, 2), (1, 1, 3), (2, 5, 4)):
            chosen = Candidates(name, random_source(4, shape), [1.0])
            assert len(set(chosen.texts)) == len(chosen) > 0


def test_the_whole_of_images_that_are_no_squares():
    source = random_source(30, (1, 4, 6))
    found = calibrate("pspc-square", source, Optimal(source), [3, "full"], [1.0], 3, progress=False)
    assert (found.texts, found.schedule().values) == (("3", "full"), (None,))
    assert Candidates("pspc-square", random_source(4, (1, 5, 5)), [1.0], ["full", np.int64(3)]).values == [3, 5]


def test_bad_input(source, network):
    def refused(match, name="pspc-square", net=network, **options):
        with pytest.raises(InputError, match=match):
            calibrate(name, source, net, **{"n": 2, "progress": False, **options})

    refused("no denoiser is called 'pspc'", "pspc")
    refused("'gaussian' has no parameter that a schedule chooses", "gaussian")
    refused("has no patches", "closed-form-diffusion", error="patch")
    refused("must be patch or composite", error="both")
    refused("must be forward, reverse or both", process="x")
    refused("is a network's own sampling", net=None, process="reverse")
    refused("where there is no network", held_out=3)
    refused("hold out fewer", net=None, held_out=80)
    refused("9 x 9 patch does not fit", candidates=[3, 9])
    refused("needs an odd size", "local-score", candidates=[4])
    refused("must be whole numbers", candidates=[2.5])
    refused("candidate 3 is given twice", candidates=[3, 3.0])
    refused("no candidate", candidates=[])
    refused("not 'full'", "local-score", candidates=["full"])
    refused("above 0", "pspc-flex", candidates=[0.5, 0])
    refused("patch_size is what is chosen", parameters={"patch_size": 3})
    refused("schedule is what is chosen", parameters={"schedule": "x"})
    refused("has no parameter 'widow'", parameters={"widow": 3})
    refused("n must be at least 1", n=0)
    refused("crops must be at least 1", crops=0)
    refused("seed", seed=-1)
    refused("at least one finite number", sigmas=[])
    with pytest.raises(InputError, match="needs a source with classes"):
        calibrate("pspc-square", random_source(9, (1, 4, 4)), None, n=2, labelled=True)
    with pytest.warns(UserWarning, match="the network is made on"):
        run(random_source(80, (1, 7, 7), seed=1), network, [3], n=1)
