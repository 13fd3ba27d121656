"""One denoiser per noise level."""

from __future__ import annotations

import pytest
import torch

from helpers import noisy, random_source
from smalti import Crops, Denoiser, InputError, PosteriorMeanCollection, Scheduled


class Level(Denoiser):
    shape = (1, 1, 1)

    def __init__(self, level):
        self.level = level

    def denoise(self, z, sigma, labels):
        return torch.full_like(z, float(self.level))


def test_the_nearest_level_serves():
    made = []
    scheduled = Scheduled([10.0, 1.0, 0.1], lambda i: made.append(i) or Level(i))
    z = torch.zeros(6, 1, 1, 1)
    sigmas = torch.tensor([80.0, 5.6, 5.4, 0.56, 0.5, 0.001])
    assert scheduled(z, sigmas).flatten().tolist() == [0, 0, 1, 1, 2, 2]
    scheduled(z, sigmas)
    assert sorted(made) == [0, 1, 2]  # each once


def test_the_first_of_equals():
    assert Scheduled([1.0, 3.0], Level)(torch.zeros(1, 1, 1, 1), 2.0).item() == 0


def test_mixed_batches_are_grouped():
    source = random_source(5, (1, 5, 5), labels=True)
    scheduled = Scheduled([2.0, 0.2], lambda i: PosteriorMeanCollection(source, Crops((5, 2)[i])))
    z, sigmas, labels = noisy(source, 0.5, 3), torch.tensor([0.2, 2.0, 0.3]), [0, 1, 1]
    mixed = scheduled(z, sigmas, labels)
    for b in range(3):
        torch.testing.assert_close(mixed[b : b + 1], scheduled(z[b : b + 1], sigmas[b], labels[b]), atol=1e-6, rtol=0)
    assert scheduled.collection(1.9).queries == Crops(5)


def test_bad_schedules():
    with pytest.raises(InputError, match="at least one sigma"):
        Scheduled([], Level)
    with pytest.raises(InputError, match="greater than 0"):
        Scheduled([1.0, 0.0], Level)
    sources = [random_source(2, (1, 4, 4)), random_source(2, (1, 5, 5))]
    with pytest.raises(InputError, match="they must agree"):
        Scheduled([1.0, 0.1], lambda i: PosteriorMeanCollection(sources[i], Crops(2)))(torch.zeros(1, 1, 4, 4), 0.1)
    with pytest.raises(InputError, match="not a collection"):
        Scheduled([1.0], Level).collection(1.0)
