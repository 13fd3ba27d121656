"""`smalti demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import options

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures; its earlier demo files are replaced.")] = Path(
        "demo-out"
    ),
    seed: options.Seed = None,
    debug: options.Debug = False,
) -> None:
    """Show the main job on the embedded digits, offline, in under a minute."""
    from smalti.cli.jobs.demo import run_demo

    typer.echo(run_demo(out, seed or 0))
