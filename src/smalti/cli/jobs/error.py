"""`smalti error`: how far denoisers are from the optimal one, over sigma, and whether they err alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from smalti.analysis.errors import Deviations, deviations, error_sigmas, example_outputs
from smalti.analysis.identity import identity_of
from smalti.cli.jobs.data import DataOptions, open_source
from smalti.cli.jobs.identity import data_identity, versions
from smalti.cli.jobs.long_runs import long_run, remove_stale
from smalti.cli.jobs.noise_levels import parse_sigmas
from smalti.cli.jobs.subjects import check_labelled, open_subjects, parse_denoisers
from smalti.core.errors import InputError
from smalti.core.noise import check_seed
from smalti.core.run_folder import RunFolder
from smalti.core.validation import check_count
from smalti.report.curves import agreement_figure, error_figure
from smalti.report.figures import save_figure, style

__all__ = ["ErrorJob", "run_error"]

ERRORS, AGREEMENT = ("errors.csv", "errors.png", "errors.pdf"), ("agreement.csv", "agreement.png", "agreement.pdf")
EXAMPLES = (0.1, 3.0, 30.0)  # sigmas of the outputs that are shown: low, middle and high


@dataclass(frozen=True)
class ErrorJob:
    """What to hold against the optimal denoiser and how; the fields are the command's options."""

    data: DataOptions
    out: Path
    denoisers: list[str]
    networks: list[str]
    backend: str | None
    sigmas: str | None
    levels: int | None
    sigma_min: float | None
    sigma_max: float | None
    n: int
    labelled: bool
    seed: int
    batch_size: int
    overwrite: bool
    resume: bool


def run_error(job: ErrorJob) -> Path:
    """Do it; returns the folder.

    Raises:
        InputError: bad input; everything that can be checked without the data is checked before it is opened.
        InterruptedRunError: Ctrl-C; finished batches are kept.
    """
    sigmas = _sigmas(job)
    n, batch_size = check_count("-n", job.n), check_count("--batch-size", job.batch_size)
    check_seed(job.seed)
    parse_denoisers(job.denoisers, job.backend)
    several = len(job.denoisers) + len(job.networks) > 1
    with RunFolder(job.out, ERRORS + AGREEMENT * several, job.overwrite, job.resume) as folder:
        subjects, source = open_subjects(open_source(job.data), job.denoisers, job.networks, job.backend)
        check_labelled(job.labelled, subjects, source)
        identity = {
            "command": "error",
            "data": data_identity(source),
            "denoisers": {name: identity_of(subject) for name, subject in subjects.items()},
            "sigmas": sigmas.tolist(),
            "n": n,
            "labelled": job.labelled,
            "seed": job.seed,
            "batch_size": batch_size,
            "versions": versions(),
        }
        total = len(sigmas) * n
        if folder.start(identity, total, {"command": "error", "data": source.name, "seed": job.seed}):
            return folder.path
        remove_stale(folder, ERRORS + AGREEMENT)
        with long_run(folder, total, "error to optimal", "noisy image") as advance:
            found = deviations(
                subjects, source, sigmas, n, job.seed, labelled=job.labelled, batch_size=batch_size,
                keep=folder.pieces(), progress=advance,
            )  # fmt: skip
            examples = example_outputs(subjects, source, EXAMPLES, job.seed, labelled=job.labelled)
        _write(folder.path, found, examples, several)
        folder.finish(total)
        return folder.path


def _sigmas(job: ErrorJob) -> torch.Tensor:
    if job.sigmas is None:
        low, high = (default if s is None else s for s, default in ((job.sigma_min, 0.01), (job.sigma_max, 100.0)))
        return error_sigmas(150 if job.levels is None else job.levels, low, high)
    if (job.levels, job.sigma_min, job.sigma_max) != (None, None, None):
        raise InputError("--sigmas lists the noise levels; leave --levels, --sigma-min and --sigma-max out")
    return parse_sigmas(job.sigmas)


def _write(path: Path, found: Deviations, examples: dict[str, torch.Tensor], several: bool) -> None:
    errors = found.errors()
    errors.save(path / ERRORS[0])
    with style():
        figure = error_figure(errors, examples, EXAMPLES)
        for name in ERRORS[1:]:
            save_figure(figure, path / name)
        if several:
            agreement = found.agreement()
            agreement.save(path / AGREEMENT[0])
            figure = agreement_figure(agreement)
            for name in AGREEMENT[1:]:
                save_figure(figure, path / name)
