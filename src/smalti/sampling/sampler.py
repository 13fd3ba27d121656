"""Samplers of the probability-flow ODE: any denoiser becomes a generator of images (Karras et al. 2022).

    dz/dsigma = (z - D(z, sigma)) / sigma,   z(sigma_max) ~ N(0, sigma_max^2 I),   integrated from sigma_max down to 0

`sampling_sigmas` are the noise levels that are visited, `trajectory` yields the states as they are reached, and `sample` makes images of
noise: sample j starts at sigma_max * noise(seed, j). It depends on (seed, j) and the denoiser alone: not on n, nor, but for rounding, on
the batch that it is computed in.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from smalti.core.errors import InputError, SmaltiError
from smalti.core.files import atomic_write, save_npz
from smalti.core.noise import check_seed, standard_normal
from smalti.core.pixels import tiled
from smalti.core.progress import progress as show_progress
from smalti.core.schedule import LEVELS, RHO, SIGMA_MAX, SIGMA_MIN, edm_sigmas
from smalti.core.validation import LARGEST, SMALLEST_SIGMA, check_count, check_labels, check_z, shown
from smalti.engine.neighbours import nearest
from smalti.sampling.solvers import Evaluate, Solver, find_solver
from smalti.source import Source

__all__ = [
    "Neighbours",
    "SampleResult",
    "Step",
    "check_sigmas",
    "initial_noise",
    "sample",
    "sampling_sigmas",
    "trajectory",
]

DEFAULT_N = 16
SHOWN = 64  # pixels of a sample in a picture, about

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
    sigmas = edm_sigmas(count, sigma_min, sigma_max, rho)
    return check_sigmas(torch.cat([sigmas, sigmas.new_zeros(1)]))


def check_sigmas(sigmas: torch.Tensor | Sequence[float]) -> torch.Tensor:
    """`sigmas` as a (steps + 1,) float64 CPU tensor.

    Raises:
        InputError: fewer than two levels; one that is not finite; not strictly decreasing; a last level that is not 0.
    """
    try:
        levels = torch.as_tensor(sigmas).detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"sigmas must be a list of numbers, largest first, not {type(sigmas).__name__}") from error
    if levels.ndim != 1 or levels.shape[0] < 2:
        raise InputError(f"sigmas has shape {tuple(levels.shape)}; give (steps + 1,) levels, largest first, the last 0")
    if not bool(torch.isfinite(levels).all()):
        raise InputError("sigmas has NaN or infinite levels; every level must be finite")
    if float(levels.max()) > LARGEST or float(levels[:-1].min()) < SMALLEST_SIGMA:
        raise InputError(f"sigmas must be from {SMALLEST_SIGMA:g} to {LARGEST:g}, and a last 0")
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
        InputError: at once: no denoiser, or a z that is no batch of images; sigmas that do not decrease to 0; an unknown solver.
        SmaltiError: the denoiser returned NaN, infinities or another shape; names the step and sigma.
    """
    if not callable(denoiser) or isinstance(denoiser, type):
        raise InputError(f"a denoiser is needed, called as denoiser(z, sigma), not {shown(denoiser)}")
    check_z(z, tuple(getattr(z, "shape", ()))[1:])
    condition = {} if labels is None else {"labels": labels}
    return _steps(denoiser, z, check_sigmas(sigmas).tolist(), find_solver(solver), condition)


def _steps(
    denoiser: Callable[..., torch.Tensor],
    z: torch.Tensor,
    levels: list[float],
    advance: Solver,
    condition: Mapping[str, object],
) -> Iterator[Step]:
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


class Neighbours(NamedTuple):
    """The k nearest images of a source, nearest first.

    Attributes:
        images: (n, k, C, H, W) float32, as stored (not flipped).
        indices: (n, k) int64, their numbers in the source.
        distances: (n, k) float64, root mean squared differences, working scale.
    """

    images: torch.Tensor
    indices: torch.Tensor
    distances: torch.Tensor


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

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it: a picture of all samples side by side (.png), or all arrays (.npz: images, sigmas, and states and denoised where
        kept, float32 in the working scale). Whole or not at all; a file that is there is replaced.

        Args:
            path: ends with .png or .npz.

        Returns:
            The path.

        Raises:
            InputError: another ending.
            EnvironmentFailure: the disk is full or the folder may not be written.
        """
        if not isinstance(path, (str, os.PathLike)):
            raise InputError(f"a path is needed, such as 'samples.png', not {shown(path)}")
        path = Path(path)
        if path.suffix == ".npz":
            kept = {name: getattr(self, name) for name in ("images", "sigmas", "states", "denoised")}
            save_npz(path, {name: value.numpy() for name, value in kept.items() if value is not None})
        elif path.suffix == ".png":
            across = math.ceil(len(self) ** 0.5)
            rows = [list(self.images[low : low + across]) for low in range(0, len(self), across)]
            height, width = self.images.shape[-2:]
            scale = max(1, round(SHOWN / max(height, width)))
            picture = Image.fromarray(tiled(rows, (height, width), scale, scale))
            with atomic_write(path) as file:
                picture.save(file, "PNG")
        else:
            raise InputError(f"samples are saved as a picture (.png) or as arrays (.npz), not as {shown(path.name)}")
        return path

    def nearest(self, source: Source, k: int = 1) -> Neighbours:
        """The images of `source` that are nearest to each sample: has the denoiser copied any?

        Args:
            source: the training images; with flips, of an image and its mirror image the nearer counts.
            k: how many, 1 to the number of images.

        Raises:
            InputError: no source, images of another shape, or k out of range.
        """
        if not isinstance(source, Source):
            raise InputError(f"a source is needed, not {shown(source)}")
        indices, squares = nearest(source, self.images, k)
        images = source.working(indices.flatten().numpy()).unflatten(0, indices.shape)
        return Neighbours(images, indices, (squares / self.images[0].numel()).sqrt())

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
        InputError: no denoiser; n, steps or batch_size < 1, or more samples than fit into the memory; an unknown
            solver; an init of another shape, with NaN or infinities, or that contradicts n; sigmas that contradict
            steps or the schedule, or do not decrease to 0; unknown classes.
        SmaltiError: the denoiser returned NaN, infinities or another shape; names the step and sigma.
    """
    shape = _shape_of(denoiser)
    seed = check_seed(seed)
    levels = _levels(sigmas, steps, sigma_min, sigma_max, rho)
    advance = find_solver(solver)
    start, n = _start(init, n, shape)
    size = n if batch_size is None else min(n, check_count("batch_size", batch_size))
    check_room(n, size, shape, len(levels), keep_states)
    classes = check_labels(labels, n, getattr(denoiser, "num_classes", None))

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


def _shape_of(denoiser: Any) -> tuple[int, int, int]:
    """(C, H, W) of what a denoiser takes.

    Raises:
        InputError: it is none.
    """
    shape = getattr(denoiser, "shape", None)
    if not callable(denoiser) or isinstance(denoiser, type) or shape is None:
        raise InputError(
            f"a denoiser is needed, called as denoiser(z, sigma) and with .shape = (C, H, W), not {shown(denoiser)}"
        )
    try:
        channels, height, width = (check_count("each of (C, H, W)", side) for side in shape)
    except (TypeError, ValueError):
        raise InputError(f"the denoiser's shape must be (C, H, W), not {shown(shape)}") from None
    return channels, height, width


def check_room(n: int, size: int, shape: tuple[int, int, int], levels: int = 1, keep: bool = False) -> None:
    """Raise InputError where the samples cannot fit into the memory of this machine."""
    pixels = shape[0] * shape[1] * shape[2]
    kept = 4 * n * pixels * (2 * levels if keep else 1)  # float32
    working = 8 * 4 * size * pixels  # the state and what a step needs beside it, float64
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # a system that does not say
        return
    if kept + working > memory > 0:
        needed, there = (-(-amount // 2**30) for amount in (kept + working, memory))
        remedy = "keep_states=False or fewer samples" if keep else "a batch_size or fewer samples"
        raise InputError(
            f"{shown(n)} samples need {shown(needed)} GB of memory, and this machine has {there}; ask for {remedy}"
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
    try:
        z = torch.from_numpy(init) if isinstance(init, np.ndarray) else init
    except TypeError:
        raise InputError(f"init must be floating numbers, not {init.dtype}; z is (n, C, H, W)") from None
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
