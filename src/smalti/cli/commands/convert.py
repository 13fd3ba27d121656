"""`smalti convert CHECKPOINT OUT`."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from smalti.cli.command import command
from smalti.core.errors import InputError
from smalti.core.text import printable

__all__ = ["convert"]


class Weights(str, Enum):
    """Which weights of a training's checkpoint."""

    AVERAGED = "averaged"
    RAW = "raw"


@command
def convert(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint, or a name of `smalti networks`.")],
    out: Annotated[Path, typer.Argument(help="The file to write, .safetensors.")],
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            help="What the file does not say of its architecture, NAME=VALUE (such as resolution=64, heads=4, "
            "schedule=cosine, steps=1000); repeatable.",
        ),
    ] = None,
    weights: Annotated[Weights, typer.Option(help="Which, where the file has both.")] = Weights.AVERAGED,
    half: Annotated[bool, typer.Option("--half", help="Store float16, half the size.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
) -> None:
    """Write a network of another format (EDM pickle, torch.save, bare state dict) as one .safetensors that says what it is.

    The file then loads everywhere by its path alone; nothing in the checkpoint is executed. The path is the last line on stdout.
    """
    from smalti.cli.printing import print_path
    from smalti.networks.conversion import convert as convert_network

    config = read_config(param) if param else None
    convert_network(checkpoint, out, config=config, weights=weights, half=half, overwrite=overwrite)
    print_path(out)


def read_config(pairs: list[str]) -> dict[str, Any]:
    """NAME=VALUE pairs as a configuration; values are JSON, anything else is text.

    Raises:
        InputError: no "=", or a name that is given twice.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            raise InputError(f"--param takes NAME=VALUE, not {printable(pair)[:80]!r}")
        if name in found:
            raise InputError(f"--param {printable(name)[:40]} is given twice")
        try:
            found[name] = json.loads(text)
        except (ValueError, RecursionError):
            found[name] = text.strip()
    return found
