"""What code a result came from, as a digest that goes into the key of everything that is kept.

    digest(module) = sha256(version of the package, source of the module and of every module of the package that it imports)

Imports are read from the sources, so those within functions count too; names are followed to the end. A result that is kept under a key
with the digest of what computed it is never answered by code that has changed.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["code_digest", "imported_modules", "package_version"]

PACKAGE = __name__.partition(".")[0]
ROOT = Path(__file__).resolve().parent.parent


@cache
def code_digest(*names: str) -> str:
    """sha256 hex of the code that `names` run: theirs and that of all they import from this package.

    Args:
        names: modules, such as "smalti.analysis.errors"; a package ("smalti.source") stands for all modules in it.

    Raises:
        ValueError: there is no such module.
    """
    hashed = hashlib.sha256(package_version().encode())
    for name in sorted(_closure(names)):
        hashed.update(f"\0{name}\0".encode() + _file(name).read_bytes())
    return hashed.hexdigest()


@cache
def package_version() -> str:
    """The installed version of the package; "0+unknown" for a source tree that is not installed."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "0+unknown"


@cache
def imported_modules(name: str) -> frozenset[str]:
    """The modules of this package that the source of `name` imports, wherever in it, also for its types alone.

    Importing a module runs the `__init__` of the packages around it, which count too, but for the outermost: that names everything
    and computes nothing.

    Raises:
        ValueError: there is no such module.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(_file(name).read_bytes())):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(name, node)
            wanted = [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
        else:
            continue
        for module in wanted:
            found.update(part for part in _with_parents(module) if _path(part) is not None)
    return frozenset(found - {name, PACKAGE})


def _closure(names: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = [module for name in names for module in _members(name)]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += imported_modules(module)
    return found


def _members(name: str) -> Iterator[str]:
    """The module, and where it is a package all modules in it."""
    path = _file(name)
    yield name
    if path.name == "__init__.py":
        for inner in sorted(path.parent.rglob("*.py")):
            parts = inner.relative_to(ROOT).with_suffix("").parts
            yield ".".join((PACKAGE, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def _origin(name: str, node: ast.ImportFrom) -> str:
    """The absolute name of the module that `from ... import` in the module `name` reads."""
    if not node.level:
        return node.module or ""
    package = name.split(".") if _file(name).name == "__init__.py" else name.split(".")[:-1]
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _path(name: str) -> Path | None:
    """The source of a module of this package, or None where the name is not one's."""
    package, *parts = name.split(".")
    if package != PACKAGE:
        return None
    base = ROOT.joinpath(*parts)
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if parts and path.is_file():
            return path
    return ROOT / "__init__.py" if not parts else None


def _file(name: str) -> Path:
    path = _path(name)
    if path is None:
        raise ValueError(f"{name} is no module of {PACKAGE}")
    return path
