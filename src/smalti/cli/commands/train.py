"""`smalti train`."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from smalti.cli import options

__all__ = ["train"]

NETWORK = "Network"


class Arch(str, Enum):
    """The networks that the papers compare with."""

    DDPMPP = "ddpmpp"
    NCSNPP = "ncsnpp"
    DIT = "dit"


class Decay(str, Enum):
    """How the learning rate goes on after its warm-up."""

    CONSTANT = "constant"
    COSINE = "cosine"


class Precision(str, Enum):
    """Numbers that the network computes with."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Stored(str, Enum):
    """Numbers that the final network is stored in."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"


def train(
    *,
    data: options.Data,
    hflip: options.HFlip = False,
    classes: options.Classes = None,
    limit: options.Limit = None,
    resolution: options.Resolution = None,
    layout: options.LayoutOption = options.Layout.NCHW,
    skip_bad: options.SkipBad = False,
    held_out: Annotated[
        int, typer.Option(help="So many images only for the validation loss.", rich_help_panel=options.DATA)
    ] = 0,
    part: Annotated[
        str,
        typer.Option(help="1/2 trains on the first of two disjoint halves, and so on.", rich_help_panel=options.DATA),
    ] = "1/1",
    arch: Annotated[Arch, typer.Option(help="Which network.", rich_help_panel=NETWORK)] = Arch.DDPMPP,
    preset: Annotated[
        str,
        typer.Option(
            help="Its size: cifar10 (EDM's), small, light (on a CPU), tiny; for dit b4 (the workshop paper's), s, small, tiny.",
            rich_help_panel=NETWORK,
        ),
    ] = "small",
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", help="An argument of the architecture, NAME=VALUE; repeatable.", rich_help_panel=NETWORK
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="Go on from this network: its weights and its architecture (a checkpoint, or a name of `smalti networks`).",
            show_default="a new one",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    conditional: Annotated[
        bool, typer.Option("--conditional", help="Train on the classes.", rich_help_panel=NETWORK)
    ] = False,
    label_dropout: Annotated[
        float, typer.Option(help="How often the class is left out.", rich_help_panel=NETWORK)
    ] = 0.1,
    dropout: Annotated[
        float | None, typer.Option(help="Of activations.", show_default="the preset's", rich_help_panel=NETWORK)
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps.", rich_help_panel=options.METHOD)] = 10_000,
    batch_size: Annotated[int, typer.Option(help="Images per step.", rich_help_panel=options.METHOD)] = 128,
    learning_rate: Annotated[float, typer.Option("--lr", help="Adam's.", rich_help_panel=options.METHOD)] = 1e-3,
    warmup: Annotated[int, typer.Option(help="Steps to reach it.", rich_help_panel=options.METHOD)] = 200,
    decay: Annotated[Decay, typer.Option(help="How it goes on.", rich_help_panel=options.METHOD)] = Decay.CONSTANT,
    ema: Annotated[
        float, typer.Option(help="Half-life of the averaged weights, in images.", rich_help_panel=options.METHOD)
    ] = 500_000,
    augment: Annotated[
        float,
        typer.Option(help="Probability of EDM's geometric augmentations (EDM: 0.12).", rich_help_panel=options.METHOD),
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of everything random.", rich_help_panel=options.RUN)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...", rich_help_panel=options.RUN)] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="auto: bfloat16 on a GPU, float32 on a CPU.", rich_help_panel=options.RUN)
    ] = Precision.AUTO,
    compile_network: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile", help="torch.compile.", show_default="on a GPU", rich_help_panel=options.RUN
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="On a CPU.", show_default="torch's", rich_help_panel=options.RUN)
    ] = None,
    checkpoint_every: Annotated[
        int, typer.Option(help="Steps between states to resume from.", rich_help_panel=options.RUN)
    ] = 500,
    validate_every: Annotated[
        int, typer.Option(help="Steps between validation losses.", rich_help_panel=options.RUN)
    ] = 500,
    sample_every: Annotated[
        int, typer.Option(help="Steps between sample grids; 0 for the last step only.", rich_help_panel=options.RUN)
    ] = 0,
    store: Annotated[
        Stored, typer.Option(help="Numbers in network.safetensors.", rich_help_panel=options.RUN)
    ] = Stored.FLOAT32,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so long; --resume goes on.", rich_help_panel=options.RUN)
    ] = None,
    out: options.Out,
    overwrite: options.Overwrite = False,
    resume: options.Resume = False,
    debug: options.Debug = False,
) -> None:
    """Train a network to denoise, by EDM's loss.

    Writes network.safetensors (averaged weights, with recipe and log inside), state.safetensors (to resume from), loss.csv,
    loss.png, samples-STEP.png and run.json into the --out folder, whose path is the last line on stdout.
    """
    from smalti.cli.jobs.data import DataOptions
    from smalti.cli.jobs.train import TrainJob, parse_part, run_train

    number, parts = parse_part(part)
    job = TrainJob(
        data=DataOptions(data, hflip, classes, limit, resolution, layout.value, skip_bad),
        out=out,
        init=init,
        recipe={
            "arch": arch.value,
            "preset": preset,
            "steps": steps,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "warmup": warmup,
            "decay": decay.value,
            "ema": ema,
            "dropout": dropout,
            "augment": augment,
            "conditional": conditional,
            "label_dropout": label_dropout,
            "seed": seed,
            "validate_every": validate_every,
        },
        split={"held_out": held_out, "part": number, "parts": parts},
        parameters=param or [],
        device=device,
        precision=precision.value,
        compile_network=compile_network,
        threads=threads,
        checkpoint_every=checkpoint_every,
        sample_every=sample_every,
        store=store.value,
        minutes=minutes,
        overwrite=overwrite,
        resume=resume,
    )
    typer.echo(run_train(job))
