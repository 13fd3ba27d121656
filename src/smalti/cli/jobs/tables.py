"""What `smalti info` and `smalti denoisers` print: a table on a terminal, plain lines in a pipe, or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from smalti import denoisers
from smalti.core.text import counted

__all__ = ["denoiser_list", "info_rows", "print_denoisers", "print_info", "print_rows"]


def print_info(facts: Mapping[str, Any], as_json: bool = False) -> None:
    """Print what `smalti.source.describe` found."""
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    print_rows(info_rows(facts))


def print_rows(rows: Sequence[tuple[str, str]]) -> None:
    """(what, value) pairs: a table on a terminal, aligned lines in a pipe."""
    if not sys.stdout.isatty():
        width = max(len(name) for name, _ in rows)
        print("\n".join(f"{name:<{width}}  {text}" for name, text in rows))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, Text(text))
    Console().print(table)


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


def print_denoisers(as_json: bool = False) -> None:
    """Print every registered denoiser: name(parameters), its summary, its paper."""
    listed = denoiser_list()
    if as_json:
        print(json.dumps(listed, indent=2, default=str))
        return
    console = Console(soft_wrap=True, highlight=False)
    for entry in listed:
        parameters = ", ".join(f"{name}={_shown(value)}" for name, value in entry["parameters"].items())
        console.print(Text.assemble((entry["name"], "bold"), f"({parameters})"))
        for line in filter(None, (entry["summary"], entry["paper"])):
            console.print(Text(f"    {line}"))


def denoiser_list() -> list[dict[str, Any]]:
    """name, parameters (name -> default, "required" without one), summary and paper of every registered denoiser."""
    return [
        {
            "name": name,
            "parameters": {
                key: "required" if p.default is p.empty else p.default
                for key, p in denoisers.parameters_of(kind).items()
            },
            "summary": (kind.__doc__ or "").strip().partition("\n")[0],
            "paper": kind.paper,
        }
        for name, kind in denoisers.REGISTRY.items()
    ]


def _shown(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
