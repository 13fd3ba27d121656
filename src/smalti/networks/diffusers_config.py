"""The config of a diffusers `UNet2DModel`, checked before anything is built from it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from smalti.core.errors import InputError, from_os_error

__all__ = ["check_class", "image_shape", "read_json", "shown", "unet_arguments"]

LONGEST_JSON = 4 << 20
# largest of each number that sizes the network: far above any that was published, far below what a machine cannot hold
LARGEST = {
    "in_channels": 64,
    "out_channels": 128,
    "layers_per_block": 32,
    "block_out_channels": 4096,
    "time_embedding_dim": 16384,
    "attention_head_dim": 4096,
    "norm_num_groups": 4096,
    "attn_norm_num_groups": 4096,
    "num_class_embeds": 100_000,
    "num_train_timesteps": 100_000,
}
LARGEST_SIDE, MOST_BLOCKS = 1024, 10
LISTS = ("block_out_channels", "down_block_types", "up_block_types")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of at most 4 MB.

    Raises:
        InputError: it is missing, too large, damaged, or not an object.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(LONGEST_JSON + 1)
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    if len(text) > LONGEST_JSON:
        raise InputError(f"{path} is larger than any config of a network; check that it is the right file")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({_first_line(error)}); download or save it again") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a JSON {type(value).__name__}, not an object; download or save it again")
    return value


def check_class(config: Mapping[str, Any], where: str) -> None:
    """Raise InputError unless `config` is a UNet2DModel's."""
    name = config.get("_class_name")
    if name != "UNet2DModel":
        raise InputError(f"{where} is of class {shown(name)}; smalti reads UNet2DModel, others you can wrap yourself")


def unet_arguments(config: Mapping[str, Any], constructor: Callable[..., Any], where: str) -> dict[str, Any]:
    """The part of `config` that `constructor` takes, each value of the right kind and no larger than a network can be.

    Raises:
        InputError: a value of a wrong kind or size; a form whose D(z, sigma) is not defined by a scheduler's table.
    """
    defaults = {key: p.default for key, p in inspect.signature(constructor).parameters.items() if key != "self"}
    arguments = {key: config[key] for key in defaults if key in config}
    for key, value in arguments.items():
        if key in LISTS:
            _check_list(value, key, where)
        elif key == "sample_size":
            image_shape(config, where)
        else:
            _check_scalar(value, defaults[key], key, where)
    if arguments.get("class_embed_type") is not None:
        kind = arguments["class_embed_type"]
        raise InputError(
            f"{where} has class_embed_type {kind!r}; smalti reads classes by number only (num_class_embeds)"
        )
    embedding = arguments.get("time_embedding_type", "positional")
    if embedding not in ("positional", "learned"):
        raise InputError(
            f"{where} has time_embedding_type {embedding!r}, of score networks on [0, 1]; wrap it yourself (score-ve)"
        )
    return arguments


def image_shape(config: Mapping[str, Any], where: str) -> tuple[int, int, int]:
    """(C, H, W) from in_channels and sample_size, an integer or a pair (height, width)."""
    size = config.get("sample_size")
    if size is None:
        raise InputError(f"{where} does not say sample_size; add the side of the network's images to it")
    sides = list(size) if isinstance(size, (list, tuple)) else [size, size]
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= LARGEST_SIDE for side in sides):
        raise InputError(
            f"{where} has sample_size {shown(size)}; it must be one or two whole numbers up to {LARGEST_SIDE}"
        )
    channels = config.get("in_channels", 3)
    _check_scalar(channels, 3, "in_channels", where)
    return channels, sides[0], sides[1]


def _check_list(value: Any, key: str, where: str) -> None:
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MOST_BLOCKS:
        raise InputError(f"{where} has {key} = {shown(value)}; it must be a list of 1 to {MOST_BLOCKS}")
    for entry in value:
        _check_scalar(entry, 1 if key in LARGEST else "", key, where)


def _check_scalar(value: Any, default: Any, key: str, where: str) -> None:
    if value is None and key not in ("in_channels", "out_channels", "layers_per_block", *LISTS):
        return
    if key in LARGEST:
        good = type(value) is int and 1 <= value <= LARGEST[key]
        wanted = f"a whole number from 1 to {LARGEST[key]}"
    elif isinstance(default, bool):
        good, wanted = isinstance(value, bool), "true or false"
    elif isinstance(default, (int, float)):
        good = type(value) in (int, float) and 0 <= value <= 1000  # false for NaN
        wanted = "a number from 0 to 1000"
    else:
        good, wanted = isinstance(value, str), "a name"
    if not good:
        raise InputError(f"{where} has {key} = {shown(value)}; it must be {wanted}")


def shown(value: Any) -> str:
    """`value` for an error's line: its repr, cut where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
