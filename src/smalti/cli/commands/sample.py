"""`smalti sample`: generate images and find their nearest training images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import options
from smalti.cli.command import REGULAR, Between, command
from smalti.cli.options import Images, Method, Run
from smalti.core.errors import InputError
from smalti.core.schedule import LEVELS, RHO, SIGMA_MAX, SIGMA_MIN
from smalti.core.text import counted

if TYPE_CHECKING:
    import torch

    from smalti.cli.runs import Arrays
    from smalti.source import Source

__all__ = ["sample"]

ARRAYS, SAMPLES, NEIGHBOURS, TRAJECTORIES = "samples.npz", "samples.png", "neighbours.png", "trajectories.png"
FOLLOWED = 4  # samples whose trajectory is drawn
PICTURED, COMPARED = 400, 64  # at most so many samples in samples.png and in neighbours.png


@command
def sample(
    *,
    images: Images,
    method: Method,
    n: Annotated[
        int | None,
        typer.Option("-n", help="Number of samples.", show_default="16", rich_help_panel=options.RUN),
        options.COUNT,
    ] = None,
    steps: Annotated[
        int,
        typer.Option(help="Solver steps; one is a single jump from sigma_max to 0.", rich_help_panel=options.METHOD),
        Between(1, 100_000),
    ] = LEVELS,
    solver: Annotated[
        options.Solver, typer.Option(help="Second order (heun) or first (euler).", rich_help_panel=options.METHOD)
    ] = options.Solver.HEUN,
    seed: options.Seed = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="Start from this .npy: z at sigma_max, already scaled, (B, C, H, W) or (C, H, W).",
            rich_help_panel=options.RUN,
        ),
        REGULAR,
    ] = None,
    sigma_min: Annotated[
        float, typer.Option(help="Smallest noise level above 0.", rich_help_panel=options.METHOD), options.SIGMA
    ] = SIGMA_MIN,
    sigma_max: Annotated[
        float, typer.Option(help="Largest noise level.", rich_help_panel=options.METHOD), options.SIGMA
    ] = SIGMA_MAX,
    rho: Annotated[
        float,
        typer.Option(help="How far the levels crowd towards sigma_min.", rich_help_panel=options.METHOD),
        Between(0.1, 1000.0),
    ] = RHO,
    keep_states: Annotated[
        bool, typer.Option("--keep-states", help="Store every state too.", rich_help_panel=options.RUN)
    ] = False,
    batch_size: options.BatchSize = 4,
    run: Run,
) -> None:
    """Generate images by the probability-flow ODE and find their nearest training images.

    Writes samples.npz (images, init, sigmas, seed, neighbour_indices, neighbour_distances (squared), neighbour_flipped;
    with --keep-states also states and denoised), samples.png, neighbours.png, trajectories.png and run.json into the
    --out folder, whose path is the last line on stdout.
    """
    if init is not None and seed is not None:
        raise InputError("--seed draws the initial noise, but --init gives it; give one of them")
    import smalti.sampling as sampling
    from smalti.cli.inputs import load_z, parse_labels
    from smalti.cli.printing import print_path
    from smalti.cli.runs import run_batches

    sigmas = sampling.sampling_sigmas(steps, sigma_min, sigma_max, rho)
    chosen = method.choose()
    with run.folder((ARRAYS, SAMPLES, NEIGHBOURS, TRAJECTORIES)) as folder:
        source = images.open()
        z, digest = load_z(init, source.shape) if init else (None, None)
        if z is not None and n not in (None, len(z)):
            raise InputError(f"-n is {n} but {init} holds {counted(len(z), 'image')}; leave -n out")
        total = (n or 16) if z is None else len(z)
        seed = (seed or 0) if z is None else None
        denoiser = chosen.create(source)
        labels = parse_labels(method.labels, total, source.class_names, denoiser.num_classes)

        def start(low: int, high: int) -> torch.Tensor:
            """z at sigma_max of samples low .. high - 1."""
            if z is not None:
                return z[low:high]
            return sampling.initial_noise(seed or 0, range(low, high), source.shape, float(sigmas[0]))

        def compute(low: int, high: int, advance: Callable[[int], None]) -> Arrays:
            result = sampling.sample(
                denoiser,
                solver=solver,
                init=start(low, high),
                labels=None if labels is None else labels[low:high],
                sigmas=sigmas,
                keep_states=keep_states or low < FOLLOWED,
                progress=advance,
            )
            return _batch(source, result, start(low, high), high if keep_states else max(min(high, FOLLOWED), low), low)

        contents = images.content(source) | method.content(chosen)
        contents |= {"n": total, "seed": seed, "init": digest, "labels": labels}
        if not run.start(folder, total, contents, data=source.name, seed=seed):
            arrays, done, interrupted = run_batches(folder, total, batch_size, compute, "sampling", steps)
            if done:
                kept = {"sigmas": sigmas, "seed": seed, "keep_states": keep_states}
                _write(folder.path, arrays, source, kept, (chosen.name, total, labels is not None))
            folder.finish(done)
            if interrupted:
                raise folder.interrupted(done, "sample")
    print_path(folder.path)


def _batch(source: Source, result: Any, init: torch.Tensor, followed: int, low: int) -> Arrays:
    """A batch's arrays. "states" and "denoised" hold, sample axis first, the samples up to `followed`."""
    import numpy as np

    arrays = {"images": result.images.numpy(), "init": init.numpy(), **_neighbours(source, result.images)}
    for name, states, length in (
        ("states", result.states, len(result.sigmas)),
        ("denoised", result.denoised, len(result.sigmas) - 1),
    ):
        none = np.empty((0, length, *source.shape), np.float32)
        arrays[name] = none if states is None else states[:, : followed - low].transpose(0, 1).numpy()
    return arrays


def _neighbours(source: Source, x: torch.Tensor) -> Arrays:
    """The nearest stored image of each x (n, C, H, W), in the working scale: its index, the squared distance, and whether its mirror image
    is the nearer one (only where the source counts flips in)."""
    from smalti.engine.neighbours import nearest

    indices, distances = nearest(source, x)
    stored, points = source.working(indices[:, 0].numpy()).double(), x.double()
    straight, mirrored = ((points - y).square().flatten(1).sum(1) for y in (stored, stored.flip(-1)))
    flipped = (mirrored < straight) & source.hflip
    found = {"indices": indices[:, 0], "distances": distances[:, 0], "flipped": flipped}
    return {f"neighbour_{name}": tensor.numpy() for name, tensor in found.items()}


def _write(path: Path, arrays: Arrays, source: Source, kept: dict[str, Any], about: tuple[str, int, bool]) -> None:
    import numpy as np
    import torch

    from smalti.core.files import save_npz
    from smalti.report.pictures import grid, samples_with_neighbours, save_png, trajectory_strip
    from smalti.sampling import SampleResult

    name, total, labelled = about
    states, denoised = (np.swapaxes(arrays.pop(name), 0, 1) for name in ("states", "denoised"))
    stored = {**arrays, "sigmas": kept["sigmas"].numpy()}
    if kept["seed"] is not None:
        stored["seed"] = np.asarray(kept["seed"], dtype=np.uint64)
    if kept["keep_states"]:
        stored |= {"states": states, "denoised": denoised}
    save_npz(path / ARRAYS, stored)

    images, done = arrays["images"], len(arrays["images"])
    save_png(grid(images[:PICTURED], title=f"{name}: {_some(min(done, PICTURED), total)}"), path / SAMPLES)
    # Labelled samples are compared with all classes: a copy is a copy, whatever its class.
    nearest = "the nearest among all training images" if labelled else "its nearest training image"
    title = f"{name}: {_some(min(done, COMPARED), total)}, each with {nearest}"
    found = source.working(arrays["neighbour_indices"][:COMPARED])
    flipped = torch.from_numpy(arrays["neighbour_flipped"][:COMPARED])[:, None, None, None]
    distances = arrays["neighbour_distances"][:COMPARED]
    picture = samples_with_neighbours(
        images[:COMPARED], torch.where(flipped, found.flip(-1), found), distances, title=title
    )
    save_png(picture, path / NEIGHBOURS)
    drawn = (torch.from_numpy(array.copy()) for array in (states[:, :FOLLOWED], denoised[:, :FOLLOWED]))
    followed = SampleResult(torch.from_numpy(images[:FOLLOWED]), kept["sigmas"], *drawn)
    save_png(trajectory_strip(followed), path / TRAJECTORIES)


def _some(shown: int, total: int) -> str:
    return ("" if shown == total else f"{shown} of ") + counted(total, "sample")
