"""`smalti demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import options
from smalti.cli.command import command
from smalti.cli.commands.reproduce import DIGITS, reproduce

__all__ = ["demo"]


@command
def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the report; an earlier one of the same is gone on with.")
    ] = Path("demo-out"),
    seed: options.Seed = None,
) -> None:
    """Both papers on the embedded digits, offline, in three or four minutes: `smalti reproduce --data digits`.

    The last line on stdout is the path of the report.
    """
    reproduce(data=DIGITS, out=out, seed=seed)
