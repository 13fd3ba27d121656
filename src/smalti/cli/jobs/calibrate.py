"""`smalti calibrate`: a schedule for a denoiser, from a network or from held-out images."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from smalti import denoisers
from smalti.analysis.calibration import CROPS, PROCESSES, Calibration, Error, Process, calibrate, evaluations
from smalti.analysis.candidates import FULL, Candidates
from smalti.analysis.identity import identity_of, plain
from smalti.cli.jobs.chosen import DEFAULT
from smalti.cli.jobs.data import DataOptions, open_source
from smalti.cli.jobs.identity import data_identity, versions
from smalti.cli.jobs.long_runs import long_run, remove_stale
from smalti.cli.jobs.noise_levels import parse_sigmas
from smalti.cli.jobs.parameters import parse_parameters
from smalti.cli.jobs.subjects import check_labelled, open_subjects
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.noise import check_seed
from smalti.core.run_folder import RunFolder
from smalti.core.schedule import edm_sigmas
from smalti.core.validation import check_count
from smalti.denoisers.registry import by_level
from smalti.report.calibration_plot import calibration_figure
from smalti.report.figures import save_figure, style
from smalti.source import Source

__all__ = ["CalibrateJob", "run_calibrate"]

SCHEDULE, REVERSE, ERRORS = "schedule.json", "schedule-reverse.json", "errors.csv"
PICTURE, PLOT = "calibration.png", "calibration.pdf"
FILES = (SCHEDULE, ERRORS, PICTURE, PLOT)


@dataclass(frozen=True)
class CalibrateJob:
    """What to choose and how; the fields are the command's options."""

    data: DataOptions
    out: Path
    denoiser: str | None
    parameters: list[str]
    backend: str | None
    network: str | None
    optimal: bool
    held_out: int | None
    candidates: str | None
    process: str
    error: str | None
    crops: int | None
    sigmas: str | None
    levels: int | None
    labelled: bool
    n: int
    seed: int
    batch_size: int
    overwrite: bool
    resume: bool


def run_calibrate(job: CalibrateJob) -> Path:
    """Do it; returns the folder.

    Raises:
        InputError: bad input; everything that can be checked without the data is checked before it is opened.
        InterruptedRunError: Ctrl-C; finished batches are kept.
    """
    sigmas, given = _sigmas(job), _candidates(job.candidates)
    n, batch_size, seed = check_count("-n", job.n), check_count("--batch-size", job.batch_size), check_seed(job.seed)
    crops = CROPS if job.crops is None else check_count("--crops", job.crops)
    name = job.denoiser or DEFAULT
    kind = denoisers.find(name)
    by_level(name)
    parameters = parse_parameters(kind, job.parameters, job.backend)
    _refuse_contradictions(job)
    process, error = cast(Process, job.process), cast("Error | None", job.error)
    files = FILES + (REVERSE,) * (process == "both")
    with RunFolder(job.out, files, job.overwrite, job.resume) as folder:
        network, source, against = _reference(job)
        if network is not None:
            check_labelled(job.labelled, {"the network": network}, source)
        chosen_from = Candidates(name, source, sigmas.tolist(), given, parameters)
        identity = {
            "command": "calibrate",
            "data": data_identity(source),
            "denoiser": {"name": name, "parameters": plain(parameters)},
            "network": None if network is None else identity_of(network),
            "candidates": chosen_from.texts,
            "process": process,
            "error": error,
            "crops": crops,
            "held_out": job.held_out,
            "sigmas": sigmas.tolist(),
            "n": n,
            "labelled": job.labelled,
            "seed": seed,
            "batch_size": batch_size,
            "versions": versions(),
        }
        total = evaluations(len(sigmas), len(chosen_from), n, PROCESSES[process], network is not None)
        about = {"command": "calibrate", "data": source.name, "denoiser": name, "network": against}
        if folder.start(identity, total, about):
            return folder.path
        remove_stale(folder, (*FILES, REVERSE))
        with long_run(folder, total, "calibrating", "evaluation") as advance:
            found = calibrate(
                name, source, network, chosen_from.values, sigmas, n, seed,
                process=process, error=error, crops=crops, parameters=parameters, held_out=job.held_out,
                labelled=job.labelled, batch_size=batch_size, keep=folder.pieces(), progress=advance,
            )  # fmt: skip
        _write(folder.path, found, against)
        folder.finish(total)
        return folder.path


def _sigmas(job: CalibrateJob) -> torch.Tensor:
    if job.sigmas is None:
        return edm_sigmas(18 if job.levels is None else job.levels)
    if job.levels is not None:
        raise InputError("--sigmas lists the noise levels and --levels counts them; give one of them")
    sigmas = parse_sigmas(job.sigmas)
    if job.process != "forward" and not bool((sigmas.diff() < 0).all()):
        raise InputError("the reverse process goes from high to low noise; give --sigmas in falling order")
    return sigmas


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
            raise InputError(f"--candidates must be numbers or {FULL!r}, separated by commas, not {text!r}") from None
    return found


def _refuse_contradictions(job: CalibrateJob) -> None:
    """Raise InputError for options that do not go together."""
    with_network = job.network is not None or job.optimal
    if job.network is not None and job.optimal:
        raise InputError("--optimal is instead of a network; leave it or --network out")
    if job.process != "forward" and not with_network:
        raise InputError("the reverse process is a network's own sampling; give it with --network")
    if job.held_out is not None:
        check_count("--held-out", job.held_out)
        if with_network:
            raise InputError("--held-out is for calibrating without a network; leave it out")
    if job.crops is not None and (job.error == "composite" or (job.error is None and not with_network)):
        raise InputError(
            "--crops samples patches, and the error is that of the composite; leave it out, or add --error patch"
        )


def _reference(job: CalibrateJob) -> tuple[Denoiser | None, Source, str | None]:
    """What the denoiser is to be like, the images that both are about, and its name."""
    source = open_source(job.data)
    if job.network is not None:
        subjects, images = open_subjects(source, [], [job.network])
        ((name, network),) = subjects.items()
        return network, images, name
    if job.optimal:
        return denoisers.Optimal(source), source, "optimal"
    return None, source, None


def _write(path: Path, found: Calibration, against: str | None) -> None:
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
            print(
                f"{process}: at {len(unclear)} of {len(found.sigmas)} levels the runner-up is within one standard error "
                f"(sigma {', '.join(unclear)}); more z (-n) would tell them apart",
                file=sys.stderr,
            )
