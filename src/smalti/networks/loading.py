"""Which reader a checkpoint needs: told by its content, not by its name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from smalti.core.errors import InputError, did_you_mean, from_os_error
from smalti.networks.checkpoint import Checkpoint, read_safetensors
from smalti.networks.network import Network

__all__ = ["load", "shipped"]

SUFFIX = ".safetensors"
_TORCH_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")  # what a legacy torch.save file pickles first


def shipped() -> list[str]:
    """Names of the networks that come with smalti."""
    folder = resources.files("smalti") / "weights"
    return sorted(entry.name[: -len(SUFFIX)] for entry in folder.iterdir() if entry.name.endswith(SUFFIX))


def load(path: str | os.PathLike[str], config: Mapping[str, Any] | None = None) -> Network:
    """See `Network.load`."""
    place = Path(path)
    if not place.exists():
        names = shipped()
        if os.fspath(path) not in names:
            listed = ", ".join(names) or "none"
            hint = did_you_mean(os.fspath(path), names)
            raise InputError(
                f"there is no checkpoint {path}, nor does a network of this name come with smalti ({listed}){hint}"
            )
        with resources.as_file(resources.files("smalti") / "weights" / f"{path}{SUFFIX}") as file:
            return Network.from_checkpoint(read_safetensors(file), os.fspath(path))
    if place.is_dir():
        return _diffusers(place, config)
    return Network.from_checkpoint(_read(place, config), place.parent.name if place.stem == "network" else place.stem)


def _read(path: Path, config: Mapping[str, Any] | None) -> Checkpoint:
    from smalti.networks.edm_pickle import read_edm_pickle
    from smalti.networks.torch_files import read_torch_file

    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path} is not a regular file; give a checkpoint")
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    if start[:2] == b"PK" or _TORCH_MAGIC in start:
        return read_torch_file(path, config)
    if config is not None:
        raise InputError(f"config= is for a torch.save file with a bare state dict, which {path} is not; leave it out")
    if start[:1] == b"\x80":
        return read_edm_pickle(path)
    if start[8:9] == b"{":
        return read_safetensors(path)
    raise InputError(
        f"{path} is not a checkpoint that smalti reads: .safetensors, an EDM pickle, a torch.save file or a diffusers folder"
    )


def _diffusers(path: Path, scheduler: Mapping[str, Any] | None) -> Network:
    from smalti.networks.diffusers_folder import read_diffusers

    model = read_diffusers(path, scheduler)
    return Network(
        model.module,
        model.convention,
        model.shape,
        num_classes=model.num_classes,
        table=model.table,
        name=path.name,
        about=model.about,
    )
