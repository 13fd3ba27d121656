"""`smalti compare`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import options

__all__ = ["compare"]


class Process(str, Enum):
    """Where z come from."""

    FORWARD = "forward"
    REVERSE = "reverse"
    BOTH = "both"


def compare(
    *,
    data: options.Data,
    hflip: options.HFlip = False,
    classes: options.Classes = None,
    limit: options.Limit = None,
    resolution: options.Resolution = None,
    layout: options.LayoutOption = options.Layout.NCHW,
    skip_bad: options.SkipBad = False,
    network: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            help="The network that denoisers are held against: a checkpoint, or one that comes with smalti. Further ones are "
            "held against the first.",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    denoiser: options.Denoisers = None,
    backend: options.BackendOption = None,
    process: Annotated[
        Process | None,
        typer.Option(
            help="Noisy images of the data (forward), states of the network's own sampling (reverse), or both.",
            show_default="both; none with --z-set",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    z_set: Annotated[
        list[Path] | None,
        typer.Option("--z-set", help="A .npy of z, (levels, n, C, H, W); repeatable.", rich_help_panel=options.METHOD),
    ] = None,
    levels: Annotated[
        int | None,
        typer.Option(
            help="Noise levels of the EDM schedule, from sigma 80 to 0.002.",
            show_default="18",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    labelled: options.Labelled = False,
    n: Annotated[
        int | None,
        typer.Option(
            "-n", help="z at each level; the paper uses 10,000.", show_default="100", rich_help_panel=options.RUN
        ),
    ] = None,
    seed: options.Seed = None,
    batch_size: options.BatchSize = 64,
    out: options.Out,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    debug: options.Debug = False,
) -> None:
    """Hold denoisers against a network at every noise level (the workshop paper's Fig. 6).

    Denoisers are made on the images that the network was trained on; the optimal one is always among them. Writes compare.csv
    (mean squared error, cosine, R2 and the fraction of the network's deviation from the optimal denoiser that is explained, with
    95 % intervals), compare.png, compare.pdf, the z that were made (forward.npy, reverse.npy, each with a .json) and run.json
    into the --out folder, whose path is the last line on stdout.
    """
    from smalti.cli.jobs.compare import CompareJob, run_compare
    from smalti.cli.jobs.data import DataOptions

    job = CompareJob(
        data=DataOptions(data, hflip, classes, limit, resolution, layout.value, skip_bad),
        out=out,
        denoisers=denoiser or [],
        networks=network or [],
        backend=backend.value if backend else None,
        process=process.value if process else None,
        z_sets=z_set or [],
        levels=levels,
        n=n,
        labelled=labelled,
        seed=seed,
        batch_size=batch_size,
        overwrite=overwrite,
        resume=resume,
    )
    typer.echo(run_compare(job))
