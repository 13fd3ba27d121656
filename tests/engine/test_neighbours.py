"""The nearest stored images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import exact, noisy, random_source
from smalti import InputError
from smalti.engine.neighbours import nearest


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_against_brute_force(hflip, dtype):
    source = random_source(60, (2, 5, 4), dtype=dtype, hflip=hflip)
    x = noisy(source, 0.3, 5)
    indices, distances = nearest(source, x, 4)
    images = exact(source)
    full = (x[:, None] - images).square().flatten(2).sum(2)
    if hflip:
        full = torch.minimum(full, (x[:, None] - images.flip(-1)).square().flatten(2).sum(2))
    expected, order = full.sort(stable=True, dim=1)
    assert torch.equal(indices, order[:, :4])
    torch.testing.assert_close(distances, expected[:, :4])


def test_of_equals_the_first():
    source = random_source(4, (1, 3, 3)).subset(np.array([2, 0, 2, 0]))
    indices, distances = nearest(source, exact(source)[1:2], 2)
    assert indices.tolist() == [[1, 3]]
    assert distances.tolist() == [[0, 0]]


def test_among_some():
    source = random_source(10, (1, 4, 4))
    assert nearest(source, source.working(np.array([3])), 1, np.array([1, 5, 8]))[0].item() in (1, 5, 8)


def test_bad_requests():
    source = random_source(3, (1, 4, 4))
    with pytest.raises(InputError, match="k must be"):
        nearest(source, torch.zeros(1, 1, 4, 4), 4)
    with pytest.raises(InputError, match="shape"):
        nearest(source, torch.zeros(1, 1, 4, 5))
