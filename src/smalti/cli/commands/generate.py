"""`smalti generate`: images from a folder's, or like one picture, with no training."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import options
from smalti.cli.command import REGULAR, Between, Contents, command
from smalti.cli.options import Images, Run
from smalti.core.errors import InputError
from smalti.core.text import counted

if TYPE_CHECKING:
    import numpy as np

    from smalti.cli.runs import Arrays

__all__ = ["generate"]

ARRAYS, SHEET, SOURCES, MAP = "samples.npz", "sheet.png", "sources.npz", "sources.png"
PICTURES = "sample-*.png"
ONE_PICTURE = ("size", "patch_size", "tile", "symmetric", "keep", "flips", "quarters")
GOLDEN = 0.6180339887  # of a turn of hues: numbers that follow each other are told apart
COMPARED = 64  # at most so many samples on the sheet
NO_DATA = Images(None)  # type: ignore[arg-type]  # --image instead


class Symmetry(str, Enum):
    """What mirrors what: left and right, or top and bottom."""

    HORIZONTAL = "horizontal"
    VERTICAL = "vertical"


@command
def generate(
    *,
    images: Images = NO_DATA,
    image: Annotated[
        Path | None,
        typer.Option(help="Instead of --data: one picture, whose patches are used.", rich_help_panel=options.DATA),
        REGULAR,
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="With --image: size of the images, 256x384 (height x width).", rich_help_panel=options.METHOD
        ),
    ] = None,
    patch_size: Annotated[
        int, typer.Option(help="With --image: side of the patches.", rich_help_panel=options.METHOD), Between(2, 1000)
    ] = 15,
    tile: Annotated[
        bool, typer.Option("--tile", help="With --image: seamless tiles.", rich_help_panel=options.METHOD)
    ] = False,
    symmetric: Annotated[
        Symmetry | None, typer.Option(help="With --image: symmetric images.", rich_help_panel=options.METHOD)
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="With --image: a mask of its size; what is white in it stays.", rich_help_panel=options.METHOD
        ),
        REGULAR,
    ] = None,
    flips: Annotated[
        bool,
        typer.Option("--flips", help="With --image: patches of its mirror image too.", rich_help_panel=options.METHOD),
    ] = False,
    quarters: Annotated[
        bool,
        typer.Option(
            "--quarters", help="With --image: patches of its quarter turns too.", rich_help_panel=options.METHOD
        ),
    ] = False,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            help="With --data: classes, by name or number, comma separated; image j gets entry j modulo their number.",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Steps at each scale.",
            show_default="10; with --data more at coarse scales",
            rich_help_panel=options.METHOD,
        ),
        Between(2, 10_000),
    ] = None,
    eta: Annotated[
        float,
        typer.Option(help="Share of fresh noise in each step, 0 to 1.", rich_help_panel=options.METHOD),
        Between(0.0, 1.0),
    ] = 0.0,
    n: Annotated[
        int | None,
        typer.Option("-n", help="Number of images.", show_default="16, or 1 with --image", rich_help_panel=options.RUN),
        options.COUNT,
    ] = None,
    seed: options.Seed = None,
    batch_size: options.BatchSize = 8,
    run: Run,
) -> None:
    """Generate images coarse to fine, from a folder's images (--data) or from the patches of one picture (--image).

    Writes samples.npz (images, float32 in [-1, 1]), sample-NNNN.png, sheet.png (with --data beside the nearest training
    images, of which samples.npz has neighbour_indices and neighbour_distances (RMS)) and run.json into the --out folder,
    whose path is the last line on stdout. Also sources.npz and sources.png: for each pixel what weighs most at the last level, and
    its share. With --data that is an image (image, flip, share; the place is the pixel's own), one colour each; with --image a
    place in the picture (row, column, share): red is the column, green the row. Dark is a small share.
    """
    if (images.data is None) == (image is None):
        raise InputError("give --data, a folder of images, or --image, one picture; one of them")
    if image is None:
        run.invocation.refuse(ONE_PICTURE, "without --image")
    else:
        run.invocation.refuse(("batch_size",), "with --image: its images are computed one by one")
    if image is not None and (labels is not None or images != Images(None)):  # type: ignore[arg-type]
        raise InputError("--image takes no options of --data; leave them out")
    total, first = n or (16 if image is None else 1), seed or 0
    if image is None:
        _from_data(images, run, total, first, labels, {"steps": steps, "eta": eta}, batch_size)
        return
    kinds: dict[str, Any] = {
        "size": _size(size),
        "patch_size": patch_size,
        "tile": tile,
        "steps": steps or 10,
        "eta": eta,
    }
    kinds |= {"symmetric": None if symmetric is None else Symmetry(symmetric).value, "keep": keep}
    kinds |= {"flips": flips, "quarters": quarters}
    _from_picture(image, run, total, first, kinds)


def _from_data(
    images: Images, run: Run, total: int, seed: int, labels: str | None, kinds: dict[str, Any], batch_size: int
) -> None:
    import numpy as np
    import torch

    from smalti.cli.inputs import parse_labels
    from smalti.cli.printing import print_path
    from smalti.cli.runs import run_batches
    from smalti.quality.copies import nearest_distances
    from smalti.sampling.coarse_to_fine import coarse_to_fine_steps
    from smalti.sampling.generation import scale_denoisers, steps_of

    with run.folder((ARRAYS, SHEET, SOURCES, MAP), (PICTURES,)) as folder:
        source = images.open()
        classes = parse_labels(labels, total, source.class_names, source.num_classes)
        denoisers = scale_denoisers(source)
        kinds = {**kinds, "steps": steps_of(denoisers, kinds["steps"])}

        def compute(low: int, high: int, advance: Callable[[int], None]) -> Arrays:
            chosen = None if classes is None else torch.tensor(classes[low:high])
            made, last = None, None
            with torch.no_grad():
                for step in coarse_to_fine_steps(denoisers, range(low, high), seed, labels=chosen, **kinds):
                    if step.finished:
                        made = step.x.float().clamp(-1, 1)
                    else:
                        last = step
                        advance(high - low)
            assert made is not None
            assert last is not None
            numbers, distances = nearest_distances(source, made)
            found = {"neighbour_indices": numbers.numpy(), "neighbour_distances": distances.numpy()}
            return {"images": made.numpy(), **found, **_sources(denoisers[-1], last, chosen)}

        contents = images.content(source) | {"n": total, "seed": seed, "labels": classes}
        if not run.start(folder, total, contents, data=source.name, seed=seed):
            units = sum(kinds["steps"])
            arrays, done, interrupted = run_batches(folder, total, batch_size, compute, "generating", units)
            if done:
                places = {name: arrays.pop(name) for name in ("image", "flip", "share")}
                _write(folder.path, arrays, seed)
                _sheet_beside(folder.path, arrays, source)
                hues = places["image"][:COMPARED].astype(float)[:, None] * GOLDEN + np.arange(3)[:, None, None] / 3
                _write_sources(folder.path, places, 0.5 + 0.5 * np.cos(2 * np.pi * hues), "one colour an image")
            folder.finish(done)
            if interrupted:
                raise folder.interrupted(done, "image")
    print_path(folder.path)


def _from_picture(image: Path, run: Run, total: int, seed: int, kinds: dict[str, Any]) -> None:
    import numpy as np

    from smalti.cli.printing import print_path
    from smalti.cli.runs import run_batches
    from smalti.report.pictures import grid, save_png
    from smalti.sampling.like import check_like, generate_like, picture_pyramid, read_picture

    with run.folder((ARRAYS, SHEET, SOURCES, MAP), (PICTURES,)) as folder:
        picture = read_picture(image)
        check_like(picture, **kinds)
        scales = len(picture_pyramid(picture, kinds["patch_size"]))

        def compute(low: int, high: int, advance: Callable[[int], None]) -> Arrays:
            result = generate_like(picture, n=1, first=low, seed=seed, sources=True, progress=advance, **kinds)
            assert result.places is not None
            (places,) = result.places
            found = {"row": places.row, "column": places.column, "share": places.share.astype(np.float32)}
            made = result.images.clamp(-1, 1).numpy()
            return {"images": made, **{name: values[None] for name, values in found.items()}}

        contents: Contents = {"n": total, "seed": seed}  # files are said by content
        if not run.start(folder, total, contents, data=image.name, seed=seed):
            arrays, done, interrupted = run_batches(folder, total, 1, compute, "generating", scales * kinds["steps"])
            if done:
                places = {name: arrays.pop(name) for name in ("row", "column", "share")}
                _write(folder.path, arrays, seed)
                title = f"{counted(done, 'image')} like {image.name}"
                save_png(grid(arrays["images"][:COMPARED], title=title), folder.path / SHEET)
                row, column = (
                    places[name][:COMPARED] / max(1, picture.shape[k] - 1) for name, k in (("row", 1), ("column", 2))
                )
                colours = np.stack([column, row, np.full_like(row, 0.5)], 1)
                _write_sources(folder.path, places, colours, "red the column, green the row")
            folder.finish(done)
            if interrupted:
                raise folder.interrupted(done, "image")
    print_path(folder.path)


def _write(path: Path, arrays: Arrays, seed: int) -> None:
    """samples.npz and a PNG file for each image."""
    import numpy as np
    from PIL import Image

    from smalti.core.files import save_npz
    from smalti.report.pictures import save_png

    save_npz(path / ARRAYS, {**arrays, "seed": np.asarray(seed, np.uint64)})
    for number, image in enumerate(arrays["images"]):
        pixels = np.rint((image + 1) * 127.5).astype(np.uint8)
        picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels[:3].transpose(1, 2, 0))
        save_png(picture, path / f"sample-{number:04d}.png")


def _sheet_beside(path: Path, arrays: Arrays, source: Any) -> None:
    """Samples, and below each its nearest training image."""
    from smalti.report.pictures import samples_with_neighbours, save_png

    made = arrays["images"][:COMPARED]
    beside = source.working(arrays["neighbour_indices"][:COMPARED])
    total = len(arrays["images"])
    some = "" if total <= COMPARED else f"{COMPARED} of "
    title = f"{some}{counted(total, 'image')}, each with its nearest training image"
    squared = arrays["neighbour_distances"][:COMPARED] ** 2 * made[0].size
    save_png(samples_with_neighbours(made, beside, squared, title=title), path / SHEET)


def _sources(denoiser: Any, last: Any, labels: Any) -> Arrays:
    """Of the images that the last step made: for each pixel the training image that weighs most, and its share."""
    shape = (len(last.x), *denoiser.shape[1:])
    found = denoiser.attribute(last.x * (1 + last.sigma), last.sigma, top=1, labels=labels)  # a = 1 / (1 + sigma)
    return {
        "image": found.images.reshape(shape).numpy(),
        "flip": found.places[..., 2].reshape(shape).numpy() == 1,
        "share": found.shares.reshape(shape).float().numpy(),
    }


def _write_sources(path: Path, places: Arrays, colours: np.ndarray, says: str) -> None:
    """sources.npz, and colours (n, 3, H, W) from 0 to 1, dark where the share is small."""
    import numpy as np

    from smalti.core.files import save_npz
    from smalti.report.pictures import grid, save_png

    save_npz(path / SOURCES, places)
    bright = 0.2 + 0.8 * places["share"][:COMPARED, None]
    title = f"where pixels are from: {says}; dark: a small share"
    save_png(grid((colours * bright * 2 - 1).astype(np.float32), title=title), path / MAP)


def _size(text: str | None) -> tuple[int, int] | None:
    """ "256x384" as (256, 384)."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6})[xX]([0-9]{1,6})", text.strip())
    if not match:
        raise InputError(f"--size must look like 256x384 (height x width), not {text!r}")
    return int(match[1]), int(match[2])
