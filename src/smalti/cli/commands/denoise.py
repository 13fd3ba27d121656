"""`smalti denoise`: noise images of the data (or take given noisy ones) and denoise them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smalti.cli import options
from smalti.cli.command import REGULAR, Between, command
from smalti.cli.options import Images, Method, Run
from smalti.core.errors import InputError
from smalti.core.text import counted

if TYPE_CHECKING:
    from smalti.cli.runs import Arrays
    from smalti.core.table import Table

__all__ = ["denoise"]

ARRAYS, PICTURE = "denoised.npz", "denoised.png"
PICTURED = 64  # at most so many images in the picture
LEVEL = Between(0, 17, "from 0 (sigma 80) to 17 (sigma 0.002)")


@command
def denoise(
    *,
    images: Images,
    method: Method,
    level: Annotated[
        int | None,
        typer.Option(
            help="Noise level 0 (sigma 80) to 17 (0.002) of the EDM schedule; this or --sigma.",
            rich_help_panel=options.METHOD,
        ),
        LEVEL,
    ] = None,
    sigma: Annotated[
        float | None,
        typer.Option(
            help="Noise level in the working scale (images in [-1, 1]); this or --level.",
            rich_help_panel=options.METHOD,
        ),
        options.SIGMA,
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("-n", help="Images, evenly spaced in the data.", show_default="16", rich_help_panel=options.RUN),
        options.COUNT,
    ] = None,
    seed: options.Seed = None,
    input: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="Denoise this .npy instead: z at that level, (B, C, H, W) or (C, H, W).",
            rich_help_panel=options.RUN,
        ),
        REGULAR,
    ] = None,
    batch_size: options.BatchSize = 16,
    run: Run,
) -> None:
    """Add noise to images of the data (or take noisy ones from a file) and denoise them.

    Exactly one of --level and --sigma is required, with --input too: it is the level of the noise in those images.

    Writes denoised.npz (z, x0, sigma; clean and indices where known), denoised.png and run.json into the --out folder,
    whose path is the last line on stdout.
    """
    if (level is None) == (sigma is None):
        raise InputError("give exactly one of --level (0 to 17 of the EDM schedule) and --sigma")
    if input is not None and seed is not None:
        raise InputError("--seed draws noise, but --input is noisy already; give one of them")
    import numpy as np

    from smalti.cli.inputs import load_z, parse_labels
    from smalti.cli.printing import print_path, print_table
    from smalti.cli.runs import run_batches
    from smalti.core.noise import standard_normal
    from smalti.core.schedule import edm_sigmas

    noise_level = float(edm_sigmas()[level]) if sigma is None else sigma  # type: ignore[index]
    chosen = method.choose()
    with run.folder((ARRAYS, PICTURE)) as folder:
        source = images.open()
        clean, indices, digest = None, None, None
        if input is not None:
            z, digest = load_z(input, source.shape)
            if n not in (None, len(z)):
                raise InputError(f"-n is {n} but {input} holds {counted(len(z), 'image')}; leave -n out")
        else:  # evenly spaced, image j with noise (seed, j); z is float32: what is stored is what is denoised
            n, seed = n or min(16, len(source)), seed or 0
            if n > len(source):
                raise InputError(f"-n is {n} but the data has {counted(len(source), 'image')}; give at most that")
            indices = np.arange(n, dtype=np.int64) * len(source) // n
            clean = source.working(indices)
            z = (clean.double() + noise_level * standard_normal(seed, range(n), source.shape)).float()
        total = len(z)
        denoiser = chosen.create(source)
        labels = parse_labels(method.labels, total, source.class_names, denoiser.num_classes)

        def compute(low: int, high: int, advance: Callable[[int], None]) -> Arrays:
            some = z[low:high]
            answer = denoiser(some, noise_level, None if labels is None else labels[low:high])
            arrays = {"z": some.numpy(), "x0": answer.numpy()}
            if clean is not None and indices is not None:
                arrays |= {"clean": clean[low:high].numpy(), "indices": indices[low:high]}
            advance(high - low)
            return arrays

        contents = images.content(source) | method.content(chosen)
        contents |= {("sigma", "level"): noise_level, "n": total, "seed": seed, "input": digest, "labels": labels}
        if not run.start(folder, total, contents, data=source.name, level=level, seed=seed):
            arrays, done, interrupted = run_batches(folder, total, batch_size, compute, "denoising")
            if done:
                _write(folder.path, arrays, noise_level, chosen.name, total)
            folder.finish(done)
            if done:
                print_table(_numbers(arrays, noise_level))
            if interrupted:
                raise folder.interrupted(done, "image")
    print_path(folder.path)


def _numbers(arrays: Arrays, sigma: float) -> Table:
    """Root mean squares over all images and pixels: of the noise, and of what is left of it."""
    import numpy as np

    from smalti.core.table import Table

    x0, z = arrays["x0"].astype(np.float64), arrays["z"].astype(np.float64)
    row = {"images": len(x0), "sigma": float(sigma), "rms change": float(np.sqrt(np.mean((x0 - z) ** 2)))}
    if "clean" in arrays:
        clean = arrays["clean"].astype(np.float64)
        row |= {
            "rms noise": float(np.sqrt(np.mean((z - clean) ** 2))),
            "rms error": float(np.sqrt(np.mean((x0 - clean) ** 2))),
        }
    return Table(tuple(row), [row])


def _write(path: Path, arrays: Arrays, sigma: float, name: str, total: int) -> None:
    import numpy as np

    from smalti.core.files import save_npz
    from smalti.core.pixels import shown_noisy
    from smalti.report.pictures import NOISY_NOTE, aligned_rows, save_png, sigma_caption

    save_npz(path / ARRAYS, {**arrays, "sigma": np.float64(sigma)})
    done = len(arrays["z"])
    rows = {"clean": arrays["clean"]} if "clean" in arrays else {}
    rows |= {"noisy": shown_noisy(arrays["z"], sigma), "denoised": arrays["x0"]}
    some = f", {min(done, PICTURED)} of {total} images" if min(done, PICTURED) < total else ""
    title = f"{name} at {sigma_caption(sigma)}{some}"
    picture = aligned_rows({row: images[:PICTURED] for row, images in rows.items()}, 16, title=title, note=NOISY_NOTE)
    save_png(picture, path / PICTURE)
