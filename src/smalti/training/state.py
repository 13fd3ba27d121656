"""The state of a training between two steps, in one safetensors file: weights, averaged weights, Adam's moments, and the log.

model/<name>, ema/<name>, adam/first/<name>, adam/second/<name>;  metadata: {"format", "step", "identity", "history", "recent"} as JSON
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smalti.core.errors import InputError
from smalti.core.files import atomic_write
from smalti.core.pieces import differences
from smalti.networks.checkpoint import check_safetensors, read_whole

__all__ = ["FILE", "Stored", "load_state", "save_state"]

FILE, KEY, FORMAT = "state.safetensors", "smalti-training", 1


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
    """Write the state after `step` steps, whole or not at all.

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
    said = json.dumps({"format": FORMAT, "step": step, "identity": identity, "history": history, "recent": recent})
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    with atomic_write(path) as file:
        file.write(save(plain, {KEY: said}))


def load_state(path: Path, identity: Mapping[str, Any]) -> Stored:
    """Read a state of the training that `identity` determines.

    Raises:
        InputError: damaged, or of another training; says in what it differs.
    """
    from safetensors.torch import load

    data = read_whole(path)
    metadata = check_safetensors(data, path)
    try:
        said = json.loads(metadata[KEY])
        step, before = int(said["step"]), dict(said["identity"])
        history, recent = list(said["history"]), list(said["recent"])
        if said["format"] != FORMAT:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path} is not the state of a training; --overwrite starts again") from None
    plain = json.loads(json.dumps(identity))
    if before != plain:
        changed = "; ".join(differences(before, plain))
        used = before.get("loop", {}).get("threads")
        if used != plain["loop"]["threads"]:
            changed += f"; give it {used} threads again (--threads {used})"
        raise InputError(f"cannot resume the training in {path.parent}: {changed}; --overwrite starts again")
    return Stored(step, history, recent, load(data))


def restore(stored: Stored, model: nn.Module, ema: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Put a state back into the modules and the optimiser."""

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {n[len(prefix) :]: t for n, t in stored.tensors.items() if n.startswith(prefix)}

    model.load_state_dict(part("model/"))
    ema.load_state_dict(part("ema/"))
    first, second = part("adam/first/"), part("adam/second/")
    names = [name for name, _ in model.named_parameters()]
    entries = {
        i: {"step": torch.tensor(float(stored.step)), "exp_avg": first[n], "exp_avg_sq": second[n]}
        for i, n in enumerate(names)
        if n in first
    }
    optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})
