"""The state of a training between two steps, in one safetensors file: weights, averaged weights, Adam's moments, and the log.

model/<name>, ema/<name>, adam/first/<name>, adam/second/<name>;
metadata: {"format", "step", "identity", "history", "recent", "digest"} as JSON, the digest over all of the rest

The state before the last is kept too: one that was damaged since is not gone on with, but the one before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smalti.core.errors import InputError
from smalti.core.files import atomic_write
from smalti.core.pickles import printable
from smalti.core.pieces import differences
from smalti.networks.checkpoint import check_safetensors, read_whole

__all__ = ["FILE", "PREVIOUS", "Stored", "load_state", "restore", "save_state"]

FILE, PREVIOUS, KEY, FORMAT = "state.safetensors", "state.previous.safetensors", "smalti-training", 2


@dataclass(frozen=True)
class Stored:
    """What a state file holds: the number of steps done, the log's rows, the losses since the last row, and the tensors."""

    step: int
    history: list[dict[str, float]]
    recent: list[float]
    tensors: dict[str, torch.Tensor]


def save_state(
    path: Path,
    step: int,
    model: nn.Module,
    ema: nn.Module,
    optimiser: torch.optim.Optimizer,
    history: list[dict[str, float]],
    recent: list[float],
    identity: Mapping[str, Any],
) -> None:
    """Write the state after `step` steps, whole or not at all; the one that was there becomes the previous one.

    Raises:
        EnvironmentFailure: the disk is full or the folder may not be written.
    """
    from safetensors.torch import save

    tensors = {f"model/{name}": t for name, t in model.state_dict().items()}
    tensors |= {f"ema/{name}": t for name, t in ema.state_dict().items()}
    for name, parameter in model.named_parameters():
        moments = optimiser.state.get(parameter)
        if moments:
            tensors[f"adam/first/{name}"], tensors[f"adam/second/{name}"] = moments["exp_avg"], moments["exp_avg_sq"]
    said = {"format": FORMAT, "step": step, "identity": dict(identity), "history": history, "recent": recent}
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    content = save(plain, {KEY: json.dumps({**said, "digest": _digest(said, plain)})})
    _keep(path)
    with atomic_write(path) as file:
        file.write(content)


def _keep(path: Path) -> None:
    """The file at `path` under the name of the previous state as well: no moment is without it, and no disk too full for it."""
    if not path.exists():
        return
    previous = path.with_name(PREVIOUS)
    try:
        previous.unlink(missing_ok=True)
        os.link(path, previous)
    except OSError:  # a file system without links
        with atomic_write(previous) as file:
            file.write(path.read_bytes())


def load_state(path: Path, identity: Mapping[str, Any]) -> Stored | None:
    """The last state of the training that `identity` determines, or where it is damaged the one before it, with a warning.

    Args:
        path: of the last state.
        identity: plain JSON values.

    Returns:
        None where there is no state at all.

    Raises:
        InputError: all that is there is damaged, or of another training; says in what it differs.
    """
    damage: InputError | None = None
    for place in (path, path.with_name(PREVIOUS)):
        if not place.exists():
            continue
        try:
            said, tensors = _read(place)
        except InputError as error:
            damage = damage or error
            continue
        stored = _of_this_training(place, said, tensors, identity)
        if damage is not None:
            warnings.warn(
                f"{damage}; the training goes on from the state before it, of step {stored.step}", stacklevel=2
            )
        return stored
    if damage is not None:
        raise InputError(f"{damage}; no other state is there: --overwrite (overwrite=True) starts again")
    return None


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What a state says and its tensors, if they are what was written.

    Raises:
        InputError: damage.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_whole(path)
    metadata = check_safetensors(data, path)
    try:
        said = json.loads(metadata[KEY])
        found, tensors = said.pop("digest"), load(data)
        if said["format"] != FORMAT or found != _digest(said, tensors):
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, SafetensorError):
        raise InputError(f"{path} is damaged, or not the state of a training of this smalti") from None
    return said, tensors


def _of_this_training(
    path: Path, said: Mapping[str, Any], tensors: dict[str, torch.Tensor], identity: Mapping[str, Any]
) -> Stored:
    before, plain = said["identity"], json.loads(json.dumps(identity))
    if before != plain:
        changed = "; ".join(differences(before, plain))
        used = before.get("loop", {}).get("threads")
        if used != plain["loop"]["threads"]:
            changed += f"; give it {used} threads again (--threads {used})"
        raise InputError(
            f"cannot resume the training in {path.parent}: {changed}; --overwrite (overwrite=True) starts again"
        )
    return Stored(said["step"], said["history"], said["recent"], tensors)


def _digest(said: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """sha256 hex over the JSON of `said`, and over names, types, shapes and bytes of the tensors."""
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def restore(stored: Stored, model: nn.Module, ema: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Put a state back into the modules and the optimiser.

    Raises:
        InputError: its tensors are not those of the network.
    """

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {n[len(prefix) :]: t for n, t in stored.tensors.items() if n.startswith(prefix)}

    try:
        model.load_state_dict(part("model/"))
        ema.load_state_dict(part("ema/"))
    except RuntimeError as error:
        reason = printable(" ".join(str(error).split()), 120)
        raise InputError(
            f"the state is not of this network ({reason}); --overwrite (overwrite=True) starts again"
        ) from None
    first, second = part("adam/first/"), part("adam/second/")
    names = [name for name, _ in model.named_parameters()]
    entries = {
        i: {"step": torch.tensor(float(stored.step)), "exp_avg": first[n], "exp_avg_sq": second[n]}
        for i, n in enumerate(names)
        if n in first and n in second
    }
    optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})
