"""One format for all checkpoints: smalti's own safetensors, which says what it holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from smalti.core.errors import InputError
from smalti.core.pickles import printable
from smalti.core.validation import check_flag
from smalti.networks.network import Network

__all__ = ["convert"]


def convert(
    checkpoint: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    config: Mapping[str, Any] | None = None,
    weights: str = "averaged",
    half: bool = False,
    overwrite: bool = False,
) -> Network:
    """Write the network of any checkpoint of smalti's architectures as .safetensors, with its architecture and all that is known of it.

    Args:
        checkpoint: what `Network.load` takes.
        out: the file to write, *.safetensors.
        config: what the file does not say of its architecture, see `Network.load`.
        weights: "averaged" or "raw", where it has both.
        half: store float16.
        overwrite: replace a file that is there.

    Returns:
        The network.

    Raises:
        InputError: it cannot be loaded, is not of smalti's architectures (a diffusers folder), or `out` is there already.
        EnvironmentFailure: the disk is full or the folder may not be written.
    """
    if not isinstance(out, (str, os.PathLike)) or "\0" in os.fspath(out):
        raise InputError(f"the file to write is a path, not {printable(repr(out), 80)}")
    check_flag("half", half)
    check_flag("overwrite", overwrite)
    place, shown = Path(out), printable(str(out), 80)
    if place.suffix != ".safetensors":
        raise InputError(f"{shown} must end in .safetensors, the format that is written")
    if place.is_dir():
        raise InputError(f"{shown} is a folder; give the file to write")
    if place.exists() and not overwrite:
        raise InputError(
            f"{shown} is there already; choose another name, or --overwrite (overwrite=True) to replace it"
        )
    network = Network.load(checkpoint, config=config, weights=weights)
    if network.config is None:
        raise InputError(
            f"{printable(str(checkpoint), 80)} is not of smalti's architectures, so it stays in the format of its own library; "
            "load it from there"
        )
    network.save(place, torch.float16 if half else torch.float32)
    return network
