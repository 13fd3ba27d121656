"""Looking at single posteriors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import smalti
from helpers import exact, noisy, random_source
from smalti import Centred, Crops, EveryPlace, InputError, PosteriorMeanCollection


@pytest.mark.parametrize("match", [None, EveryPlace()])
def test_against_all_elements_written_out(match):
    source = random_source(5, (2, 4, 3), hflip=True)
    collection = PosteriorMeanCollection(source, Crops(2), match=match)
    sigma, queries = 0.4, [0, 3, 5]
    z = noisy(source, sigma, 2)
    found = collection.posterior(z, sigma, queries, top=7)
    means = collection.means(z, sigma, queries)
    masks = Crops(2).masks(source.shape)
    images = exact(source)
    for b in range(2):
        for m, k in enumerate(queries):
            elements = []
            for i in range(5):
                for flip in (False, True):
                    for n, (sy, sx) in enumerate(collection.shifts):
                        if collection.admitted is not None and not collection.admitted[k, n]:
                            continue
                        x = images[i].flip(-1) if flip else images[i]
                        x = x.roll((-sy, -sx), (-2, -1))
                        logit = -float((masks[k] * (z[b] - x) ** 2).sum()) / (2 * sigma**2)
                        elements.append((logit, i, flip, (sy, sx), x))
            logits = torch.tensor([e[0] for e in elements], dtype=torch.float64)
            weights = logits.softmax(0)
            assert float(found.log_normaliser[b, m]) == pytest.approx(float(logits.logsumexp(0)))
            order = weights.argsort(descending=True)[:7]
            np.testing.assert_allclose(found.weights[b, m], weights[order], rtol=1e-9)
            best = elements[int(order[0])]
            assert (int(found.images[b, m, 0]), bool(found.flips[b, m, 0])) == best[1:3]
            assert tuple(found.shifts[b, m, 0].tolist()) == best[3]
            per_image = [sum(float(w) for w, e in zip(weights, elements, strict=True) if e[1] == i) for i in range(5)]
            entropy = -sum(p * math.log(p) for p in per_image if p > 0)
            assert float(found.effective_number[b, m]) == pytest.approx(math.exp(entropy))
            mean = sum(float(w) * e[4] for w, e in zip(weights, elements, strict=True))
            torch.testing.assert_close(means[b, m], mean)


def test_means_make_the_composite():
    source = random_source(6, (1, 4, 4))
    collection = PosteriorMeanCollection(source, Centred(3), Centred(1))
    z = noisy(source, 0.5)
    means = collection.means(z, 0.5, range(16))
    composite = torch.stack([means[:, k, :, k // 4, k % 4] for k in range(16)], -1).unflatten(-1, (4, 4))
    torch.testing.assert_close(composite, collection(z, 0.5), atol=1e-5, rtol=0)


def test_effective_number_goes_from_one_to_all(digits):
    collection = smalti.Optimal(digits).collection(1.0)
    z = noisy(digits, 0.1, 1)
    assert float(collection.posterior(z, 0.02, [0]).effective_number) == pytest.approx(1, abs=1e-6)
    assert float(collection.posterior(z, 1e5, [0]).effective_number) == pytest.approx(len(digits), rel=1e-6)


def test_fewer_elements_than_asked_for():
    source = random_source(3, (1, 3, 3), labels=True)
    found = PosteriorMeanCollection(source, Crops(2)).posterior(noisy(source, 1.0, 1), 1.0, [0], top=5, labels=[1])
    assert (found.weights[0, 0] > 0).sum() == 1  # three images, one of class 1
    assert int(found.images[0, 0, 0]) == 1


@pytest.mark.parametrize(("queries", "top"), [([9], 1), ([-1], 1), ([], 1), ([0], 0)])
def test_bad_requests(queries, top):
    source = random_source(3, (1, 4, 4))
    with pytest.raises(InputError):
        PosteriorMeanCollection(source, Crops(2)).posterior(noisy(source, 1.0, 1), 1.0, queries, top)
