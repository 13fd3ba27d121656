"""What was measured, put into pages, so that no page keeps numbers of its own.

    {measured} PREFIX     the rows of the speed table whose first cell starts with PREFIX
    {measured-table}      docs/measured/speed.md
    {measured-scaling}    docs/measured/scaling.md

Both files are Markdown, as `make bench` writes them.
"""

import re
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

DOCS = Path(__file__).parents[1]
TABLE, SCALING = DOCS / "measured" / "speed.md", DOCS / "measured" / "scaling.md"
KEPT = ("what", "ours", "published", "ratio")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("measured", Measured)
    app.add_directive("measured-table", MeasuredTable)
    app.add_directive("measured-scaling", MeasuredScaling)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Included(SphinxDirective):
    """Markdown from elsewhere."""

    def text(self) -> tuple[Path, str]:
        """Where it is from, and the Markdown."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        path, text = self.text()
        self.env.note_dependency(str(path))
        container = nodes.container()
        self.state.nested_parse(StringList(joined(text).splitlines(), str(path)), self.content_offset, container)
        return container.children


class MeasuredTable(Included):
    """The speed table with what is said of it."""

    def text(self) -> tuple[Path, str]:
        return TABLE, TABLE.read_text("utf-8")


class MeasuredScaling(Included):
    """Time against N and sigma."""

    def text(self) -> tuple[Path, str]:
        return SCALING, SCALING.read_text("utf-8")


class Measured(SphinxDirective):
    """Rows of the table."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(TABLE))
        found = rows(TABLE.read_text("utf-8"), self.arguments[0])
        if not found:
            raise self.error(f"{TABLE.name} has no row that starts with {self.arguments[0]!r}")
        text = ["| " + " | ".join(KEPT) + " |", "|---" * len(KEPT) + "|"]
        text += [joined("| " + " | ".join(row) + " |") for row in found]
        container = nodes.container()
        self.state.nested_parse(StringList(text, str(TABLE)), self.content_offset, container)
        return container.children


def joined(markdown: str) -> str:
    """Numbers and units of table cells with spaces that no line ends at."""
    return re.sub(r"(\| [^|]*\d) (s|x|MB)(?= \|)", "\\1\u00a0\\2", markdown)


def rows(markdown: str, prefix: str) -> list[list[str]]:
    """The cells under `KEPT` of the rows that start with a prefix, of the first table whose header starts with "what"."""
    header: list[str] = []
    found = []
    for line in markdown.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if cells and cells[0] == "what" and not header:
            header = cells
        elif header and not cells:
            break
        elif header and cells[0].startswith(prefix):
            found.append([cells[header.index(name)] for name in KEPT])
    return found
