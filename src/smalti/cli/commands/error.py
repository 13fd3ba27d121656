"""`smalti error`."""

from __future__ import annotations

from typing import Annotated

import typer

from smalti.cli import options

__all__ = ["error"]


def error(
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
    sigmas: Annotated[
        str | None,
        typer.Option(help="Noise levels, separated by commas, instead of --levels.", rich_help_panel=options.METHOD),
    ] = None,
    levels: Annotated[
        int | None,
        typer.Option(
            help="Noise levels, evenly spaced in log sigma.", show_default="150", rich_help_panel=options.METHOD
        ),
    ] = None,
    sigma_min: Annotated[
        float | None, typer.Option(help="Smallest noise level.", show_default="0.01", rich_help_panel=options.METHOD)
    ] = None,
    sigma_max: Annotated[
        float | None, typer.Option(help="Largest noise level.", show_default="100", rich_help_panel=options.METHOD)
    ] = None,
    labelled: options.Labelled = False,
    n: Annotated[
        int, typer.Option("-n", help="Noisy images at each level; the paper uses 10,000.", rich_help_panel=options.RUN)
    ] = 200,
    seed: options.Seed = None,
    batch_size: options.BatchSize = 64,
    out: options.Out,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    debug: options.Debug = False,
) -> None:
    """Measure the error of denoisers and networks against the optimal denoiser (the workshop paper's Fig. 2).

    Networks are held against the optimal denoiser of the images that they were trained on. Writes errors.csv (mean squared
    error with 95 % intervals), errors.png, errors.pdf, with several denoisers agreement.csv, .png and .pdf (whether they err
    alike: the cosine of their deviations), and run.json into the --out folder, whose path is the last line on stdout.
    """
    from smalti.cli.jobs.data import DataOptions
    from smalti.cli.jobs.error import ErrorJob, run_error

    job = ErrorJob(
        data=DataOptions(data, hflip, classes, limit, resolution, layout.value, skip_bad),
        out=out,
        denoisers=denoiser or [],
        networks=network or [],
        backend=backend.value if backend else None,
        sigmas=sigmas,
        levels=levels,
        sigma_min=sigma_min,
        sigma_max=sigma_max,
        n=n,
        labelled=labelled,
        seed=seed or 0,
        batch_size=batch_size,
        overwrite=overwrite,
        resume=resume,
    )
    typer.echo(run_error(job))
