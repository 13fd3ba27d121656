"""`smalti denoise`: noise images of the data (or take given noisy ones) and denoise them."""

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
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.core.files import save_npz
from smalti.core.noise import standard_normal
from smalti.core.pixels import shown_noisy
from smalti.core.run_folder import RunFolder
from smalti.core.schedule import edm_sigmas
from smalti.core.text import counted
from smalti.core.validation import check_count
from smalti.report.pictures import NOISY_NOTE, aligned_rows, save_png, sigma_caption
from smalti.source import Source

__all__ = ["DenoiseJob", "run_denoise"]

ARRAYS, PICTURE = "denoised.npz", "denoised.png"
PICTURED = 64  # at most so many images in the picture


@dataclass(frozen=True)
class DenoiseJob:
    """What to denoise and how; the fields are the command's options."""

    data: DataOptions
    out: Path
    denoiser: str | None
    parameters: list[str]
    backend: str | None
    network: str | None
    level: int | None
    sigma: float | None
    n: int | None
    seed: int | None
    input: Path | None
    labels: str | None
    batch_size: int
    overwrite: bool
    resume: bool


def run_denoise(job: DenoiseJob) -> Path:
    """Do it; returns the folder.

    Raises:
        InputError: bad input; everything that can be checked without the data is checked before it is opened.
        InterruptedRunError: Ctrl-C, after the finished images were written.
    """
    sigma = _sigma(job)
    batch_size = check_count("--batch-size", job.batch_size)
    n = None if job.n is None else check_count("-n", job.n)
    if job.input is not None and job.seed is not None:
        raise InputError("--seed draws noise, but --input is noisy already; give one of them")
    standard_normal(job.seed or 0, (), (1,))  # a bad seed is said before the data is opened
    chosen = choose(job.denoiser, job.parameters, job.backend, job.network)
    with RunFolder(job.out, (ARRAYS, PICTURE), job.overwrite, job.resume) as folder:
        source = open_source(job.data)
        inputs = (
            _from_file(job.input, n, source)
            if job.input
            else _from_data(source, n or min(16, len(source)), job.seed or 0, sigma)
        )
        total = len(inputs)
        denoiser = chosen.create(source)
        labels = parse_labels(job.labels, total, source.class_names, denoiser.num_classes)
        identity = {
            "command": "denoise",
            "data": data_identity(source),
            "denoiser": chosen.identity,
            "sigma": sigma,
            "n": total,
            "seed": inputs.seed,
            "input": inputs.digest,
            "labels": labels,
            "batch_size": batch_size,
            "versions": versions(),
        }
        if folder.start(
            identity, total, {"command": "denoise", "data": source.name, "level": job.level, "seed": inputs.seed}
        ):
            return folder.path
        compute = _compute(denoiser, inputs, sigma, labels)
        arrays, done, interrupted = run_batches(folder, total, batch_size, compute, "denoising")
        if done:
            _write(folder.path, arrays, sigma, chosen.name, total)
        folder.finish(done)
        if interrupted:
            raise folder.interrupted(done, "image")
        return folder.path


def _sigma(job: DenoiseJob) -> float:
    """The noise level of --level or --sigma."""
    if (job.level is None) == (job.sigma is None):
        raise InputError("give exactly one of --level (0 to 17 of the EDM schedule) and --sigma")
    if job.level is not None:
        levels = edm_sigmas()
        if not 0 <= job.level < len(levels):
            raise InputError(f"--level must be from 0 (sigma 80) to {len(levels) - 1} (sigma 0.002), not {job.level}")
        return float(levels[job.level])
    assert job.sigma is not None
    if not 0 < job.sigma < float("inf"):
        raise InputError(f"--sigma must be finite and greater than 0, not {job.sigma}")
    return job.sigma


@dataclass(frozen=True)
class _Inputs:
    """Where noisy images come from: a file, or images of the data and noise."""

    z: torch.Tensor  # (n, C, H, W), computed in its dtype
    clean: torch.Tensor | None = None  # (n, C, H, W) float32
    indices: np.ndarray | None = None  # (n,) int64 into the source
    seed: int | None = None
    digest: str | None = None

    def __len__(self) -> int:
        return self.z.shape[0]


def _from_file(path: Path, n: int | None, source: Source) -> _Inputs:
    z, digest = load_z(path, source.shape)
    if n not in (None, len(z)):
        raise InputError(f"-n is {n} but {path} holds {counted(len(z), 'image')}; leave -n out")
    return _Inputs(z, digest=digest)


def _from_data(source: Source, n: int, seed: int, sigma: float) -> _Inputs:
    """n images evenly spaced, image j with noise (seed, j); z is float32: what is stored is what is denoised."""
    if n > len(source):
        raise InputError(f"-n is {n} but the data has {counted(len(source), 'image')}; give at most that")
    indices = np.arange(n, dtype=np.int64) * len(source) // n
    clean = source.working(indices)
    z = clean.double() + sigma * standard_normal(seed, range(n), source.shape)
    return _Inputs(z.float(), clean, indices, seed)


def _compute(
    denoiser: Denoiser, inputs: _Inputs, sigma: float, labels: list[int] | None
) -> Callable[[int, int, Callable[[int], None]], Arrays]:
    def compute(low: int, high: int, advance: Callable[[int], None]) -> Arrays:
        z = inputs.z[low:high]
        arrays = {"z": z.numpy(), "x0": denoiser(z, sigma, None if labels is None else labels[low:high]).numpy()}
        if inputs.clean is not None and inputs.indices is not None:
            arrays |= {"clean": inputs.clean[low:high].numpy(), "indices": inputs.indices[low:high]}
        advance(high - low)
        return arrays

    return compute


def _write(path: Path, arrays: Arrays, sigma: float, name: str, total: int) -> None:
    save_npz(path / ARRAYS, {**arrays, "sigma": np.float64(sigma)})
    done = len(arrays["z"])
    rows = {"clean": arrays["clean"]} if "clean" in arrays else {}
    rows |= {"noisy": shown_noisy(arrays["z"], sigma), "denoised": arrays["x0"]}
    some = f", {min(done, PICTURED)} of {total} images" if min(done, PICTURED) < total else ""
    title = f"{name} at {sigma_caption(sigma)}{some}"
    picture = aligned_rows({row: images[:PICTURED] for row, images in rows.items()}, 16, title=title, note=NOISY_NOTE)
    save_png(picture, path / PICTURE)
