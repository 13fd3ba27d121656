"""`smalti sample`: generate images and find their nearest training images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from smalti.cli.jobs.arrays import load_z
from smalti.cli.jobs.batches import Arrays, run_batches
from smalti.cli.jobs.chosen import choose
from smalti.cli.jobs.data import DataOptions, open_source
from smalti.cli.jobs.identity import data_identity, versions
from smalti.cli.jobs.labels import parse_labels
from smalti.cli.jobs.neighbours import Neighbours, find_neighbours
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.files import save_npz
from smalti.core.noise import standard_normal
from smalti.core.run_folder import RunFolder
from smalti.core.text import counted
from smalti.core.validation import check_count
from smalti.report.pictures import grid, samples_with_neighbours, save_png, trajectory_strip
from smalti.sampling import SampleResult, find_solver, initial_noise, sample, sampling_sigmas
from smalti.source import Source

__all__ = ["SampleJob", "run_sample"]

ARRAYS, SAMPLES, NEIGHBOURS, TRAJECTORIES = "samples.npz", "samples.png", "neighbours.png", "trajectories.png"
FOLLOWED = 4  # samples whose trajectory is drawn
PICTURED, COMPARED = 400, 64  # at most so many samples in samples.png and in neighbours.png


@dataclass(frozen=True)
class SampleJob:
    """What to sample and how; the fields are the command's options."""

    data: DataOptions
    out: Path
    denoiser: str | None
    parameters: list[str]
    backend: str | None
    network: str | None
    n: int | None
    steps: int
    solver: str
    seed: int | None
    init: Path | None
    labels: str | None
    sigma_min: float
    sigma_max: float
    rho: float
    keep_states: bool
    batch_size: int
    overwrite: bool
    resume: bool


def run_sample(job: SampleJob) -> Path:
    """Do it; returns the folder.

    Raises:
        InputError: bad input; everything that can be checked without the data is checked before it is opened.
        InterruptedRunError: Ctrl-C, after the finished samples were written.
    """
    sigmas = sampling_sigmas(job.steps, job.sigma_min, job.sigma_max, job.rho)
    find_solver(job.solver)
    batch_size = check_count("--batch-size", job.batch_size)
    n = None if job.n is None else check_count("-n", job.n)
    if job.init is not None and job.seed is not None:
        raise InputError("--seed draws the initial noise, but --init gives it; give one of them")
    standard_normal(job.seed or 0, (), (1,))  # a bad seed is said before the data is opened
    chosen = choose(job.denoiser, job.parameters, job.backend, job.network)
    with RunFolder(job.out, (ARRAYS, SAMPLES, NEIGHBOURS, TRAJECTORIES), job.overwrite, job.resume) as folder:
        source = open_source(job.data)
        init, digest = load_z(job.init, source.shape) if job.init else (None, None)
        if init is not None and n not in (None, len(init)):
            raise InputError(f"-n is {n} but {job.init} holds {counted(len(init), 'image')}; leave -n out")
        total = (n or 16) if init is None else len(init)
        seed = None if init is not None else job.seed or 0
        start = _start(init, seed, source.shape, float(sigmas[0]))
        denoiser = chosen.create(source)
        labels = parse_labels(job.labels, total, source.class_names, denoiser.num_classes)
        identity = {
            "command": "sample",
            "data": data_identity(source),
            "denoiser": chosen.identity,
            "n": total,
            "solver": job.solver,
            "sigmas": sigmas.tolist(),
            "seed": seed,
            "init": digest,
            "labels": labels,
            "keep_states": job.keep_states,
            "batch_size": batch_size,
            "versions": versions(),
        }
        if folder.start(identity, total, {"command": "sample", "data": source.name, "seed": seed}):
            return folder.path
        compute = _compute(job, denoiser, source, sigmas, start, labels)
        arrays, done, interrupted = run_batches(folder, total, batch_size, compute, "sampling", job.steps)
        if done:
            _write(folder.path, arrays, source, sigmas, seed, job, total, chosen.name)
        folder.finish(done)
        if interrupted:
            raise folder.interrupted(done, "sample")
        return folder.path


def _start(
    init: torch.Tensor | None, seed: int | None, shape: tuple[int, int, int], sigma_max: float
) -> Callable[[int, int], torch.Tensor]:
    """(low, high) -> z at sigma_max of samples low .. high - 1."""
    if init is not None:
        given = init
        return lambda low, high: given[low:high]
    return lambda low, high: initial_noise(seed or 0, range(low, high), shape, sigma_max)


def _compute(
    job: SampleJob,
    denoiser: Denoiser,
    source: Source,
    sigmas: torch.Tensor,
    start: Callable[[int, int], torch.Tensor],
    labels: list[int] | None,
) -> Callable[[int, int, Callable[[int], None]], Arrays]:
    """A batch's arrays. "states" and "denoised" hold, sample axis first, the samples that are kept or drawn."""

    def compute(low: int, high: int, advance: Callable[[int], None]) -> Arrays:
        chosen = None if labels is None else labels[low:high]
        result = sample(
            denoiser,
            solver=job.solver,
            init=start(low, high),
            labels=chosen,
            sigmas=sigmas,
            keep_states=job.keep_states or low < FOLLOWED,
            progress=advance,
        )
        arrays = {
            "images": result.images.numpy(),
            "init": start(low, high).numpy(),
            **find_neighbours(source, result.images).arrays(),
        }
        followed = high if job.keep_states else max(min(high, FOLLOWED), low)
        for name, states, length in (
            ("states", result.states, len(sigmas)),
            ("denoised", result.denoised, len(sigmas) - 1),
        ):
            kept = np.empty((0, length, *denoiser.shape), np.float32)
            arrays[name] = kept if states is None else states[:, : followed - low].transpose(0, 1).numpy()
        return arrays

    return compute


def _write(
    path: Path,
    arrays: Arrays,
    source: Source,
    sigmas: torch.Tensor,
    seed: int | None,
    job: SampleJob,
    total: int,
    name: str,
) -> None:
    states, denoised = (np.swapaxes(arrays.pop(name), 0, 1) for name in ("states", "denoised"))
    done = len(arrays["images"])
    stored = {**arrays, "sigmas": sigmas.numpy()}
    if seed is not None:
        stored["seed"] = np.asarray(seed, dtype=np.uint64)
    if job.keep_states:
        stored |= {"states": states, "denoised": denoised}
    save_npz(path / ARRAYS, stored)

    images = arrays["images"]
    found = Neighbours(*(arrays[f"neighbour_{name}"][:COMPARED] for name in ("indices", "distances", "flipped")))
    save_png(grid(images[:PICTURED], title=f"{name}: {_some(min(done, PICTURED), total)}"), path / SAMPLES)
    # Labelled samples are compared with all classes: a copy is a copy, whatever its class.
    nearest = "its nearest training image" if job.labels is None else "the nearest among all training images"
    title = f"{name}: {_some(min(done, COMPARED), total)}, each with {nearest}"
    save_png(
        samples_with_neighbours(images[:COMPARED], found.images(source), found.distances, title=title),
        path / NEIGHBOURS,
    )
    drawn = (torch.from_numpy(array.copy()) for array in (states[:, :FOLLOWED], denoised[:, :FOLLOWED]))
    followed = SampleResult(torch.from_numpy(images[:FOLLOWED]), sigmas, *drawn)
    save_png(trajectory_strip(followed), path / TRAJECTORIES)


def _some(shown: int, total: int) -> str:
    return ("" if shown == total else f"{shown} of ") + counted(total, "sample")
