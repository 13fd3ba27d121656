"""`smalti info DATA`."""

from __future__ import annotations

from typing import Annotated

import typer

from smalti.cli import options

__all__ = ["info"]


def info(
    data: Annotated[str, typer.Argument(help="Folder, zip, .npy, .npz, CIFAR-10 archive, or 'digits'.")],
    hflip: options.HFlip = False,
    classes: options.Classes = None,
    limit: options.Limit = None,
    resolution: options.Resolution = None,
    layout: options.LayoutOption = options.Layout.NCHW,
    skip_bad: options.SkipBad = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Count, size, channels, classes and range of a data set; what was skipped and why."""
    from smalti.cli.jobs.data import DataOptions, open_source
    from smalti.cli.jobs.tables import print_info
    from smalti.source import describe

    source = open_source(DataOptions(data, hflip, classes, limit, resolution, layout.value, skip_bad))
    print_info(describe(source), as_json)
