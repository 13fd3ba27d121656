"""docs/architecture.md names files; they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
SUFFIXES = r"(?:py|pyi|md|toml|txt|css)"


def named() -> list[str]:
    """The paths that the page names in backticks; `a/{b,c}.py` stands for a/b.py and a/c.py."""
    found = []
    for text in re.findall(rf"`([\w./{{}},-]+\.{SUFFIXES})`", PAGE.read_text("utf-8")):
        choice = re.search(r"\{([^}]*)\}", text)
        found += [text.replace(choice[0], name) for name in choice[1].split(",")] if choice else [text]
    return found


def test_every_file_that_the_map_names_exists():
    paths = named()
    assert len(paths) > 20
    missing = [path for path in paths if not (ROOT / path).is_file() and not (ROOT / "src/smalti" / path).is_file()]
    assert not missing


def test_every_room_is_on_the_map():
    page = PAGE.read_text("utf-8")
    rooms = [path.name for path in (ROOT / "src/smalti").iterdir() if (path / "__init__.py").is_file()]
    assert [room for room in rooms if room not in page] == []
