"""The list of denoisers, made from the classes and their pages.

A line `% denoisers` in a page stands for the table of all denoisers and the contents of their pages, and `% denoiser-modules` for the
reference of their modules. A shipped denoiser without a page of its own is in the table with the first line of its docstring.
"""

from pathlib import Path

from sphinx.application import Sphinx

from smalti.denoisers import SHIPPED, Blend

PAGES = Path(__file__).parents[1] / "denoisers"
TABLE, MODULES = "% denoisers\n", "% denoiser-modules\n"


def setup(sphinx: Sphinx) -> dict[str, bool]:
    """Fill the pages when they are read."""
    sphinx.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def fill(sphinx: Sphinx, page: str, text: list[str]) -> None:
    """Put the lists in their places."""
    for place, made in ((TABLE, table), (MODULES, modules)):
        if place in text[0]:
            text[0] = text[0].replace(place, made())


def table() -> str:
    """Markdown: each denoiser with what its page begins with, and the hidden contents."""
    rows, pages = [], []
    for kind in (*SHIPPED, Blend):
        page = PAGES / f"{kind.name}.md"
        if page.is_file():
            rows.append(f"| [`{kind.name}`]({page.name}) | {first_paragraph(page.read_text('utf-8'))} |")
            pages.append(kind.name)
        else:
            rows.append(f"| `{kind.name}` | {(kind.__doc__ or '').strip().splitlines()[0]} |")
    return "\n".join(
        ["| name | what it is |", "|---|---|", *rows, "", "```{toctree}", ":hidden:", "", *pages, "```", ""]
    )


def modules() -> str:
    """Markdown: the reference of every module that a shipped denoiser is in."""
    names = dict.fromkeys(kind.__module__ for kind in (*SHIPPED, Blend))
    return "\n".join(
        f"## `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n   :show-inheritance:\n```\n"
        for name in names
    )


def first_paragraph(text: str) -> str:
    """What a page says below its title."""
    return " ".join(text.split("\n\n")[1].split())
