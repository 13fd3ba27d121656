"""How much each training image moved a sample: derivatives through all steps of the sampler, for all images at once.

Let f be any function of the image read, and pi_i the prior weight of training image i. A sampler goes z_{j+1} = a_j z_j + b_j D(z_j, s_j)
(Euler; others ask D more than once a step). With the adjoint lambda_j = df/dz_j, backwards from the image read,

    lambda_j    = a_j lambda_{j+1} + b_j J_j^T lambda_{j+1}                         J_j = dD(z_j, s_j)/dz
    influence_i = df/dlog pi_i = sum_j b_j <lambda_{j+1}, dD(z_j, s_j)/dlog pi_i>
    dD/dlog pi_i = sum_k R_k w_k^i (x^i - E_k) / sum_k R_k

Leaving image i out changes f by about -influence_i. That is first order: it holds while posteriors are shared by many images. Below sigma
of about 0.2 they have snapped to single patches, derivatives vanish, and only the counterfactual (`smalti.without`) says what an image did;
so images are read at `stop`. Windows that are made from the data (a Wiener filter's, say) are held as they are.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from smalti.core.errors import InputError
from smalti.core.progress import progress as show_progress
from smalti.core.validation import check_count, check_labels, check_number, check_z
from smalti.sampling.sampler import initial_noise, sampling_sigmas
from smalti.sampling.solvers import find_solver

__all__ = ["STOP", "evaluations", "influence", "level_read"]

STOP = 0.3  # the lowest sigma at which first order was measured to agree with leaving images out
SNAPPED = 0.2  # below, it was measured not to


def influence(
    denoiser: Any,
    of: Callable[[torch.Tensor], torch.Tensor],
    seed: int = 0,
    n: int = 1,
    steps: int = 18,
    solver: str = "euler",
    stop: float = STOP,
    init: torch.Tensor | None = None,
    labels: torch.Tensor | Sequence[int] | int | None = None,
    *,
    progress: bool | Callable[[int], None] | None = None,
) -> torch.Tensor:
    """The influence of every stored image on a function of each sample.

    Args:
        denoiser: a window denoiser (Optimal to the equivariant machines), with `pullback`.
        of: takes the image read, (C, H, W) in the working scale, and returns a scalar tensor that is differentiable in it.
        seed, n, steps, solver, labels: as for `smalti.sample`, whose samples these are.
        stop: the image read is D(z, s) at the level s of the schedule that is nearest to it; 0 reads the end of the run, with a warning.
        init: (n, C, H, W), z at the largest level, instead of `seed`.
        progress: True or False; None shows it where stderr is a terminal; a function is called with the evaluations done.

    Returns:
        (n, N) float64 on the CPU, df/dlog pi_i of each sample and stored image (its flips and shifts together). Each row sums to 0.

    Raises:
        InputError: a denoiser without posterior weights; an `of` that returns no differentiable scalar; what `smalti.sample` refuses.
    """
    if isinstance(denoiser, type) or not callable(getattr(denoiser, "pullback", None)):
        kind = denoiser if isinstance(denoiser, type) else type(denoiser)
        raise InputError(
            f"{kind.__name__} has no posterior weights over training images; give a window denoiser, such as smalti.PSPCSquare"
        )
    if not callable(of):
        raise InputError(f"of is a function of the image (C, H, W) that gives one number, not a {type(of).__name__}")
    levels = sampling_sigmas(check_count("steps", steps)).tolist()
    advance = find_solver(solver)
    read = _level_read(levels, stop)
    z = _start(init, seed, check_count("n", n), tuple(denoiser.shape), levels[0])
    classes = check_labels(labels, len(z), getattr(denoiser, "num_classes", None))
    tape = _Tape(denoiser, classes, len(z))

    report = progress if callable(progress) else None
    with show_progress("influence", 2 * read + 1, False if report else progress) as shown:  # type: ignore[arg-type]
        tell = report or shown
        states = [z]
        with torch.no_grad():
            for step, (sigma, after) in enumerate(itertools.pairwise(levels[: read + 1])):
                states.append(advance(tape.at(step), states[-1], sigma, after)[0])
                tell(1)
        with torch.enable_grad():
            state = states[-1].requires_grad_()
            image = tape.at(read)(state, levels[read]) if levels[read] > 0 else state
            adjoint = _gradients(of, image)
            if levels[read] > 0:
                (adjoint,) = torch.autograd.grad(image, state, adjoint)
            tell(1)
            for step in reversed(range(read)):
                state = states[step].requires_grad_()
                after, _ = advance(tape.at(step), state, levels[step], levels[step + 1])
                (adjoint,) = torch.autograd.grad(after, state, adjoint)
                tell(1)
    return tape.influence


class _Tape:
    """The denoiser as a differentiable function, step by step: what it answered forwards is not computed again backwards, where
    influence is added up."""

    def __init__(self, denoiser: Any, labels: torch.Tensor | None, n: int) -> None:
        self.denoiser, self.labels = denoiser, labels
        self.influence = torch.zeros((n, len(denoiser.source)), dtype=torch.float64)
        self._answers: dict[int, list[torch.Tensor]] = {}

    def at(self, step: int) -> Callable[[torch.Tensor, float], torch.Tensor]:
        """The function to evaluate within a step. A step asks the same questions in the same order each time."""
        known = iter(self._answers.get(step, []))
        new: list[torch.Tensor] = self._answers.setdefault(step, [])

        def evaluate(z: torch.Tensor, sigma: float) -> torch.Tensor:
            answer = next(known, None)
            if answer is None:
                with torch.no_grad():
                    answer = self.denoiser(z.detach(), sigma, labels=self.labels).to(z.dtype)
                new.append(answer)
            return _Evaluation.apply(z, answer, sigma, self)

        return evaluate


class _Evaluation(torch.autograd.Function):
    """D(z, sigma), whose answer is known; its derivative with respect to z, and to the log prior weights on the side."""

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, answer: torch.Tensor, sigma: float, tape: _Tape) -> torch.Tensor:
        ctx.save_for_backward(z)
        ctx.sigma, ctx.tape = sigma, tape
        return answer.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (z,) = ctx.saved_tensors
        found = ctx.tape.denoiser.pullback(z, ctx.sigma, grad, labels=ctx.tape.labels)
        ctx.tape.influence += found.log_priors.cpu()
        return found.z.to(z.dtype), None, None, None


def level_read(steps: int, stop: float) -> int:
    """The number of the level of the schedule at which `influence` reads the image; `steps`, behind the last, where `stop` is 0."""
    positive = sampling_sigmas(steps)[:-1].tolist()
    return min(range(len(positive)), key=lambda i: abs(positive[i] - stop)) if stop > 0 else len(positive)


def evaluations(steps: int, stop: float) -> int:
    """How many steps `influence` tells its `progress` of."""
    return 2 * level_read(steps, stop) + 1


def _level_read(levels: list[float], stop: float) -> int:
    """The number of the level at which the image is read; that of the final 0 where `stop` is 0."""
    if not 0 <= check_number("stop", stop) < float("inf"):
        raise InputError(f"stop must be a noise level >= 0, not {stop!r}")
    read = level_read(len(levels) - 1, stop)
    if levels[read] < SNAPPED:
        warnings.warn(
            f"influence at sigma {levels[read]:.3g} says little: below about {SNAPPED} posteriors have snapped to single patches and "
            f"derivatives vanish; stop={STOP} is the default, and smalti.without(denoiser, images) shows what really changes",
            stacklevel=3,
        )
    return read


def _start(init: torch.Tensor | None, seed: int, n: int, shape: tuple[int, ...], sigma_max: float) -> torch.Tensor:
    if init is None:
        return initial_noise(seed, range(n), shape, sigma_max)
    z = torch.as_tensor(init)
    check_z(z, shape)
    if len(z) == 0 or n not in (1, len(z)):
        raise InputError(f"n is {n} but init holds {len(z)} images; leave n out or make them agree")
    return z.detach().double()


def _gradients(of: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """d of(image)/d image for each of (n, C, H, W)."""
    found = []
    for image in images.detach():
        with torch.enable_grad():
            x = image.clone().requires_grad_()
            value = of(x)
            if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
                raise InputError(
                    "`of` must return one differentiable number of the image, such as lambda x: x[:, 3:6, 3:6].mean()"
                )
            (gradient,) = torch.autograd.grad(value.sum(), x, allow_unused=True)
        found.append(torch.zeros_like(x) if gradient is None else gradient)
    return torch.stack(found)
