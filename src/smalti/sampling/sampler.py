"""`sample`: images from a denoiser.

z_j = sigma_max * noise(seed, j), then the probability-flow ODE down to 0 (Karras et al. 2022). Sample j depends on
(seed, j) and the denoiser alone: not on n, nor, but for rounding, on the batch it is computed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from smalti.core.errors import InputError
from smalti.core.noise import standard_normal
from smalti.core.progress import progress as show_progress
from smalti.core.validation import check_count, check_labels, check_z
from smalti.sampling.result import SampleResult
from smalti.sampling.schedules import check_sigmas, sampling_sigmas
from smalti.sampling.solvers import Solver, find_solver
from smalti.sampling.steps import trajectory

__all__ = ["initial_noise", "sample"]

DEFAULT_N, DEFAULT_STEPS, DEFAULT_RANGE = 16, 18, (0.002, 80.0, 7.0)


def sample(
    denoiser: Any,
    n: int = DEFAULT_N,
    steps: int = DEFAULT_STEPS,
    solver: str | Solver = "heun",
    seed: int = 0,
    init: torch.Tensor | np.ndarray | None = None,
    keep_states: bool = True,
    *,
    labels: torch.Tensor | Sequence[int] | int | None = None,
    sigma_min: float = DEFAULT_RANGE[0],
    sigma_max: float = DEFAULT_RANGE[1],
    rho: float = DEFAULT_RANGE[2],
    sigmas: torch.Tensor | Sequence[float] | None = None,
    batch_size: int | None = None,
    progress: bool | Callable[[int], None] | None = None,
) -> SampleResult:
    """Generate images by the probability-flow ODE. The state is float64; nothing is clipped.

    Args:
        denoiser: anything with `.shape` = (C, H, W) that is called as denoiser(z, sigma) and, where `labels` are given,
            denoiser(z, sigma, labels=...); `.num_classes` then bounds them.
        n: number of samples, at least 1. With `init` it is init's length; another value than 16 must agree.
        steps: solver steps, at least 1; one step is [sigma_max, 0].
        solver: "heun" (two evaluations a step, one in the last) or "euler" (one), or a function like theirs.
        seed: 0 to 2^64 - 1; sample j starts at sigma_max * noise(seed, j). Not used with `init`.
        init: (n, C, H, W) floating, z at the largest level, already scaled. Runs on its device.
        keep_states: also return every state and its first evaluation.
        labels: a class for all samples or one per sample, (n,).
        sigma_min, sigma_max, rho: the EDM schedule, working scale.
        sigmas: (steps + 1,) levels instead of a schedule, strictly decreasing, the last 0.
        batch_size: samples computed together; None for all. It changes results only by rounding.
        progress: True or False; None shows it where stderr is a terminal; a function is called with the number of
            samples that have advanced by one step (n * steps in all).

    Returns:
        SampleResult with images (n, C, H, W) float32, sigmas (steps + 1,) float64, states (steps + 1, n, C, H, W) and
        denoised (steps, n, C, H, W) float32.

    Raises:
        InputError: n, steps or batch_size < 1; an unknown solver; an init of another shape, with NaN or infinities, or
            that contradicts n; sigmas that contradict steps or the schedule, or do not decrease to 0; unknown classes.
        SmaltiError: the denoiser returned NaN, infinities or another shape; names the step and sigma.
    """
    shape = tuple(denoiser.shape)
    levels = _levels(sigmas, steps, sigma_min, sigma_max, rho)
    advance = find_solver(solver)
    start, n = _start(init, n, shape)
    classes = check_labels(labels, n, getattr(denoiser, "num_classes", None))
    size = n if batch_size is None else check_count("batch_size", batch_size)

    batches = []
    report = progress if callable(progress) else None
    with show_progress("sampling", n * (len(levels) - 1), False if report else progress) as shown:  # type: ignore[arg-type]
        for low in range(0, n, size):
            high = min(low + size, n)
            z = initial_noise(seed, range(low, high), shape, float(levels[0])) if start is None else start[low:high]
            chosen = None if classes is None else classes[low:high]
            batches.append(_run(denoiser, z, levels, advance, chosen, keep_states, report or shown))
    images, states, denoised = zip(*batches, strict=True)
    return SampleResult(
        images=torch.cat(images),
        sigmas=levels,
        states=torch.cat(states, dim=1) if keep_states else None,
        denoised=torch.cat(denoised, dim=1) if keep_states else None,
    )


def initial_noise(seed: int, indices: Iterable[int], shape: tuple[int, ...], sigma_max: float = 80.0) -> torch.Tensor:
    """Where samples `indices` of `seed` start: (len(indices), *shape) float64, sigma_max times unit normal noise."""
    return sigma_max * standard_normal(seed, indices, shape)


@torch.no_grad()
def _run(
    denoiser: Any,
    z: torch.Tensor,
    levels: torch.Tensor,
    solver: Solver,
    labels: torch.Tensor | None,
    keep: bool,
    advance: Callable[[int], None],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One batch: its images, states and first evaluations (empty unless `keep`), float32 on the CPU."""
    states, denoised = [], []
    for step in trajectory(denoiser, z, levels, solver, labels):
        if keep:
            states.append(_stored(step.z))
        if step.denoised is None:
            images = _stored(step.z)
            break
        if keep:
            denoised.append(_stored(step.denoised))
        advance(z.shape[0])
    nothing = torch.empty(0)
    return images, torch.stack(states) if keep else nothing, torch.stack(denoised) if keep else nothing


def _stored(z: torch.Tensor) -> torch.Tensor:
    return z.to("cpu", torch.float32)


def _start(init: torch.Tensor | np.ndarray | None, n: int, shape: tuple[int, ...]) -> tuple[torch.Tensor | None, int]:
    """init as float64 (or None) and the number of samples."""
    n = check_count("n", n)
    if init is None:
        return None, n
    z = torch.from_numpy(init) if isinstance(init, np.ndarray) else init
    check_z(z, shape)
    if z.shape[0] < 1:
        raise InputError("init holds no images; give (n, C, H, W) with n at least 1")
    if n not in (DEFAULT_N, z.shape[0]):
        raise InputError(f"n is {n} but init holds {z.shape[0]}; leave n out or make them agree")
    return z.detach().to(torch.float64), z.shape[0]


def _levels(
    sigmas: torch.Tensor | Sequence[float] | None, steps: int, sigma_min: float, sigma_max: float, rho: float
) -> torch.Tensor:
    """The caller's own levels, or the EDM schedule; both at once are refused where they contradict each other."""
    if sigmas is None:
        return sampling_sigmas(steps, sigma_min, sigma_max, rho)
    levels = check_sigmas(sigmas)
    if steps not in (DEFAULT_STEPS, len(levels) - 1):
        raise InputError(f"steps is {steps} but sigmas holds {len(levels) - 1} steps; leave steps out")
    if (sigma_min, sigma_max, rho) != DEFAULT_RANGE:
        raise InputError("sigmas was given, so sigma_min, sigma_max and rho have no say; leave them out")
    return levels
