"""Every option that more than one command has, said once, so that it means the same everywhere; the groups that commands take whole.

Nothing heavy is imported here: `smalti --help` reads it.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli.command import CHECKPOINT, Between, Contents, Group, check_regular
from smalti.core.errors import InputError, from_os_error

if TYPE_CHECKING:
    from smalti.cli.subjects import Chosen
    from smalti.core.denoiser import Denoiser
    from smalti.core.run_folder import RunFolder
    from smalti.source import Source

__all__ = [
    "BATCH",
    "COUNT",
    "DATA",
    "DATA_HELP",
    "METHOD",
    "RUN",
    "SIGMA",
    "Backend",
    "BackendOption",
    "BatchSize",
    "Denoisers",
    "Images",
    "Json",
    "Labelled",
    "Layout",
    "Levels",
    "Method",
    "Networks",
    "Output",
    "Process",
    "Run",
    "Seed",
    "Sigmas",
    "Solver",
    "Subjects",
    "parse_classes",
    "parse_resolution",
]


class Layout(str, Enum):
    """Axis order of .npy and .npz images."""

    NCHW = "nchw"
    NHWC = "nhwc"
    HWCN = "hwcn"
    CHWN = "chwn"
    NHW = "nhw"


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


class Process(str, Enum):
    """Where z come from."""

    FORWARD = "forward"
    REVERSE = "reverse"
    BOTH = "both"


DATA, METHOD, RUN = "Data", "Method", "Run"  # panels of the help text
DATA_HELP = "Folder, zip or tar of images, arrays, a published data set, or 'digits'."
NAMED_DATA = ("digits",)  # data sets with a name instead of a path

COUNT = Between(1, 10_000_000)  # images, noisy images
BATCH = Between(1, 1_000_000)
SIGMA = Between(1e-12, 1e9, "finite and greater than 0 (from 1e-12 to 1e+09)")

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
    CHECKPOINT,
]
BackendOption = Annotated[
    Backend | None, typer.Option("--backend", help="Where the engine computes.", rich_help_panel=METHOD)
]
Labelled = Annotated[
    bool,
    typer.Option("--labelled", help="Give every noisy image its class as a label.", rich_help_panel=METHOD),
]
Sigmas = Annotated[
    str | None, typer.Option(help="Noise levels, separated by commas, instead of --levels.", rich_help_panel=METHOD)
]
Levels = Annotated[
    int | None,
    typer.Option(
        help="Noise levels of the EDM schedule, from sigma 80 to 0.002.", show_default="18", rich_help_panel=METHOD
    ),
    Between(1, 10_000),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", help="The noise of image j depends on (seed, j) alone.", show_default="0", rich_help_panel=RUN
    ),
    Between(0, 2**64 - 1, "an integer from 0 to 2^64 - 1"),
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", help="Images computed, and kept, together.", rich_help_panel=RUN), BATCH
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]


@dataclass
class Images(Group):
    """The data. Where a command needs none, the default of `data` is None."""

    data: Annotated[str, typer.Option("--data", help=DATA_HELP, rich_help_panel=DATA)]
    hflip: Annotated[
        bool, typer.Option("--hflip", help="Count every image's mirror image in.", rich_help_panel=DATA)
    ] = False
    classes: Annotated[
        str | None, typer.Option("--classes", help="Only these classes, comma separated.", rich_help_panel=DATA)
    ] = None
    limit: Annotated[
        int | None,
        typer.Option("--limit", help="At most so many images, evenly spaced.", rich_help_panel=DATA),
        Between(1),
    ] = None
    resolution: Annotated[
        str | None,
        typer.Option("--resolution", help="Crop and resize to 32, or to 32x48 (height x width).", rich_help_panel=DATA),
    ] = None
    layout: Annotated[
        Layout | None,
        typer.Option("--layout", help="Axis order of arrays.", show_default="nchw", rich_help_panel=DATA),
    ] = None
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave unreadable images out instead of stopping.", rich_help_panel=DATA)
    ] = False

    split: Annotated[
        str | None,
        typer.Option("--split", help="One part of the data: train, test, validation.", rich_help_panel=DATA),
    ] = None

    # the options that the content of the opened images says
    SAID = ("data", "hflip", "classes", "limit", "resolution", "layout", "skip_bad", "split")

    def check(self) -> None:
        """Raise InputError for what can be seen without reading an image: so a mistyped path is said at once."""
        parse_resolution(self.resolution)
        parse_classes(self.classes)
        if self.data is not None:
            _check_data(self.data)

    def open(self) -> Source:
        """The Source, with progress on stderr and a line there about skipped images.

        Raises:
            InputError: bad data or options.
        """
        from smalti.cli.printing import say_left_out
        from smalti.source import Source

        source = Source.open(
            self.data,
            hflip=self.hflip,
            classes=parse_classes(self.classes),
            limit=self.limit,
            resolution=parse_resolution(self.resolution),
            layout=None if self.layout is None else Layout(self.layout).value,
            split=self.split,
            skip_bad=self.skip_bad,
            progress=True,
        )
        say_left_out(source.skipped)
        return source

    def content(self, source: Source) -> Contents:
        """What the data options stand for, by content and not by path."""
        from smalti.analysis.identity import source_identity

        return {self.SAID: {**source_identity(source), "shape": list(source.shape)}}


@dataclass
class Method(Group):
    """The one denoiser that a command runs, or a network, and the classes that it is conditioned on."""

    denoiser: Annotated[
        str | None,
        typer.Option(
            "--denoiser",
            help="NAME or NAME:PARAM=VALUE, such as pspc-square:patch_size=5. See `smalti denoisers`.",
            show_default="pspc-square",
            rich_help_panel=METHOD,
        ),
    ] = None
    network: Annotated[
        str | None,
        typer.Option(
            "--network", help="Instead: a checkpoint, or a network of `smalti networks`.", rich_help_panel=METHOD
        ),
        CHECKPOINT,
    ] = None
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            help="Condition on classes, by name or number: one for all images, or a comma separated list, which is "
            "cycled over them (image j gets entry j modulo its length).",
            rich_help_panel=METHOD,
        ),
    ] = None
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            help="A denoiser's parameter, NAME=VALUE; schedule=FILE takes one of `smalti calibrate`; repeatable.",
            rich_help_panel=METHOD,
        ),
    ] = None
    backend: BackendOption = None

    def choose(self) -> Chosen:
        """What the options name.

        Raises:
            InputError: a denoiser and a network; an unknown one; a checkpoint that cannot be loaded.
        """
        from smalti.cli.subjects import choose

        return choose(self.denoiser, self.param or (), self.backend, self.network)

    def content(self, chosen: Chosen) -> Contents:
        """What the options stand for, labels apart."""
        return {("denoiser", "network", "param", "backend"): chosen.identity}


@dataclass
class Subjects(Group):
    """Denoisers and networks that a command looks at, on the same images."""

    denoiser: Denoisers = None
    network: Networks = None
    backend: BackendOption = None

    def check_names(self) -> None:
        """Raise InputError where nothing is named, or for a name or parameter that there is not."""
        from smalti.cli.subjects import parse_denoisers

        parse_denoisers(self.denoiser or (), self.backend)
        if not self.denoiser and not self.network:
            raise InputError("nothing to look at; give at least one --denoiser or --network")

    def open(self, source: Source) -> tuple[dict[str, Denoiser], Source]:
        """Them by unique names, networks first, and the images that they are about (`smalti.cli.subjects.open_subjects`)."""
        from smalti.cli.subjects import open_subjects

        return open_subjects(source, self.denoiser or (), self.network or (), self.backend)

    def __len__(self) -> int:
        return len(self.denoiser or ()) + len(self.network or ())


@dataclass
class Output(Group):
    """Where results go."""

    out: Annotated[Path, typer.Option("--out", help="Folder for the results.", rich_help_panel=RUN)]
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that the folder has.", rich_help_panel=RUN)
    ] = False


@dataclass
class Run(Output):
    """Where results go, and how a run that was stopped goes on."""

    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the same command's unfinished run.", rich_help_panel=RUN)
    ] = False

    def folder(self, files: Sequence[str], others: Sequence[str] = ()) -> RunFolder:
        """The folder for these files (`smalti.core.run_folder.RunFolder`); nothing is written before `start`."""
        from smalti.core.run_folder import RunFolder

        return RunFolder(self.out, files, self.overwrite, self.resume, others)

    def start(self, folder: RunFolder, total: int, contents: Contents, **about: Any) -> bool:
        """Begin or go on: `RunFolder.start`, whose identity follows from the command's options.

        Args:
            folder: what `folder` gave.
            total: number of things to compute.
            contents: what options stand for (`Invocation.identity`).
            about: more for the record.
        """
        about = {"command": self.invocation.command, **about}
        return folder.start(self.invocation.identity(contents), total, about, self.invocation.again())


def parse_resolution(text: str | None) -> int | tuple[int, int] | None:
    """ "32" as 32, "32x48" as (32, 48), height first; None as None.

    Raises:
        InputError: anything else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})(?:[xX]([0-9]{1,9}))?", text.strip())
    sizes = [int(size) for size in match.groups() if size is not None] if match else []
    if not sizes or min(sizes) < 1:
        raise InputError(f"--resolution must look like 32 or 32x48 (height x width), not {text!r}")
    return sizes[0] if len(sizes) == 1 else (sizes[0], sizes[1])


def parse_classes(text: str | None) -> list[str] | None:
    """ "cat, dog" as ["cat", "dog"]; None as None.

    Raises:
        InputError: an empty name.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise InputError(f"--classes must be names separated by commas, not {text!r}")
    return names


def _check_data(text: str) -> None:
    """Raise InputError where there is no such data set, or none that could be read to its end."""
    if text in NAMED_DATA:
        return
    path = Path(os.path.expanduser(text))
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path) from None
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error
    except ValueError:
        raise InputError("--data has a NUL character; give a path") from None
    if not path.is_symlink() or path.exists():  # of a broken link more is said where it is opened
        check_regular("--data", path, folders=True)


def _missing(path: Path) -> InputError:
    try:
        beside = sorted(os.listdir(path.parent))[:10_000]
    except OSError:
        beside = []
    near = difflib.get_close_matches(path.name, [*NAMED_DATA, *beside], 1)
    if not near:
        return InputError(
            f"there is no {path}; give a folder, a zip, an array or an archive of images, or the name digits"
        )
    return InputError(
        f"there is no {path}; did you mean {near[0] if near[0] in NAMED_DATA else path.parent / near[0]}?"
    )
