"""`smalti info DATA`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from smalti.cli import options
from smalti.cli.command import command
from smalti.cli.options import Images
from smalti.core.text import counted

__all__ = ["info", "info_rows"]


@dataclass
class Named(Images):
    """The data as an argument."""

    data: Annotated[str, typer.Argument(help=options.DATA_HELP)]


@command
def info(
    images: Named,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every image and compare it with what was decoded.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Count, size, channels, classes and range of a data set; what was skipped and why."""
    from smalti.cli.printing import print_json, print_rows
    from smalti.source import describe

    source = images.open()
    facts: dict[str, Any] = describe(source)
    if verify:
        facts["verified"] = source.verify()
    return print_json(facts) if as_json else print_rows(info_rows(facts))


def info_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, value) in words; a list takes a row per entry, its name on the first."""
    size, spread, (low, high) = facts["size"], facts["pixel_ranges"], facts["range"]["stored"]
    working = "{:.4g} to {:.4g}".format(*facts["range"]["working"])
    cache = facts["cache"]
    rows = [
        ("data", facts["name"] or "unnamed"),
        ("read from", _origin(facts)),
        ("images", str(facts["count"]) + (", each with its mirror image" if facts["hflip"] else "")),
        ("size", f"{size['height']} x {size['width']} (height x width)"),
        ("channels", str(facts["channels"])),
        ("stored as", f"{facts['dtype']}, {low:.6g} to {high:.6g}; {working} in the working scale"),
        (
            "per-pixel range",
            f"{spread['mean']:.3f} on average, from {spread['min']:.3f} to {spread['max']:.3f} (working scale)",
        ),
    ]
    if facts["rule"]:
        rows.append(("conversion", facts["rule"]))
    if cache:
        rows.append(("cache", f"{cache['folder']} ({'used' if cache['hit'] else 'written'})"))
    if "verified" in facts:
        said = (
            "every image is as it was decoded"
            if facts["verified"]
            else "nothing was decoded, so there is nothing to compare"
        )
        rows.append(("verified", said))
    classes = [c for c in facts["classes"] or [] if c["count"]]
    without = len(facts["classes"] or []) - len(classes)
    named = [
        f"{c['number']} {c['name']}" if c["name"] not in (None, str(c["number"])) else str(c["number"]) for c in classes
    ]
    rows += _listed(
        "classes", [f"{name}: {counted(c['count'], 'image')}" for name, c in zip(named, classes, strict=True)]
    )
    rows += [("", f"{without} more without images")] if without else []
    rows += _listed("skipped", [f"{entry['file']}: {entry['reason']}" for entry in facts["skipped"]])
    return rows


def _origin(facts: Mapping[str, Any]) -> str:
    if facts["format"] == "digits":
        return "the embedded digits"
    return f"{facts['path']} ({facts['format']})" if facts["path"] else "memory"


def _listed(name: str, lines: list[str]) -> list[tuple[str, str]]:
    return [(name if i == 0 else "", line) for i, line in enumerate(lines or ["none"])]
