"""`smalti quality`: how good samples are, and whether they are copies."""

from __future__ import annotations

from typing import Annotated

import typer

from smalti.cli import options
from smalti.cli.command import Between, command
from smalti.cli.options import Images
from smalti.core.errors import InputError

__all__ = ["quality"]


@command
def quality(
    samples: Annotated[
        str,
        typer.Argument(
            help="samples.npz of a run (or its folder), or any data set of the same size.", metavar="SAMPLES"
        ),
    ],
    *,
    images: Images,
    held_out: Annotated[
        str,
        typer.Option(
            "--held-out",
            help="Images that the samples were not made from; the same kinds as --data.",
            rich_help_panel=options.DATA,
        ),
    ],
    features: Annotated[
        str,
        typer.Option(
            help="efficientnet-lite0 (extra smalti[quality]), pixels, or an ONNX or TorchScript file.",
            rich_help_panel=options.METHOD,
        ),
    ] = "efficientnet-lite0",
    feature_size: Annotated[
        int | None,
        typer.Option(help="Side that images are resized to for the features.", rich_help_panel=options.METHOD),
        Between(1, 4096),
    ] = None,
    feature_scale: Annotated[
        str,
        typer.Option(
            help="What a file's network takes: signed, unit, imagenet or bytes.", rich_help_panel=options.METHOD
        ),
    ] = "signed",
    trust: Annotated[
        bool, typer.Option("--trust", help="Load a TorchScript file, which is code.", rich_help_panel=options.METHOD)
    ] = False,
    reference: Annotated[
        int, typer.Option(help="At most so many held-out images.", rich_help_panel=options.METHOD), Between(4)
    ] = 1000,
    patch: Annotated[
        int | None,
        typer.Option(
            help="Side of the patches that are looked for.",
            show_default="a quarter of the image",
            rich_help_panel=options.METHOD,
        ),
        Between(1, 10_000),
    ] = None,
    shift: Annotated[
        int,
        typer.Option(help="How far beside its place a patch is looked for.", rich_help_panel=options.METHOD),
        Between(0, 100),
    ] = 2,
    as_json: options.Json = False,
) -> None:
    """KID with its interval, precision and recall, diversity, and copies of training images and patches.

    Copies are samples nearer to a training image than 99 % of held-out images are. Every number says its features and sizes.
    """
    import smalti.quality as measures
    from smalti.cli.inputs import open_pictures
    from smalti.cli.options import parse_resolution
    from smalti.cli.printing import print_json, print_rows
    from smalti.core.progress import progress
    from smalti.source import Source

    named = measures.load_features(features, size=feature_size, scale=feature_scale, trust=trust)
    training = images.open()
    size = parse_resolution(images.resolution)
    others = Source.open(held_out, resolution=size, skip_bad=images.skip_bad)
    made, _, _ = open_pictures("SAMPLES", samples, size, images.skip_bad)
    if training.shape != others.shape:
        raise InputError(f"--data has images of {training.shape}, --held-out of {others.shape}; give a --resolution")
    counts = min(reference, len(others)), len(made)
    total = sum(2 * count + min(256, count) for count in counts)
    with progress("measuring", total, show=True) as advance:
        against = measures.Reference(training, others, named, patch, shift, reference, advance)
        found = measures.measure(made, against, advance)
    if as_json:
        print_json({name: {"value": value, "measured": how} for name, value, how in found.rows()})
        return
    print_rows([(name, f"{value}  [{how}]") for name, value, how in found.rows()])
