"""`smalti sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import options
from smalti.core.schedule import RHO, SIGMA_MAX, SIGMA_MIN

__all__ = ["sample"]


def sample(
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
    n: Annotated[
        int | None, typer.Option("-n", help="Number of samples.", show_default="16", rich_help_panel=options.RUN)
    ] = None,
    steps: Annotated[
        int,
        typer.Option(help="Solver steps; one is a single jump from sigma_max to 0.", rich_help_panel=options.METHOD),
    ] = 18,
    solver: Annotated[
        options.Solver, typer.Option(help="Second order (heun) or first (euler).", rich_help_panel=options.METHOD)
    ] = options.Solver.HEUN,
    seed: options.Seed = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Start from this .npy: z at sigma_max, already scaled, (B, C, H, W) or (C, H, W).",
            rich_help_panel=options.RUN,
        ),
    ] = None,
    sigma_min: Annotated[
        float, typer.Option(help="Smallest noise level above 0.", rich_help_panel=options.METHOD)
    ] = SIGMA_MIN,
    sigma_max: Annotated[float, typer.Option(help="Largest noise level.", rich_help_panel=options.METHOD)] = SIGMA_MAX,
    rho: Annotated[
        float, typer.Option(help="How far the levels crowd towards sigma_min.", rich_help_panel=options.METHOD)
    ] = RHO,
    keep_states: Annotated[
        bool, typer.Option("--keep-states", help="Store every state too.", rich_help_panel=options.RUN)
    ] = False,
    batch_size: options.BatchSize = 4,
    out: options.Out,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    debug: options.Debug = False,
) -> None:
    """Generate images by the probability-flow ODE and find their nearest training images.

    Writes samples.npz (images, init, sigmas, seed, neighbour_indices, neighbour_distances (squared), neighbour_flipped;
    with --keep-states also states and denoised), samples.png, neighbours.png, trajectories.png and run.json into the
    --out folder, whose path is the last line on stdout.
    """
    from smalti.cli.jobs.data import DataOptions
    from smalti.cli.jobs.sample import SampleJob, run_sample

    job = SampleJob(
        data=DataOptions(data, hflip, classes, limit, resolution, layout.value, skip_bad),
        out=out,
        denoiser=denoiser,
        parameters=param or [],
        backend=backend.value if backend else None,
        network=network,
        n=n,
        steps=steps,
        solver=solver.value,
        seed=seed,
        init=init,
        labels=labels,
        sigma_min=sigma_min,
        sigma_max=sigma_max,
        rho=rho,
        keep_states=keep_states,
        batch_size=batch_size,
        overwrite=overwrite,
        resume=resume,
    )
    typer.echo(run_sample(job))
