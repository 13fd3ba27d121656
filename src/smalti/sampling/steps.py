"""The trajectory of the probability-flow ODE as a generator: every state, as it is reached."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from smalti.core.errors import SmaltiError
from smalti.sampling.schedules import check_sigmas
from smalti.sampling.solvers import Evaluate, Solver, find_solver

__all__ = ["Step", "trajectory"]


@dataclass(frozen=True)
class Step:
    """One point of a trajectory.

    Attributes:
        step: 0 at the largest level; the number of steps at the end.
        sigma: its noise level; 0.0 at the end.
        z: (B, C, H, W), the state there.
        denoised: D(z, sigma), of the shape of z; None at the end, where no denoiser is asked.
    """

    step: int
    sigma: float
    z: torch.Tensor
    denoised: torch.Tensor | None


def trajectory(
    denoiser: Callable[..., torch.Tensor],
    z: torch.Tensor,
    sigmas: torch.Tensor | Sequence[float],
    solver: str | Solver = "heun",
    labels: torch.Tensor | Sequence[int] | int | None = None,
) -> Iterator[Step]:
    """Integrate the probability-flow ODE from z at sigmas[0] down to sigmas[-1] = 0.

    The state keeps the dtype and device of `z` (float64 is advised). Gradients flow if autograd is on.

    Args:
        denoiser: called as denoiser(z, sigma), with labels=labels only where labels are given.
        z: (B, C, H, W), already scaled to sigmas[0].
        sigmas: (steps + 1,), strictly decreasing, the last 0.
        solver: "heun", "euler", or a function like `smalti.sampling.heun`.
        labels: one class per z, or None.

    Yields:
        steps + 1 `Step`s, the last one at sigma 0 with the result.

    Raises:
        InputError: sigmas that do not decrease to 0; an unknown solver.
        SmaltiError: the denoiser returned NaN, infinities or another shape; names the step and sigma.
    """
    levels = check_sigmas(sigmas).tolist()
    advance = find_solver(solver)
    condition = {} if labels is None else {"labels": labels}
    for step, (sigma, sigma_next) in enumerate(itertools.pairwise(levels)):
        z_next, denoised = advance(_checked(denoiser, step, condition), z, sigma, sigma_next)
        yield Step(step, sigma, z, denoised)
        z = z_next
    yield Step(len(levels) - 1, 0.0, z, None)


def _checked(denoiser: Callable[..., torch.Tensor], step: int, condition: Mapping[str, object]) -> Evaluate:
    """The denoiser at one step, its answers checked and in the dtype and on the device of the state."""

    def evaluate(z: torch.Tensor, sigma: float) -> torch.Tensor:
        denoised = denoiser(z, sigma, **condition)
        where = f"at step {step} (sigma = {sigma:.6g})"
        if denoised.shape != z.shape:
            raise SmaltiError(f"the denoiser returned shape {tuple(denoised.shape)} for {tuple(z.shape)} {where}")
        if not bool(torch.isfinite(denoised).all()):
            bad = int((~torch.isfinite(denoised)).flatten(1).any(1).nonzero()[0])
            raise SmaltiError(f"the denoiser returned NaN or infinite values {where}, in image {bad} of its batch")
        return denoised.to(device=z.device, dtype=z.dtype)

    return evaluate
