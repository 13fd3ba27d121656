"""`smalti train`: a network, its log and its pictures, in a folder that can be gone on with."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from smalti.cli.jobs.data import DataOptions, open_source
from smalti.cli.jobs.identity import data_identity, versions
from smalti.cli.jobs.parameters import parse_arguments
from smalti.core.errors import InputError, InterruptedRunError
from smalti.core.run_folder import RunFolder
from smalti.core.validation import check_count
from smalti.networks import Network
from smalti.networks.architectures import ARCHITECTURES, find_preset
from smalti.report.figures import save_figure, style
from smalti.report.pictures import grid, save_png
from smalti.report.training_plots import loss_curve
from smalti.sampling import initial_noise, sample
from smalti.source import Split
from smalti.training import Recipe, train
from smalti.training.state import FILE, PREVIOUS
from smalti.training.trainer import LOG, NETWORK, training_device

__all__ = ["TrainJob", "parse_part", "run_train"]

CURVE = "loss.png"
PICTURED = 64  # samples in a grid


@dataclass(frozen=True)
class TrainJob:
    """What to train and how; the fields are the command's options, `recipe` and `split` those that determine the result."""

    data: DataOptions
    out: Path
    init: str | None
    recipe: dict[str, Any]
    split: dict[str, int]
    parameters: list[str]
    device: str
    precision: str
    compile_network: bool | None
    threads: int | None
    checkpoint_every: int
    sample_every: int
    store: str
    minutes: float | None
    overwrite: bool
    resume: bool


def run_train(job: TrainJob) -> Path:
    """Do it; returns the folder.

    Raises:
        InputError: bad input, a device that is not there.
        InterruptedRunError: Ctrl-C, after the state was kept.
    """
    preset = find_preset(job.recipe["arch"], job.recipe["preset"])
    changes = parse_arguments(preset["architecture"], ARCHITECTURES[preset["architecture"]], job.parameters)
    recipe = Recipe(**job.recipe, changes=changes, split=Split(**job.split))
    device = training_device(job.device)
    init = None if job.init is None else Network.load(job.init)
    check_count("--checkpoint-every", job.checkpoint_every)
    if job.threads is not None:
        check_count("--threads", job.threads)
    if job.sample_every < 0:
        raise InputError(f"--sample-every must be at least 0, not {job.sample_every}")
    if job.minutes is not None and not job.minutes > 0:
        raise InputError(f"--minutes must be above 0, not {job.minutes}")
    snapshots = range(job.sample_every, recipe.steps, job.sample_every) if job.sample_every else ()
    grids = [_grid_name(step) for step in [*snapshots, recipe.steps]]
    others = ("samples-*.png", PREVIOUS)
    with RunFolder(job.out, (NETWORK, FILE, LOG, CURVE, *grids), job.overwrite, job.resume, others) as folder:
        source = open_source(job.data)
        begun = None if init is None else init.config or {}
        recipe.config(source.shape, source.num_classes, begun)  # what does not fit is said before anything is written
        recipe.split.training(source)
        identity = {
            "command": "train",
            "data": data_identity(source),
            "recipe": recipe.as_dict(),
            "device": device.type,
            "precision": job.precision,
            "compile": job.compile_network,
            "store": job.store,
            "sample_every": job.sample_every,
            "versions": versions(),
            **({} if init is None else {"init": init.digest()}),
        }
        if folder.start(identity, recipe.steps, {"command": "train", "data": source.name, "seed": recipe.seed}):
            return folder.path
        try:
            training = train(
                source,
                recipe,
                folder.path,
                resume=job.resume,
                overwrite=job.overwrite,
                init=init,
                lock=folder.lock,
                device=device,
                precision=job.precision,
                compile_network=job.compile_network,
                threads=job.threads,
                checkpoint_every=job.checkpoint_every,
                minutes=job.minutes,
                snapshot_every=job.sample_every,
                on_snapshot=lambda step, network: _picture(folder.path, step, network, recipe.seed),
                on_checkpoint=folder.record_done,
                stored_as=getattr(torch, job.store),
                progress=True,
            )
        except KeyboardInterrupt:
            raise InterruptedRunError(
                f"interrupted: the state is kept in {folder.path}; to go on, {folder.again()}"
            ) from None
        with style():
            save_figure(loss_curve(training.history, folder.path.resolve().name), folder.path / CURVE)
        if training.complete:
            _picture(folder.path, training.steps, training.network, recipe.seed)
        else:
            done = f"{training.steps} of {recipe.steps} steps are done"
            print(f"stopped after {job.minutes:g} minutes: {done}; to go on, {folder.again()}", file=sys.stderr)
        folder.finish(training.steps)
        return folder.path


def parse_part(text: str) -> tuple[int, int]:
    """ "1/2" as (1, 2).

    Raises:
        InputError: anything else.
    """
    match = re.fullmatch(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*", text)
    if not match:
        raise InputError(f"--part must look like 1/2, not {text!r}")
    return int(match[1]), int(match[2])


def _picture(folder: Path, step: int, network: Network, seed: int) -> None:
    labels = [j % network.num_classes for j in range(PICTURED)] if network.num_classes else None
    init = initial_noise(seed, range(PICTURED), network.shape).to(network.device)
    images = sample(network, PICTURED, init=init, labels=labels, keep_states=False, progress=True).images
    save_png(grid(images, title=f"{network.name}, step {step}, seed {seed}"), folder / _grid_name(step))


def _grid_name(step: int) -> str:
    return f"samples-{step:07d}.png"
