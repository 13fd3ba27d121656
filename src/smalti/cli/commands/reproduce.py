"""`smalti reproduce`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from smalti.cli import options

__all__ = ["reproduce"]


class Scale(str, Enum):
    """How large a run is."""

    QUICK = "quick"
    PAPER = "paper"


def reproduce(
    *,
    data: options.Data = "digits",
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
            help="A checkpoint, or a network that comes with smalti; repeatable. Denoisers are held against the first.",
            show_default="for the digits those that come with smalti",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    half: Annotated[
        list[str] | None,
        typer.Option(
            "--half",
            help="A network trained on one half of the images (train --part); given twice, for halves that have no image in common.",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    scale: Annotated[
        Scale,
        typer.Option(
            help="quick fits a budget on two cores; paper has the papers' sizes.", rich_help_panel=options.RUN
        ),
    ] = Scale.QUICK,
    budget: Annotated[
        float | None,
        typer.Option(
            help="Minutes that it may take, about; the numbers of noisy images follow from it.",
            show_default="2 for quick, no limit for paper and for the digits with their networks",
            rich_help_panel=options.RUN,
        ),
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "-n",
            help="Noisy images at each noise level, and samples, of every denoiser, whatever time it takes: the same command then gives "
            "the same report, byte for byte.",
            show_default="what --budget allows; for the digits with their networks as many on every machine",
            rich_help_panel=options.RUN,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="One of the exhibits, by its key (w1 to w7, a8, a9, halves); repeatable. It has the same numbers of noisy images as "
            "in the whole report. The report is then of these alone: figures and tables of others that an earlier run left in --out "
            "are removed; what was computed for them is kept.",
            rich_help_panel=options.RUN,
        ),
    ] = None,
    sscd: Annotated[
        Path | None,
        typer.Option(
            help="SSCD's TorchScript file, for the similarity of samples. TorchScript is code, so only a known file is run.",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Run the file of --sscd though it is not known.", rich_help_panel=options.METHOD),
    ] = False,
    seed: options.Seed = None,
    out: options.Out,
    overwrite: options.Overwrite = False,
    debug: options.Debug = False,
) -> None:
    """Repeat the experiments of both papers on your data and write a report.

    Writes report.html (self-contained), tables/*.csv, figures/*.pdf and *.png, z/*.npy (the noisy images), run.log and run.json into the
    --out folder; the path of the report is the last line on stdout. A run that was stopped goes on when the same command is given
    again, and a changed option computes again only what depends on it.
    """
    from smalti.cli.jobs.data import DataOptions
    from smalti.cli.jobs.reproduce import ReproduceJob, run_reproduce

    job = ReproduceJob(
        data=DataOptions(data, hflip, classes, limit, resolution, layout.value, skip_bad),
        out=out,
        networks=network or [],
        halves=half or [],
        scale=scale.value,
        budget=budget,
        n=n,
        only=only or [],
        seed=seed,
        sscd=sscd,
        trust=trust,
        overwrite=overwrite,
    )
    typer.echo(run_reproduce(job))
