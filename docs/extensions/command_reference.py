"""The command line's reference, made from the commands themselves.

A line `% commands` in a page stands for every command of `smalti`: what it does, and its options with their defaults.
"""

import re
from typing import Any

import typer
from sphinx.application import Sphinx

from smalti.cli.app import app

PLACE = "% commands\n"
COMMON = "debug", "help"  # of every command, said once on the page


def setup(sphinx: Sphinx) -> dict[str, bool]:
    """Fill the page when it is read."""
    sphinx.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def fill(sphinx: Sphinx, page: str, text: list[str]) -> None:
    """Put the reference in its place."""
    text[0] = text[0].replace(PLACE, reference() if PLACE in text[0] else "")


def reference() -> str:
    """Markdown of all commands."""
    group = typer.main.get_command(app)
    context = group.make_context("smalti", [], resilient_parsing=True)
    parts = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        parts.append(section(command, command.make_context(name, [], parent=context, resilient_parsing=True)))
    return "\n".join(parts)


def section(command: Any, context: Any) -> str:
    """One command: its text, and its options by the panels of its help."""
    rows: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        found = parameter.get_help_record(context)
        if found is not None and parameter.name not in COMMON:
            panel = getattr(parameter, "rich_help_panel", None) or "Options"
            rows.setdefault(panel, []).append(found)
    lines = [f"## smalti {context.info_name}", "", marked(command.help or "").strip(), ""]
    for panel, options in rows.items():
        lines += [f"**{panel}**", ""]
        for names, text in options:
            lines += [f"`{names.strip()}`", f": {marked(' '.join(text.split())) or '-'}", ""]
    return "\n".join(lines)


def marked(text: str) -> str:
    """Options within a text as code, so that no dash is lost."""
    return re.sub(r"(?<![`\w-])(--?[a-z][\w-]*)(?![`\w])", r"`\1`", text)
