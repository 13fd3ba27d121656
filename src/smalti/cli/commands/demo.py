"""`smalti demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import options

__all__ = ["demo"]


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the report; an earlier one of the same is gone on with.")
    ] = Path("demo-out"),
    seed: options.Seed = None,
    debug: options.Debug = False,
) -> None:
    """Both papers on the embedded digits, offline, in under three minutes: `smalti reproduce --data digits`.

    The last line on stdout is the path of the report.
    """
    from smalti.cli.jobs.data import DataOptions
    from smalti.cli.jobs.reproduce import ReproduceJob, run_reproduce

    typer.echo(run_reproduce(ReproduceJob(DataOptions("digits"), out, seed=seed)))
