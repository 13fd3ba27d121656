"""Weights that `torch.save` wrote (.pt, .pth, .ckpt, .bin), in its zip format and in the one before it.

    {"config": {"architecture": "unet", ...}, "state": state dict, "about": {...}}      as smalti's users write it
    {"model": state dict, "ema": state dict, "opt": ..., ...}                           a training's checkpoint, with config= given
    a bare state dict, with config= given

The reader, `smalti.core.torch_streams`, allocates and executes nothing; it refuses what is not tensors, plain containers and a few
inert records, sizes that the file does not hold, and damage. torch's own unpickler, also with `weights_only=True`, is not asked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from smalti.core.errors import InputError
from smalti.core.pickles import Attributed, Budget, Inert, Names, RefusedError, printable, refusals
from smalti.core.torch_streams import TensorRecord, check_shares, is_archive, is_legacy, read_tree
from smalti.networks.checkpoint import Checkpoint, read_whole
from smalti.networks.edm_pickle import ADMITTED, checkpoint_of_records, edm_names, find_network
from smalti.networks.state_dicts import AVERAGED, chosen_state
from smalti.source.pickles import ARRAY_NAMES

__all__ = ["read_torch_file", "read_torch_tensors"]

# what trainings keep beside the weights, as records without content
INERT: Names = {
    **ARRAY_NAMES,
    **{
        name: lambda arguments: Inert()
        for name in (
            *(("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"), ("argparse", "Namespace")),
            *(("numpy.core.numeric", "_frombuffer"), ("numpy._core.numeric", "_frombuffer")),
            *(
                ("pathlib", "PosixPath"),
                ("pathlib", "WindowsPath"),
                ("pathlib._local", "PosixPath"),
                ("torch", "device"),
            ),
        )
    },
    ("collections", "defaultdict"): lambda arguments: Attributed(),
    **{("torch", kind): None for kind in ("float32", "float64", "float16", "bfloat16", "int64")},
    **{("builtins", kind): None for kind in ("dict", "list", "int", "float")},
}
MAX_VALUES, MAX_DEPTH = 10_000, 8  # of a configuration


def read_torch_file(
    path: str | os.PathLike[str], config: Mapping[str, Any] | None = None, weights: str = "averaged"
) -> Checkpoint:
    """Read a file of `torch.save`.

    Args:
        path: the file.
        config: the architecture, where the file does not hold it; the checkpoint's is {} where neither says it.
        weights: "averaged" or "raw", where a file has both.

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
        tree = read_tree(data, {**INERT, **edm_names(budget)}, budget)
        if find_network(tree) is not None:
            return checkpoint_of_records(tree, what, len(data))
    entry, records, said, about = _parts(tree, weights, what)
    with refusals(what, ADMITTED, "file of torch.save"):
        check_shares(records, len(data))
        chosen = _config(said, config, what)
        about = _plain(about)
        state = {name: record.to_tensor() for name, record in records.items()}
    read = {
        "format": "torch.save",
        "tensors": len(records),
        "parameters": sum(record.elements for record in records.values()),
    }
    return Checkpoint(chosen, state, {**about, **read, **({"weights": entry} if entry in AVERAGED else {})})


def read_torch_tensors(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The tensors of a file that holds nothing but a state dict, by name.

    Raises:
        InputError: not such a file, or damage.
        EnvironmentFailure: it may not be read, or does not fit in memory.
    """
    data, what = read_whole(path), str(path)
    budget = Budget.of(len(data))
    with refusals(what, ADMITTED, "file of torch.save"):
        records = _parts(read_tree(data, INERT, budget), "raw", what)[1]
        check_shares(records, len(data))
        return {name: record.to_tensor() for name, record in records.items()}


def _parts(tree: Any, weights: str, what: str) -> tuple[str | None, dict[str, TensorRecord], Any, Any]:
    """The entry of the state dict, the state dict, and what stands under "config" and "about" (None where nothing does)."""
    if not isinstance(tree, dict) or not tree:
        raise InputError(f"{what} holds no state dict; save a state dict, or a dict with config and state")
    entry, state = chosen_state(tree, (TensorRecord,), weights, what)
    config, about = (None, None) if entry is None else (tree.get("config"), tree.get("about"))
    for name, value in state.items():
        if not isinstance(name, str) or len(name) > 300 or not isinstance(value, TensorRecord):
            shown = printable(name) if isinstance(name, str) else type(name).__name__
            raise InputError(
                f"the entry {shown} of the state dict in {what} is not a tensor; save the state dict alone"
            )
    return entry, dict(state), config, about


def _config(said: Any, given: Mapping[str, Any] | None, what: str) -> dict[str, Any]:
    if said is None and given is None:
        return {}  # some can be told by the names of their tensors
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
