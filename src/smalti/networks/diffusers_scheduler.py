"""A diffusers scheduler's config as a convention and a table of noise levels.

Only what the network was trained with is read: the betas and what it predicts. How the scheduler would sample (clipping, spacing,
solver) has no part in D(z, sigma).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from smalti.core.errors import InputError
from smalti.networks.diffusers_config import shown
from smalti.networks.tables import LONGEST, SCHEDULES, DiscreteTable

__all__ = ["Scheduler", "read_scheduler"]

# first and last beta where a config does not say, by class: the classes' own defaults
_DDPM, _SHORTER = (0.0001, 0.02), (0.00085, 0.012)
DISCRETE = {
    "DDPMScheduler": _DDPM,
    "DDPMParallelScheduler": _DDPM,
    "DDIMScheduler": _DDPM,
    "DDIMParallelScheduler": _DDPM,
    "PNDMScheduler": _DDPM,
    "DEISMultistepScheduler": _DDPM,
    "DPMSolverMultistepScheduler": _DDPM,
    "DPMSolverSinglestepScheduler": _DDPM,
    "UniPCMultistepScheduler": _DDPM,
    "EulerDiscreteScheduler": _DDPM,
    "EulerAncestralDiscreteScheduler": _DDPM,
    "LMSDiscreteScheduler": _DDPM,
    "HeunDiscreteScheduler": _SHORTER,
    "KDPM2DiscreteScheduler": _SHORTER,
    "KDPM2AncestralDiscreteScheduler": _SHORTER,
}
EDM = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
PREDICTIONS = {"epsilon": "epsilon-vp", "v_prediction": "v-vp", "sample": "sample-vp"}


@dataclass(frozen=True)
class Scheduler:
    """What a scheduler's config says about the network.

    Attributes:
        name: the scheduler's class.
        prediction: epsilon, v_prediction or sample.
        convention: of `smalti.networks.conventions.CONVENTIONS`.
        table: the noise levels; None for EDM preconditioning.
        sigma_data: of EDM preconditioning; None for a table.
        learns_variance: the network's output has the variance in further channels.
    """

    name: str
    prediction: str
    convention: str
    table: DiscreteTable | None
    sigma_data: float | None
    learns_variance: bool


def read_scheduler(config: Mapping[str, Any], where: str, rounding: str = "linear") -> Scheduler:
    """The scheduler of `config`; `where` names it in errors.

    Raises:
        InputError: a scheduler that is not among `DISCRETE` and `EDM`, or values that it cannot have.
    """
    name = config.get("_class_name")
    if not isinstance(name, str) or (name not in DISCRETE and name not in EDM):
        known = "DDPMScheduler, DDIMScheduler and their like, and EDMEulerScheduler"
        raise InputError(
            f"{where} is for {shown(name)}, which smalti does not read ({known} it does); wrap the network yourself"
        )
    for key in ("snr_shift_scale", "use_flow_sigmas"):
        if config.get(key):
            raise InputError(
                f"{where} has {key} = {shown(config[key])}, which smalti does not read; wrap the network yourself"
            )
    prediction = _prediction(config, where)
    if name in EDM:
        if prediction == "sample":
            raise InputError(f"{where} has prediction_type 'sample', which {name} does not have; correct it")
        return Scheduler(name, prediction, "edm", None, _number(config, where, "sigma_data", 0.5, 1e-6, 1e6), False)
    if config.get("timestep_type", "discrete") != "discrete":
        kind = config["timestep_type"]
        raise InputError(
            f"{where} has timestep_type {shown(kind)}; smalti reads discrete ones; wrap the network yourself"
        )
    learned = config.get("variance_type") in ("learned", "learned_range")
    return Scheduler(name, prediction, PREDICTIONS[prediction], _table(config, where, rounding), None, learned)


def _prediction(config: Mapping[str, Any], where: str) -> str:
    # predict_epsilon is what prediction_type was called in diffusers before 0.10
    default = "epsilon" if config.get("predict_epsilon", True) is not False else "sample"
    prediction = config.get("prediction_type", default)
    if not isinstance(prediction, str) or prediction not in PREDICTIONS:
        raise InputError(f"{where} has prediction_type {shown(prediction)}; smalti reads {', '.join(PREDICTIONS)}")
    return prediction


def _table(config: Mapping[str, Any], where: str, rounding: str) -> DiscreteTable:
    steps = int(_number(config, where, "num_train_timesteps", 1000, 1, LONGEST, whole=True))
    rescale = config.get("rescale_betas_zero_snr", False)
    if not isinstance(rescale, bool):
        raise InputError(f"{where} has rescale_betas_zero_snr = {shown(rescale)}; it must be true or false")
    start, end = DISCRETE[config["_class_name"]]
    betas, schedule = config.get("trained_betas"), config.get("beta_schedule", "linear")
    if betas is None and not (isinstance(schedule, str) and schedule in SCHEDULES):
        raise InputError(
            f"{where} has beta_schedule {shown(schedule)}; smalti reads {', '.join(SCHEDULES)} and trained_betas"
        )
    try:
        if betas is None:
            first, last = (
                _number(config, where, *key, 1e-12, 0.999999) for key in (("beta_start", start), ("beta_end", end))
            )
            return DiscreteTable.named(schedule, steps, first, last, rescale, rounding)
        if not isinstance(betas, list) or len(betas) != steps or not all(type(beta) in (int, float) for beta in betas):
            raise InputError(f"trained_betas must be {steps} numbers, one per training timestep")
        return DiscreteTable.from_betas(torch.tensor(betas, dtype=torch.float32), rescale, rounding)
    except (OverflowError, InputError) as error:
        message = str(error)
        raise InputError(message if message.startswith(where) else f"{where}: {message}") from error


def _number(
    config: Mapping[str, Any], where: str, key: str, default: float, low: float, high: float, whole: bool = False
) -> float:
    value = config.get(key, default)
    kinds = (int,) if whole else (int, float)
    if type(value) not in kinds or not low <= value <= high:
        kind = "whole number" if whole else "number"
        raise InputError(f"{where} has {key} = {shown(value)}; it must be a {kind} from {low:g} to {high:g}")
    return value
