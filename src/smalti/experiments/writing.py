"""What a run writes: pictures and tables of exhibits as files, and the report: claims, sections, numbers of z, what it was made with."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from smalti.analysis.descriptors import KNOWN, SSCD
from smalti.core.files import atomic_write
from smalti.core.progress import progress
from smalti.core.run_record import RECORD
from smalti.core.table import Table
from smalti.experiments.claims import Verdict, evaluate
from smalti.experiments.environment import machine, versions
from smalti.experiments.exhibit import Exhibit, Picture, Shown
from smalti.experiments.laboratory import Laboratory
from smalti.experiments.request import Request
from smalti.experiments.steps import Results, Step, Store, ordered
from smalti.report.figures import figure_bytes, literal, style
from smalti.report.html import Drawn, Page, Section, data_uri, render

__all__ = ["REPORT", "Outcome", "counts_table", "draw", "small_png", "write_page"]

CSS_PIXELS = 96  # per inch


@dataclass(frozen=True)
class Outcome:
    """What became of an exhibit.

    Attributes:
        section: for the page.
        tables: by name.
        files: that were written, relative.
    """

    section: Section
    tables: Mapping[str, Table] = field(default_factory=dict)
    files: Sequence[str] = ()


def draw(
    chosen: Sequence[Exhibit],
    plans: Mapping[str, tuple[Step, ...] | str],
    lab: Laboratory,
    results: Results,
    store: Store,
    out: Path,
    show: bool | None = None,
) -> list[Outcome]:
    """Draw exhibits and write figures/ and tables/ in `out`.

    Args:
        chosen: the exhibits.
        plans: key -> its steps, or why it is not shown.
        lab: the laboratory.
        results: of all steps.
        store: knows how long they took.
        out: the folder of the run.
        show: whether progress is shown.
    """
    outcomes = []
    with progress("drawing", len(chosen), show) as advance, style():
        for exhibit in chosen:
            plan = plans[exhibit.key]
            if isinstance(plan, str):
                section = Section(exhibit.key, exhibit.title, exhibit.origin, missing=plan.rstrip("."))
                outcomes.append(Outcome(section))
            else:
                seconds = store.took(ordered(plan)) if lab.costs.seconds else None
                outcomes.append(_outcome(exhibit, exhibit.show(lab, results), seconds, out))
            advance(1, exhibit.key)
    return outcomes


def _outcome(exhibit: Exhibit, shown: Shown, seconds: float | None, out: Path) -> Outcome:
    drawn: list[Drawn] = []
    files: list[str] = []
    for picture in shown.pictures:
        one = _drawn(picture, out)
        drawn.append(one)
        files += one.files.values()
    tables: list[tuple[str, Table, str]] = []
    for name, table in shown.tables.items():
        path = f"tables/{name}.csv"
        table.save(out / path)
        tables.append((name, table, path))
    section = Section(exhibit.key, exhibit.title, exhibit.origin, None, drawn, shown.notes, tables, seconds=seconds)
    return Outcome(section, dict(shown.tables), [*files, *(path for _, _, path in tables)])


def _drawn(picture: Picture, out: Path) -> Drawn:
    """Write a picture as PDF and PNG; in the page it is an SVG whose letters are outlines, or the PNG."""
    files: dict[str, str] = {}
    content: dict[str, bytes] = {}
    literal(picture.figure)
    picture.figure.draw_without_rendering()
    picture.figure.set_layout_engine("none")  # laid out once, not for every file
    for kind in ("pdf", "png"):
        content[kind] = figure_bytes(picture.figure, kind)
        files[kind.upper()] = f"figures/{picture.name}.{kind}"
        with atomic_write(out / files[kind.upper()]) as file:
            file.write(content[kind])
    if picture.vector:
        with matplotlib.rc_context({"svg.fonttype": "path"}):  # the reader's machine may not have the font
            uri = data_uri(figure_bytes(picture.figure, "svg"), "svg")
    else:
        uri = data_uri(small_png(content["png"]), "png")
    return Drawn(picture.name, uri, _size(picture.figure), picture.alternative, picture.caption, files)


def small_png(content: bytes) -> bytes:
    """The same picture with a palette of 256 colours where it has no more, which takes a fraction of the room."""
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        opaque = image.convert("RGB")
        if opaque.getcolors(256) is None:
            return content
        buffer = io.BytesIO()
        opaque.convert("P", palette=Image.Palette.ADAPTIVE, colors=256).save(buffer, "png", optimize=True)
    return buffer.getvalue() if buffer.tell() < len(content) else content


def _size(figure: Figure) -> tuple[int, int]:
    width, height = figure.get_size_inches()
    return round(CSS_PIXELS * width), round(CSS_PIXELS * height)


REPORT = "report.html"
WHO = (
    "denoiser",
    "subject",
    "network",
    "target",
    "a",
)  # columns that say whose number a row is, the first that a table has
FILES = {
    "z/forward.npy": "noisy images, forward process",
    "z/reverse.npy": "states of the reference network's own sampling",
    "run.log": "what was computed when",
    RECORD: "identities, seeds, versions, costs",
}


def write_page(
    lab: Laboratory, outcomes: Sequence[Outcome], request: Request, out: Path, files: Sequence[str]
) -> tuple[Path, dict[str, Any]]:
    """Judge the claims and write report.html and tables/claims.csv.

    Args:
        lab: the laboratory.
        outcomes: of the exhibits.
        request: of the run.
        out: its folder.
        files: that were written so far, relative.

    Returns:
        The path of the report, and what the record says of a complete run.

    Raises:
        EnvironmentFailure: the disk is full or the folder may not be written.
    """
    tables = {name: table for outcome in outcomes for name, table in outcome.tables.items()}
    verdicts = evaluate(tables, _setting(lab))
    claims = _claims_table(verdicts)
    claims.save(out / "tables" / "claims.csv")
    links = {name: text for name, text in FILES.items() if name in files or (out / name).is_file()}
    page = Page(
        title=f"Denoising locally: two papers reproduced on {lab.source.name or 'your images'}",
        lead=_lead(lab),
        claims=verdicts,
        sections=[outcome.section for outcome in outcomes],
        counts=counts_table(tables),
        notes=lab.notes,
        facts=_facts(lab, request),
        command=request.command,
        files={text: name for name, text in {**links, "tables/claims.csv": "the claims and verdicts"}.items()},
    )
    path = out / REPORT
    with atomic_write(path) as file:
        file.write(render(page).encode("utf-8", "backslashreplace"))
    return path, _more(lab, claims)


def counts_table(tables: dict[str, Table]) -> Table:
    """Columns table, n (a number, or "2 to 64") and of (the denoisers that have it): what the numbers of the tables rest on."""
    rows = []
    for name, table in tables.items():
        who = next((column for column in WHO if column in table.columns), None)
        if "n" not in table.columns:
            continue
        found: dict[str, list[int]] = {}
        for row in table:
            if row["n"] is not None:
                found.setdefault(str(row[who]) if who else "all", []).append(int(row["n"]))
        groups: dict[str, list[str]] = {}  # n -> the denoisers that have it
        for one, numbers in found.items():
            low, high = min(numbers), max(numbers)
            groups.setdefault(str(low) if low == high else f"{low} to {high}", []).append(one)
        rows += [{"table": name, "n": n, "of": ", ".join(several)} for n, several in groups.items()]
    return Table(("table", "n", "of"), rows)


def _setting(lab: Laboratory) -> dict[str, Any]:
    """What claims may depend on besides the tables."""
    return {
        "data": lab.source.name,
        "images": len(lab.source),
        "side": min(lab.source.shape[1:]),
        "shape": lab.source.shape,
        "networks": tuple(lab.networks),
        "reference": lab.reference,
        "halves": tuple(lab.halves),
        "limited": dict(lab.limited),
        "scale": lab.scale.name,
    }


def _claims_table(verdicts: Sequence[Verdict]) -> Table:
    """A row a claim; an effect that there is not is empty."""
    rows = []
    for verdict in verdicts:
        said = {name: getattr(verdict, name) for name in ("key", "claim", "source", "verdict", "scope", "evidence")}
        value, low, high = verdict.effect or (None, None, None)
        rows.append({**said, "effect": value, "effect_low": low, "effect_high": high})
    columns = ("key", "claim", "source", "verdict", "scope", "evidence", "effect", "effect_low", "effect_high")
    return Table(columns, rows, "written by rules from the tables of this report")


def _lead(lab: Laboratory) -> list[str]:
    """What this is, in three sentences."""
    c, h, w = lab.source.shape
    images = f"{len(lab.source):,} images of {lab.source.name or 'your data'} ({h} x {w}, {'grey' if c == 1 else f'{c} channels'}"
    images += ", mirror images counted in)" if lab.source.hflip else ")"
    held = (
        f"hold against {_listed(list(lab.networks))}"
        if lab.networks
        else "do (no network was given to hold them against)"
    )
    return [
        "A trained diffusion network makes new images, though the optimal denoiser of its training set only copies; two papers of "
        "Niedoba and others (a workshop paper of 2024, an article of 2025) explain this by networks that denoise locally, patch by patch.",
        f"This page repeats their experiments on {images}, and shows how training-free denoisers {held}.",
        "The numbers were computed in this run, but for those that are said to be published. The tables give the noisy images or samples "
        "(n) that a mean rests on, and its 95 % interval where one can be told; pictures of single images have neither.",
    ]


def _facts(lab: Laboratory, request: Request) -> dict[str, list[tuple[str, str]]]:
    source = lab.source
    data = [
        ("name", source.name or "unnamed"),
        (
            "images",
            f"{len(source):,} of {'x'.join(map(str, source.shape))}{', mirror images counted in' if source.hflip else ''}",
        ),
        ("fingerprint", source.fingerprint()),
    ]
    if lab.held_out is not None:
        data.append(("held out", f"{len(lab.held_out):,} images"))
    networks = [(name, _about(lab, name, network)) for name, network in lab.networks.items()]
    networks += [
        (name, f"{_about(lab, name, network)}; trained on {len(images):,} images")
        for name, (network, images) in lab.halves.items()
    ]
    costs = [
        (
            name,
            f"{1000 * lab.costs.of(name) / len(lab.sigmas):.3g} ms for one noisy image, mean over {len(lab.sigmas)} levels",
        )
        for name in lab.subjects
        if lab.costs.seconds
    ]
    if request.n is None:
        numbers = ("time budget", "none" if request.minutes is None else f"{request.minutes:g} minutes")
    else:
        numbers = ("noisy images a level, and samples", f"{request.n} for every denoiser, as asked for")
    found = {
        "Data": data,
        "Networks": networks,
        "Settings": [
            ("scale", request.scale.name),
            numbers,
            ("seed", f"{request.seed}; every draw depends on it, the noise level and its own number alone"),
            ("noise levels", f"{len(lab.sigmas)}, sigma {float(lab.sigmas[0]):g} to {float(lab.sigmas[-1]):g}"),
            *([] if (sscd := lab.loaded) is None else [("SSCD", f"sha256 {sscd.digest}, {_known(sscd)}")]),
        ],
        "What a query costs (measured at the start)": costs,
        "Machine": list(machine().items()),
        "Versions": list(versions().items()),
    }
    return {heading: pairs for heading, pairs in found.items() if pairs}


def _about(lab: Laboratory, name: str, network: Any) -> str:
    count = getattr(network, "parameter_count", lambda: 0)()
    digest = str(lab.identity(name).get("digest", ""))
    called = getattr(network, "name", name)
    return ", ".join(
        filter(None, (called, f"{count:,} parameters" if count else "", digest[:16] and f"sha256 {digest[:16]}..."))
    )


def _known(sscd: SSCD) -> str:
    return "not a known file, run by --trust" if sscd.digest not in KNOWN else sscd.name


def _more(lab: Laboratory, claims: Table) -> dict[str, Any]:
    """What the record says of a complete run."""
    return {
        "networks": {name: lab.identity(name) for name in lab.networks},
        "halves": {name: lab.identity(name) for name in lab.halves},
        "denoisers": {name: lab.identity(name) for name in lab.denoisers},
        "limited": dict(lab.limited),
        "sscd": None if (sscd := lab.loaded) is None else {"sha256": sscd.digest, "file": _known(sscd)},
        "sigmas": lab.sigmas.tolist(),
        "sizes": dataclasses.asdict(lab.scale),
        "costs": {name: list(seconds) for name, seconds in lab.costs.seconds.items()},
        "claims": {row["key"]: row["verdict"] for row in claims},
        "machine": machine(),
    }


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
