"""`smalti transforms`: how denoisers respond to shifts of z and to fresh noise in a part of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smalti.cli import options
from smalti.cli.command import REGULAR, command
from smalti.cli.options import Images, Run, Subjects
from smalti.core.errors import InputError

if TYPE_CHECKING:
    from smalti.analysis.transforms import Box, TransformResult
    from smalti.core.table import Table

__all__ = ["transforms"]

ARRAYS, DISTANCES = "transforms.npz", "distances.csv"
FILES = (ARRAYS, DISTANCES, "outputs.png", "outputs.pdf", "distances.png", "distances.pdf")


@command
def transforms(
    *,
    images: Images,
    subjects: Subjects,
    sigma: Annotated[
        float, typer.Option(help="Noise level; the paper's is 2.", rich_help_panel=options.METHOD), options.SIGMA
    ] = 2.0,
    shift: Annotated[
        int | None,
        typer.Option(
            help="Pixels to the right, and down; negative for left and up.",
            show_default="5 at 32 x 32, in proportion for other sizes",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(
            help="TOP,LEFT,HEIGHT,WIDTH in pixels.",
            show_default="the middle half of the height and width",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    labelled: options.Labelled = False,
    n: Annotated[
        int | None,
        typer.Option("-n", help="Noisy images.", show_default="64", rich_help_panel=options.RUN),
        options.COUNT,
    ] = None,
    input: Annotated[
        Path | None,
        typer.Option(
            help="Transform the noisy images of this .npy, (B, C, H, W), not noisy images of the data.",
            rich_help_panel=options.RUN,
        ),
        REGULAR,
    ] = None,
    shown: Annotated[
        int, typer.Option(help="How many noisy images the figure shows.", rich_help_panel=options.RUN), options.COUNT
    ] = 2,
    seed: options.Seed = None,
    batch_size: options.BatchSize = 64,
    run: Run,
) -> None:
    """Shift noisy images, or put fresh noise inside or outside a box, and see how outputs change (the workshop paper's Fig. 3).

    What enters at a shift is fresh noise around the image's edge value. Writes outputs.png and .pdf, distances.csv (mean squared
    distances between outputs, with 95 % intervals), distances.png and .pdf, transforms.npz and run.json into the --out folder,
    whose path is the last line on stdout.
    """
    from dataclasses import asdict

    import smalti.analysis.transforms as analysis
    from smalti.analysis.identity import identity_of
    from smalti.analysis.transforms import TRANSFORMATIONS, box_of, shift_of
    from smalti.cli.inputs import load_z
    from smalti.cli.printing import print_path, print_table
    from smalti.cli.runs import long_run
    from smalti.cli.subjects import check_labelled

    typed_box, seed = _box(box), seed or 0
    subjects.check_names()
    with run.folder(FILES) as folder:
        compared, source = subjects.open(images.open())
        check_labelled(labelled, compared, source)
        by, area = shift_of(shift, *source.shape[1:]), box_of(typed_box, *source.shape[1:])
        z, digest = load_z(input, source.shape) if input else (None, None)
        if z is not None and n not in (None, len(z)):
            raise InputError(f"-n is {n} but {input} holds {len(z)} images; leave -n out")
        count = (n or 64) if z is None else len(z)
        contents = images.content(source) | {
            ("denoiser", "network", "backend"): {name: identity_of(one) for name, one in compared.items()},
            "shift": by,
            "box": asdict(area),
            "input": digest,
            "n": count,
            "seed": seed,
        }
        total = len(compared) * len(TRANSFORMATIONS) * count
        if not run.start(folder, total, contents, data=source.name, seed=seed):
            with long_run(folder, total, "transforms", "evaluation") as advance:
                result = analysis.transforms(
                    compared, source, sigma, count, seed, shift=by, box=area, z=z, labelled=labelled,
                    batch_size=batch_size, keep=folder.pieces(), progress=advance,
                )  # fmt: skip
            distances = result.distances()
            _write(folder.path, result, distances, min(shown, count))
            folder.finish(total)
            print_table(distances, DISTANCES)
    print_path(folder.path)


def _box(text: str | None) -> Box | None:
    """ "8,8,16,16" (top, left, height, width) as a Box."""
    from smalti.analysis.transforms import Box

    if text is None:
        return None
    try:
        top, left, height, width = (int(word) for word in text.split(","))
    except ValueError:
        raise InputError(f"--box must be TOP,LEFT,HEIGHT,WIDTH in pixels, such as 8,8,16,16, not {text!r}") from None
    return Box(top, left, height, width)


def _write(path: Path, result: TransformResult, distances: Table, shown: int) -> None:
    import numpy as np

    from smalti.core.files import save_npz
    from smalti.report.figures import save_figure, style
    from smalti.report.transform_figure import distances_figure, outputs_figure

    box = result.box
    save_npz(path / ARRAYS, {
        "z": result.z.numpy(), "clean": result.clean.numpy(),
        "outputs": np.stack([outputs.numpy() for outputs in result.outputs.values()]),
        "denoisers": np.array(list(result.outputs)), "transforms": np.array(result.names),
        "sigma": np.float64(result.sigma), "shift": np.array(result.shift),
        "box": np.array([box.top, box.left, box.height, box.width]),
    })  # fmt: skip
    distances.save(path / DISTANCES)
    with style():
        for name, figure in (
            ("outputs", outputs_figure(result, range(shown))),
            ("distances", distances_figure(distances)),
        ):
            for ending in ("png", "pdf"):
                save_figure(figure, path / f"{name}.{ending}")
