"""`smalti sensitivity`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from smalti.cli import options

__all__ = ["sensitivity"]


class Reduction(str, Enum):
    """How derivatives become one number for each input pixel."""

    SAME_CHANNEL = "same-channel"
    ALL_CHANNELS = "all-channels"
    L2 = "l2"
    SIGNED = "signed"


def sensitivity(
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
            help="Noise levels of the EDM schedule, from sigma 80 to 0.002.",
            show_default="18",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    n: Annotated[
        int,
        typer.Option(
            "-n", help="Noisy images at each level; the papers use 1,000 and 10,000.", rich_help_panel=options.RUN
        ),
    ] = 200,
    pixels: Annotated[
        str | None,
        typer.Option(
            help="Output pixels: all, centre-edge (two), or grid:G (G x G, evenly spaced).",
            show_default="all up to 16 x 16 images, centre-edge for larger ones",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    reduction: Annotated[
        Reduction,
        typer.Option(
            help="Sum of |derivatives| of a channel by itself (as published) or by all channels, root of the sum of "
            "squares, or with signs.",
            rich_help_panel=options.METHOD,
        ),
    ] = Reduction.SAME_CHANNEL,
    labelled: options.Labelled = False,
    seed: options.Seed = None,
    batch_size: options.BatchSize = 64,
    out: options.Out,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    debug: options.Debug = False,
) -> None:
    """Measure which input pixels the output of denoisers and networks depends on (the workshop paper's Fig. 4).

    Writes for each of them heatmaps-NAME.npz (Sensitivity.load reads it), and sides.csv (the side of the square that holds 50,
    75 and 95 % of the gradient, at each noise level), sensitivity.png, sensitivity.pdf and run.json into the --out folder,
    whose path is the last line on stdout.
    """
    from smalti.cli.jobs.data import DataOptions
    from smalti.cli.jobs.sensitivity import SensitivityJob, run_sensitivity

    job = SensitivityJob(
        data=DataOptions(data, hflip, classes, limit, resolution, layout.value, skip_bad),
        out=out,
        denoisers=denoiser or [],
        networks=network or [],
        backend=backend.value if backend else None,
        sigmas=sigmas,
        levels=levels,
        n=n,
        pixels=pixels,
        reduction=reduction.value,
        labelled=labelled,
        seed=seed or 0,
        batch_size=batch_size,
        overwrite=overwrite,
        resume=resume,
    )
    typer.echo(run_sensitivity(job))
