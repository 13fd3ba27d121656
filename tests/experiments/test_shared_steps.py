"""Steps of samples."""

import dataclasses

import numpy as np
import pytest
import torch

from laboratories import laboratory
from smalti.core.pieces import Pieces
from smalti.experiments import shared_steps
from smalti.experiments.shared_steps import sample_counts, sample_notes, sample_step
from smalti.experiments.steps import Work
from smalti.sampling import initial_noise, sample
from stand_ins import Counts


def computed(step, folder=None):
    return step.compute(Work({}, Pieces(folder), lambda share: None))


def test_they_are_those_of_the_sampler_and_end_in_the_images():
    lab = laboratory()
    found = computed(sample_step(lab, "pspc-square", 3))
    start = initial_noise(lab.seed, range(3), lab.source.shape, 12.9)
    wanted = sample(lab.denoisers["pspc-square"], solver="euler", init=start, sigmas=[12.9, 1.9, 0.3, 0.0])
    assert np.allclose(found["images"], wanted.images.numpy(), atol=1e-6)
    assert found["states"].shape == (4, 3, 1, 6, 6)
    assert found["denoised"].shape == (3, 3, 1, 6, 6)
    assert np.array_equal(found["states"][-1], found["images"])


def test_few_samples_are_the_first_of_many_and_states_are_kept_of_some(monkeypatch):
    monkeypatch.setattr(shared_steps, "TOGETHER", 2)
    monkeypatch.setattr(shared_steps, "FOLLOWED", 3)
    lab = laboratory()
    few, many = (computed(sample_step(lab, "optimal", n)) for n in (2, 5))
    assert np.allclose(many["images"][:2], few["images"], atol=1e-6)
    assert many["states"].shape[1] == 3
    assert np.array_equal(many["states"][-1], many["images"][:3])


def test_a_killed_step_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_steps, "TOGETHER", 2)
    lab = laboratory()
    levels = len(lab.sigmas)
    counted = Counts(lab.denoisers["optimal"], stop=levels + 2)
    with pytest.raises(KeyboardInterrupt):
        computed(sample_step(lab, "counted", 4, counted), tmp_path)
    again = Counts(lab.denoisers["optimal"])
    found = computed(sample_step(lab, "counted", 4, again), tmp_path)
    assert again.calls == levels  # the second batch alone
    assert np.array_equal(found["images"], computed(sample_step(lab, "optimal", 4))["images"])


def test_keys_tell_denoisers_numbers_and_seeds_apart():
    lab = laboratory()
    step = sample_step(lab, "optimal", 2)
    assert step.key == sample_step(laboratory(), "optimal", 2).key
    others = [sample_step(lab, "optimal", 3), sample_step(dataclasses.replace(lab, seed=1), "optimal", 2)]
    others.append(sample_step(dataclasses.replace(lab, sigmas=torch.tensor([10.0, 1.0])), "optimal", 2))
    assert len({step.key, *(other.key for other in others)}) == 4


def test_what_is_too_slow_has_no_samples_and_a_note():
    lab = laboratory(seconds=1.0)
    costs = dataclasses.replace(lab.costs, seconds={**lab.costs.seconds, "gaussian": (1.0,) * 3})
    slow = dataclasses.replace(lab, costs=costs)
    counts = sample_counts(slow)
    assert counts["gaussian"] == 0
    assert counts["optimal"] == slow.scale.samples
    assert any("gaussian" in note for note in sample_notes(slow))
    assert not sample_notes(lab)
