"""Samplers of the probability-flow ODE: any denoiser becomes a generator of images (Karras et al. 2022).

    dz/dsigma = (z - D(z, sigma)) / sigma,   z(sigma_max) ~ N(0, sigma_max^2 I),   integrated from sigma_max down to 0

`sampling_sigmas` are the noise levels that are visited, `trajectory` yields the states as they are reached, and `sample` makes images of
noise: sample j starts at sigma_max * noise(seed, j). It depends on (seed, j) and the denoiser alone: not on n, nor, but for rounding, on
the batch that it is computed in.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from smalti.core.errors import InputError, SmaltiError
from smalti.core.noise import standard_normal
from smalti.core.progress import progress as show_progress
from smalti.core.schedule import LEVELS, RHO, SIGMA_MAX, SIGMA_MIN, edm_sigmas
from smalti.core.validation import check_count, check_labels, check_z
from smalti.sampling.solvers import Evaluate, Solver, find_solver

__all__ = ["SampleResult", "Step", "check_sigmas", "initial_noise", "sample", "sampling_sigmas", "trajectory"]

DEFAULT_N = 16

# -------------------------------------------------------------------------------------------------------- noise levels


def sampling_sigmas(
    steps: int = LEVELS, sigma_min: float = SIGMA_MIN, sigma_max: float = SIGMA_MAX, rho: float = RHO
) -> torch.Tensor:
    """`steps` levels of the EDM schedule (Karras et al. 2022, Eq. 5), largest first, and a final 0.

    Args:
        steps: number of solver steps, at least 1; one step is [sigma_max, 0].
        sigma_min, sigma_max: smallest and largest level above 0, working scale.
        rho: how far the levels crowd towards sigma_min, above 0.

    Returns:
        (steps + 1,) float64, strictly decreasing.

    Raises:
        InputError: steps < 1; an empty range or one that gives equal levels; rho not above 0.
    """
    count = check_count("steps", steps)
    if not rho > 0:
        raise InputError(f"rho must be greater than 0, not {rho}")
    sigmas = edm_sigmas(count, sigma_min, sigma_max, rho)
    return check_sigmas(torch.cat([sigmas, sigmas.new_zeros(1)]))


def check_sigmas(sigmas: torch.Tensor | Sequence[float]) -> torch.Tensor:
    """`sigmas` as a (steps + 1,) float64 CPU tensor.

    Raises:
        InputError: fewer than two levels; one that is not finite; not strictly decreasing; a last level that is not 0.
    """
    try:
        levels = torch.as_tensor(sigmas).detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"sigmas must be a list of numbers, largest first, not {type(sigmas).__name__}") from error
    if levels.ndim != 1 or levels.shape[0] < 2:
        raise InputError(f"sigmas has shape {tuple(levels.shape)}; give (steps + 1,) levels, largest first, the last 0")
    if not bool(torch.isfinite(levels).all()):
        raise InputError("sigmas has NaN or infinite levels; every level must be finite")
    if not bool((levels[1:] < levels[:-1]).all()):
        raise InputError("sigmas must decrease strictly; check sigma_min, sigma_max and the order of the levels")
    if float(levels[-1]) != 0:
        raise InputError(f"the last of sigmas must be 0, not {float(levels[-1])}; append a 0")
    return levels


# -------------------------------------------------------------------------------------------------------- the trajectory


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


# ---------------------------------------------------------------------------------------------------------------- images


@dataclass(frozen=True, repr=False)
class SampleResult:
    """Samples and, where kept, how they came about. All tensors are on the CPU.

    Attributes:
        images: (n, C, H, W) float32, the final states in the working scale, not clipped.
        sigmas: (steps + 1,) float64, the noise levels, largest first, the last 0.
        states: (steps + 1, n, C, H, W) float32, the state at each level, states[-1] = images; None if not kept.
        denoised: (steps, n, C, H, W) float32, D(states[i], sigmas[i]), the first evaluation of each step; None if
            not kept.
    """

    images: torch.Tensor
    sigmas: torch.Tensor
    states: torch.Tensor | None = None
    denoised: torch.Tensor | None = None

    def __len__(self) -> int:
        return self.images.shape[0]

    def __repr__(self) -> str:
        n, *shape = self.images.shape
        kept = "" if self.states is None else ", states kept"
        return f"SampleResult(n={n}, shape={tuple(shape)}, steps={len(self.sigmas) - 1}{kept})"


def sample(
    denoiser: Any,
    n: int = DEFAULT_N,
    steps: int = LEVELS,
    solver: str | Solver = "heun",
    seed: int = 0,
    init: torch.Tensor | np.ndarray | None = None,
    keep_states: bool = True,
    *,
    labels: torch.Tensor | Sequence[int] | int | None = None,
    sigma_min: float = SIGMA_MIN,
    sigma_max: float = SIGMA_MAX,
    rho: float = RHO,
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


def initial_noise(
    seed: int, indices: Iterable[int], shape: tuple[int, ...], sigma_max: float = SIGMA_MAX
) -> torch.Tensor:
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
    if steps not in (LEVELS, len(levels) - 1):
        raise InputError(f"steps is {steps} but sigmas holds {len(levels) - 1} steps; leave steps out")
    if (sigma_min, sigma_max, rho) != (SIGMA_MIN, SIGMA_MAX, RHO):
        raise InputError("sigmas was given, so sigma_min, sigma_max and rho have no say; leave them out")
    return levels
