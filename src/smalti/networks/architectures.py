"""Networks from plain configurations: the JSON that a checkpoint carries, and named presets for the command line.

    {"architecture": "unet", "dit", "adm" or "uvit", the constructor's arguments of `UNet`, `DiT`, `ADM` or `UViT`,
     "preconditioning": "edm" (without it), "vp", "ve", "iddpm" or "ddpm",    see `smalti.networks.preconditioning`
     "sigma_data": 0.5,                                                         of edm
     "schedule": "linear" or "cosine", "steps": 1000}                           of ddpm

It may come from a file of unknown origin: types and sizes are checked before anything is built, and with a state dict the modules are
built without memory (torch's meta device) and take the file's tensors, so a lie about sizes costs nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from smalti.core.errors import InputError, did_you_mean
from smalti.core.pickles import printable
from smalti.networks.adm import ADM
from smalti.networks.dit import DiT
from smalti.networks.preconditioning import (
    DDPMPreconditioned,
    EDMPreconditioned,
    IDDPMPreconditioned,
    Preconditioned,
    VEPreconditioned,
    VPPreconditioned,
)
from smalti.networks.unet import UNet
from smalti.networks.uvit import UViT

__all__ = ["ARCHITECTURES", "PRESETS", "build", "find_preset", "parameter_names", "preset_config"]

ARCHITECTURES: dict[str, type[nn.Module]] = {"unet": UNet, "dit": DiT, "adm": ADM, "uvit": UViT}
PRECONDITIONINGS: dict[str, type[Preconditioned]] = {
    "edm": EDMPreconditioned,
    "vp": VPPreconditioned,
    "ve": VEPreconditioned,
    "iddpm": IDDPMPreconditioned,
    "ddpm": DDPMPreconditioned,
}
SCHEDULES = ("linear", "cosine")

# largest values that a configuration may have
BOUNDS = {
    "resolution": 1024,
    "channels": 256,
    "model_channels": 2048,
    "multipliers": 16,
    "blocks": 128,
    "attention": 1024,
    "num_classes": 100_000,
    "augmentation": 1024,
    "noise_multiplier": 16,
    "patch": 256,
    "hidden": 8192,
    "heads": 256,
    "head_channels": 8192,
    "group_size": 64,
    "outputs": 2,
    "depth": 128,
    "steps": 100_000,
}
LONGEST = 16  # entries of a list
MOST_BLOCKS = 128  # of a U-Net, over all levels
MAY_BE_ZERO = {"num_classes", "augmentation", "attention"}
FLAGS = {"scale_shift", "qkv_bias", "time_mlp", "convolution"}
FORMS = {"noise_embedding", "encoder", "resampling"}

DDPMPP = {"noise_embedding": "positional", "noise_multiplier": 1, "encoder": "standard", "taps": [1, 1]}
NCSNPP = {"noise_embedding": "fourier", "noise_multiplier": 2, "encoder": "residual", "taps": [1, 3, 3, 1]}
_UNETS: dict[str, dict[str, Any]] = {
    "cifar10": {"model_channels": 128, "multipliers": [2, 2, 2], "blocks": 4, "attention": [16], "dropout": 0.13},
    "small": {"model_channels": 64, "multipliers": [1, 2, 2], "blocks": 2, "attention": [8], "dropout": 0.1},
    # twice as quick as "small" with 32 channels on a CPU: few channels at the full resolution, where most of the time goes
    "light": {"model_channels": 16, "multipliers": [1, 4, 4], "blocks": 1, "attention": [8], "dropout": 0.0},
    "tiny": {"model_channels": 24, "multipliers": [1, 2], "blocks": 1, "attention": [4], "dropout": 0.05},
}

# architecture and preset as the command line names them -> configuration, without what follows from the data
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "ddpmpp": {name: {"architecture": "unet", **sizes, **DDPMPP} for name, sizes in _UNETS.items()},
    "ncsnpp": {name: {"architecture": "unet", **sizes, **NCSNPP} for name, sizes in _UNETS.items()},
    "dit": {
        "b4": {"architecture": "dit", "patch": 4, "hidden": 768, "blocks": 12, "heads": 12, "dropout": 0.12},
        "s": {"architecture": "dit", "patch": 2, "hidden": 384, "blocks": 12, "heads": 6, "dropout": 0.12},
        "small": {"architecture": "dit", "patch": 2, "hidden": 256, "blocks": 8, "heads": 4, "dropout": 0.1},
        "tiny": {"architecture": "dit", "patch": 2, "hidden": 72, "blocks": 4, "heads": 4, "dropout": 0.05},
    },
}


def find_preset(arch: str, preset: str) -> dict[str, Any]:
    """The configuration of a preset, without what follows from the data.

    Args:
        arch: "ddpmpp", "ncsnpp" or "dit".
        preset: "cifar10" (EDM's for 32 x 32), "small", "light" (32 x 32 on a CPU) or "tiny"; for "dit" "b4" or "B/4" (Niedoba
            et al., Table 2), "s", "small" or "tiny".

    Raises:
        InputError: there is none of this name; names the nearest.
    """
    if arch not in PRESETS:
        raise InputError(
            f"no architecture is called {arch!r}{did_you_mean(arch, PRESETS)}; there are {', '.join(PRESETS)}"
        )
    name = preset.lower().replace("/", "")
    if name not in PRESETS[arch]:
        known = PRESETS[arch]
        raise InputError(f"{arch} has no preset {preset!r}{did_you_mean(name, known)}; it has {', '.join(known)}")
    return dict(PRESETS[arch][name])


def preset_config(
    arch: str, preset: str, shape: tuple[int, int, int], num_classes: int = 0, augmentation: int = 0, **changes: Any
) -> dict[str, Any]:
    """The whole configuration for images of `shape` = (C, H, W).

    Attention of the U-Nets moves with the resolution: a preset's 4 at 8 x 8 stays 4 at 8 x 8 and above where that resolution occurs,
    else the lowest resolution attends.

    Args:
        changes: constructor arguments to replace, such as model_channels=32.

    Raises:
        InputError: an unknown preset or argument; images that are not square.
    """
    channels, height, width = shape
    if height != width:
        raise InputError(f"networks take square images, not {height} x {width}; give --resolution {min(height, width)}")
    config = {**find_preset(arch, preset), "sigma_data": 0.5, "resolution": height, "channels": channels}
    config |= {"num_classes": num_classes, "augmentation": augmentation, **changes}
    if config["architecture"] == "unet":
        sides = [height >> level for level in range(len(config["multipliers"]))]
        if "attention" not in changes and not set(config["attention"]) & set(sides):
            config["attention"] = [sides[-1]]
    return check_config(config)


def build(config: Mapping[str, Any], state: Mapping[str, torch.Tensor] | None = None) -> Preconditioned:
    """The preconditioned network that `config` describes, in float32, in evaluation mode.

    Args:
        config: see the module.
        state: its state dict under the published names; None for a fresh initialisation (from torch's global generator).

    Raises:
        InputError: an unknown architecture or argument, absurd sizes, or a state that does not fit; names the first misfit.
    """
    checked = check_config(config)
    kind = ARCHITECTURES[checked.pop("architecture")]
    around = PRECONDITIONINGS[checked.pop("preconditioning", "edm")]
    arguments = {name: checked.pop(name) for name in ("sigma_data", "schedule", "steps") if name in checked}
    if state is None:
        return around(kind(**checked), **arguments).eval()
    with torch.device("meta"):
        network = around(kind(**checked), **arguments)
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        if name not in state:
            raise InputError(
                f"the checkpoint has no {name}, which its architecture needs; it is damaged or of another architecture"
            )
        if state[name].shape != tensor.shape:
            found, needed = tuple(state[name].shape), tuple(tensor.shape)
            raise InputError(f"{name} has shape {found} in the checkpoint, but its architecture needs {needed}")
        if not state[name].dtype.is_floating_point:
            raise InputError(f"{name} holds {state[name].dtype} in the checkpoint, not floating numbers")
        if not bool(torch.isfinite(state[name]).all()):
            raise InputError(
                f"{name} has NaN or infinite values in the checkpoint; it is damaged or its training diverged"
            )
    unknown = sorted(set(state) - set(wanted))
    if unknown:
        raise InputError(
            f"the checkpoint has {unknown[0]}, which its architecture does not have; it is of another architecture"
        )
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return network.eval()


def parameter_names(config: Mapping[str, Any]) -> list[str]:
    """The names that `build` wants of a state, in its order.

    Raises:
        InputError: see `check_config`.
    """
    with torch.device("meta"):
        return list(build(config).state_dict())


def check_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` as a plain dict whose values have the right types and bounded sizes.

    Raises:
        InputError: it has not.
    """
    found = config.get("architecture") if isinstance(config, Mapping) else type(config).__name__
    if not isinstance(found, str) or found not in ARCHITECTURES:
        raise InputError(f"unknown architecture {_shown(found)}; smalti builds {' and '.join(ARCHITECTURES)}")
    parameters = inspect.signature(ARCHITECTURES[found].__init__).parameters
    known = {name: p for name, p in parameters.items() if name != "self"}
    checked: dict[str, Any] = {"architecture": found}
    checked |= _check_preconditioning(config)
    for name, value in config.items():
        if name in checked:
            continue
        if name not in known:
            raise InputError(
                f"{config['architecture']} has no argument {printable(str(name), 60)!r}{did_you_mean(printable(str(name)), known)}"
            )
        zero = name == "heads" and found == "adm" and value == 0  # by head_channels
        checked[name] = 0 if zero else _checked(name, value)
    missing = [name for name, p in known.items() if p.default is p.empty and name not in checked]
    if missing:
        raise InputError(f"the configuration of the {config['architecture']} lacks {missing[0]}")
    if (
        checked["architecture"] in ("unet", "adm")
        and checked.get("blocks", 4) * len(checked.get("multipliers", [1])) > MOST_BLOCKS
    ):
        raise InputError(f"a U-Net of more than {MOST_BLOCKS} blocks is not built; use fewer blocks or levels")
    return checked


def _check_preconditioning(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that says what a network's output means."""
    kind = config.get("preconditioning", "edm")
    if not isinstance(kind, str) or kind not in PRECONDITIONINGS:
        raise InputError(f"unknown preconditioning {_shown(kind)}; smalti builds {', '.join(PRECONDITIONINGS)}")
    if kind == "edm":
        found = {"preconditioning": kind} if "preconditioning" in config else {}
        return found | {"sigma_data": _number("sigma_data", config.get("sigma_data", 0.5), 1e-6, 1e6)}
    if "sigma_data" in config:
        raise InputError(f"the preconditioning {kind} has no sigma_data; leave it out")
    if kind != "ddpm":
        return {"preconditioning": kind}
    schedule = config.get("schedule")
    if schedule not in SCHEDULES:
        raise InputError(f"schedule must be {' or '.join(SCHEDULES)}, not {_shown(schedule)}")
    steps = _integer("steps", config.get("steps", 1000))
    if steps < 50:
        raise InputError(f"steps must be at least 50, not {steps}")
    return {"preconditioning": kind, "schedule": schedule, "steps": steps}


def _checked(name: str, value: Any) -> Any:
    if name in FLAGS:
        if not isinstance(value, bool):
            raise InputError(f"{name} must be true or false, not {_shown(value)}")
        return value
    if name in FORMS:
        if not isinstance(value, str):
            raise InputError(f"{name} must be text, not {_shown(value)}")
        return value
    if name == "dropout":
        return _number(name, value, 0.0, 0.999)
    if name == "mlp_ratio":
        return _number(name, value, 0.01, 64.0)
    if name in ("multipliers", "attention", "taps"):
        if not isinstance(value, (list, tuple)) or len(value) > LONGEST or (not value and name != "attention"):
            raise InputError(f"{name} must be a list of at most {LONGEST} numbers, not {_shown(value)}")
        if name == "taps":
            taps = [_number(name, v, 0.0, 1e6) for v in value]
            if len(taps) % 2 or not sum(taps):  # an odd filter would not halve and double to the same size
                raise InputError(f"taps must be an even number of weights that are not all 0, not {value}")
            return taps
        return [_integer(name, v) for v in value]
    return _integer(name, value)


def _shown(value: Any) -> str:
    """A value of unknown origin in an error's line; a list or a huge number is not written out."""
    if isinstance(value, str):
        return repr(printable(value, 60))
    if isinstance(value, int) and abs(value) >= 2**63:
        return "a larger one"
    return str(value) if value is None or isinstance(value, (bool, int, float)) else f"a {type(value).__name__}"


def _integer(name: str, value: Any) -> int:
    low = 0 if name in MAY_BE_ZERO else 1
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= BOUNDS[name]:
        raise InputError(f"{name} must be a whole number from {low} to {BOUNDS[name]}, not {_shown(value)}")
    return value


def _number(name: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InputError(f"{name} must be a number from {low:g} to {high:g}, not {_shown(value)}")
    return float(value)
