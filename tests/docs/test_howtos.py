"""The pages: every block of Python, and every command, is run as it stands, in order and in an empty folder, on the digits."""

import re
import shlex
from pathlib import Path

import pytest

from smalti.cli import main

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "start.md", *sorted((DOCS / "howto").glob("*.md"))]
NEEDS = {"diffusers", "azula"}  # packages that the page of their name shows
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(path: Path) -> list[tuple[str, str, int]]:
    """(language, text, line of the page) of each block that is to be run."""
    text = path.read_text("utf-8")
    return [(m[1], m[2], text[: m.start(2)].count("\n")) for m in BLOCK.finditer(text)]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page, tmp_path, monkeypatch, capsys):
    if page.stem in NEEDS:
        pytest.importorskip(page.stem, reason=f"pip install smalti[{page.stem}]")
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": page.stem}
    for language, text, line in blocks(page):
        if language == "python":
            exec(compile("\n" * line + text, str(page), "exec"), names)
            continue
        for command in text.splitlines():
            program, *arguments = shlex.split(command, comments=True)
            assert program == "smalti", f"{page.name}: {command}"
            code = main(arguments)
            assert code == 0, f"{page.name}: {command}\n{capsys.readouterr().err}"


def test_every_howto_has_a_block_and_is_in_the_contents():
    listed = (DOCS / "howto" / "index.md").read_text("utf-8").split("```{toctree}")[1].split()
    for page in PAGES[1:]:
        if page.stem != "index":
            assert page.stem in listed
            assert blocks(page), f"{page.name} shows nothing that runs"
