"""ClosedFormDiffusion by its definition, in float64."""

from __future__ import annotations

import pytest
import torch

from helpers import by_class, composite, noisy, random_source, with_flips
from smalti import InputError, Optimal
from smalti.core.noise import standard_normal
from smalti.denoisers import ClosedFormDiffusion

SHAPE = (2, 4, 5)
FULL = torch.ones(1, 1, 4, 5)


@pytest.mark.parametrize(("coordinates", "factor"), [("scarvelis", 1.6), ("studio", (1 + 0.6**2) ** 0.5)])
@pytest.mark.parametrize("hflip", [False, True])
def test_by_hand(coordinates, factor, hflip):
    source = random_source(8, SHAPE, labels=True, hflip=hflip)
    denoiser = ClosedFormDiffusion(source, smoothing=0.4, samples=4, seed=3, coordinates=coordinates)
    z, noise = noisy(source, 0.6), standard_normal(3, range(2), SHAPE)
    for labels, chosen in ((None, source), ([1, 1], by_class(source, 1))):
        moved = [z + 0.4 * factor * sign * e for e in noise for sign in (1, -1)]
        expected = sum(composite(with_flips(chosen), FULL, FULL, one, 0.6) for one in moved) / 4
        torch.testing.assert_close(denoiser(z, 0.6, labels=labels), expected, atol=1e-5, rtol=0)


def test_it_is_a_function_of_z_and_sigma():
    source = random_source(8, SHAPE)
    z = noisy(source, 0.6)
    one, same = (ClosedFormDiffusion(source, 0.5, seed=1)(z, 0.6) for _ in range(2))
    assert torch.equal(one, same)
    assert not torch.equal(one, ClosedFormDiffusion(source, 0.5, seed=2)(z, 0.6))
    torch.testing.assert_close(ClosedFormDiffusion(source, smoothing=0)(z, 0.6), Optimal(source)(z, 0.6))


def test_noise_is_antithetic():
    noise = ClosedFormDiffusion(random_source(2, SHAPE), samples=6).noise
    assert torch.equal(noise[:3], -noise[3:])


def test_derivatives():
    source = random_source(8, SHAPE, labels=True)
    denoiser = ClosedFormDiffusion(source, 0.4, samples=4)
    z, pixels, labels = noisy(source, 0.6), torch.tensor([[1, 2], [3, 4]]), torch.tensor([0, 1])
    rows = torch.cat(list(denoiser.jacobian_rows(z, 0.6, pixels, labels)), 1)
    assert rows.shape == (2, 2, 2, *SHAPE)
    point = z.clone().requires_grad_()
    out = ClosedFormDiffusion(source, 0.4, samples=4, backend="reference")(point, 0.6, labels)
    for p, (y, x) in enumerate(pixels.tolist()):
        for c in range(2):
            (gradient,) = torch.autograd.grad(out[:, c, y, x].sum(), point, retain_graph=True)
            torch.testing.assert_close(rows[:, p, c], gradient, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"smoothing": -0.1}, "not negative"),
        ({"smoothing": "0.1"}, "must be a number"),
        ({"samples": 3}, "even"),
        ({"samples": 0}, "at least 2"),
        ({"samples": 2.5}, "whole number"),
        ({"seed": -1}, "seed"),
        ({"coordinates": "polar"}, "'scarvelis' or 'studio'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        ClosedFormDiffusion(random_source(3, SHAPE), **arguments)
