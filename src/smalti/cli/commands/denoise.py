"""`smalti denoise`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import options

__all__ = ["denoise"]


def denoise(
    *,
    data: options.Data,
    hflip: options.HFlip = False,
    classes: options.Classes = None,
    limit: options.Limit = None,
    resolution: options.Resolution = None,
    layout: options.LayoutOption = options.Layout.NCHW,
    skip_bad: options.SkipBad = False,
    denoiser: options.DenoiserName = None,
    network: options.NetworkOption = None,
    labels: options.Labels = None,
    param: options.Param = None,
    backend: options.BackendOption = None,
    level: Annotated[
        int | None,
        typer.Option(
            help="Noise level 0 (sigma 80) to 17 (0.002) of the EDM schedule; this or --sigma.",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    sigma: Annotated[
        float | None,
        typer.Option(
            help="Noise level in the working scale (images in [-1, 1]); this or --level.",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("-n", help="Images, evenly spaced in the data.", show_default="16", rich_help_panel=options.RUN),
    ] = None,
    seed: options.Seed = None,
    given: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="Denoise this .npy instead: z at that level, (B, C, H, W) or (C, H, W).",
            rich_help_panel=options.RUN,
        ),
    ] = None,
    batch_size: options.BatchSize = 16,
    out: options.Out,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    debug: options.Debug = False,
) -> None:
    """Add noise to images of the data (or take noisy ones from a file) and denoise them.

    Exactly one of --level and --sigma is required, with --input too: it is the level of the noise in those images.

    Writes denoised.npz (z, x0, sigma; clean and indices where known), denoised.png and run.json into the --out folder,
    whose path is the last line on stdout.
    """
    from smalti.cli.jobs.data import DataOptions
    from smalti.cli.jobs.denoise import DenoiseJob, run_denoise

    job = DenoiseJob(
        data=DataOptions(data, hflip, classes, limit, resolution, layout.value, skip_bad),
        out=out,
        denoiser=denoiser,
        parameters=param or [],
        backend=backend.value if backend else None,
        network=network,
        level=level,
        sigma=sigma,
        n=n,
        seed=seed,
        input=given,
        labels=labels,
        batch_size=batch_size,
        overwrite=overwrite,
        resume=resume,
    )
    typer.echo(run_denoise(job))
