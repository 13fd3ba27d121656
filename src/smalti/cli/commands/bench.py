"""`smalti bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import options

__all__ = ["bench"]


def bench(
    *,
    data: options.OptionalData = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables; without it they go to stdout alone.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small version that finishes soon.")] = False,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            help="Only these parts, comma separated: pspc, optimal, flips, ls, flex, pca, els, torch, samples, processes; "
            "with --scaling also nearest, cfd, soft.",
        ),
    ] = None,
    scaling: Annotated[
        bool,
        typer.Option("--scaling", help="Instead: seconds against the number of images and sigma, for every denoiser."),
    ] = False,
    hflip: options.HFlip = False,
    classes: options.Classes = None,
    limit: options.Limit = None,
    resolution: options.Resolution = None,
    layout: options.LayoutOption = options.Layout.NCHW,
    skip_bad: options.SkipBad = False,
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Measure the engine against the published algorithms and against this machine's floor."""
    from smalti.cli.jobs.bench import run_bench
    from smalti.cli.jobs.data import DataOptions

    opened = DataOptions(data or "", hflip, classes, limit, resolution, layout.value, skip_bad)
    run_bench(opened, out, quick, overwrite, only, scaling)
