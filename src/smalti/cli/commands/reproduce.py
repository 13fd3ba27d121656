"""`smalti reproduce`: the experiments of both papers, and their report."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import options
from smalti.cli.command import CHECKPOINT, REGULAR, Between, command
from smalti.cli.options import Images, Output
from smalti.core.errors import InputError, InterruptedRunError, NoRoomError, from_os_error

if TYPE_CHECKING:
    from smalti.source import Source

__all__ = ["reproduce"]

DIGITS = "digits"
SHIPPED = ("ddpmpp-digits", "ncsnpp-digits", "dit-digits")
HALVES = ("ddpmpp-digits-half1", "ddpmpp-digits-half2")
MINE = ("report.html", "run.json", "run.log", "results", "tables", "figures", "z")  # what a run writes into --out
LONGEST = 60 * 24 * 365.0  # minutes


class Scale(str, Enum):
    """How large a run is."""

    QUICK = "quick"
    PAPER = "paper"


@command
def reproduce(
    *,
    images: Images = Images(DIGITS),  # noqa: B008  (its options' defaults)
    network: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            help="A checkpoint, or a network that comes with smalti; repeatable. Denoisers are held against the first.",
            show_default="for the digits those that come with smalti",
            rich_help_panel=options.METHOD,
        ),
        CHECKPOINT,
    ] = None,
    half: Annotated[
        list[str] | None,
        typer.Option(
            "--half",
            help="A network trained on one half of the images (train --part); given twice, for halves that have no image in common.",
            rich_help_panel=options.METHOD,
        ),
        CHECKPOINT,
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
        Between(1e-9, LONGEST, f"minutes, more than 0 and at most {LONGEST:.0f}"),
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
        options.COUNT,
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="One of the exhibits, by its key, such as w6 (an unknown one is answered by a list); repeatable. It has the "
            "same numbers of noisy images as in the whole report. The report is then of these alone: figures and tables of others that "
            "an earlier run left in --out are removed; what was computed for them is kept.",
            rich_help_panel=options.RUN,
        ),
    ] = None,
    sscd: Annotated[
        Path | None,
        typer.Option(
            help="SSCD's TorchScript file, for the similarity of samples. TorchScript is code, so only a known file is run.",
            rich_help_panel=options.METHOD,
        ),
        REGULAR,
    ] = None,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Run the file of --sscd though it is not known.", rich_help_panel=options.METHOD),
    ] = False,
    seed: options.Seed = None,
    output: Output,
) -> None:
    r"""Repeat the experiments of both papers on your data and write a report.

    Writes report.html (self-contained), tables/\*.csv, figures/\*.pdf and \*.png, z/\*.npy (the noisy images), run.log and run.json
    into the --out folder; the path of the report is the last line on stdout. A run that was stopped goes on when the same command is given
    again, and a changed option computes again only what depends on it.
    """
    only = only or []
    halves: Sequence[str] = half or []
    if n is not None and budget is not None:
        raise InputError("-n fixes the numbers that --budget would shrink; give one of them")
    if sscd is not None and not sscd.is_file():
        raise InputError(f"there is no file {sscd}; --sscd takes the TorchScript file of SSCD")
    if len(halves) not in (0, 2):
        raise InputError(f"--half is given twice, one network for each half of the images, not {len(halves)} times")
    _check_folder(output.out)
    from smalti.cli.halves import open_halves, unseen
    from smalti.cli.printing import print_path, say
    from smalti.core.folder_lock import FolderLock
    from smalti.experiments import reproduce as experiments
    from smalti.experiments.request import Request
    from smalti.experiments.scale import SCALES

    experiments.find_exhibits(only)
    networks, halves = _with_shipped(images, network or [], halves)
    size = SCALES[scale]
    demo = (
        tuple(networks) == SHIPPED and images == Images(DIGITS) and budget is None
    )  # two machines print the same tables
    with FolderLock(output.out):
        opened = images.open()
        named, source = _networks(networks, opened)
        _check_same_data(output, source)
        opened_halves = open_halves(halves, opened)
        held_out, notes = unseen(named, opened_halves.values(), opened)
        request = Request(
            source=source,
            networks=named,
            scale=size,
            minutes=size.minutes if budget is None else budget,
            n=size.demo if n is None and demo else n,
            halves=opened_halves,
            held_out=held_out,
            only=only,
            seed=seed or 0,
            sscd=sscd,
            trust=trust,
            command=output.invocation.again(("data", "scale"), ("overwrite", "debug")),
            notes=notes,
        )
        if output.overwrite:  # nothing can be wrong with the request any more
            _clear(output.out)
        try:
            report = experiments.reproduce(request, output.out, say, show=True)
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"interrupted: what was finished is kept in {output.out}; run the same command again to go on"
            ) from None
        except NoRoomError as error:
            raise NoRoomError(error.problem, error.remedy, "run the same command again to go on") from error
    print_path(report)


def _with_shipped(
    images: Images, networks: Sequence[str], halves: Sequence[str]
) -> tuple[Sequence[str], Sequence[str]]:
    """For the digits as they are, without networks of the user's own, those that come with smalti."""
    if images.data != DIGITS or images.resolution or networks or Path(DIGITS).exists():
        return networks, halves
    whole = images.limit is None and not images.classes  # what the networks of halves were trained on
    return SHIPPED, halves or (HALVES if whole else ())


def _check_folder(out: Path) -> None:
    """Raise InputError unless `out` is new, an earlier run's, or holds nothing that a run writes."""
    from smalti.core.run_folder import check_path
    from smalti.core.run_record import RunRecord

    check_path(out)
    found = [name for name in MINE if (out / name).exists()]
    if found and RunRecord.read(out).get("command") != "reproduce":
        raise InputError(f"{out} holds something else ({found[0]}); choose another --out")


def _check_same_data(output: Output, source: Source) -> None:
    """Raise InputError where --out is the report of other data, which would be lost."""
    from smalti.analysis.identity import source_identity
    from smalti.core.run_record import RunRecord

    before = RunRecord.read(output.out).get("data")
    if output.overwrite or not isinstance(before, dict):
        return
    if before.get("fingerprint") != source_identity(source)["fingerprint"] or before.get("hflip") != source.hflip:
        raise InputError(
            f"{output.out} is the report of other images ({before.get('images')} of {before.get('name')}); choose another --out, or "
            "--overwrite to replace it"
        )


def _clear(out: Path) -> None:
    try:
        for name in MINE:
            path = out / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise from_os_error(error, f"replace results in {out}") from error


def _networks(names: Sequence[str], opened: Source) -> tuple[dict[str, Any], Source]:
    """Networks by the names that figures have, and the images that the first was trained on."""
    from smalti.cli.subjects import open_subjects
    from smalti.experiments.building import short_names

    if not names:
        return {}, opened
    subjects, source = open_subjects(opened, [], names)
    return dict(zip(short_names(list(subjects)), subjects.values(), strict=True)), source
