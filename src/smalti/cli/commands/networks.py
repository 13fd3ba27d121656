"""`smalti networks`."""

from __future__ import annotations

from typing import Annotated

import typer

from smalti.cli import options

__all__ = ["networks"]


def networks(
    checkpoint: Annotated[
        str | None,
        typer.Argument(help="A checkpoint, or a name from the list.", show_default="list those that come with smalti"),
    ] = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """List the networks that come with smalti, or say what a checkpoint holds; nothing in the file is executed."""
    from smalti.cli.jobs.networks import print_network, print_shipped

    if checkpoint is None:
        print_shipped(as_json)
    else:
        print_network(checkpoint, as_json)
