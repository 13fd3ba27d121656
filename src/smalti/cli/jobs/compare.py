"""`smalti compare`: denoisers held against a network, level by level."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smalti.analysis.compare import compare
from smalti.analysis.forward import forward_batch, forward_z
from smalti.analysis.identity import identity_of
from smalti.analysis.reverse import reverse_z
from smalti.analysis.z_sets import ZSet
from smalti.cli.jobs.data import DataOptions, open_source
from smalti.cli.jobs.identity import data_identity, versions
from smalti.cli.jobs.long_runs import long_run, remove_stale
from smalti.cli.jobs.subjects import check_labelled, open_subjects, parse_denoisers
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.noise import check_seed
from smalti.core.run_folder import RunFolder
from smalti.core.schedule import edm_sigmas
from smalti.core.validation import check_count
from smalti.denoisers import Optimal
from smalti.report.curves import comparison_figure
from smalti.report.figures import save_figure, style
from smalti.source import Source

__all__ = ["CompareJob", "run_compare"]

TABLE, PICTURE, PLOT = "compare.csv", "compare.png", "compare.pdf"
PROCESSES = {"forward": ("forward",), "reverse": ("reverse",), "both": ("forward", "reverse")}


@dataclass(frozen=True)
class CompareJob:
    """What to compare and how; the fields are the command's options."""

    data: DataOptions
    out: Path
    denoisers: list[str]
    networks: list[str]
    backend: str | None
    process: str | None
    z_sets: list[Path]
    levels: int | None
    n: int | None
    labelled: bool
    seed: int | None
    batch_size: int
    overwrite: bool
    resume: bool


def run_compare(job: CompareJob) -> Path:
    """Do it; returns the folder.

    Raises:
        InputError: bad input; everything that can be checked without the data is checked before it is opened.
        InterruptedRunError: Ctrl-C; finished batches are kept.
    """
    n = 100 if job.n is None else check_count("-n", job.n)
    seed, batch_size = check_seed(job.seed or 0), check_count("--batch-size", job.batch_size)
    sigmas = edm_sigmas(18 if job.levels is None else job.levels)
    parse_denoisers(job.denoisers, job.backend)
    if not job.networks:
        raise InputError("compare needs a network to hold the denoisers against; give it with --network")
    for path in job.z_sets:
        if job.overwrite and path.resolve().parent == job.out.resolve():
            raise InputError(f"--z-set {path} lies in --out and could be replaced; choose another --out")
    made = () if job.process is None and job.z_sets else PROCESSES[job.process or "both"]
    if not made:
        _refuse_options_of_making(job)
    saved = _files(made)
    with RunFolder(job.out, (TABLE, PICTURE, PLOT, *saved), job.overwrite, job.resume) as folder:
        subjects, source = open_subjects(open_source(job.data), job.denoisers, job.networks, job.backend)
        check_labelled(job.labelled, subjects, source)
        name, *others = subjects
        network, against = subjects[name], _with_optimal({other: subjects[other] for other in others}, source)
        given = _given(job.z_sets)
        identity = {
            "command": "compare",
            "data": data_identity(source),
            "network": identity_of(network),
            "denoisers": {other: identity_of(subject) for other, subject in against.items()},
            "z_sets": {other: z_set.digest() for other, z_set in given.items()},
            "made": {"process": made, "sigmas": sigmas.tolist(), "n": n, "seed": seed} if made else None,
            "labelled": job.labelled,
            "batch_size": batch_size,
            "versions": versions(),
        }
        levels = [(len(sigmas), n)] * len(made) + [(len(z_set), z_set.n) for z_set in given.values()]
        total = sum(count * each for count, each in levels) * (1 + len(against))
        total += len(sigmas) * n * ("reverse" in made)
        if folder.start(identity, total, {"command": "compare", "data": source.name, "network": name}):
            return folder.path
        remove_stale(folder, _files(PROCESSES["both"]))
        with long_run(folder, total, "comparing", "evaluation") as advance:
            z_sets: dict[str, ZSet] = {}
            for process in made:
                z_sets[process] = _make(process, network, source, sigmas, n, seed, job, folder, advance)
                z_sets[process].save(folder.path / f"{process}.npy")
            table = compare(
                network, against, z_sets | given, batch_size=batch_size, keep=folder.pieces(), progress=advance
            )  # fmt: skip
        table.save(folder.path / TABLE)
        with style():
            figure = comparison_figure(table, name)
            save_figure(figure, folder.path / PICTURE)
            save_figure(figure, folder.path / PLOT)
        folder.finish(total)
        return folder.path


def _refuse_options_of_making(job: CompareJob) -> None:
    """Raise InputError for options that say how z are made, where none are."""
    given = {"--levels": job.levels, "-n": job.n, "--seed": job.seed, "--labelled": job.labelled or None}
    for option, value in given.items():
        if value is not None:
            raise InputError(f"{option} is for z that are made, and --z-set gives them; leave it out, or add --process")


def _files(processes: tuple[str, ...]) -> tuple[str, ...]:
    """The files of the sets of z that are made."""
    return tuple(f"{process}{ending}" for process in processes for ending in (".npy", ".json"))


def _with_optimal(against: dict[str, Denoiser], source: Source) -> dict[str, Denoiser]:
    if any(isinstance(subject, Optimal) for subject in against.values()):
        return against
    return {"optimal": Optimal(source), **against}


def _given(paths: list[Path]) -> dict[str, ZSet]:
    """The sets of --z-set by the stems of their files' names."""
    found: dict[str, ZSet] = {}
    for path in paths:
        name = path.stem if path.stem not in (*found, *PROCESSES) else str(path)
        if name in found:
            raise InputError(f"--z-set {path} is given twice; give it once")
        found[name] = ZSet.load(path)
    return found


def _make(
    process: str,
    network: Denoiser,
    source: Source,
    sigmas: Any,
    n: int,
    seed: int,
    job: CompareJob,
    folder: RunFolder,
    advance: Callable[[int], None],
) -> ZSet:
    if process == "forward":
        return forward_z(source, sigmas, n, seed, labelled=job.labelled)
    labels = forward_batch(source, 1.0, seed, 0, range(n)).labels if job.labelled else None
    return reverse_z(
        network,
        sigmas,
        n,
        seed,
        labels=labels,
        batch_size=job.batch_size,
        keep=folder.pieces(),
        progress=advance,
    )
