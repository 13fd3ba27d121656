"""`smalti calibrate`: a schedule for a denoiser, from a network or from held-out images."""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import options
from smalti.cli.command import CHECKPOINT, command
from smalti.cli.options import Images, Run
from smalti.core.errors import InputError

if TYPE_CHECKING:
    from smalti.analysis.calibration import Calibration
    from smalti.core.denoiser import Denoiser
    from smalti.core.table import Table
    from smalti.source import Source

__all__ = ["calibrate"]

SCHEDULE, REVERSE, ERRORS = "schedule.json", "schedule-reverse.json", "errors.csv"
PICTURE, PLOT = "calibration.png", "calibration.pdf"
FILES = (SCHEDULE, ERRORS, PICTURE, PLOT)
FULL = "full"


class Error(str, Enum):
    """What is held against the network's output."""

    PATCH = "patch"
    COMPOSITE = "composite"


@command
def calibrate(
    *,
    images: Images,
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
        CHECKPOINT,
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
        options.COUNT,
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
        options.Process,
        typer.Option(
            help="Noisy images of the data (forward, as published), states of the network's own sampling (reverse), or both: "
            "then the schedule is chosen by forward ones, and a second one by reverse ones.",
            rich_help_panel=options.METHOD,
        ),
    ] = options.Process.FORWARD,
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
        options.COUNT,
    ] = None,
    backend: options.BackendOption = None,
    sigmas: options.Sigmas = None,
    levels: options.Levels = None,
    labelled: options.Labelled = False,
    n: Annotated[
        int,
        typer.Option("-n", help="z at each level; the paper uses 10,000.", rich_help_panel=options.RUN),
        options.COUNT,
    ] = 100,
    seed: options.Seed = None,
    batch_size: options.BatchSize = 64,
    run: Run,
) -> None:
    """Choose a denoiser's patch size (threshold, window, smoothing) for each noise level: what is nearest to a network.

    Without a network: what best denoises held-out images. Writes schedule.json (which --param schedule=FILE and
    --denoiser NAME:schedule=FILE take), errors.csv (the error of every candidate at every level, with standard errors),
    calibration.png, calibration.pdf and run.json into the --out folder, whose path is the last line on stdout; with
    --process both also schedule-reverse.json.
    """
    if network is not None and optimal:
        raise InputError("--optimal is instead of a network; leave it or --network out")
    with_network = network is not None or optimal
    if process != "forward" and not with_network:
        raise InputError("the reverse process is a network's own sampling; give it with --network")
    if held_out is not None and with_network:
        raise InputError("--held-out is for calibrating without a network; leave it out")
    if crops is not None and (error == "composite" or (error is None and not with_network)):
        raise InputError(
            "--crops samples patches, and the error is that of the composite; leave it out, or add --error patch"
        )
    typed = _candidates(candidates)
    import smalti.analysis.calibration as analysis
    from smalti.analysis.candidates import Candidates
    from smalti.analysis.identity import identity_of
    from smalti.cli.inputs import sigmas_or_levels
    from smalti.cli.printing import print_path, print_table
    from smalti.cli.runs import long_run
    from smalti.cli.subjects import check_labelled, choose
    from smalti.denoisers.registry import by_level

    chosen, seed = sigmas_or_levels(sigmas, levels), seed or 0
    if process != "forward" and not bool((chosen.diff() < 0).all()):
        raise InputError("the reverse process goes from high to low noise; give --sigmas in falling order")
    method = choose(denoiser, param or (), backend, None)
    by_level(method.name)
    crops = analysis.CROPS if crops is None else crops
    how: dict[str, Any] = {"process": process, "error": error}
    files = FILES + (REVERSE,) * (process == "both")
    with run.folder(files, others=(REVERSE,)) as folder:
        reference, source, against = _reference(images.open(), network, optimal)
        if reference is not None:
            check_labelled(labelled, {"the network": reference}, source)
        among = Candidates(method.name, source, chosen.tolist(), typed, method.parameters)
        contents = images.content(source) | {
            ("denoiser", "param", "backend"): method.identity,
            "network": None if reference is None else identity_of(reference),
            "candidates": among.texts,
            "crops": crops,
            ("sigmas", "levels"): chosen.tolist(),
            "seed": seed,
        }
        total = analysis.evaluations(len(chosen), len(among), n, analysis.PROCESSES[process], reference is not None)
        about = {"data": source.name, "denoiser": method.name, "network": against}
        if not run.start(folder, total, contents, **about):
            with long_run(folder, total, "calibrating", "evaluation") as advance:
                found = analysis.calibrate(
                    method.name, source, reference, among.values, chosen, n, seed,
                    **how, crops=crops, parameters=method.parameters, held_out=held_out,
                    labelled=labelled, batch_size=batch_size, keep=folder.pieces(), progress=advance,
                )  # fmt: skip
            _write(folder.path, found, against)
            folder.finish(total)
            for each in found.errors:
                print_table(_schedule(found, each), ERRORS)
    print_path(folder.path)


def _candidates(text: str | None) -> list[Any] | None:
    """ "3,5,full" as [3, 5, "full"].

    Raises:
        InputError: something else than numbers and "full".
    """
    if text is None:
        return None
    found: list[Any] = []
    for word in (part.strip() for part in text.split(",")):
        try:
            found.append(FULL if word == FULL else float(word))
        except ValueError:
            found.append(math.nan)
    if any(isinstance(one, float) and not math.isfinite(one) for one in found):
        raise InputError(f"--candidates must be numbers or {FULL!r}, separated by commas, not {text!r}")
    return found


def _reference(source: Source, network: str | None, optimal: bool) -> tuple[Denoiser | None, Source, str | None]:
    """What the denoiser is to be like, the images that both are about, and its name."""
    from smalti.cli.subjects import open_subjects
    from smalti.denoisers import Optimal

    if network is not None:
        subjects, trained_on = open_subjects(source, [], [network])
        ((name, found),) = subjects.items()
        return found, trained_on, name
    if optimal:
        return Optimal(source), source, "optimal"
    return None, source, None


def _schedule(found: Calibration, process: str) -> Table:
    """The choices as a table to look at."""
    from smalti.core.table import Table

    columns = ("sigma", "candidate", "error", "standard_error")
    rows = [{"process": process, **{name: row[name] for name in columns}} for row in found.choices(process)]
    return Table(("process", *columns), rows)


def _write(path: Path, found: Calibration, against: str | None) -> None:
    from smalti.cli.printing import say
    from smalti.report.figures import save_figure, style
    from smalti.report.patch_plots import calibration_figure

    found.table().save(path / ERRORS)
    named = {None: "the clean images", "optimal": "the optimal denoiser"}.get(against, against)
    with style():
        figure = calibration_figure(found, str(named))
        save_figure(figure, path / PICTURE)
        save_figure(figure, path / PLOT)
    for process, file in zip(found.errors, (SCHEDULE, REVERSE), strict=False):
        found.schedule(process).save(path / file)
        unclear = [f"{row['sigma']:.3g}" for row in found.choices(process) if not row["clear"]]
        if unclear:
            say(
                f"{process}: at {len(unclear)} of {len(found.sigmas)} levels the runner-up is within one standard error "
                f"(sigma {', '.join(unclear)}); more z (-n) would tell them apart"
            )
