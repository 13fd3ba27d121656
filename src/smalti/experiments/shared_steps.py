"""The steps that exhibits share: z of the forward and of the reverse process, and samples of all denoisers from the same noise.

z         the draws of z[level, j] depend on (seed, level, j) alone, so a set of n z begins with that of fewer: exhibits take z[:, :n]
samples   Euler's method on the noise levels of the run; sample j of every subject starts at sigmas[0] * noise(seed, j). Trajectories
          (article, Fig. 8) and similarities (Fig. 9) are looked at in the same samples
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from smalti.analysis.forward import forward_z
from smalti.analysis.identity import identity_of, source_identity
from smalti.analysis.reverse import reverse_z
from smalti.analysis.z_sets import ZSet, check_levels
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.pieces import Batch
from smalti.experiments.captions import label_of, listed
from smalti.experiments.laboratory import Laboratory
from smalti.experiments.steps import Arrays, Step, Work
from smalti.sampling import initial_noise, sample

if TYPE_CHECKING:
    from smalti.experiments.laboratory import Laboratory

__all__ = [
    "FOLLOWED",
    "forward_step",
    "reverse_count",
    "reverse_step",
    "sample_counts",
    "sample_notes",
    "sample_step",
    "z_set_of",
]

BATCH = 64  # runs of the reverse process computed, and kept, together
SHARE = 0.5  # of `lab.seconds`, that states of a slow network's own process may take: as an exhibit of this share
EVALUATIONS = 2  # of Heun's method at a level


def forward_step(lab: Laboratory, n: int, levels: Sequence[float] | torch.Tensor | None = None) -> Step:
    """Noisy images of the laboratory's source.

    Args:
        lab: the laboratory.
        n: z at each level, at most; up to the scale's own number all exhibits share one set of that size.
        levels: (L,) sigmas; None for `lab.sigmas`.

    Returns:
        A step whose result is {"z": (L, n, C, H, W) float32, "sigmas": (L,) float64}; slice z[:, :n].
    """
    sigmas = lab.sigmas if levels is None else check_levels(levels)
    count = max(n, lab.scale.z) if levels is None else n

    def compute(work: Work) -> Arrays:
        return _arrays(forward_z(lab.source, sigmas, count, lab.seed))

    parameters = {"data": source_identity(lab.source), "sigmas": sigmas.tolist(), "n": count, "seed": lab.seed}
    name = "z/forward" if levels is None else f"z/forward-{len(sigmas)}-levels-{count}"
    return Step(name, compute, parameters, seconds=5e-6 * len(sigmas) * count * int(np.prod(lab.source.shape)))


def reverse_step(
    lab: Laboratory, n: int, network: str | None = None, levels: Sequence[float] | torch.Tensor | None = None
) -> Step:
    """The states of a network's own sampling, before each level's predictor step.

    Args:
        lab: the laboratory.
        n: runs at most that are wanted. At `lab.sigmas` all exhibits share one set of `reverse_count` runs, which may be fewer or more:
            slice z[:, :n] and take n from what is there. At other levels n runs are made.
        network: its name; None for the reference.
        levels: (L,) decreasing sigmas; None for `lab.sigmas`.

    Returns:
        A step whose result is {"z": (L, n, C, H, W) float32, "sigmas": (L,) float64}.

    Raises:
        InputError: there is no network.
    """
    name = network or lab.reference
    if name is None:
        raise InputError("the reverse process needs a network; give one with --network")
    sigmas = lab.sigmas if levels is None else check_levels(levels)
    count = reverse_count(lab, name) if levels is None else n
    denoiser = lab.networks[name]

    def compute(work: Work) -> Arrays:
        total = count * len(sigmas)
        made = reverse_z(
            denoiser,
            sigmas,
            count,
            lab.seed,
            batch_size=BATCH,
            keep=work.pieces,
            progress=lambda states: work.advance(states / total),
        )
        return _arrays(made)

    parameters = {"network": lab.identity(name), "sigmas": sigmas.tolist(), "n": count, "seed": lab.seed}
    label = f"z/reverse/{name}" if levels is None else f"z/reverse/{name}-{len(sigmas)}-levels-{count}"
    return Step(
        label, compute, parameters, seconds=EVALUATIONS * count * lab.costs.of(name) * len(sigmas) / len(lab.sigmas)
    )


def reverse_count(lab: Laboratory, network: str | None = None) -> int:
    """How many states of a network's own process at each level all exhibits share: the scale's, or what the budget allows."""
    name = network or lab.reference
    return lab.costs.affordable(name or "", SHARE * lab.seconds / EVALUATIONS, most=lab.scale.z, least=lab.scale.least)


def z_set_of(lab: Laboratory, result: Arrays, process: str) -> ZSet:
    """The result of one of these steps as a set that can be saved; the laboratory's source or network goes into its record.

    Args:
        lab: the laboratory.
        result: {"z", "sigmas"}.
        process: "forward" or "reverse".
    """
    about = {"seed": lab.seed, "data": source_identity(lab.source)}
    if process == "reverse" and lab.reference is not None:
        about |= {"denoiser": lab.identity(lab.reference), "solver": "heun"}
    return ZSet(torch.from_numpy(result["z"]), torch.from_numpy(result["sigmas"]), process, about)


def _arrays(z_set: ZSet) -> Arrays:
    return {"z": z_set.z.numpy(), "sigmas": z_set.sigmas.numpy()}


FOLLOWED = 64  # samples whose states are kept, at most
TOGETHER = 16
SAMPLING = 1.5  # of `lab.seconds`, for the samples of all denoisers and networks


def sample_counts(lab: Laboratory) -> dict[str, int]:
    """How many samples each denoiser and network gets within the budget, at most lab.scale.samples; 0 for what is too slow."""
    return lab.share_out(lab.subjects, SAMPLING * lab.seconds, lab.scale.samples)


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

        made = work.pieces.batches("samples", n, TOGETHER, sampled, lambda done: work.advance(done / n))
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
