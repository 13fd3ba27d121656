"""`smalti transforms`: how denoisers respond to shifts of z and to fresh noise in a part of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from smalti.analysis.identity import identity_of
from smalti.analysis.transforms import TRANSFORMATIONS, Box, TransformResult, box_of, shift_of, transforms
from smalti.cli.jobs.arrays import load_z
from smalti.cli.jobs.data import DataOptions, open_source
from smalti.cli.jobs.identity import data_identity, versions
from smalti.cli.jobs.long_runs import long_run
from smalti.cli.jobs.subjects import check_labelled, open_subjects, parse_denoisers
from smalti.core.errors import InputError
from smalti.core.files import save_npz
from smalti.core.noise import check_seed
from smalti.core.run_folder import RunFolder
from smalti.core.validation import check_count, check_sigma
from smalti.report.figures import save_figure, style
from smalti.report.transform_figure import distances_figure, outputs_figure

__all__ = ["TransformsJob", "run_transforms"]

ARRAYS, DISTANCES = "transforms.npz", "distances.csv"
FILES = (ARRAYS, DISTANCES, "outputs.png", "outputs.pdf", "distances.png", "distances.pdf")


@dataclass(frozen=True)
class TransformsJob:
    """What to transform and how; the fields are the command's options."""

    data: DataOptions
    out: Path
    denoisers: list[str]
    networks: list[str]
    backend: str | None
    sigma: float
    shift: int | None
    box: str | None
    input: Path | None
    n: int | None
    shown: int
    labelled: bool
    seed: int
    batch_size: int
    overwrite: bool
    resume: bool


def run_transforms(job: TransformsJob) -> Path:
    """Do it; returns the folder.

    Raises:
        InputError: bad input; everything that can be checked without the data is checked before it is opened.
        InterruptedRunError: Ctrl-C; finished batches are kept.
    """
    check_sigma(job.sigma, 1)
    n = 64 if job.n is None else check_count("-n", job.n)
    shown, batch_size = check_count("--shown", job.shown), check_count("--batch-size", job.batch_size)
    check_seed(job.seed)
    box = _box(job.box)
    parse_denoisers(job.denoisers, job.backend)
    with RunFolder(job.out, FILES, job.overwrite, job.resume) as folder:
        subjects, source = open_subjects(open_source(job.data), job.denoisers, job.networks, job.backend)
        check_labelled(job.labelled, subjects, source)
        shift, box = shift_of(job.shift, *source.shape[1:]), box_of(box, *source.shape[1:])
        z, digest = load_z(job.input, source.shape) if job.input else (None, None)
        if z is not None:
            if job.n not in (None, len(z)):
                raise InputError(f"-n is {job.n} but {job.input} holds {len(z)} images; leave -n out")
            n = len(z)
        identity = {
            "command": "transforms",
            "data": data_identity(source),
            "denoisers": {name: identity_of(subject) for name, subject in subjects.items()},
            "sigma": job.sigma,
            "shift": shift,
            "box": dataclasses.asdict(box),
            "input": digest,
            "n": n,
            "shown": shown,
            "labelled": job.labelled,
            "seed": job.seed,
            "batch_size": batch_size,
            "versions": versions(),
        }
        total = len(subjects) * len(TRANSFORMATIONS) * n
        if folder.start(identity, total, {"command": "transforms", "data": source.name, "seed": job.seed}):
            return folder.path
        with long_run(folder, total, "transforms", "evaluation") as advance:
            result = transforms(
                subjects, source, job.sigma, n, job.seed, shift=shift, box=box, z=z, labelled=job.labelled,
                batch_size=batch_size, keep=folder.pieces(), progress=advance,
            )  # fmt: skip
        _write(folder.path, result, min(shown, n))
        folder.finish(total)
        return folder.path


def _box(text: str | None) -> Box | None:
    """ "8,8,16,16" (top, left, height, width) as a Box."""
    if text is None:
        return None
    try:
        top, left, height, width = (int(word) for word in text.split(","))
    except ValueError:
        raise InputError(f"--box must be TOP,LEFT,HEIGHT,WIDTH in pixels, such as 8,8,16,16, not {text!r}") from None
    return Box(top, left, height, width)


def _write(path: Path, result: TransformResult, shown: int) -> None:
    box = result.box
    save_npz(path / ARRAYS, {
        "z": result.z.numpy(), "clean": result.clean.numpy(),
        "outputs": np.stack([outputs.numpy() for outputs in result.outputs.values()]),
        "denoisers": np.array(list(result.outputs)), "transforms": np.array(result.names),
        "sigma": np.float64(result.sigma), "shift": np.array(result.shift),
        "box": np.array([box.top, box.left, box.height, box.width]),
    })  # fmt: skip
    distances = result.distances()
    distances.save(path / DISTANCES)
    with style():
        for name, figure in (
            ("outputs", outputs_figure(result, range(shown))),
            ("distances", distances_figure(distances)),
        ):
            for ending in ("png", "pdf"):
                save_figure(figure, path / f"{name}.{ending}")
