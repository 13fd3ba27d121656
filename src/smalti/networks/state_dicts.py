"""State dicts as people save them: which of several, and under what prefix.

A training's checkpoint holds raw and averaged weights ({"model", "ema", "opt", ...}), and wrappers put words before the names of
tensors: `module.` (DistributedDataParallel), `_orig_mod.` (torch.compile), `net.` (a LightningModule), `ema_model.` (ema-pytorch).
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

import torch

from smalti.core.errors import InputError, did_you_mean
from smalti.core.pickles import printable

__all__ = ["AVERAGED", "RAW", "WEIGHTS", "check_weights", "chosen_state", "without_prefix"]

WEIGHTS = ("averaged", "raw")
AVERAGED = (
    *("ema", "model_ema", "ema_model", "ema_state_dict", "state_dict_ema", "model_ema_state_dict"),
    *("ema_model_state_dict", "params_ema", "net_ema", "nnet_ema", "ema_params"),
)
RAW = ("state", "state_dict", "model", "model_state_dict", "net", "nnet", "network", "module", "params", "weights")
NESTED = 2  # levels of {"ema": {"state_dict": ...}}


def check_weights(weights: str) -> str:
    """`weights`, if it is one of `WEIGHTS`.

    Raises:
        InputError: it is not.
    """
    if weights not in WEIGHTS:
        known = " or ".join(WEIGHTS)
        raise InputError(f"weights must be {known}, not {weights!r}{did_you_mean(str(weights), WEIGHTS)}")
    return weights


def chosen_state(
    tree: Mapping[str, Any], kinds: tuple[type, ...], weights: str, what: str, depth: int = NESTED
) -> tuple[str | None, Mapping[Any, Any]]:
    """The state dict in what a file holds, and the entry that it was found under (None: it is the whole).

    Averaged weights are taken where there are both, and a warning says so.

    Args:
        tree: of the file.
        kinds: types of tensors.
        weights: "averaged" or "raw".
        what: the name of the file, for messages.
        depth: levels of entries to look into.

    Raises:
        InputError: no state dict, or several of one kind.
    """
    named = {name: tree[name] for name in (*AVERAGED, *RAW) if isinstance(tree.get(name), dict)}
    if not named or not depth:
        if not any(isinstance(value, kinds) for value in tree.values()):
            raise InputError(f"{what} holds no state dict; save it under 'state', beside 'config'")
        return None, tree
    averaged, raw = [n for n in AVERAGED if n in named], [n for n in RAW if n in named]
    found = (averaged or raw) if weights == "averaged" else (raw or averaged)
    if len(found) > 1:
        listed = " and ".join(map(repr, found[:4]))
        raise InputError(f"{what} holds more than one state dict ({listed}); save one under 'state', beside 'config'")
    entry = found[0]
    if averaged and raw and weights == "averaged":
        warnings.warn(
            f"{what} has averaged weights ({entry!r}) and raw ones ({raw[0]!r}); the averaged are read (weights='raw' reads the others)",
            stacklevel=2,
        )
    if any(isinstance(value, kinds) for value in named[entry].values()):
        return entry, named[entry]
    inner, state = chosen_state(named[entry], kinds, weights, what, depth - 1)
    return entry if inner is None else f"{entry}.{inner}", state


def without_prefix(
    state: Mapping[str, torch.Tensor], wanted: Collection[str], weights: str, what: str
) -> Mapping[str, torch.Tensor]:
    """`state` under the names that a network wants, where they all stand behind one prefix; else `state` itself.

    A warning says which prefix was left out, and how many tensors beside the network's were not read.

    Args:
        state: tensors by name.
        wanted: names, "model.enc. ..." as of a preconditioned network; a state of the network inside will do.
        weights: which to take where averaged and raw weights stand under two prefixes.
        what: the name of the file, for messages.

    Raises:
        InputError: several prefixes that fit.
    """
    if not wanted or all(name in state for name in wanted):
        return state
    for left_out in ("", "model."):
        names = {name: name.removeprefix(left_out) for name in wanted}
        prefixes = _prefixes(state, list(names.values()))
        if not prefixes:
            continue
        averaged = [prefix for prefix in prefixes if "ema" in prefix]
        raw = [prefix for prefix in prefixes if "ema" not in prefix]
        fitting = (averaged or raw) if weights == "averaged" else (raw or averaged)
        if len(fitting) > 1:
            shown = " and ".join(printable(prefix, 40) for prefix in fitting[:3])
            raise InputError(f"{what} holds the network under several prefixes ({shown}); save one of them alone")
        prefix, others = fitting[0], len(state) - len(names)
        words = [f"the names of its tensors begin with {printable(prefix, 60)!r}, which is left out"] if prefix else []
        words += [f"{others} tensors besides the network's are not read"] if others else []
        if words:
            warnings.warn(f"{what}: {'; '.join(words)}", stacklevel=2)
        return {name: state[prefix + short] for name, short in names.items()}
    return state


def _prefixes(state: Mapping[str, torch.Tensor], names: list[str]) -> list[str]:
    heads = (key[: -len(names[0])] for key in state if key.endswith(names[0]))
    return [h for h in heads if (not h or h.endswith(".")) and all(h + name in state for name in names)]
