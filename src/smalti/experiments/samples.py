"""Samples of all denoisers and networks from the same initial noise: Euler's method on the noise levels of the run, a step each.

Trajectories (article, Fig. 8) and similarities (Fig. 9) are looked at in the same samples; sample j of every subject starts at
sigmas[0] * noise(seed, j).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from smalti.analysis.identity import identity_of
from smalti.core.denoiser import Denoiser
from smalti.core.pieces import Batch
from smalti.experiments.counts import share_out
from smalti.experiments.steps import Arrays, Step, Work
from smalti.experiments.wording import label_of, listed
from smalti.sampling import initial_noise, sample

if TYPE_CHECKING:
    from smalti.experiments.laboratory import Laboratory

__all__ = ["FOLLOWED", "sample_counts", "sample_notes", "sample_step"]

FOLLOWED = 64  # samples whose states are kept, at most
BATCH = 16
SHARE = 1.5  # of `lab.seconds`, for the samples of all denoisers and networks


def sample_counts(lab: Laboratory) -> dict[str, int]:
    """How many samples each denoiser and network gets within the budget, at most lab.scale.samples; 0 for what is too slow."""
    return share_out(lab, lab.subjects, SHARE * lab.seconds, lab.scale.samples)


def sample_step(
    lab: Laboratory, name: str, n: int, denoiser: Denoiser | None = None, seconds: float | None = None
) -> Step:
    """The samples of one denoiser.

    Args:
        lab: gives the noise levels and the seed.
        name: of a denoiser or network of the laboratory, or of `denoiser`: the step is "samples/NAME".
        n: number of samples, at least 1.
        denoiser: one that is not among the laboratory's own.
        seconds: predicted; None for what the laboratory's costs say.

    Returns:
        A step whose result is {"images": (n, C, H, W) float32, "states": (L + 1, f, C, H, W), "denoised": (L, f, C, H, W), "sigmas":
        (L + 1,) float64, the last 0}, f = min(n, 64).
    """
    sigmas = torch.cat([lab.sigmas, lab.sigmas.new_zeros(1)])
    seed, followed = lab.seed, min(n, FOLLOWED)
    subject = lab.subjects[name] if denoiser is None else denoiser

    def compute(work: Work) -> Arrays:
        def sampled(batch: Batch) -> Arrays:
            start = initial_noise(seed, batch.numbers, subject.shape, float(sigmas[0]))
            result = sample(
                subject, solver="euler", init=start, sigmas=sigmas, keep_states=batch.low < followed, progress=False
            )
            found = {"images": result.images.numpy()}
            if result.states is not None and result.denoised is not None:
                kept = min(batch.high, followed) - batch.low
                found |= {"states": result.states[:, :kept].numpy(), "denoised": result.denoised[:, :kept].numpy()}
            return found

        made = work.pieces.batches("samples", n, BATCH, sampled, lambda done: work.advance(done / n))
        parts = [arrays for _, arrays in made]
        joined = {
            key: np.concatenate([part[key] for part in parts if key in part], axis)
            for key, axis in (("images", 0), ("states", 1), ("denoised", 1))
        }
        return joined | {"sigmas": sigmas.numpy()}

    parameters = {
        "denoiser": lab.identity(name) if denoiser is None else identity_of(denoiser),
        "sigmas": sigmas.tolist(),
        "n": n,
        "seed": seed,
        "solver": "euler",
        "followed": followed,
    }
    predicted = n * lab.costs.of(name) if seconds is None else seconds
    return Step(f"samples/{name}", compute, parameters, seconds=predicted, about=f"{name} n = {n}")


def sample_notes(lab: Laboratory) -> list[str]:
    """What of the samples was left out or limited."""
    counts = sample_counts(lab)
    most = max(counts.values())
    notes = []
    if left_out := [name for name, n in counts.items() if not n]:
        notes.append(
            f"No samples, because {lab.scale.least} of them do not fit into the time budget: {listed(left_out)}."
        )
    if fewer := [f"{label_of(lab, name)} {n}" for name, n in counts.items() if 0 < n < most]:
        notes.append(f"{most} samples, but of {listed(fewer)}.")
    return notes
