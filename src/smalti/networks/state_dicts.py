"""State dicts as people save them: which of several, and under what prefix.

A training's checkpoint holds raw and averaged weights ({"model", "ema", "opt", ...}), and wrappers put words before the names of
tensors: `module.` (DistributedDataParallel), `_orig_mod.` (torch.compile), `net.` (a LightningModule), `ema_model.` (ema-pytorch).
Some averages have no names, a list in the order of the parameters (`shadow_params` of torch-ema, diffusers' EMAModel, score_sde), or
names without dots (`model_ema.` of latent-diffusion); they take the names of the raw weights beside them, where that leaves no doubt.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from smalti.core.errors import InputError, did_you_mean
from smalti.core.pickles import printable

__all__ = ["AVERAGED", "RAW", "WEIGHTS", "check_weights", "chosen_state", "with_dots", "without_prefix"]

WEIGHTS = ("averaged", "raw")
AVERAGED = (
    *("ema", "model_ema", "ema_model", "ema_state_dict", "state_dict_ema", "model_ema_state_dict"),
    *("ema_model_state_dict", "params_ema", "net_ema", "nnet_ema", "ema_params"),
)
RAW = ("state", "state_dict", "model", "model_state_dict", "net", "nnet", "network", "module", "params", "weights")
NESTED = 2  # levels of {"ema": {"state_dict": ...}}
SHADOWS = "shadow_params"
DOTLESS, BESIDE = "model_ema.", "model."  # of latent-diffusion's LitEma


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
    if isinstance(tree.get(SHADOWS), (list, tuple)):
        raise InputError(_no_names(what, "and no names are beside them"))
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
    shadows = named[entry].get(SHADOWS)
    if isinstance(shadows, (list, tuple)) and raw:
        beside = chosen_state({name: named[name] for name in raw}, kinds, "raw", what, depth)[1]
        named[entry] = dict(_named_as(beside, shadows, what))
    if averaged and raw and weights == "averaged":
        _say_averaged(what, entry, raw[0])
    if any(isinstance(value, kinds) for value in named[entry].values()):
        return entry, named[entry]
    inner, state = chosen_state(named[entry], kinds, weights, what, depth - 1)
    return entry if inner is None else f"{entry}.{inner}", state


def _named_as(raw: Mapping[Any, Any], shadows: Sequence[Any], what: str) -> Mapping[Any, Any]:
    """The raw state dict with averages in place of its parameters.

    Both are in the order of the network's modules; a state dict has buffers besides, and frozen parameters. Averages fit if there is one
    way alone to leave some of its tensors out so that the shapes are the same.
    """
    names = list(raw)
    shapes = [_shape(value) for value in raw.values()]
    wanted = [_shape(value) for value in shadows]
    first = _places(shapes, wanted)
    last = [len(names) - 1 - place for place in reversed(_places(shapes[::-1], wanted[::-1]))]
    if not wanted or None in wanted or len(first) < len(wanted) or first != last:
        fits = "several ways" if len(first) == len(wanted) else "no way"
        raise InputError(_no_names(what, f"and there is {fits} to match them with the raw ones", raw=True))
    return {**raw, **{names[place]: shadow for place, shadow in zip(first, shadows, strict=True)}}


def _places(shapes: Sequence[Any], wanted: Sequence[Any]) -> list[int]:
    """The first places of `shapes` at which the wanted ones stand in their order; fewer where they do not."""
    found: list[int] = []
    for place, shape in enumerate(shapes):
        if len(found) < len(wanted) and shape == wanted[len(found)]:
            found.append(place)
    return found


def _shape(value: Any) -> tuple[int, ...] | None:
    shape = getattr(value, "size", None) if not isinstance(value, torch.Tensor) else value.shape
    return tuple(shape) if isinstance(shape, (tuple, list)) else None


def _no_names(what: str, why: str, raw: bool = False) -> str:
    reads = "; weights='raw' (--weights raw) reads the raw ones" if raw else ""
    return (
        f"{what} has averaged weights as a list without names ({SHADOWS}), {why}; "
        f"copy them into the network (ema.copy_to(network.parameters())) and save its state dict{reads}"
    )


def _say_averaged(what: str, averaged: str, raw: str) -> None:
    warnings.warn(
        f"{what} has averaged weights ({averaged!r}) and raw ones ({raw!r}); the averaged are read (weights='raw' reads the others)",
        stacklevel=3,
    )


def with_dots(state: Mapping[str, Any], weights: str, what: str) -> Mapping[str, Any]:
    """`state` without latent-diffusion's averages, whose names have lost their dots; by default in place of the raw weights, and said."""
    averages = {name for name in state if name.startswith(DOTLESS) and "." not in name[len(DOTLESS) :]}
    raw = {name: DOTLESS + name[len(BESIDE) :].replace(".", "") for name in state if name.startswith(BESIDE)}
    found = {name: average for name, average in raw.items() if average in averages}
    if not found or len(set(found.values())) < len(found):
        return state
    others = {name: tensor for name, tensor in state.items() if name not in averages}
    if weights == "raw":
        return others
    _say_averaged(what, DOTLESS[:-1], BESIDE[:-1])
    return {**others, **{name: state[average] for name, average in found.items()}}


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
