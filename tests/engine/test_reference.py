"""The specification itself, against the definitions written as loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from helpers import exact, noisy, random_source
from smalti import Centred, Crops, Masks, PosteriorMeanCollection, SamePlace


def by_loops(z, sigma, images, queries, responses, prior):
    """DESIGN section 2, element by element: z (C, H, W), images (n, C, H, W), windows (K, C, H, W), prior (n,), float64 numpy."""
    numerator, coverage, normalisers = np.zeros_like(z), np.zeros_like(z), []
    for query, response in zip(queries, responses, strict=True):
        logits = [
            math.log(p) - sum(query.flat[q] * (z.flat[q] - x.flat[q]) ** 2 for q in range(z.size)) / (2 * sigma**2)
            for p, x in zip(prior, images, strict=True)
        ]
        top = max(logits)
        mass = sum(math.exp(value - top) for value in logits)
        mean = sum(math.exp(value - top) / mass * x for value, x in zip(logits, images, strict=True))
        numerator += response * mean
        coverage += response
        normalisers.append(top + math.log(mass))
    return numerator / coverage, np.array(normalisers)


@pytest.mark.parametrize("hflip", [False, True])
@pytest.mark.parametrize(
    ("queries", "responses"),
    [
        (Crops(2), Crops(2)),
        (Centred(3), Centred(1)),
        (Masks(torch.rand(5, 2, 3, 4) + 0.1), Masks(torch.rand(5, 3, 4) + 0.1)),
    ],
)
def test_equals_the_definition(queries, responses, hflip):
    source = random_source(4, (2, 3, 4), hflip=hflip)
    weights = torch.tensor([1.0, 0.5, 2.0, 0.25])
    collection = PosteriorMeanCollection(source, queries, responses, SamePlace(weights), backend="reference")
    images, prior = exact(source).numpy(), weights.double().numpy()
    if hflip:
        images, prior = np.concatenate([images, images[..., ::-1]]), np.concatenate([prior, prior])
    q, r = (w.masks(source.shape).expand(-1, 2, -1, -1).numpy() for w in (queries, responses))
    for sigma in (0.1, 0.7, 4.0):
        z = noisy(source, sigma)
        out, normalisers = collection(z, sigma), collection.log_normalisers(z, sigma)
        for b in range(len(z)):
            expected, log_z = by_loops(z[b].numpy(), sigma, images, q, r, prior)
            np.testing.assert_allclose(out[b].numpy(), expected, atol=1e-12)
            np.testing.assert_allclose(normalisers[b].numpy(), log_z, rtol=1e-12, atol=1e-12)


def test_autograd_goes_through():
    source = random_source(5, (1, 3, 3))
    collection = PosteriorMeanCollection(source, Centred(3), backend="reference")
    z = noisy(source, 0.5, 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda point: collection(point, 0.5), (z,))
