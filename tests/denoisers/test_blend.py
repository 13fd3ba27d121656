"""Blend: the sum, its weights by level, networks, labels, gradients, and its properties."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import smalti
from helpers import noisy, random_source
from smalti import Gaussian, InputError, LocalScore, Nearest, Optimal, PSPCSquare
from smalti.denoisers import Blend
from smalti.networks import Network

SHAPE = (2, 4, 5)


def network(num_classes=None):
    def module(z, sigma, labels=None):
        out = z.float() / (1 + sigma.to(z).float().reshape(-1, 1, 1, 1) ** 2)
        return out if labels is None else out + labels.reshape(-1, 1, 1, 1)

    return Network(module, shape=SHAPE, num_classes=num_classes)


def test_it_is_the_weighted_sum():
    source = random_source(6, SHAPE, labels=True)
    parts = [Optimal(source), Gaussian(source), network(num_classes=2)]
    z, labels = noisy(source, 0.5, 3), [0, 1, 1]
    for classes in (None, labels):
        expected = 0.5 * parts[0](z, 0.5, classes) + 0.2 * parts[1](z, 0.5, classes) + 0.3 * parts[2](z, 0.5, classes)
        torch.testing.assert_close(Blend(parts, [0.5, 0.2, 0.3])(z, 0.5, classes), expected, atol=1e-6, rtol=0)


def test_weights_by_level():
    source = random_source(6, SHAPE)
    parts = [Optimal(source), LocalScore(source, 3)]
    blend = Blend(parts, np.array([[1, 0], [0.25, 0.75]], np.float32), sigmas=[2.0, 0.2])
    z = noisy(source, 0.5)
    assert torch.equal(blend(z, 1.9), parts[0](z, 1.9))
    mixed = blend(z, torch.tensor([1.9, 0.3]))
    expected = 0.25 * parts[0](z[1:], 0.3) + 0.75 * parts[1](z[1:], 0.3)
    torch.testing.assert_close(mixed, torch.cat([parts[0](z[:1], 1.9), expected]), atol=1e-5, rtol=0)


def test_a_weight_of_0_is_not_run():
    def module(z, sigma):
        raise AssertionError

    source = random_source(6, SHAPE)
    z = noisy(source, 0.5)
    blend = Blend([Optimal(source), Network(module, shape=SHAPE)], [1, 0])
    assert torch.equal(blend(z, 0.5), Optimal(source)(z, 0.5))


def test_gradients_flow():
    source = random_source(6, SHAPE)
    parts = [LocalScore(source, 3), network()]
    z = noisy(source, 0.5)
    gradients = []
    for denoiser in (Blend(parts, [0.4, 0.6]), *parts):
        point = z.clone().requires_grad_()
        denoiser(point, 0.5).square().sum().backward()
        gradients.append(point.grad)
    point = z.clone().requires_grad_()
    (0.4 * parts[0](point, 0.5) + 0.6 * parts[1](point, 0.5)).square().sum().backward()
    torch.testing.assert_close(gradients[0], point.grad, atol=1e-5, rtol=0)


def test_labels_need_one_set_of_classes():
    source = random_source(6, SHAPE, labels=True)
    assert Blend([Optimal(source), network(2)], [0.5, 0.5]).num_classes == 2
    mixed = Blend([Optimal(source), network()], [0.5, 0.5])
    assert mixed.num_classes is None
    with pytest.raises(InputError, match="no classes"):
        mixed(noisy(source, 1.0), 1.0, labels=0)


def test_properties(digits):
    parts = [Optimal(digits), PSPCSquare(digits, 3)]
    smalti.check_denoiser(Blend(parts, [0.3, 0.7]))
    extrapolating = Blend([Gaussian(digits), parts[1]], [0.9, 0.1])
    assert set(extrapolating.opt_outs) == {"stays_in_range", "small_sigma_gives_the_nearest"}
    smalti.check_denoiser(extrapolating)
    smalti.check_denoiser(Blend([parts[0], Nearest(digits)], [0.5, 0.5]))
    statuses = {r.name: r.status for r in smalti.check_denoiser(Blend([network()], [1]))}
    assert statuses["flips_commute"] == "not applicable"


def test_source_and_repr():
    source, other = random_source(6, SHAPE), random_source(4, SHAPE, seed=1)
    blend = Blend([Optimal(source), Nearest(source)], [0.5, 0.5])
    assert blend.source is source
    assert blend.with_source(other).source is other
    assert Blend([Optimal(source), Optimal(other)], [0.5, 0.5]).source is None
    assert repr(blend) == f"Blend(denoisers=[Optimal({source!r}), Nearest({source!r})], weights=[0.5, 0.5])"


@pytest.mark.parametrize(
    ("denoisers", "weights", "sigmas", "message"),
    [
        ([], [], None, "not nothing"),
        ([3], [1], None, "not of int"),
        ([(1, 4, 4), (1, 5, 4)], [0.5, 0.5], None, "one shape"),
        ([SHAPE, SHAPE], [0.5], None, "for 2 denoisers"),
        ([SHAPE, SHAPE], [0.5, 0.6], None, "sum to 1, not to 1.1"),
        ([SHAPE, SHAPE], [1.5, -0.5], None, "not negative"),
        ([SHAPE, SHAPE], [1, float("nan")], None, "finite"),
        ([SHAPE, SHAPE], ["a", 1], None, "must be numbers"),
        ([SHAPE, SHAPE], [[1, 0]], None, "1 rows of weights for 18 levels"),
        ([SHAPE, SHAPE], [[1, 0]], [-1.0], "greater than 0"),
        ([SHAPE, SHAPE], [1, 0], [1.0], "one row of weights"),
        ([SHAPE, SHAPE], [[1, 0], [0.5, 0.4]], [1.0, 2.0], "not to 0.9"),
    ],
)
def test_bad_arguments(denoisers, weights, sigmas, message):
    made = [Optimal(random_source(3, d)) if isinstance(d, tuple) else d for d in denoisers]
    with pytest.raises(InputError, match=message):
        Blend(made, weights, sigmas)
