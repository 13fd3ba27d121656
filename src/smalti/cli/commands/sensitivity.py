"""`smalti sensitivity`: heatmaps of what outputs depend on, for several denoisers on the same noisy images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smalti.cli import options
from smalti.cli.command import command
from smalti.cli.options import Images, Run, Subjects

if TYPE_CHECKING:
    from smalti.analysis.heatmaps import Sensitivity
    from smalti.core.table import Table

__all__ = ["sensitivity"]

SIDES, PICTURE, PLOT = "sides.csv", "sensitivity.png", "sensitivity.pdf"
LARGEST_WHOLE = 16 * 16  # images with more pixels: by default not all of them


class Reduction(str, Enum):
    """How derivatives become one number for each input pixel."""

    SAME_CHANNEL = "same-channel"
    ALL_CHANNELS = "all-channels"
    L2 = "l2"
    SIGNED = "signed"


@command
def sensitivity(
    *,
    images: Images,
    subjects: Subjects,
    sigmas: options.Sigmas = None,
    levels: options.Levels = None,
    n: Annotated[
        int,
        typer.Option(
            "-n", help="Noisy images at each level; the papers use 1,000 and 10,000.", rich_help_panel=options.RUN
        ),
        options.COUNT,
    ] = 200,
    pixels: Annotated[
        str | None,
        typer.Option(
            help="Output pixels: all, centre-edge (two), or grid:G (G x G, evenly spaced).",
            show_default="all up to 16 x 16 images, centre-edge for larger ones",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    reduction: Annotated[
        Reduction,
        typer.Option(
            help="Sum of |derivatives| of a channel by itself (as published) or by all channels, root of the sum of "
            "squares, or with signs.",
            rich_help_panel=options.METHOD,
        ),
    ] = Reduction.SAME_CHANNEL,
    labelled: options.Labelled = False,
    seed: options.Seed = None,
    batch_size: options.BatchSize = 64,
    run: Run,
) -> None:
    """Measure which input pixels the output of denoisers and networks depends on (the workshop paper's Fig. 4).

    Writes for each of them heatmaps-NAME.npz (Sensitivity.load reads it), and sides.csv (the side of the square that holds 50,
    75 and 95 % of the gradient, at each noise level), sensitivity.png, sensitivity.pdf and run.json into the --out folder,
    whose path is the last line on stdout.
    """
    import dataclasses

    import smalti.analysis.sensitivity as analysis
    from smalti.analysis.identity import identity_of
    from smalti.analysis.pixels import choose_pixels
    from smalti.cli.inputs import sigmas_or_levels
    from smalti.cli.printing import print_path, print_table, some_levels
    from smalti.cli.subjects import check_labelled
    from smalti.core.pieces import Pieces

    chosen, seed = sigmas_or_levels(sigmas, levels), seed or 0
    subjects.check_names()
    with run.folder((SIDES, PICTURE, PLOT), others=("heatmaps-*.npz",)) as folder:
        looked_at, source = subjects.open(images.open())
        check_labelled(labelled, looked_at, source)
        height, width = source.shape[1:]
        which = choose_pixels(pixels or ("all" if height * width <= LARGEST_WHOLE else "centre-edge"), height, width)
        files = _file_names(looked_at)
        folder.files += tuple(files.values())
        contents = images.content(source) | {
            ("denoiser", "network", "backend"): {name: identity_of(one) for name, one in looked_at.items()},
            ("sigmas", "levels"): chosen.tolist(),
            "pixels": which.tolist(),
            "seed": seed,
        }
        each = len(chosen) * n
        if not run.start(folder, len(looked_at) * each, contents, data=source.name, seed=seed):
            kept = folder.pieces()
            pieces = [Pieces(kept.folder, f"{kept.key}-{number:02d}") for number in range(len(looked_at))]
            results: dict[str, Sensitivity] = {}
            try:
                for (name, subject), own in zip(looked_at.items(), pieces, strict=True):
                    found = analysis.sensitivity(
                        subject, source, chosen, n, which, reduction=reduction, seed=seed,
                        labelled=labelled, batch_size=batch_size, keep=own, progress=True,
                    )  # fmt: skip
                    results[name] = dataclasses.replace(found, name=name)
                    folder.record_done(len(results) * each)
            except KeyboardInterrupt:
                done = sum(analysis.finished_z(own, len(chosen)) for own in pieces)
                folder.record_done(done)
                raise folder.interrupted(done, "noisy image") from None
            sides = _write(folder.path, results, files)
            folder.finish(len(looked_at) * each)
            print_table(some_levels(sides), SIDES)
    print_path(folder.path)


def _file_names(names: Iterable[str]) -> dict[str, str]:
    """A file for each denoiser's heatmaps."""
    files: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._=,+-]+", "-", name)[:100]
        while f"heatmaps-{plain}.npz" in files.values():
            plain += "-"
        files[name] = f"heatmaps-{plain}.npz"
    return files


def _write(path: Path, results: Mapping[str, Sensitivity], files: Mapping[str, str]) -> Table:
    """All files; returns the table of sides."""
    from smalti.core.table import Table
    from smalti.report.figures import save_figure, style
    from smalti.report.sensitivity_plots import sensitivity_figure

    for name, result in results.items():
        result.save(path / files[name])
    tables = [result.table() for result in results.values()]
    sides = Table(tables[0].columns, [row for table in tables for row in table])
    sides.save(path / SIDES)
    with style():
        figure = sensitivity_figure(results)
        save_figure(figure, path / PICTURE)
        save_figure(figure, path / PLOT)
    return sides
