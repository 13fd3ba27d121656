"""From a path to a network: which reader a checkpoint needs (told by its content, not by its name), and what is built from it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from smalti.core.errors import InputError, did_you_mean, from_os_error
from smalti.core.pickles import printable
from smalti.networks.architectures import build, parameter_names
from smalti.networks.checkpoint import Checkpoint, read_safetensors
from smalti.networks.published import DIFFUSERS, recognised, told
from smalti.networks.state_dicts import check_weights, with_dots, without_prefix
from smalti.networks.tables import DiscreteTable
from smalti.source.foreign import pointer

__all__ = ["Loaded", "load", "read_checkpoint", "shipped"]

SUFFIX = ".safetensors"
_TORCH_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")  # what a legacy torch.save file pickles first
EDM_PAGE = "NVIDIA's EDM pages (github.com/NVlabs/edm)"


@dataclass(frozen=True)
class Loaded:
    """A network built from a checkpoint: what `smalti.networks.Network` takes."""

    module: Callable[..., torch.Tensor]
    convention: str
    shape: tuple[int, int, int]
    num_classes: int | None
    table: DiscreteTable | None
    name: str
    config: Mapping[str, Any] | None
    about: Mapping[str, Any]


def shipped() -> list[str]:
    """Names of the networks that come with smalti."""
    folder = resources.files("smalti") / "weights"
    return sorted(entry.name[: -len(SUFFIX)] for entry in folder.iterdir() if entry.name.endswith(SUFFIX))


def load(
    path: str | os.PathLike[str],
    config: Mapping[str, Any] | None = None,
    scheduler: Mapping[str, Any] | None = None,
    weights: str = "averaged",
) -> Loaded:
    """See `Network.load`."""
    place = _checked(path)
    check_weights(weights)
    if place.is_dir():
        if config is not None and scheduler is not None:
            raise InputError("a diffusers folder says its architecture itself; give scheduler= alone")
        return _diffusers(place, scheduler if scheduler is not None else config, weights)
    if scheduler is not None:
        raise InputError(f"scheduler= is for a folder of diffusers, which {_shown(path)} is not; leave it out")
    if place.suffix == ".onnx" and place.is_file():
        from smalti.networks.onnx_file import read_onnx

        module, convention, sides, number, table, about = read_onnx(place, config)
        return Loaded(module, convention, sides, number, table, place.stem, None, about)
    checkpoint, name = read_checkpoint(path, config, weights)
    architecture = checkpoint.config
    built = build(architecture, checkpoint.state).requires_grad_(False)
    shape = (architecture["channels"], architecture["resolution"], architecture["resolution"])
    classes = architecture.get("num_classes") or None
    return Loaded(built, "edm", shape, classes, None, name, architecture, checkpoint.about)


def read_checkpoint(
    path: str | os.PathLike[str], config: Mapping[str, Any] | None = None, weights: str = "averaged"
) -> tuple[Checkpoint, str]:
    """The checkpoint in a file, or of a name that comes with smalti, its tensors under the names of its architecture; and its name.

    Raises:
        InputError: see `Network.load`.
    """
    place = _checked(path)
    if not place.exists():
        if os.fspath(path) not in shipped():
            raise InputError(_not_there(path))
        if config is not None:
            raise InputError(f"{path} comes with smalti, architecture and all; leave config out")
        with resources.as_file(resources.files("smalti") / "weights" / f"{path}{SUFFIX}") as file:
            return read_safetensors(file), os.fspath(path)
    name = place.absolute().parent.name if place.stem == "network" else place.stem
    checkpoint = _read(place, config, weights)
    checkpoint = replace(checkpoint, state=dict(with_dots(checkpoint.state, weights, str(place))))
    if "architecture" not in checkpoint.config:
        known = recognised(checkpoint.state, checkpoint.config, str(place))
        if known is None:
            raise InputError(_unknown(place, told(checkpoint.state)))
        return Checkpoint(*known, checkpoint.about), name
    state = without_prefix(checkpoint.state, parameter_names(checkpoint.config), weights, str(place))
    return Checkpoint(checkpoint.config, dict(state), checkpoint.about), name


def _unknown(place: Path, whose: str | None) -> str:
    """What is said of weights without an architecture."""
    if whose == DIFFUSERS:
        beside = place.absolute().parent
        there = (beside / "config.json").is_file()
        where = (
            f"give its folder, {_shown(beside)}"
            if there
            else "give the folder that save_pretrained wrote, with its config.json"
        )
        return f"{_shown(place)} has the tensors of {whose} alone; {where}"
    if whose is not None:
        return (
            f"{_shown(place)} has the tensors of {whose}, which smalti does not build; load it with its own code and wrap the module: "
            "smalti.Network(module, convention, shape)"
        )
    return f"{_shown(place)} does not say of what architecture it is; pass config={{'architecture': 'unet', ...}}"


def _checked(path: Any) -> Path:
    """`path`, if a file or a folder can have it as its name."""
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise InputError(
            f"a network is loaded from a path or a name, not {'nothing' if path == '' else type(path).__name__}"
        )
    try:
        place = Path(path)
        place.stat()
        return place
    except (FileNotFoundError, NotADirectoryError):
        return place
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise InputError(f"{_shown(path)} is not a path ({error.strerror}); check it") from error
        raise from_os_error(error, f"read {_shown(path)}") from error
    except ValueError as error:  # a NUL character, half of a surrogate pair
        raise InputError(f"{_shown(path)} is not a path; check it") from error


def _shown(path: Any) -> str:
    """`path` in at most 80 letters; of a long one the end, which tells files of one folder apart."""
    whole = os.fspath(path) if isinstance(path, (str, os.PathLike)) else repr(path)
    text = printable(whole, 81)
    return text if len(text) <= 80 else f"...{printable(whole[-77:], 400)[-77:]}"


def _not_there(path: Any) -> str:
    text, names = os.fspath(path), shipped()
    if re.search(r"(^|/)(edm|baseline)-[a-z0-9]+-\d+x\d+[a-z0-9-]*(\.pkl)?$", text):
        stem = printable(text.rstrip("/").rsplit("/", 1)[-1].removesuffix(".pkl"), 60)
        return f"{stem} is not here, and nothing is downloaded; fetch {stem}.pkl from {EDM_PAGE} and give its path"
    if re.match(r"[a-z]+://", text):
        return f"{_shown(path)} is not a path, and nothing is downloaded; fetch the file and give its path"
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text):
        return f"there is no {_shown(path)}; if it is a model of the Hugging Face hub, download it (hf download) and give the folder"
    listed = ", ".join(names) or "none"
    hint = did_you_mean(text, names)
    return f"there is no checkpoint {_shown(path)}, nor does a network of this name come with smalti ({listed}){hint}"


def _read(path: Path, config: Mapping[str, Any] | None, weights: str) -> Checkpoint:
    from smalti.networks.edm_pickle import read_edm_pickle
    from smalti.networks.torch_files import read_torch_file

    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path} is not a regular file; give a checkpoint")
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    if (instead := pointer(start)) is not None:
        raise InputError(f"{path} is {instead}")
    if start[:2] == b"PK" or _TORCH_MAGIC in start[:64]:
        return read_torch_file(path, config, weights)
    if start[8:9] == b"{":
        return read_safetensors(path, config)
    if config is not None:
        raise InputError(f"config= is for a file with a bare state dict, which {path} is not; leave it out")
    if start[:1] == b"\x80":
        return read_edm_pickle(path)
    raise InputError(
        f"{path} is not a checkpoint that smalti reads: .safetensors, an EDM pickle, a torch.save file or a diffusers folder"
    )


def _diffusers(path: Path, scheduler: Mapping[str, Any] | None, weights: str) -> Loaded:
    from smalti.networks.diffusers_folder import read_diffusers

    model = read_diffusers(path, scheduler, weights)
    name = path.absolute().name
    return Loaded(model.module, model.convention, model.shape, model.num_classes, model.table, name, None, model.about)
