"""Weights that `torch.save` wrote (.pt, .pth, .ckpt), in its zip format and in the one before it.

    {"config": {"architecture": "unet", ...}, "state": state dict, "about": {...}}      "state_dict" and "model" do as well
    a bare state dict, with config= given

Two readers look at a file. The first, `smalti.networks.torch_streams`, allocates and executes nothing; it refuses what is not tensors
and plain containers, sizes that the file does not hold, and damage. What it accepts is loaded by torch with `weights_only=True`, and
has to be the same tensors. A dump of EDM's training state, which holds objects, is read from the first reader's records alone.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from smalti.core.errors import InputError
from smalti.core.pickles import Budget, RefusedError, printable, refusals
from smalti.networks.checkpoint import Checkpoint, read_whole
from smalti.networks.edm_pickle import ADMITTED, checkpoint_of_records, edm_names, find_network
from smalti.networks.torch_streams import TensorRecord, check_shares, is_archive, is_legacy, read_tree

__all__ = ["read_torch_file"]

STATES = ("state", "state_dict", "model")
MAX_VALUES, MAX_DEPTH = 10_000, 8  # of a configuration


def read_torch_file(path: str | os.PathLike[str], config: Mapping[str, Any] | None = None) -> Checkpoint:
    """Read a file of `torch.save`.

    Args:
        path: the file.
        config: the architecture, where the file does not hold it.

    Raises:
        InputError: not such a file, damage, anything but tensors and plain containers, or an architecture that is missing or
            given twice.
        EnvironmentFailure: it may not be read, or does not fit in memory.
    """
    data, what = read_whole(path), str(path)
    if not is_archive(data) and not is_legacy(data):
        raise InputError(f"{what} is not a file of torch.save; give one, a .safetensors or an EDM pickle")
    budget = Budget.of(len(data))
    with refusals(what, ADMITTED, "file of torch.save"):
        tree = read_tree(data, edm_names(budget), budget)
        if find_network(tree) is not None:
            return checkpoint_of_records(tree, what, len(data))
        records, said, about = _parts(tree, what)
        check_shares(records, len(data))
        chosen = _config(said, config, what)
        about = _plain(about)
    state = _parts(_load(data, what), what)[0]
    found = {name: (tuple(t.shape), t.dtype) for name, t in state.items() if isinstance(t, torch.Tensor)}
    if found != {name: (record.size, record.dtype) for name, record in records.items()}:
        raise InputError(f"{what} is refused: it reads as other tensors to torch than to smalti; write it again")
    read = {
        "format": "torch.save",
        "tensors": len(records),
        "parameters": sum(record.elements for record in records.values()),
    }
    return Checkpoint(chosen, {name: tensor.detach() for name, tensor in state.items()}, {**about, **read})


def _parts(tree: Any, what: str) -> tuple[dict[str, Any], Any, Any]:
    """The state dict, and what stands under "config" and "about" (None where nothing does)."""
    kinds = (TensorRecord, torch.Tensor)
    if not isinstance(tree, dict) or not tree:
        raise InputError(f"{what} holds no state dict; save a state dict, or a dict with config and state")
    config = about = None
    if not any(isinstance(value, kinds) for value in tree.values()):
        named = [name for name in STATES if isinstance(tree.get(name), dict)]
        if len(named) != 1:
            number = "no" if not named else "more than one"
            raise InputError(f"{what} holds {number} state dict; save it under 'state', beside 'config'")
        config, about, tree = tree.get("config"), tree.get("about"), tree[named[0]]
    for name, value in tree.items():
        if not isinstance(name, str) or len(name) > 300 or not isinstance(value, kinds):
            shown = printable(name) if isinstance(name, str) else type(name).__name__
            raise InputError(
                f"the entry {shown} of the state dict in {what} is not a tensor; save the state dict alone"
            )
    return tree, config, about


def _config(said: Any, given: Mapping[str, Any] | None, what: str) -> dict[str, Any]:
    if said is None and given is None:
        raise InputError(f"{what} does not say of what architecture it is; pass config={{'architecture': 'unet', ...}}")
    if said is not None and given is not None:
        raise InputError(f"{what} says of what architecture it is; leave config out")
    return dict(given) if given is not None else _plain(said)


def _plain(value: Any) -> dict[str, Any]:
    """A dict of the file as plain JSON values, {} for None.

    Raises:
        ValueError: it holds others, or is absurdly large: containers may hold one another many times over.
    """
    left = MAX_VALUES

    def copied(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > MAX_DEPTH:
            raise ValueError("a configuration without end")
        if isinstance(value, dict):
            return {key: copied(inner, depth + 1) for key, inner in value.items() if _is_key(key)}
        if isinstance(value, (list, tuple)):
            return [copied(inner, depth + 1) for inner in value]
        if value is None or type(value) in (bool, float):
            return value
        if (type(value) is int and value.bit_length() <= 63) or (type(value) is str and len(value) <= 1 << 16):
            return value
        raise RefusedError(
            f"its configuration has a {type(value).__name__} that is not a plain value, or is absurdly long"
        )

    found = copied({} if value is None else value, 0)
    if not isinstance(found, dict):
        raise ValueError("a configuration that is not a dict")
    return found


def _is_key(key: Any) -> bool:
    if not isinstance(key, str) or len(key) > 300:
        raise ValueError("a configuration with keys that are not text")
    return True


def _load(data: bytes, what: str) -> Any:
    """What torch reads, in memory of its own."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that will go
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler comes across
        reason = printable(" ".join(str(error)[:1000].split()), 120)
        raise InputError(f"{what} is not a readable file of torch.save ({reason}); write it again") from error
