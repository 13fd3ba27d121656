"""The configs of a diffusers `UNet2DModel` and of its scheduler, checked before anything is built from them.

Of a scheduler only what the network was trained with is read: the betas and what it predicts. How the scheduler would sample (clipping,
spacing, solver) has no part in D(z, sigma).
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from smalti.core.errors import InputError, from_os_error
from smalti.networks.tables import LONGEST, SCHEDULES, DiscreteTable

__all__ = ["Scheduler", "check_class", "image_shape", "read_json", "read_scheduler", "shown", "unet_arguments"]

LONGEST_JSON = 4 << 20
# largest of each number that sizes the network: far above any that was published, far below what a machine cannot hold
LARGEST = {
    "in_channels": 64,
    "out_channels": 128,
    "layers_per_block": 32,
    "block_out_channels": 4096,
    "time_embedding_dim": 16384,
    "attention_head_dim": 4096,
    "norm_num_groups": 4096,
    "attn_norm_num_groups": 4096,
    "num_class_embeds": 100_000,
    "num_train_timesteps": 100_000,
}
LARGEST_SIDE, MOST_BLOCKS = 1024, 10
LISTS = ("block_out_channels", "down_block_types", "up_block_types")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of at most 4 MB.

    Raises:
        InputError: it is missing, too large, damaged, or not an object.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(LONGEST_JSON + 1)
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    if len(text) > LONGEST_JSON:
        raise InputError(f"{path} is larger than any config of a network; check that it is the right file")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({_first_line(error)}); download or save it again") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a JSON {type(value).__name__}, not an object; download or save it again")
    return value


def check_class(config: Mapping[str, Any], where: str) -> None:
    """Raise InputError unless `config` is a UNet2DModel's."""
    name = config.get("_class_name")
    if name != "UNet2DModel":
        raise InputError(f"{where} is of class {shown(name)}; smalti reads UNet2DModel, others you can wrap yourself")


def unet_arguments(config: Mapping[str, Any], constructor: Callable[..., Any], where: str) -> dict[str, Any]:
    """The part of `config` that `constructor` takes, each value of the right kind and no larger than a network can be.

    Raises:
        InputError: a value of a wrong kind or size; a form whose D(z, sigma) is not defined by a scheduler's table.
    """
    defaults = {key: p.default for key, p in inspect.signature(constructor).parameters.items() if key != "self"}
    arguments = {key: config[key] for key in defaults if key in config}
    for key, value in arguments.items():
        if key in LISTS:
            _check_list(value, key, where)
        elif key == "sample_size":
            image_shape(config, where)
        else:
            _check_scalar(value, defaults[key], key, where)
    if arguments.get("class_embed_type") is not None:
        kind = arguments["class_embed_type"]
        raise InputError(
            f"{where} has class_embed_type {kind!r}; smalti reads classes by number only (num_class_embeds)"
        )
    embedding = arguments.get("time_embedding_type", "positional")
    if embedding not in ("positional", "learned"):
        raise InputError(
            f"{where} has time_embedding_type {embedding!r}, of score networks on [0, 1]; wrap it yourself (score-ve)"
        )
    return arguments


def image_shape(config: Mapping[str, Any], where: str) -> tuple[int, int, int]:
    """(C, H, W) from in_channels and sample_size, an integer or a pair (height, width)."""
    size = config.get("sample_size")
    if size is None:
        raise InputError(f"{where} does not say sample_size; add the side of the network's images to it")
    sides = list(size) if isinstance(size, (list, tuple)) else [size, size]
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= LARGEST_SIDE for side in sides):
        raise InputError(
            f"{where} has sample_size {shown(size)}; it must be one or two whole numbers up to {LARGEST_SIDE}"
        )
    channels = config.get("in_channels", 3)
    _check_scalar(channels, 3, "in_channels", where)
    return channels, sides[0], sides[1]


def _check_list(value: Any, key: str, where: str) -> None:
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MOST_BLOCKS:
        raise InputError(f"{where} has {key} = {shown(value)}; it must be a list of 1 to {MOST_BLOCKS}")
    for entry in value:
        _check_scalar(entry, 1 if key in LARGEST else "", key, where)


def _check_scalar(value: Any, default: Any, key: str, where: str) -> None:
    if value is None and key not in ("in_channels", "out_channels", "layers_per_block", *LISTS):
        return
    if key in LARGEST:
        good = type(value) is int and 1 <= value <= LARGEST[key]
        wanted = f"a whole number from 1 to {LARGEST[key]}"
    elif isinstance(default, bool):
        good, wanted = isinstance(value, bool), "true or false"
    elif isinstance(default, (int, float)):
        good = type(value) in (int, float) and 0 <= value <= 1000  # false for NaN
        wanted = "a number from 0 to 1000"
    else:
        good, wanted = isinstance(value, str), "a name"
    if not good:
        raise InputError(f"{where} has {key} = {shown(value)}; it must be {wanted}")


def shown(value: Any) -> str:
    """`value` for an error's line: its repr, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


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
