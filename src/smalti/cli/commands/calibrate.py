"""`smalti calibrate`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from smalti.cli import options

__all__ = ["calibrate"]


class Process(str, Enum):
    """Where z come from."""

    FORWARD = "forward"
    REVERSE = "reverse"
    BOTH = "both"


class Error(str, Enum):
    """What is held against the network's output."""

    PATCH = "patch"
    COMPOSITE = "composite"


def calibrate(
    *,
    data: options.Data,
    hflip: options.HFlip = False,
    classes: options.Classes = None,
    limit: options.Limit = None,
    resolution: options.Resolution = None,
    layout: options.LayoutOption = options.Layout.NCHW,
    skip_bad: options.SkipBad = False,
    denoiser: Annotated[
        str | None,
        typer.Option(
            "--denoiser",
            help="pspc-square (side of the patches), pspc-flex (threshold), local-score, equivariant-local-score (window), "
            "gaussian-window (width) or closed-form-diffusion (smoothing).",
            show_default="pspc-square",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            help="Another parameter of the denoiser, NAME=VALUE, such as heatmaps=FILE; repeatable.",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            help="The network to be like: a checkpoint, or one that comes with smalti. Without one, images are held out.",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    optimal: Annotated[
        bool,
        typer.Option(
            "--optimal",
            help="In place of a network: the optimal denoiser of the data (the workshop paper's Fig. 5, left).",
            rich_help_panel=options.METHOD,
        ),
    ] = False,
    held_out: Annotated[
        int | None,
        typer.Option(
            help="Without a network: images to hold out; the others are denoised with.",
            show_default="a tenth, at most 1000",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option(
            help="Values to choose from, separated by commas; 'full' is the whole image.",
            show_default="3,5,7,9,11,15,19,23,27,full for patches",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    process: Annotated[
        Process,
        typer.Option(
            help="Noisy images of the data (forward, as published), states of the network's own sampling (reverse), or both: "
            "then the schedule is chosen by forward ones, and a second one by reverse ones.",
            rich_help_panel=options.METHOD,
        ),
    ] = Process.FORWARD,
    error: Annotated[
        Error | None,
        typer.Option(
            help="Each patch posterior mean against the same patch of the network's output (as published), or the whole denoiser's "
            "output.",
            show_default="patch; composite without a network, or where there are no patches",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    crops: Annotated[
        int | None,
        typer.Option(
            help="Patches of each z whose error is taken, spread evenly; all where there are no more.",
            show_default="32",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
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
    labelled: options.Labelled = False,
    n: Annotated[
        int, typer.Option("-n", help="z at each level; the paper uses 10,000.", rich_help_panel=options.RUN)
    ] = 100,
    seed: options.Seed = None,
    batch_size: options.BatchSize = 64,
    out: options.Out,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    debug: options.Debug = False,
) -> None:
    """Choose a denoiser's patch size (threshold, window, smoothing) for each noise level: what is nearest to a network.

    Without a network: what best denoises held-out images. Writes schedule.json (which --param schedule=FILE and
    --denoiser NAME:schedule=FILE take), errors.csv (the error of every candidate at every level, with standard errors),
    calibration.png, calibration.pdf and run.json into the --out folder, whose path is the last line on stdout; with
    --process both also schedule-reverse.json.
    """
    from smalti.cli.jobs.calibrate import CalibrateJob, run_calibrate
    from smalti.cli.jobs.data import DataOptions

    job = CalibrateJob(
        data=DataOptions(data, hflip, classes, limit, resolution, layout.value, skip_bad),
        out=out,
        denoiser=denoiser,
        parameters=param or [],
        backend=backend.value if backend else None,
        network=network,
        optimal=optimal,
        held_out=held_out,
        candidates=candidates,
        process=process.value,
        error=error.value if error else None,
        crops=crops,
        sigmas=sigmas,
        levels=levels,
        labelled=labelled,
        n=n,
        seed=seed or 0,
        batch_size=batch_size,
        overwrite=overwrite,
        resume=resume,
    )
    typer.echo(run_calibrate(job))
