"""`smalti explain`: which training pixels made a picture's pixels, as one page."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import options
from smalti.cli.command import REGULAR, Between, command
from smalti.cli.options import Images, Method, Run
from smalti.core.errors import InputError
from smalti.core.text import counted

if TYPE_CHECKING:
    import torch

    from smalti.audit.copy_search import CopySearch
    from smalti.core.table import Table
    from smalti.provenance.explanation import Explanation
    from smalti.source import Source

__all__ = ["explain"]

PAGE, ARRAYS, TABLE = "explain.html", "explain.npz", "levels.csv"
OF_SAMPLES = ("solver", "region", "stop", "counterfactuals")  # options about a sample of the denoiser
OF_METHOD = ("denoiser", "network", "param", "backend")


@command
def explain(
    *,
    images: Images,
    method: Method,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            help="Explain the sample of this seed (0 by default); with --image, the seed of its noise.",
            rich_help_panel=options.METHOD,
        ),
        Between(0, 2**64 - 1, "an integer from 0 to 2^64 - 1"),
    ] = None,
    noisy: Annotated[
        Path | None,
        typer.Option(
            "--input", help="Instead: one noisy image, a .npy (C, H, W), at --sigma.", rich_help_panel=options.METHOD
        ),
        REGULAR,
    ] = None,
    sigma: Annotated[
        float | None, typer.Option(help="The noise level of --input.", rich_help_panel=options.METHOD), options.SIGMA
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            help="Instead: a picture from anywhere, cropped and resized to the training images; noise is added at several levels.",
            rich_help_panel=options.METHOD,
        ),
        REGULAR,
    ] = None,
    generated: Annotated[
        int | None,
        typer.Option(
            help="Instead: the image of this number of `smalti generate` with --data and --seed, scale by scale; 0 is the first.",
            rich_help_panel=options.METHOD,
        ),
        Between(0, 2**63 - 1, "an integer from 0"),
    ] = None,
    draws: Annotated[
        int, typer.Option(help="Of noise at each level, for --image.", rich_help_panel=options.METHOD), Between(2, 1000)
    ] = 8,
    patch: Annotated[
        int | None,
        typer.Option(
            help="Side of the patches that are looked for in the training images, for --image.",
            show_default="a quarter of the image",
            rich_help_panel=options.METHOD,
        ),
        Between(1, 10_000),
    ] = None,
    shift: Annotated[
        int,
        typer.Option(
            help="How far beside its place a patch is looked for, in pixels, for --image.",
            rich_help_panel=options.METHOD,
        ),
        Between(0, 1000),
    ] = 2,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Solver steps of the sample; with --generated, steps at each scale.",
            show_default="18; with --generated those of `smalti generate`",
            rich_help_panel=options.METHOD,
        ),
        Between(1, 1000),
    ] = None,
    solver: Annotated[
        options.Solver, typer.Option(help="First order (euler) or second (heun).", rich_help_panel=options.METHOD)
    ] = options.Solver.EULER,
    region: Annotated[
        str | None,
        typer.Option(
            help="ROW,COLUMN,HEIGHT,WIDTH whose mean influence is asked of.",
            show_default="the middle third",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    stop: Annotated[
        float,
        typer.Option(help="The noise level at which the sample is read for influence.", rich_help_panel=options.METHOD),
        Between(0, 1e9),
    ] = 0.3,
    counterfactuals: Annotated[
        int,
        typer.Option(
            help="How many of the most influential images are really left out, the sample made again.",
            rich_help_panel=options.METHOD,
        ),
        Between(0, 1000),
    ] = 5,
    top: Annotated[
        int,
        typer.Option(help="Training images listed for each pixel.", rich_help_panel=options.METHOD),
        Between(1, 100),
    ] = 5,
    run: Run,
) -> None:
    """Which training pixels made this pixel: one page to look at, by pixel and noise level.

    A sample (--seed), a noisy image (--input with --sigma), a generated image (--generated) or a picture from anywhere (--image), of which
    it is looked for near-copies of training patches too, moved or mirrored. Writes explain.html, one file that needs nothing from
    elsewhere, explain.npz (the same numbers) and run.json into the --out folder, whose path is the last line on stdout.
    """
    if noisy is not None and (image is not None or seed is not None):
        raise InputError(f"--input and {'--seed' if image is None else '--image'} were given; explain one thing")
    if generated is not None and (noisy is not None or image is not None):
        raise InputError(f"--generated and {'--image' if noisy is None else '--input'} were given; explain one thing")
    if (sigma is None) != (noisy is None):
        raise InputError("--input needs its noise level, --sigma, and --sigma is for --input alone")
    if image is None:
        run.invocation.refuse(("draws", "patch", "shift"), "without --image")
    if image is not None or noisy is not None:
        other = "--image" if noisy is None else "--input"
        run.invocation.refuse((*OF_SAMPLES, "steps"), f"with {other}, as it is about a sample")
    if generated is not None:
        run.invocation.refuse(
            (*OF_METHOD, *OF_SAMPLES), "with --generated, whose denoisers are those of `smalti generate`"
        )
    if generated is not None and steps == 1:
        raise InputError("--steps must be at least 2 with --generated: the first step gives the mean of all images")
    place = _region(region)
    from smalti.audit.copy_search import copy_search
    from smalti.cli.inputs import load_z, parse_labels
    from smalti.cli.printing import print_path, print_table
    from smalti.cli.runs import long_run
    from smalti.provenance.explanation import (
        check_region,
        check_shares,
        default_levels,
        explain_generated,
        sample_units,
    )
    from smalti.sampling.defaults import default_steps
    from smalti.sampling.generation import default_sizes

    chosen = method.choose()
    with run.folder((PAGE, ARRAYS, TABLE)) as folder:
        source = images.open()
        z, digest = load_z(noisy, source.shape) if noisy else (None, None)
        if z is not None and len(z) != 1:
            raise InputError(f"{noisy} holds {counted(len(z), 'image')}; explain one at a time")
        picture = _picture(image, source) if image else None
        denoiser = chosen.create(source) if generated is None else None
        if denoiser is not None:
            check_shares(denoiser)
        place = check_region(place, source.shape)
        labels = parse_labels(method.labels, 1, source.class_names, source.num_classes)
        sampled = z is None and picture is None and generated is None
        if sampled:
            total = sample_units(steps or 18, stop, counterfactuals, len(source))
        elif generated is not None:
            sizes = default_sizes(source.shape)
            total = sum(count - 1 for count in (default_steps(sizes) if steps is None else [steps] * len(sizes)))
        else:
            total = 1 if picture is None else len(default_levels()) + 1
        contents = images.content(source) | method.content(chosen) | {"noisy": digest, "labels": labels}
        contents["image"] = None if picture is None else hashlib.sha256(picture.numpy().tobytes()).hexdigest()
        if not run.start(folder, total, contents, data=source.name, seed=seed):
            sampler = {
                "steps": steps or 18,
                "solver": solver,
                "region": place,
                "stop": stop,
                "counterfactuals": counterfactuals,
            }
            searched = None
            with long_run(folder, total, "explaining", "step") as advance:
                if generated is not None:
                    label = None if labels is None else labels[0]
                    found = explain_generated(
                        source, generated, seed or 0, steps, top, label, progress=advance, keep=folder.pieces()
                    )
                else:
                    found = _explained(
                        denoiser, (z, sigma, picture), seed or 0, labels, top, draws, sampler, folder.pieces(), advance
                    )
                if picture is not None:
                    searched = copy_search(source, picture, patch, shift, advance, folder.pieces())
            name = chosen.name if generated is None else "the denoiser of `smalti generate`"
            if generated is not None:
                scales = ", ".join(f"{height} x {width}" for height, width in dict.fromkeys(found.sizes or ()))
                what = f"Image {generated} of seed {seed or 0} of `smalti generate`, coarse to fine ({scales}), step by step."
            elif sampled:
                what = f"A sample of {chosen.name} (seed {seed or 0}, {counted(steps or 18, 'step')} of {solver}), level by level."
            else:
                what = f"{'A noisy image' if picture is None else 'A picture from elsewhere'}, {(noisy or image).name}."  # type: ignore[union-attr]
            lead, limits = _words(found, name, what, sampled)
            _write(folder.path, found, source, name, lead, limits, searched)
            folder.finish(total)
            print_table(_levels(found), TABLE)
    print_path(folder.path)


def _explained(
    denoiser: Any,
    subject: tuple[torch.Tensor | None, float | None, torch.Tensor | None],
    seed: int,
    labels: list[int] | None,
    top: int,
    draws: int,
    sampler: dict[str, Any],
    keep: Any,
    advance: Callable[[int], None],
) -> Explanation:
    from smalti.provenance.explanation import explain_image, explain_noisy, explain_sample

    z, sigma, picture = subject
    label = None if labels is None else labels[0]
    if z is not None and sigma is not None:
        return explain_noisy(denoiser, z, sigma, top, label, advance, keep)
    if picture is not None:
        return explain_image(denoiser, picture, None, draws, seed, top, label, advance, keep)
    return explain_sample(denoiser, seed, top=top, labels=label, progress=advance, keep=keep, **sampler)


def _region(text: str | None) -> tuple[int, int, int, int] | None:
    if text is None:
        return None
    try:
        row, column, height, width = (int(word) for word in text.split(","))
    except ValueError:
        raise InputError(f"--region must be ROW,COLUMN,HEIGHT,WIDTH in pixels, such as 2,2,4,4, not {text!r}") from None
    return row, column, height, width


def _picture(path: Path, source: Source) -> torch.Tensor:
    """The picture as one image of the source's shape, (C, H, W) in the working scale, by the rules of data sets."""
    import torch

    from smalti.audit.images import fitted
    from smalti.source.decoding import read_picture

    pixels = torch.from_numpy(read_picture(path, source.shape[1:])).float() / 127.5 - 1
    return fitted(pixels[None], source.shape, str(path))[0]


def _write(
    path: Path,
    found: Explanation,
    source: Source,
    name: str,
    lead: list[str],
    limits: list[str],
    searched: CopySearch | None,
) -> None:
    import numpy as np

    from smalti.audit.images import called
    from smalti.core.code import package_version
    from smalti.core.files import atomic_write, save_npz
    from smalti.report.explanation_page import ExplanationPage, render_explanation

    _, height, width = source.shape
    middle = min(reversed(range(len(found.sigmas))), key=lambda i: abs(found.sigmas[i] - 0.6))  # of the finest scale
    page = ExplanationPage(
        title="Where this picture comes from",
        lead=lead,
        explanation=found,
        names={number: called(source, number) for number in _shown(found, searched)},
        training=np.asarray(source.images),
        pixel=(height // 2, width // 2),
        start=middle,
        limits=limits,
        facts=[
            (
                "training images",
                f"{len(source):,} of {source.name or 'the data'}, {height} x {width}{', and their mirror images' * source.hflip}",
            ),
            ("denoiser", name),
            ("digest of the training images", source.fingerprint()[:16]),
        ],
        version=package_version(),
        copies=None if searched is None else searched.map(),
    )
    with atomic_write(path / PAGE) as file:
        file.write(render_explanation(page).encode())
    arrays = {
        name: getattr(found, name).numpy()
        for name in ("noisy", "denoised", "images", "shares", "places", "rest", "effective")
    }
    arrays["sigmas"] = np.array(found.sigmas)
    if found.sizes is not None:
        arrays["sizes"] = np.array(found.sizes)
    if found.errors is not None:
        arrays["errors"] = found.errors.numpy()
    if found.ranking:
        arrays["influential"] = np.array([row.number for row in found.ranking])
        arrays["influence"] = np.array([row.influence for row in found.ranking])
        arrays["counterfactual"] = np.array(
            [np.nan if row.counterfactual is None else row.counterfactual for row in found.ranking]
        )
    if searched is not None:
        arrays |= {f"copy_{name}": values for name, values in searched.patches.by_pixel(0).items()}
    save_npz(path / ARRAYS, arrays)
    _levels(found).save(path / TABLE)


def _levels(found: Explanation) -> Table:
    """What is printed: by level, how many images share a pixel, and the largest share, over pixels."""
    from smalti.core.table import Table

    columns = ("sigma", "effective_images_median", "largest_share_median", "largest_share_maximum")
    rows = []
    for level, (sigma, effective, share) in enumerate(
        zip(found.sigmas, found.effective, found.shares[..., 0], strict=True)
    ):
        values = sigma, float(effective.median()), float(share.median()), float(share.max())
        size = {} if found.sizes is None else {"size": "{} x {}".format(*found.sizes[level])}
        rows.append(size | dict(zip(columns, values, strict=True)))
    return Table((*(["size"] if found.sizes is not None else []), *columns), rows, note="over pixels")


def _shown(found: Explanation, searched: CopySearch | None) -> set[int]:
    shown = set(found.images.unique().tolist()) | {row.number for row in found.ranking}
    return shown if searched is None else shown | searched.numbers()


def _words(found: Explanation, name: str, what: str, sampled: bool) -> tuple[list[str], list[str]]:
    """The lead, and what the page does not know."""
    lead = [
        f"{what} {name} answers with weighted averages of training pixels, so that every pixel of its answer can be taken "
        "apart exactly: the shares below are no estimate.",
    ]
    limits = [
        f"It explains {name}, a closed-form denoiser of these training images. A trained network is another denoiser: what is shown "
        "here says nothing certain of it.",
        "It knows only the training images that it was given. An image that is not among them cannot be named, however near it may be.",
        "A share says how much a training image counts in the average, at one noise level. It does not say who drew, owned or copied what.",
    ]
    if sampled:
        limits.append(
            "Influence is first order: it holds while many images share a pixel, and says nothing below a noise level of about 0.2. "
            "The counterfactual is what really happens."
        )
    if found.sizes is not None:
        limits.append(
            "It was made coarse to fine: but for the last step of a scale, what the denoiser answers is kept for its detail alone, and "
            "takes its low frequencies from the finished coarser image. What came from the scales before it, only their shares say."
        )
    if found.errors is not None:
        limits.append(
            "The picture is not one that the denoiser made. Noise was added to it, and shares are averages over draws of noise, "
            f"with standard errors; an image that is not listed in every draw may have up to {100 * found.unlisted:.2g} % more."
        )
        limits.append(
            "What is called a near-copy is more alike than a fixed number. How often patches of unrelated pictures are as alike "
            "is not known here: "
            "smalti audit learns it from held-out images. Copies that were turned, scaled or moved further than a few pixels are "
            "not looked for."
        )
    return lead, limits
