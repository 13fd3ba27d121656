"""Networks saved by diffusers: a `UNet2DModel` folder with its scheduler's config (the extra smalti[diffusers]).

    pipeline/model_index.json                           or, flat,   model/config.json
    pipeline/unet/config.json                                       model/diffusion_pytorch_model.safetensors
    pipeline/unet/diffusion_pytorch_model.safetensors               model/scheduler_config.json
    pipeline/scheduler/scheduler_config.json

The weights may be in several files with an index, in a variant (fp16), or in a file of torch.save (.bin); averaged weights in unet_ema.
Nothing is fetched and no code of the folder runs: JSON and safetensors are read, and .bin by smalti's own reader. The network is laid
out on the meta device, run there once and compared with the names and shapes of the file before memory is taken for it.
"""

from __future__ import annotations

import importlib
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smalti.core.errors import InputError
from smalti.core.pickles import printable
from smalti.networks.checkpoint import read_safetensors
from smalti.networks.diffusers_config import (
    Scheduler,
    check_class,
    image_shape,
    read_json,
    read_scheduler,
    shown,
    unet_arguments,
)
from smalti.networks.preconditioning import EDMPreconditioned
from smalti.networks.tables import DiscreteTable
from smalti.networks.torch_files import read_torch_tensors

__all__ = ["DiffusersModel", "first_line", "read_diffusers", "read_weights"]


@dataclass(frozen=True)
class DiffusersModel:
    """A network read from a diffusers folder.

    Attributes:
        module: as `smalti.networks.conventions.as_denoiser` takes it; float32, in eval mode, parameters without grad.
        convention: epsilon-vp, v-vp, sample-vp, or edm.
        table: the noise levels by number; None for edm.
        shape: (C, H, W).
        num_classes: None for an unconditional network.
        about: where it came from, for people: path, scheduler, prediction, parameters, what was ignored.
    """

    module: nn.Module
    convention: str
    table: DiscreteTable | None
    shape: tuple[int, int, int]
    num_classes: int | None
    about: Mapping[str, Any]


class UNetCall(nn.Module):
    """unet(x, t, labels) as one tensor of x's channels: without the channels of a learned variance, times `sign`."""

    def __init__(self, unet: nn.Module, conditional: bool, sign: float = 1.0) -> None:
        super().__init__()
        self.unet, self.conditional, self.sign = unet, conditional, sign

    def forward(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        labels: torch.Tensor | None = None,
        augmentation: torch.Tensor | None = None,  # of smalti's own networks; EDMPreconditioned passes it on
    ) -> torch.Tensor:
        """x (B, C, H, W), t (B,), labels (B,) int64 -> (B, C, H, W)."""
        if self.conditional and labels is None:
            raise InputError("this network is conditional: give labels, one class per image")
        classes = None if labels is None else labels.to(x.device)
        output = self.unet(x, t, class_labels=classes, return_dict=False)[0][:, : x.shape[1]]
        return output if self.sign == 1 else self.sign * output


class EDMCall(nn.Module):
    """D(z, sigma, labels) around a `UNetCall`. No `EDMPreconditioned` itself: labels are numbers here, not one-hot."""

    def __init__(self, network: UNetCall, sigma_data: float) -> None:
        super().__init__()
        self.preconditioned = EDMPreconditioned(network, sigma_data)

    def forward(self, z: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """z (B, C, H, W), sigma (B,), labels (B,) int64 -> (B, C, H, W)."""
        return self.preconditioned(z, sigma, labels)


def read_diffusers(
    path: str | os.PathLike[str], scheduler: Mapping[str, Any] | None = None, weights: str = "averaged"
) -> DiffusersModel:
    """Read a pipeline's folder, or a model's with its scheduler's config in it (or beside, in its pipeline).

    Args:
        path: the folder.
        scheduler: a scheduler's config, instead of one in the folder; DDPMScheduler unless it says another `_class_name`.
        weights: "averaged" or "raw", where the folder has both, unet_ema and unet; a warning says which is read.

    Raises:
        InputError: diffusers is not installed; a folder that is not one, is damaged, or holds another class, or no scheduler.
    """
    root = _folder(path)
    where = _unet_folder(root, weights)
    config, config_path = read_json(where / "config.json"), str(where / "config.json")
    check_class(config, config_path)
    settings, named = _scheduler_config(root, scheduler)
    unet_class = _unet_class()
    arguments = unet_arguments(config, unet_class.__init__, config_path)
    shape = image_shape(config, config_path)
    embedding = arguments.get("time_embedding_type", "positional")
    read = read_scheduler(settings, named, "nearest" if embedding == "learned" else "linear")
    _check_levels(read, arguments, config_path)
    unet = _built(unet_class, arguments, shape, read, where)
    classes = arguments.get("num_class_embeds")
    call = UNetCall(unet, classes is not None, -1.0 if _negated(read) else 1.0)
    module: nn.Module = call if read.sigma_data is None else EDMCall(call, read.sigma_data)
    about = {
        "format": "diffusers",
        "path": str(root),
        "class": "UNet2DModel",
        "version": str(config.get("_diffusers_version", "unknown")),
        "scheduler": read.name,
        "prediction": read.prediction,
        "parameters": sum(p.numel() for p in unet.parameters()),
        "ignored": sorted(key for key in config if key not in arguments and not key.startswith("_")),
    }
    return DiffusersModel(module.eval().requires_grad_(False), read.convention, read.table, shape, classes, about)


def _negated(read: Scheduler) -> bool:
    # diffusers' EDM schedulers give c_out the other sign for v_prediction
    return read.sigma_data is not None and read.prediction == "v_prediction"


def _folder(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path) or "\0" in str(path):
        raise InputError(f"a diffusers model is read from a folder, not {path!r}")
    root = Path(os.path.expanduser(path))
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise InputError(f"{root} {problem}; give a folder that diffusers saved (nothing is downloaded)")
    return root


def _unet_folder(root: Path, weights: str) -> Path:
    index = root / "model_index.json"
    if index.is_file():
        pipeline = read_json(index)
        entry = pipeline.get("unet")
        if entry != ["diffusers", "UNet2DModel"]:
            what = (
                f"a {shown(pipeline.get('_class_name'))} without a unet"
                if entry is None
                else f"the pipeline's unet is {shown(entry)}"
            )
            raise InputError(f"{index}: {what}; smalti reads diffusers' UNet2DModel only")
    averaged, raw = root / "unet_ema", root / "unet"
    both = all((folder / "config.json").is_file() for folder in (averaged, raw))
    if both and weights == "averaged":
        warnings.warn(
            f"{root} has averaged weights (unet_ema) and raw ones (unet); the averaged are read (weights='raw' reads the others)",
            stacklevel=2,
        )
    for folder in (averaged, raw, root) if weights == "averaged" else (raw, averaged, root):
        if (folder / "config.json").is_file():
            return folder
    raise InputError(f"{root} has no unet/config.json and no config.json; {_instead(root)}")


def _instead(root: Path) -> str:
    """What to give instead of a folder without a config."""
    snapshots = sorted(folder for folder in root.glob("snapshots/*") if folder.is_dir())
    if snapshots:  # the cache of the Hugging Face hub
        return f"give a snapshot in it, {snapshots[-1]}"
    inside = sorted(path.parent for path in root.glob("*/model_index.json"))
    if inside:
        return f"did you mean {inside[0]}?"
    weights = next(
        (file.name for pattern in ("*.safetensors", "*model*.bin") for file in sorted(root.glob(pattern))), None
    )
    if weights is not None:
        return f"{weights} alone does not say what network it is of: put the config.json that save_pretrained wrote beside it"
    return "give a folder that diffusers saved"


def _scheduler_config(root: Path, given: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], str]:
    if given is not None:
        if not isinstance(given, Mapping):
            raise InputError(f"scheduler must be the config of one, a dict, not {type(given).__name__}")
        return {"_class_name": "DDPMScheduler", **given}, "the scheduler given"
    places = [root / "scheduler" / "scheduler_config.json", root / "scheduler_config.json"]
    above = root.absolute().parent
    if (above / "model_index.json").is_file():
        places.append(above / "scheduler" / "scheduler_config.json")
    for place in places:
        if place.is_file():
            return read_json(place), str(place)
    raise InputError(
        f"{root} has no scheduler/scheduler_config.json, which says what the network predicts at which noise levels; "
        f"add the one that it was trained with, such as the line {PLAIN_SCHEDULER} in the file {places[1]}, or give it in Python: "
        "Network.load(path, scheduler={'beta_schedule': 'linear', 'prediction_type': 'epsilon'})"
    )


def _unet_class() -> Any:
    try:
        return importlib.import_module("diffusers").UNet2DModel
    except ModuleNotFoundError as error:
        if error.name == "diffusers":
            raise InputError("reading this folder needs diffusers: pip install 'smalti[diffusers]'") from error
        raise InputError(f"diffusers lacks the package {error.name}: pip install 'smalti[diffusers]'") from error
    except (ImportError, RuntimeError, AttributeError) as error:
        raise InputError(
            f"diffusers cannot be imported ({first_line(error)}): pip install -U 'smalti[diffusers]'"
        ) from error


def _check_levels(read: Scheduler, arguments: Mapping[str, Any], where: str) -> None:
    if arguments.get("time_embedding_type") != "learned":
        return
    known = arguments.get("num_train_timesteps")
    if read.table is None or known is None or known < len(read.table):
        raise InputError(f"{where}: the network has learned {known} noise levels, its scheduler has others; check both")


def _built(
    unet_class: Any, arguments: dict[str, Any], shape: tuple[int, int, int], read: Scheduler, where: Path
) -> nn.Module:
    """The network with its weights, after everything about it has been checked without them."""
    config = where / "config.json"
    try:
        with torch.device("meta"), torch.no_grad():
            skeleton = unet_class(**arguments).eval()
            labels = torch.zeros(1, dtype=torch.int64) if skeleton.class_embedding is not None else None
            t = torch.zeros(1, dtype=torch.int64)
            output = skeleton(torch.zeros(1, *shape), t, class_labels=labels, return_dict=False)[0]
    except Exception as error:  # whatever diffusers and torch raise on a config that contradicts itself
        raise InputError(f"{config} does not describe a network that works ({first_line(error)}); check it") from error
    channels = (2 if read.learns_variance else 1) * shape[0]
    if tuple(output.shape) != (1, channels, *shape[1:]):
        raise InputError(
            f"{config}: images of {shape} come out as {tuple(output.shape[1:])}; the scheduler expects {channels} channels"
        )
    tensors = read_weights(where, {name: tuple(value.shape) for name, value in skeleton.state_dict().items()})
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are overwritten
        unet = unet_class(**arguments)
    unet.load_state_dict(tensors)
    return unet


# the weights' file by preference; * is a variant, "fp16"
WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.*.safetensors",
    "diffusion_pytorch_model.safetensors.index.*.json",
    *(
        "diffusion_pytorch_model.bin",
        "pytorch_model.bin",
        "diffusion_pytorch_model.bin.index.json",
        "diffusion_pytorch_model.*.bin",
    ),
)
MOST_PARTS = 1000
PLAIN_SCHEDULER = '{"_class_name": "DDPMScheduler", "beta_schedule": "linear", "prediction_type": "epsilon"}'
# names of attention's parameters before diffusers 0.15, which its own loader also still takes
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def read_weights(where: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """The tensors of the weights' file, or files, in the folder `where`, in float32; their names and shapes are exactly `shapes`.

    Raises:
        InputError: no such file, a damaged one, other names or shapes, NaN.
    """
    path = _weights_file(where)
    parts = _parts(path) if path.suffix == ".json" else [path]
    found: dict[str, torch.Tensor] = {}
    for part in parts:
        tensors = _stored(part)
        _compare(part, {name: tuple(t.shape) for name, t in tensors.items()}, shapes, whole=len(parts) == 1)
        found |= {name: _finite(part, name, tensor) for name, tensor in tensors.items()}
    _compare(path, {name: tuple(t.shape) for name, t in found.items()}, shapes)
    return found


def _weights_file(where: Path) -> Path:
    for pattern in WEIGHTS:
        files = sorted(file for file in where.glob(pattern) if file.is_file() and not _is_part(file))
        if len(files) > 1:
            listed = " and ".join(file.name for file in files[:3])
            raise InputError(f"{where} has weights in several variants ({listed}); leave one of them in the folder")
        if files:
            return files[0]
    others = sorted(file.name for file in where.glob("*.safetensors*"))[:3]
    seen = f" (it has {', '.join(others)})" if others else ""
    raise InputError(f"{where} has no {WEIGHTS[0]}{seen}; save the model again with save_pretrained")


def _is_part(file: Path) -> bool:
    return re.search(r"-\d{5}-of-\d{5}\.", file.name) is not None


def _parts(index: Path) -> list[Path]:
    """The files that an index names: they lie beside it."""
    table = read_json(index).get("weight_map")
    names = (
        set(table.values()) if isinstance(table, dict) and all(isinstance(v, str) for v in table.values()) else set()
    )
    plain = all(name == os.path.basename(name) and name.endswith((".safetensors", ".bin")) for name in names)
    if not names or not plain or len(names) > MOST_PARTS:
        raise InputError(f"{index} does not say which files the weights are in; download or save it again")
    return [index.parent / name for name in sorted(names)]


def _stored(path: Path) -> dict[str, torch.Tensor]:
    tensors = read_torch_tensors(path) if path.suffix == ".bin" else read_safetensors(path, {}).state
    return {_current(name): tensor for name, tensor in tensors.items()}


def _finite(path: Path, name: str, value: torch.Tensor) -> torch.Tensor:
    if not value.dtype.is_floating_point or not bool(torch.isfinite(value.float()).all()):
        raise InputError(f"{path}: {name} has NaN, infinite or non-float values; download or save it again")
    return value.float()


def _current(name: str) -> str:
    parts = name.split(".")
    if len(parts) > 2 and "attentions" in parts:
        parts[-2] = OLD_ATTENTION.get(parts[-2], parts[-2])
    return ".".join(parts)


def _compare(
    path: Path, found: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]], whole: bool = True
) -> None:
    problems = [
        *(f"{name} is missing" for name in wanted if whole and name not in found),
        *(f"{printable(name)} is not part of the network" for name in found if name not in wanted),
        *(f"{n} has shape {found[n]}, not {wanted[n]}" for n in wanted if n in found and found[n] != wanted[n]),
    ]
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise InputError(
            f"{path} is not of the network in its config.json: {problems[0]}{more}; check that they belong together"
        )


def first_line(error: BaseException) -> str:
    """What `error` says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200] or type(error).__name__
