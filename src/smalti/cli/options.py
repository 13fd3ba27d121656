"""Every option that more than one command has, declared once, so that it means the same everywhere."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from smalti.cli.boundary import show_tracebacks

__all__ = [
    "DATA",
    "METHOD",
    "RUN",
    "Backend",
    "BackendOption",
    "BatchSize",
    "Classes",
    "Data",
    "Debug",
    "DenoiserName",
    "Denoisers",
    "HFlip",
    "Json",
    "Labelled",
    "Labels",
    "Layout",
    "LayoutOption",
    "Limit",
    "NetworkOption",
    "Networks",
    "OptionalData",
    "Out",
    "Overwrite",
    "Param",
    "Resolution",
    "Resume",
    "Seed",
    "SkipBad",
    "Solver",
]


class Layout(str, Enum):
    """Axis order of .npy and .npz images."""

    NCHW = "nchw"
    NHWC = "nhwc"


class Backend(str, Enum):
    """Which implementation of the engine computes."""

    AUTO = "auto"
    NUMBA = "numba"
    TORCH = "torch"
    REFERENCE = "reference"


class Solver(str, Enum):
    """How a step of the probability-flow ODE is made."""

    HEUN = "heun"
    EULER = "euler"


DATA, METHOD, RUN = "Data", "Method", "Run"  # panels of the help text
_DATA_HELP = "Folder, zip, .npy, .npz, CIFAR-10 archive, or 'digits'."

Data = Annotated[str, typer.Option("--data", help=_DATA_HELP, rich_help_panel=DATA)]
OptionalData = Annotated[str | None, typer.Option("--data", help=_DATA_HELP, rich_help_panel=DATA)]
HFlip = Annotated[bool, typer.Option("--hflip", help="Count every image's mirror image in.", rich_help_panel=DATA)]
Classes = Annotated[
    str | None, typer.Option("--classes", help="Only these classes, comma separated.", rich_help_panel=DATA)
]
Limit = Annotated[
    int | None, typer.Option("--limit", help="At most so many images, evenly spaced.", rich_help_panel=DATA)
]
Resolution = Annotated[
    str | None,
    typer.Option("--resolution", help="Crop and resize to 32, or to 32x48 (height x width).", rich_help_panel=DATA),
]
LayoutOption = Annotated[Layout, typer.Option("--layout", help="Axis order of .npy/.npz.", rich_help_panel=DATA)]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave unreadable images out instead of stopping.", rich_help_panel=DATA)
]

DenoiserName = Annotated[
    str | None,
    typer.Option("--denoiser", help="See `smalti denoisers`.", show_default="pspc-square", rich_help_panel=METHOD),
]
NetworkOption = Annotated[
    str | None,
    typer.Option("--network", help="Instead: a checkpoint, or a network of `smalti networks`.", rich_help_panel=METHOD),
]
Denoisers = Annotated[
    list[str] | None,
    typer.Option(
        "--denoiser",
        help="NAME or NAME:PARAM=VALUE, such as pspc-square:patch_size=5 or pspc-square:schedule=FILE; repeatable. "
        "See `smalti denoisers`.",
        rich_help_panel=METHOD,
    ),
]
Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--network", help="A checkpoint, or a network that comes with smalti; repeatable.", rich_help_panel=METHOD
    ),
]
Param = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        help="A denoiser's parameter, NAME=VALUE; schedule=FILE takes one of `smalti calibrate`; repeatable.",
        rich_help_panel=METHOD,
    ),
]
BackendOption = Annotated[
    Backend | None, typer.Option("--backend", help="Where the engine computes.", rich_help_panel=METHOD)
]
Labelled = Annotated[
    bool,
    typer.Option("--labelled", help="Give every noisy image its class as a label.", rich_help_panel=METHOD),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        help="Condition on classes, by name or number: one for all images, or a comma separated list, which is "
        "cycled over them (image j gets entry j modulo its length).",
        rich_help_panel=METHOD,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", help="The noise of image j depends on (seed, j) alone.", show_default="0", rich_help_panel=RUN
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results.", rich_help_panel=RUN)]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace results that the folder has.", rich_help_panel=RUN)
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the same command's unfinished run.", rich_help_panel=RUN)
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", help="Images computed, and kept, together.", rich_help_panel=RUN)
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error.", callback=show_tracebacks, is_eager=True)
]
