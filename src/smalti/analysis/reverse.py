"""z of the reverse process: the states of a denoiser's own sampling run at each level, before that level's predictor step.

With Heun's sampler 18 levels take 35 evaluations; the predictor's points in between are not states (full paper, section 6).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch

from smalti.analysis.identity import identity_of, pieces_of
from smalti.analysis.z_sets import ZSet, check_levels
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.pieces import Arrays, Batch, Pieces
from smalti.core.progress import progress as show_progress
from smalti.core.schedule import edm_sigmas
from smalti.core.validation import check_count, check_labels
from smalti.sampling import Solver, find_solver, initial_noise, sample

__all__ = ["reverse_z"]


def reverse_z(
    denoiser: Denoiser,
    sigmas: torch.Tensor | Sequence[float] | None = None,
    n: int = 16,
    seed: int = 0,
    steps: int = 18,
    *,
    solver: str | Solver = "heun",
    labels: torch.Tensor | Sequence[int] | int | None = None,
    batch_size: int = 16,
    keep: str | os.PathLike[str] | Pieces | None = None,
    progress: bool | Callable[[int], None] | None = None,
) -> ZSet:
    """The states of n sampling runs, as `smalti.sample(denoiser, n, steps, seed=seed)` passes through them.

    Args:
        denoiser: whose process it is: the network that others are compared with.
        sigmas: (L,) strictly decreasing levels > 0, without the final 0; None for the EDM schedule of `steps` levels.
        n: runs, at least 1; run j starts at sigmas[0] times the noise of (seed, j).
        seed: 0 to 2^64 - 1.
        steps: levels of the EDM schedule, where no sigmas are given.
        solver: "heun", as published, or "euler".
        labels: a class for all runs or one per run, (n,).
        batch_size: runs computed, and kept, together. It changes results only by rounding.
        keep: a folder (or Pieces) for finished batches, so that the same call goes on after a kill; None keeps nothing.
        progress: True or False; None shows it where stderr is a terminal; a function is called, when a batch is finished, with the
            number of its states, n * L in all.

    Returns:
        A ZSet of process "reverse", z[0] pure noise.

    Raises:
        InputError: bad sigmas, n, seed, solver or labels; a folder that keeps another computation.
        SmaltiError: the denoiser returned NaN, infinities or another shape.
    """
    levels = edm_sigmas(check_count("steps", steps)) if sigmas is None else check_levels(sigmas)
    schedule = torch.cat([levels, levels.new_zeros(1)])
    n, size = check_count("n", n), check_count("batch_size", batch_size)
    classes = check_labels(labels, n, denoiser.num_classes)
    find_solver(solver)
    about = {"seed": seed, "denoiser": _who(denoiser), "solver": solver if isinstance(solver, str) else repr(solver)}
    pieces = pieces_of(keep, __name__, lambda: {
        "reverse": {**about, "denoiser": identity_of(denoiser)}, "sigmas": levels.tolist(),
        "labels": None if classes is None else classes.tolist(),
    })  # fmt: skip

    z = torch.empty((len(levels), n, *denoiser.shape), dtype=torch.float32)

    def compute(batch: Batch) -> Arrays:
        result = sample(
            denoiser,
            solver=solver,
            init=initial_noise(seed, batch.numbers, denoiser.shape, float(levels[0])),
            labels=None if classes is None else classes[batch.rows],
            sigmas=schedule,
            progress=False if callable(progress) else batch.advance,
        )
        assert result.states is not None
        return {"states": result.states[:-1].numpy()}

    with show_progress("reverse process", n * len(levels), progress) as advance:
        for batch, arrays in pieces.batches("reverse", n, size, compute, advance, units=len(levels)):
            z[:, batch.rows] = torch.from_numpy(arrays["states"])
    return ZSet(z, levels, "reverse", about, None if classes is None else classes.expand(len(levels), n))


def _who(denoiser: Denoiser) -> dict[str, Any]:
    """Its identity, for the record; of one whose content cannot be told (a plain function) what it shows of itself."""
    try:
        return identity_of(denoiser)
    except InputError:
        return {"repr": repr(denoiser)}
