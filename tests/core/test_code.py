"""Digests of code: what a kept result is answered by."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import smalti
from smalti.core.code import code_digest, imported_modules

SOURCES = Path(smalti.__file__).parent


def digest_in(root: Path, *names: str) -> str:
    """The digest that a copy of the package under `root` gives."""
    program = f"from smalti.core.code import code_digest; print(code_digest(*{names!r}))"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(root), "PATH": ""}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(SOURCES, tmp_path / "smalti", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_digest_changes_with_the_module_with_what_it_imports_and_with_nothing_else(copy: Path) -> None:
    name = "smalti.core.pieces"
    before = digest_in(copy, name)
    (copy / "smalti/sampling/__init__.py").open("a").write("\n# not imported by it\n")
    assert digest_in(copy, name) == before
    (copy / "smalti/core/errors.py").open("a").write("\n# imported by it\n")
    through = digest_in(copy, name)
    assert through != before
    (copy / "smalti/core/pieces.py").open("a").write("\n# itself\n")
    assert digest_in(copy, name) != through


def test_a_package_stands_for_all_its_modules(copy: Path) -> None:
    before = digest_in(copy, "smalti.source")
    (copy / "smalti/source/resizing.py").open("a").write("\n# changed\n")
    assert digest_in(copy, "smalti.source") != before


def test_imports_within_functions_and_of_packages_count() -> None:
    assert "smalti.source.source" in imported_modules("smalti.source")
    assert "smalti.core" in imported_modules("smalti.core.pieces")
    assert "smalti.core.errors" in imported_modules("smalti.core.pieces")
    assert "smalti" not in imported_modules("smalti.core.pieces")


def test_an_unknown_module_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"smalti\.nothing is no module"):
        code_digest("smalti.nothing")
