"""`smalti train`: a network, its log and its pictures, in a folder that can be gone on with."""

from __future__ import annotations

import os
import re
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import options
from smalti.cli.command import CHECKPOINT, Between, command
from smalti.cli.options import Images, Run
from smalti.core.errors import InputError, InterruptedRunError
from smalti.core.text import printable

if TYPE_CHECKING:
    from smalti.networks import Network
    from smalti.source import Source
    from smalti.training import Recipe

__all__ = ["parse_part", "train"]

NETWORK = "Network"  # a panel of the help text
CURVE = "loss.png"
PICTURED = 64  # samples in a grid
MOST_GRIDS = 10_000
STEPS, SHARE = Between(1, 1_000_000_000), Between(0.0, 1.0)


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


@command
def train(
    *,
    images: Images,
    held_out: Annotated[
        int,
        typer.Option(help="So many images only for the validation loss.", rich_help_panel=options.DATA),
        Between(0),
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
        CHECKPOINT,
    ] = None,
    conditional: Annotated[
        bool, typer.Option("--conditional", help="Train on the classes.", rich_help_panel=NETWORK)
    ] = False,
    label_dropout: Annotated[
        float, typer.Option(help="How often the class is left out.", rich_help_panel=NETWORK), SHARE
    ] = 0.1,
    dropout: Annotated[
        float | None,
        typer.Option(help="Of activations.", show_default="the preset's", rich_help_panel=NETWORK),
        Between(0.0, 0.99),
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps.", rich_help_panel=options.METHOD), STEPS] = 10_000,
    batch_size: Annotated[
        int, typer.Option(help="Images per step.", rich_help_panel=options.METHOD), options.BATCH
    ] = 128,
    learning_rate: Annotated[
        float, typer.Option("--lr", help="Adam's.", rich_help_panel=options.METHOD), Between(1e-12, 1000.0)
    ] = 1e-3,
    warmup: Annotated[
        int, typer.Option(help="Steps to reach it.", rich_help_panel=options.METHOD), Between(0, 1_000_000_000)
    ] = 200,
    decay: Annotated[Decay, typer.Option(help="How it goes on.", rich_help_panel=options.METHOD)] = Decay.CONSTANT,
    ema: Annotated[
        float,
        typer.Option(help="Half-life of the averaged weights, in images.", rich_help_panel=options.METHOD),
        Between(1e-3, 1e12),
    ] = 500_000,
    augment: Annotated[
        float,
        typer.Option(help="Probability of EDM's geometric augmentations (EDM: 0.12).", rich_help_panel=options.METHOD),
        SHARE,
    ] = 0.0,
    seed: Annotated[
        int,
        typer.Option(help="Of everything random.", rich_help_panel=options.RUN),
        Between(0, 2**64 - 1, "an integer from 0 to 2^64 - 1"),
    ] = 0,
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
        int | None,
        typer.Option(help="On a CPU.", show_default="torch's", rich_help_panel=options.RUN),
        Between(1, max(64, 4 * (os.cpu_count() or 1))),
    ] = None,
    checkpoint_every: Annotated[
        int, typer.Option(help="Steps between states to resume from.", rich_help_panel=options.RUN), STEPS
    ] = 500,
    validate_every: Annotated[
        int,
        typer.Option(help="Steps between validation losses.", rich_help_panel=options.RUN),
        Between(0, 1_000_000_000),
    ] = 500,
    sample_every: Annotated[
        int,
        typer.Option(help="Steps between sample grids; 0 for the last step only.", rich_help_panel=options.RUN),
        Between(0, 1_000_000_000),
    ] = 0,
    store: Annotated[
        Stored, typer.Option(help="Numbers in network.safetensors.", rich_help_panel=options.RUN)
    ] = Stored.FLOAT32,
    minutes: Annotated[
        float | None,
        typer.Option(help="Stop after so long; --resume goes on.", rich_help_panel=options.RUN),
        Between(1e-12, 60 * 24 * 365.0, "above 0, and at most 525600 (a year)"),
    ] = None,
    run: Run,
) -> None:
    """Train a network to denoise, by EDM's loss.

    Writes network.safetensors (averaged weights, with recipe and log inside), state.safetensors (to resume from), loss.csv,
    loss.png, samples-STEP.png and run.json into the --out folder, whose path is the last line on stdout.
    """
    number, parts = parse_part(part)
    if not conditional:
        run.invocation.refuse(("label_dropout",), "without --conditional")
    if not held_out:
        run.invocation.refuse(("validate_every",), "without --held-out")
    from dataclasses import asdict

    import torch

    from smalti.cli.parameters import parse_arguments
    from smalti.cli.printing import print_path, say
    from smalti.cli.subjects import load_network
    from smalti.networks.architectures import ARCHITECTURES, find_preset
    from smalti.report.figures import save_figure, style
    from smalti.report.training_plots import loss_curve
    from smalti.source import Split
    from smalti.training import Recipe
    from smalti.training import train as train_network
    from smalti.training.state import FILE, PREVIOUS
    from smalti.training.trainer import LOG, training_device
    from smalti.training.trainer import NETWORK as WEIGHTS

    found = find_preset(arch, preset)
    recipe = Recipe(
        arch=arch, preset=preset, steps=steps, batch_size=batch_size, learning_rate=learning_rate, warmup=warmup,
        decay=decay, ema=ema, dropout=dropout, augment=augment, conditional=conditional,
        label_dropout=label_dropout, seed=seed, validate_every=validate_every,
        changes=parse_arguments(found["architecture"], ARCHITECTURES[found["architecture"]], param or ()),
        split=Split(held_out=held_out, part=number, parts=parts),
    )  # fmt: skip
    on = training_device(device)
    begun = None if init is None else load_network(init)
    snapshots = range(sample_every, steps, sample_every) if sample_every else ()
    if len(snapshots) > MOST_GRIDS:
        raise InputError(f"--sample-every {sample_every} would make {len(snapshots):,} grids; give a larger number")
    grids = [_grid_name(step) for step in [*snapshots, steps]]
    with run.folder((WEIGHTS, FILE, LOG, CURVE, *grids), others=("samples-*.png", PREVIOUS)) as folder:
        source = images.open()
        _check_fits(recipe, source, begun)
        pictured = _title(recipe, begun, source)
        contents = (
            images.content(source)
            | {
                "param": dict(recipe.changes),
                ("part", "held_out"): asdict(recipe.split),
                "device": on.type,
            }
            | ({} if begun is None else {"init": begun.digest()})
        )
        if run.start(folder, steps, contents, data=source.name, seed=seed):
            print_path(folder.path)
            return
        try:
            training = train_network(
                source,
                recipe,
                folder.path,
                resume=run.resume,
                overwrite=run.overwrite,
                init=begun,
                lock=folder.lock,
                device=on,
                precision=precision,
                compile_network=compile_network,
                threads=threads,
                checkpoint_every=checkpoint_every,
                minutes=minutes,
                snapshot_every=sample_every,
                on_snapshot=lambda step, network: _picture(folder.path, step, network, seed, pictured),
                on_checkpoint=folder.record_done,
                stored_as=getattr(torch, store),
                progress=True,
            )
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"interrupted: the state is kept in {folder.path}; to go on, {folder.again()}"
            ) from None
        with style():
            save_figure(loss_curve(training.history, pictured), folder.path / CURVE)
        if training.complete:
            _picture(folder.path, training.steps, training.network, seed, pictured)
        else:
            done = f"{training.steps} of {steps} steps are done"
            say(f"stopped after {minutes:g} minutes: {done}; to go on, {folder.again()}")
        folder.finish(training.steps)
    print_path(folder.path)


def parse_part(text: str) -> tuple[int, int]:
    """ "1/2" as (1, 2).

    Raises:
        InputError: anything else.
    """
    match = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text)
    if not match:
        raise InputError(f"--part must look like 1/2, not {text!r}")
    return int(match[1]), int(match[2])


def _check_fits(recipe: Recipe, source: Source, begun: Network | None) -> None:
    """Raise InputError for an architecture that cannot be built for these images, or too many parts of them."""
    import torch

    from smalti.networks.architectures import build

    split = recipe.split
    if split.parts > max(1, len(source) - split.held_out):
        raise InputError(
            f"--part {split.part}/{split.parts} leaves parts without images: there are {len(source)}, "
            f"{split.held_out} of them held out"
        )
    split.training(source)
    try:
        config = recipe.config(source.shape, source.num_classes, None if begun is None else begun.config or {})
        with torch.device("meta"):  # what fits only when it computes is said before anything is made
            build(config)(torch.zeros(2, *source.shape), torch.ones(2))
    except InputError:
        raise
    except (ArithmeticError, AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(
            f"no {recipe.arch} can be built for these images with what --param says ({reason}); change it"
        ) from error


def _title(recipe: Recipe, begun: Network | None, source: Source) -> str:
    """What is trained, for pictures: by what determines the run, so that the same run in another folder draws the same."""
    what = f"{recipe.arch} {recipe.preset}" if begun is None else (begun.config or {}).get("architecture", recipe.arch)
    return f"{what} on {printable(source.name or 'images')}"


def _picture(folder: Path, step: int, network: Network, seed: int, title: str) -> None:
    from smalti.report.pictures import grid, save_png
    from smalti.sampling import initial_noise, sample

    labels: Any = [j % network.num_classes for j in range(PICTURED)] if network.num_classes else None
    init = initial_noise(seed, range(PICTURED), network.shape).to(network.device)
    pictures = sample(network, PICTURED, init=init, labels=labels, keep_states=False, progress=True).images
    save_png(grid(pictures, title=f"{title}, step {step}, seed {seed}"), folder / _grid_name(step))


def _grid_name(step: int) -> str:
    return f"samples-{step:07d}.png"
