"""Where the cache is, and that it may be nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from smalti.core.cache import cache_root

INFO = """
import sys
from smalti.source import Source
source = Source.open(sys.argv[1])
print(len(source), source.origin.cache)
"""


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / "cache"
    monkeypatch.setenv("SMALTI_CACHE", "~/here")
    assert cache_root() == tmp_path / "here"
    monkeypatch.delenv("SMALTI_CACHE")
    assert cache_root() == tmp_path / "xdg" / "smalti"
    monkeypatch.setenv("XDG_CACHE_HOME", "~/xdg")
    assert cache_root() == tmp_path / "xdg" / "smalti"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == tmp_path / ".cache" / "smalti"


@pytest.mark.parametrize("name", ["SMALTI_CACHE", "XDG_CACHE_HOME"])
def test_a_home_of_nobody_is_no_folder(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("SMALTI_CACHE", raising=False)
    monkeypatch.setenv(name, "~nosuchuser/x")
    assert cache_root() is None


def test_no_home_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """No HOME and a user without an entry in passwd, as in a container with an arbitrary user id."""
    for name in ("SMALTI_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does for such a user
    assert cache_root() is None


@pytest.mark.parametrize("variables", [{"SMALTI_CACHE": "~nosuchuser/x"}, {"XDG_CACHE_HOME": "~nosuchuser/x"}])
def test_without_a_cache_images_stay_in_memory_with_one_warning(tmp_path: Path, variables: dict[str, str]) -> None:
    from PIL import Image

    (tmp_path / "work").mkdir()
    (tmp_path / "d").mkdir()
    Image.new("L", (8, 8), 9).save(tmp_path / "d" / "a.png")
    done = subprocess.run(
        [sys.executable, "-c", INFO, str(tmp_path / "d")],
        env={"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "PATH": "", "HOME": str(tmp_path), **variables},
        cwd=tmp_path / "work",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "None"]
    assert done.stderr.count("not cached") == 1
    assert "set SMALTI_CACHE to a folder that can be written" in done.stderr
    assert list((tmp_path / "work").iterdir()) == []
