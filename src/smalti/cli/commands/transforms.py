"""`smalti transforms`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import options

__all__ = ["transforms"]


def transforms(
    *,
    data: options.Data,
    hflip: options.HFlip = False,
    classes: options.Classes = None,
    limit: options.Limit = None,
    resolution: options.Resolution = None,
    layout: options.LayoutOption = options.Layout.NCHW,
    skip_bad: options.SkipBad = False,
    denoiser: options.Denoisers = None,
    network: options.Networks = None,
    backend: options.BackendOption = None,
    sigma: Annotated[float, typer.Option(help="Noise level; the paper's is 2.", rich_help_panel=options.METHOD)] = 2.0,
    shift: Annotated[
        int | None,
        typer.Option(
            help="Pixels to the right, and down; negative for left and up.",
            show_default="5 at 32 x 32, in proportion for other sizes",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(
            help="TOP,LEFT,HEIGHT,WIDTH in pixels.",
            show_default="the middle half of the height and width",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    labelled: options.Labelled = False,
    n: Annotated[
        int | None, typer.Option("-n", help="Noisy images.", show_default="64", rich_help_panel=options.RUN)
    ] = None,
    input: Annotated[
        Path | None,
        typer.Option(
            help="Transform the noisy images of this .npy, (B, C, H, W), not noisy images of the data.",
            rich_help_panel=options.RUN,
        ),
    ] = None,
    shown: Annotated[
        int, typer.Option(help="How many noisy images the figure shows.", rich_help_panel=options.RUN)
    ] = 2,
    seed: options.Seed = None,
    batch_size: options.BatchSize = 64,
    out: options.Out,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    debug: options.Debug = False,
) -> None:
    """Shift noisy images, or put fresh noise inside or outside a box, and see how outputs change (the workshop paper's Fig. 3).

    What enters at a shift is fresh noise around the image's edge value. Writes outputs.png and .pdf, distances.csv (mean squared
    distances between outputs, with 95 % intervals), distances.png and .pdf, transforms.npz and run.json into the --out folder,
    whose path is the last line on stdout.
    """
    from smalti.cli.jobs.data import DataOptions
    from smalti.cli.jobs.transforms import TransformsJob, run_transforms

    job = TransformsJob(
        data=DataOptions(data, hflip, classes, limit, resolution, layout.value, skip_bad),
        out=out,
        denoisers=denoiser or [],
        networks=network or [],
        backend=backend.value if backend else None,
        sigma=sigma,
        shift=shift,
        box=box,
        input=input,
        n=n,
        shown=shown,
        labelled=labelled,
        seed=seed or 0,
        batch_size=batch_size,
        overwrite=overwrite,
        resume=resume,
    )
    typer.echo(run_transforms(job))
