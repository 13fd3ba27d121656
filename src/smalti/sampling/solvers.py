"""One step of the probability-flow ODE, from sigma to sigma_next < sigma.

With the slope d(z, sigma) = (z - D(z, sigma)) / sigma and h = sigma_next - sigma < 0:

    Euler   z' = z + h d(z, sigma)                                              first order
    Heun    z' = z + h/2 (d(z, sigma) + d(z_Euler, sigma_next))                 second order

Heun's step is Karras et al. 2022, Algorithm 1; a step to sigma_next = 0 is Euler's, because the
slope there has no value. An Euler step to 0 lands on D(z, sigma).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from smalti.core.errors import InputError, did_you_mean
from smalti.core.validation import shown

__all__ = ["SOLVERS", "Evaluate", "Solver", "euler", "find_solver", "heun"]

Evaluate = Callable[[torch.Tensor, float], torch.Tensor]
Solver = Callable[[Evaluate, torch.Tensor, float, float], tuple[torch.Tensor, torch.Tensor]]


def euler(evaluate: Evaluate, z: torch.Tensor, sigma: float, sigma_next: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Euler's step.

    Args:
        evaluate: (z, sigma) -> D(z, sigma), of the shape of z.
        z: (B, C, H, W), the state at `sigma`.
        sigma, sigma_next: levels, sigma > sigma_next >= 0.

    Returns:
        The state at `sigma_next` and D(z, sigma).
    """
    denoised = evaluate(z, sigma)
    return z + (sigma_next - sigma) * ((z - denoised) / sigma), denoised


def heun(evaluate: Evaluate, z: torch.Tensor, sigma: float, sigma_next: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Heun's step, with a second evaluation at (z_Euler, sigma_next); to sigma_next = 0 it is Euler's. As `euler`."""
    z_euler, denoised = euler(evaluate, z, sigma, sigma_next)
    if sigma_next == 0:
        return z_euler, denoised
    slope = (z - denoised) / sigma
    slope_next = (z_euler - evaluate(z_euler, sigma_next)) / sigma_next
    return z + (sigma_next - sigma) * ((slope + slope_next) / 2), denoised


SOLVERS: dict[str, Solver] = {"euler": euler, "heun": heun}


def find_solver(name: str | Solver) -> Solver:
    """The solver called `name`; a function of one's own with the same signature passes through.

    Raises:
        InputError: no such solver; the message gives the nearest name.
    """
    if callable(name):
        return name
    if isinstance(name, str) and name in SOLVERS:
        return SOLVERS[name]
    raise InputError(
        f"no solver is called {shown(name)}{did_you_mean(shown(name), SOLVERS)} (solvers: {', '.join(sorted(SOLVERS))})"
    )
