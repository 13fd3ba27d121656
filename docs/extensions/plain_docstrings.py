"""Docstrings are plain text with Google sections; this makes the rest of them reStructuredText.

Formulas are indented blocks after a blank line, or paragraphs with three spaces in a row: they become literal blocks. Elsewhere a bar, an
asterisk or a name that ends in an underscore is meant as it stands, and not as markup.
"""

import itertools
import re

from sphinx.application import Sphinx

ALIGNED = re.compile(r"\S {3,}\S")
HEADER = re.compile(r"^\s*(Args|Arguments|Attributes|Returns|Raises|Yields|Note|Notes|Example|Examples):\s*$")
CODE = re.compile(r"(``.*?``|`[^`]*`)")


def setup(app: Sphinx) -> dict[str, bool]:
    """Run before napoleon, which is connected at 500."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    if what == "module":  # Sphinx would dedent what follows the first line, even if all of it is a formula
        lines[:] = [*(getattr(obj, "__doc__", None) or "").splitlines(), ""]
    # napoleon takes what stands before a colon in a property's first line for its type: let that line be an empty comment
    first = ["..", ""] if what in ("attribute", "property") else []
    lines[:] = first + plain(lines)


def plain(lines: list[str]) -> list[str]:
    """The lines with their indented blocks marked as literal, and the others escaped."""
    lines, found = list(lines), []
    base, literal = 0, None  # indentation of the text, and of the literal block that we are in
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            found.append(line)
            continue
        if literal is not None and indent >= literal:
            found.append(line)
            continue
        literal = None
        if number and not lines[number - 1].strip() and _aligned(lines[number:]) and not _in_section(lines, number):
            found += [" " * base + ".. code-block:: text", "", "    " + line]
            lines[number + 1 :] = _indented(lines[number + 1 :])
            literal = indent + 4
            continue
        after_blank = number > 0 and not lines[number - 1].strip()
        deeper = indent > base and not _in_section(lines, number)
        if deeper and (after_blank or number == 0):
            literal = indent
            found += [" " * base + ".. code-block:: text", "", line]
            continue
        if indent <= base or HEADER.match(line):
            base = indent
        found.append(_escaped(line))
    return found


def _aligned(lines: list[str]) -> bool:
    """Whether a paragraph at the left margin is aligned by spaces."""
    paragraph = list(itertools.takewhile(str.strip, lines))
    return all(not line.startswith(" ") for line in paragraph) and any(ALIGNED.search(line) for line in paragraph)


def _indented(lines: list[str]) -> list[str]:
    """The lines with those of the first paragraph moved to the right."""
    count = len(list(itertools.takewhile(str.strip, lines)))
    return ["    " + line for line in lines[:count]] + lines[count:]


def _in_section(lines: list[str], number: int) -> bool:
    """Whether a line belongs to a section such as Args, whose entries are indented."""
    for earlier in reversed(lines[:number]):
        if HEADER.match(earlier):
            return True
        if earlier.strip() and not earlier.startswith(" "):
            return False
    return False


def _escaped(line: str) -> str:
    parts = CODE.split(line)
    parts[::2] = [re.sub(r"([|*\\]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
    parts[2::2] = [
        re.sub(r"^(?=\w)", r"\\ ", part) for part in parts[2::2]
    ]  # `Step`s: the plural is set apart from the name
    return "".join(parts)
