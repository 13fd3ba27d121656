"""What every checkpoint comes down to, and smalti's own file format: safetensors with one JSON text as metadata.

The tensors have the published names of `EDMPreconditioned` (`model.enc.32x32_conv.weight`, ...). The metadata's entry "smalti" is JSON:

    {"format": 1, "config": {architecture and its arguments}, "about": {training data, split, flips, recipe, log, ...}}
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smalti.core.errors import EnvironmentFailure, InputError, from_os_error
from smalti.core.files import atomic_write
from smalti.core.pickles import printable
from smalti.source.foreign import pointer
from smalti.source.memory import SHARE, available_memory, size_in_words

__all__ = ["MAX_FILE", "Checkpoint", "check_safetensors", "read_safetensors", "read_whole", "write_safetensors"]

MAX_FILE = 8 << 30  # bytes; the networks read here have at most some hundred million parameters


def read_whole(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file, of at most MAX_FILE.

    Raises:
        InputError: it is missing, a folder, a device or a pipe, empty or too large.
        EnvironmentFailure: it may not be read, or does not fit in the memory that is free (twice its size is needed).
    """
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is not a file; give a file of weights")
        if status.st_size == 0:
            raise InputError(f"{path} is empty; fetch it again")
        if status.st_size > MAX_FILE:
            raise InputError(
                f"{path} is refused: it has {size_in_words(status.st_size)}, and files of up to "
                f"{size_in_words(MAX_FILE)} are read; give a file with the weights of one network alone"
            )
        needed, left = 2 * status.st_size, available_memory()
        if needed > SHARE * left:
            raise EnvironmentFailure(
                f"reading {path} needs {size_in_words(needed)} of memory and {size_in_words(left)} is free; "
                "close other programs or use a machine with more"
            )
        with path.open("rb") as file:
            data = file.read(status.st_size)  # what is appended meanwhile is not read
        if (instead := pointer(data[:512])) is not None:
            raise InputError(f"{path} is {instead}")
        return data
    except (ValueError, MemoryError) as error:
        if isinstance(error, InputError):
            raise
        if isinstance(error, MemoryError):
            raise EnvironmentFailure(f"reading {path} needs more memory than could be had") from error
        raise InputError(f"{str(path)!r} is not a path ({error}); check it") from error  # a NUL in it
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error


KEY, FORMAT = "smalti", 1
LARGEST_HEADER = 16 << 20  # bytes of JSON; a network of this family has some tens of kilobytes
MOST_SIDES = 8  # dimensions of a tensor
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True)
class Checkpoint:
    """A network as read from a file, before anything is built.

    Attributes:
        config: what `smalti.networks.architectures.build` takes.
        state: tensors by published name.
        about: plain JSON values: what was read, and what the file says of its training.
    """

    config: dict[str, Any]
    state: dict[str, torch.Tensor]
    about: dict[str, Any] = field(default_factory=dict)


def write_safetensors(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    module: nn.Module,
    about: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a network, whole or not at all; equal networks give equal bytes.

    Args:
        path: the file.
        config: the architecture.
        module: the `EDMPreconditioned` whose state is kept.
        about: plain JSON values.
        dtype: torch.float32, or torch.float16 for half the size.

    Raises:
        EnvironmentFailure: the disk is full or the folder may not be written.
    """
    from safetensors.torch import save

    tensors = {name: t.detach().to("cpu", dtype).contiguous() for name, t in module.state_dict().items()}
    text = json.dumps({"format": FORMAT, "config": dict(config), "about": dict(about or {})}, sort_keys=True)
    with atomic_write(path) as file:
        file.write(save(tensors, {KEY: text}))


def read_safetensors(path: str | os.PathLike[str], config: Mapping[str, Any] | None = None) -> Checkpoint:
    """Read a network in smalti's own format, or the bare tensors of one whose architecture is given.

    Args:
        path: the file.
        config: the architecture, where the file does not hold it; the checkpoint's is {} where neither says it.

    Raises:
        InputError: not such a file, damaged, or with an architecture where one is given; nothing
            beyond the file's size is allocated.
    """
    data = read_whole(path)
    metadata = check_safetensors(data, path)
    text = metadata.get(KEY)
    if not isinstance(text, str):
        return Checkpoint(dict(config or {}), _tensors(data, path), {"format": "safetensors"})
    if config is not None:
        raise InputError(f"{path} says of what architecture it is; leave config out")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"the smalti metadata of {path} is not readable JSON; the file is damaged") from None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        found = said.get("format") if isinstance(said, dict) else None
        raise InputError(f"{path} is of format {printable(str(found), 40)}; this smalti reads format {FORMAT}")
    architecture, about = said.get("config"), said.get("about", {})
    if not isinstance(architecture, dict) or not isinstance(about, dict):
        raise InputError(f"the smalti metadata of {path} has no configuration; the file is damaged")
    return Checkpoint(architecture, _tensors(data, path), about)


def _tensors(data: bytes, path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a readable safetensors file ({_line(error)})") from error


def check_safetensors(data: bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    """The metadata of a safetensors file whose header agrees with its size: every tensor has its own bytes, and no byte is left.

    Raises:
        InputError: it does not agree.
    """

    def damaged(why: str) -> InputError:
        return InputError(f"{path} is not a readable safetensors file ({why}); fetch or write it again")

    if len(data) < 8:
        raise damaged("it is too short")
    length = int.from_bytes(data[:8], "little")
    if length > min(len(data) - 8, LARGEST_HEADER):
        raise damaged(f"its header claims {length} bytes")
    try:
        header = json.loads(data[8 : 8 + length])
    except (ValueError, RecursionError):  # a number of over 4300 digits too
        raise damaged("its header is not JSON") from None
    if not isinstance(header, dict):
        raise damaged("its header is not a table")
    metadata = header.pop("__metadata__", {})
    spans = []
    for name, entry in header.items():
        try:
            low, high = entry["data_offsets"]
            shape, size = entry["shape"], _BYTES[entry["dtype"]]
            if not isinstance(shape, list) or len(shape) > MOST_SIDES:
                raise ValueError
            for side in [low, high, *shape]:
                if not isinstance(side, int) or isinstance(side, bool) or not 0 <= side <= len(data):
                    raise ValueError
            for side in shape:  # at most MOST_SIDES factors of at most the file's size each
                size *= side
        except (KeyError, TypeError, ValueError):
            raise damaged(f"its entry for {printable(str(name), 60)} is malformed") from None
        if high - low != size:
            raise damaged(f"{printable(str(name), 60)} does not have as many bytes as it claims")
        spans.append((low, high))
    end = 0
    for low, high in sorted(spans):
        if low != end:
            raise damaged("its tensors overlap or leave gaps")
        end = high
    if end != len(data) - 8 - length:
        raise damaged("its size is not what its header says")
    return metadata if isinstance(metadata, dict) else {}


def _line(error: BaseException) -> str:
    return printable(" ".join(str(error).split()), 120)
