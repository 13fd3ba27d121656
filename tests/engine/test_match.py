"""Matches: which elements a query meets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import noisy, random_source
from smalti import Centred, Crops, EveryPlace, Full, InputError, PosteriorMeanCollection, SameBorderDistance, SamePlace


def test_weight_zero_leaves_out_and_weight_two_is_twice():
    source = random_source(6, (2, 5, 4))
    weights = np.array([1, 0, 2, 1, 0, 1.0])
    weighted = PosteriorMeanCollection(source, Crops(2), match=SamePlace(weights))
    written_out = PosteriorMeanCollection(source.subset(np.array([0, 2, 2, 3, 5])), Crops(2))
    for sigma in (0.1, 1.0):
        z = noisy(source, sigma)
        torch.testing.assert_close(weighted(z, sigma), written_out(z, sigma), atol=1e-6, rtol=0)


def test_every_place_admits_windows_that_lie_inside():
    shape = (1, 5, 6)
    admitted = EveryPlace().admitted(Centred(3, wrap=True), Centred(1), shape)
    assert admitted.shape == (30, 30)
    assert (admitted.sum(1) == 3 * 4).all()  # centres at least 1 from every border
    assert (EveryPlace().admitted(Crops(2), Crops(2), shape).sum(1) == 4 * 5).all()
    assert (EveryPlace().admitted(Full(), Full(), shape).sum(1) == 1).all()


def test_border_distance():
    shape = (1, 6, 6)
    match = SameBorderDistance()
    admitted = match.admitted(Centred(3), Centred(1), shape).reshape(6, 6, 6, 6)  # anchor y, x; shift y, x
    assert admitted[0, 0].nonzero().tolist() == [[0, 0]]  # a corner meets itself
    assert int(admitted[0, 2].sum()) == 4  # the first row moves along the row, over the inner columns
    assert int(admitted[2, 3].sum()) == 16
    for sy, sx in admitted[2, 3].nonzero().tolist():
        assert 1 <= (2 + sy) % 6 <= 4
        assert 1 <= (3 + sx) % 6 <= 4


def test_every_place_by_hand():
    """One 1-D image: the window's posterior over all patches of all images."""
    source = random_source(3, (1, 1, 6))
    collection = PosteriorMeanCollection(source, Centred(1), match=EveryPlace(), backend="torch")
    z, sigma = noisy(source, 0.3, 1), 0.3
    values = source.working().double().flatten()
    weights = torch.softmax(-((z.flatten()[:, None] - values) ** 2) / (2 * sigma**2), 1)
    torch.testing.assert_close(collection(z, sigma).flatten(), weights @ values, atol=1e-5, rtol=0)


@pytest.mark.parametrize("weights", [torch.ones(3), -torch.ones(4), torch.zeros(4), torch.full((4,), float("nan"))])
def test_bad_weights(weights):
    with pytest.raises(InputError, match="weights"):
        PosteriorMeanCollection(random_source(4, (1, 3, 3)), Full(), match=SamePlace(weights))
