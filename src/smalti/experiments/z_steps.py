"""The z that exhibits share: steps that make the sets of the forward and of the reverse process once.

The draws of z[level, j] depend on (seed, level, j) alone, so a set of n z begins with that of fewer: exhibits take z[:, :n].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from smalti.analysis.forward import forward_z
from smalti.analysis.identity import source_identity
from smalti.analysis.reverse import reverse_z
from smalti.analysis.z_sets import ZSet, check_levels
from smalti.core.errors import InputError
from smalti.experiments.laboratory import Laboratory
from smalti.experiments.steps import Arrays, Step, Work

__all__ = ["forward_step", "reverse_count", "reverse_step", "z_set_of"]

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
