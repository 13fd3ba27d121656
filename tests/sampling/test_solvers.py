"""Solvers against the exact solution for Gaussian data: z(sigma) = z(T) sqrt((s^2 + sigma^2) / (s^2 + T^2))."""

import itertools
import math

import pytest
import torch

from smalti.core.errors import InputError
from smalti.sampling import SOLVERS, euler, find_solver, heun, sampling_sigmas

SPREAD = 0.5


def gaussian(z, sigma):
    return z * SPREAD**2 / (SPREAD**2 + sigma**2)


def error_at_one(solver, steps):
    """Error after integrating from sigma = 10 to 1 in equal steps, where the exact solution is known."""
    z = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    levels = torch.linspace(10, 1, steps + 1, dtype=torch.float64).tolist()
    for sigma, sigma_next in itertools.pairwise(levels):
        z, _ = solver(gaussian, z, sigma, sigma_next)
    return abs(float(z) - math.sqrt((SPREAD**2 + 1) / (SPREAD**2 + 100)))


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2)])
def test_order_of_convergence(name, order):
    errors = [error_at_one(SOLVERS[name], steps) for steps in (100, 200, 400)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert orders == pytest.approx([order, order], abs=0.1)


def test_heun_is_closer_than_euler_on_the_edm_schedule():
    def at_the_end(solver):
        z = torch.full((1, 1, 1, 1), 80.0, dtype=torch.float64)
        levels = sampling_sigmas(40).tolist()
        for sigma, sigma_next in itertools.pairwise(levels):
            z, _ = solver(gaussian, z, sigma, sigma_next)
        return abs(float(z) - 80 * SPREAD / math.hypot(SPREAD, 80))

    assert at_the_end(heun) < at_the_end(euler) / 5


@pytest.mark.parametrize("solver", [euler, heun])
def test_the_last_step_lands_on_the_denoised_image(solver):
    z = torch.randn(2, 1, 3, 3, dtype=torch.float64)
    asked = []

    def evaluate(z, sigma):
        asked.append(sigma)
        return gaussian(z, sigma)

    final, denoised = solver(evaluate, z, 0.4, 0.0)
    torch.testing.assert_close(final, gaussian(z, 0.4))
    torch.testing.assert_close(denoised, gaussian(z, 0.4))
    assert asked == [0.4]


def test_an_unknown_solver_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'heun'"):
        find_solver("huen")
    assert find_solver(euler) is euler
