"""`smalti bench`: hand the data and the folder to `smalti.bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import options
from smalti.cli.command import command
from smalti.cli.options import Images
from smalti.core.errors import InputError

__all__ = ["bench"]

NO_DATA = Images(None)  # type: ignore[arg-type]  # the benchmark's own


@command
def bench(
    *,
    images: Images = NO_DATA,
    out: Annotated[Path | None, typer.Option(help="Folder for the tables; without it they go to stdout alone.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small version that finishes soon.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="Only these parts, comma separated: pspc, optimal, flips, ls, flex, pca, els, torch, samples, generate, processes; "
            "with --scaling also nearest, cfd, soft.",
        ),
    ] = None,
    scaling: Annotated[
        bool,
        typer.Option("--scaling", help="Instead: seconds against the number of images and sigma, for every denoiser."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that the folder has.", rich_help_panel=options.RUN)
    ] = False,
) -> None:
    """Measure the engine against the published algorithms and against this machine's floor."""
    if images.data is None and images != NO_DATA:
        raise InputError("--hflip, --classes, --limit, --resolution, --layout, --skip-bad and --split need --data")
    if out is None and overwrite:
        raise InputError("--overwrite needs --out")
    if out is not None:
        from smalti.core.run_folder import check_path

        check_path(out)
        if out.exists() and any(out.iterdir()) and not overwrite:
            raise InputError(f"{out} already has results; choose another --out, or --overwrite to replace them")
    import smalti.bench

    parts = None if only is None else [name.strip() for text in only for name in text.split(",") if name.strip()]
    smalti.bench.check_only(parts, scaling)
    measure = smalti.bench.run_scaling if scaling else smalti.bench.run
    measure(images.open() if images.data is not None else None, out, quick, parts)
