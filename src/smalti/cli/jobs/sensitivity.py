"""`smalti sensitivity`: heatmaps of what outputs depend on, for several denoisers on the same noisy images."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from smalti.analysis.heatmaps import Sensitivity
from smalti.analysis.identity import identity_of
from smalti.analysis.pixels import choose_pixels
from smalti.analysis.sensitivity import finished_z, sensitivity
from smalti.cli.jobs.data import DataOptions, open_source
from smalti.cli.jobs.identity import data_identity, versions
from smalti.cli.jobs.long_runs import remove_stale
from smalti.cli.jobs.noise_levels import parse_sigmas
from smalti.cli.jobs.subjects import check_labelled, open_subjects, parse_denoisers
from smalti.core.errors import InputError
from smalti.core.noise import check_seed
from smalti.core.pieces import Pieces
from smalti.core.run_folder import RunFolder
from smalti.core.schedule import edm_sigmas
from smalti.core.table import Table
from smalti.core.validation import check_count
from smalti.report.figures import save_figure, style
from smalti.report.sensitivity_plots import sensitivity_figure

__all__ = ["SensitivityJob", "run_sensitivity"]

SIDES, PICTURE, PLOT = "sides.csv", "sensitivity.png", "sensitivity.pdf"
LARGEST_WHOLE = 16 * 16  # images with more pixels: by default not all of them


@dataclass(frozen=True)
class SensitivityJob:
    """What to look at and how; the fields are the command's options."""

    data: DataOptions
    out: Path
    denoisers: list[str]
    networks: list[str]
    backend: str | None
    sigmas: str | None
    levels: int | None
    n: int
    pixels: str | None
    reduction: str
    labelled: bool
    seed: int
    batch_size: int
    overwrite: bool
    resume: bool


def run_sensitivity(job: SensitivityJob) -> Path:
    """Do it; returns the folder.

    Raises:
        InputError: bad input; everything that can be checked without the data is checked before it is opened.
        InterruptedRunError: Ctrl-C; finished batches are kept.
    """
    sigmas = _sigmas(job)
    n, batch_size = check_count("-n", job.n), check_count("--batch-size", job.batch_size)
    check_seed(job.seed)
    parse_denoisers(job.denoisers, job.backend)
    if not job.denoisers and not job.networks:
        raise InputError("nothing to look at; give at least one --denoiser or --network")
    with RunFolder(job.out, (SIDES, PICTURE, PLOT), job.overwrite, job.resume) as folder:
        subjects, source = open_subjects(open_source(job.data), job.denoisers, job.networks, job.backend)
        check_labelled(job.labelled, subjects, source)
        height, width = source.shape[1:]
        chosen = job.pixels or ("all" if height * width <= LARGEST_WHOLE else "centre-edge")
        pixels = choose_pixels(chosen, height, width)
        files = _file_names(subjects)
        folder.files += tuple(files.values())
        identity = {
            "command": "sensitivity",
            "data": data_identity(source),
            "denoisers": {name: identity_of(subject) for name, subject in subjects.items()},
            "sigmas": sigmas.tolist(),
            "n": n,
            "pixels": pixels.tolist(),
            "reduction": job.reduction,
            "labelled": job.labelled,
            "seed": job.seed,
            "batch_size": batch_size,
            "versions": versions(),
        }
        total = len(subjects) * len(sigmas) * n
        if folder.start(identity, total, {"command": "sensitivity", "data": source.name, "seed": job.seed}):
            return folder.path
        remove_stale(folder, (path.name for path in folder.path.glob("heatmaps-*.npz")))
        pieces = [_own(folder.pieces(), number) for number in range(len(subjects))]
        results: dict[str, Sensitivity] = {}
        try:
            for (name, subject), kept in zip(subjects.items(), pieces, strict=True):
                found = sensitivity(
                    subject, source, sigmas, n, pixels, reduction=job.reduction, seed=job.seed,
                    labelled=job.labelled, batch_size=batch_size, keep=kept, progress=True,
                )  # fmt: skip
                results[name] = dataclasses.replace(found, name=name)
                folder.record_done(len(results) * len(sigmas) * n)
        except KeyboardInterrupt:
            done = sum(finished_z(kept, len(sigmas)) for kept in pieces)
            folder.record_done(done)
            raise folder.interrupted(done, "noisy image") from None
        _write(folder.path, results, files)
        folder.finish(total)
        return folder.path


def _sigmas(job: SensitivityJob) -> torch.Tensor:
    if job.sigmas is None:
        return edm_sigmas(18 if job.levels is None else job.levels)
    if job.levels is not None:
        raise InputError("--sigmas lists the noise levels and --levels counts them; give one of them")
    return parse_sigmas(job.sigmas)


def _file_names(names: Iterable[str]) -> dict[str, str]:
    """A file for each denoiser's heatmaps."""
    files: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._=,+-]+", "-", name)
        while f"heatmaps-{plain}.npz" in files.values():
            plain += "-"
        files[name] = f"heatmaps-{plain}.npz"
    return files


def _own(pieces: Pieces, number: int) -> Pieces:
    """The pieces of one of the denoisers among the run's."""
    return Pieces(pieces.folder, f"{pieces.key}-{number:02d}")


def _write(path: Path, results: Mapping[str, Sensitivity], files: Mapping[str, str]) -> None:
    for name, result in results.items():
        result.save(path / files[name])
    tables = [result.table() for result in results.values()]
    Table(tables[0].columns, [row for table in tables for row in table]).save(path / SIDES)
    with style():
        figure = sensitivity_figure(results)
        save_figure(figure, path / PICTURE)
        save_figure(figure, path / PLOT)
