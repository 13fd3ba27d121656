"""What code a result came from, as a digest that goes into the key of everything that is kept.

    digest(module) = sha256(version of the package, source of the module and of every module of the package that it imports)

Imports are read from the sources, so those within functions count too; names are followed to the end. A result that is kept under a key
with the digest of what computed it is never answered by code that has changed.

    function_digest(f)   of the definitions of f's module that f names, to the end, and of the modules that these import: a module that
                         computes and draws may draw otherwise, and what it computed stands
    class_digest(kind)   of the modules of a class and its bases, also of those that are not of this package
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import CodeType
from typing import Any

__all__ = ["class_digest", "code_digest", "function_digest", "imported_modules", "package_version"]

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
    imports = _imports(name, ast.parse(_file(name).read_bytes()))
    return frozenset(module for modules in imports.values() for module in modules) - {name}


def function_digest(function: Callable[..., Any]) -> str:
    """sha256 hex of the code that a function runs: the top-level definitions of its module that it names, directly or through each
    other, and the modules that these import. Of a function that is not of this package, its own code and constants."""
    module = function.__module__
    if _path(module) is None:
        return _outside_function(function)
    return _definition_digest(module, function.__qualname__.partition(".")[0])


def class_digest(*kinds: type) -> str:
    """sha256 hex of the code of classes: the modules of them and their bases, with all that those of this package import.

    Of a module of another package its file counts, and not what it imports; of a class that has no file (a notebook's) its functions.
    """
    hashed = hashlib.sha256()
    bases = {base for kind in kinds for base in kind.__mro__ if base.__module__ != "builtins"}
    own = sorted({base.__module__ for base in bases if _path(base.__module__) is not None})
    hashed.update(code_digest(*own).encode())
    for base in sorted(bases, key=lambda base: (base.__module__, base.__qualname__)):
        if base.__module__ not in own:
            hashed.update(_outside_class(base).encode())
    return hashed.hexdigest()


@cache
def _definition_digest(module: str, name: str) -> str:
    source = _file(module).read_text("utf-8")
    tree, lines = ast.parse(source), source.splitlines()
    bound: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        for given in _binds(statement):
            bound.setdefault(given, []).append(statement)
    imports = _imports(module, tree)
    found, waiting, modules = {}, list(bound.get(name, tree.body)), set()
    while waiting:
        statement = waiting.pop()
        if id(statement) in found:
            continue
        found[id(statement)] = statement
        modules |= {it for wanted in _imports(module, statement).values() for it in wanted}
        for node in ast.walk(statement):
            if isinstance(node, ast.Name):
                waiting += bound.get(node.id, [])
                modules |= imports.get(node.id, set())
    hashed = hashlib.sha256(code_digest(*sorted(modules - {module})).encode())
    for statement in sorted(found.values(), key=lambda it: it.lineno):
        first = min([statement.lineno, *(it.lineno for it in getattr(statement, "decorator_list", []))])
        hashed.update("\n".join(["", *lines[first - 1 : statement.end_lineno]]).encode())
    return hashed.hexdigest()


def _binds(statement: ast.stmt) -> Iterator[str]:
    """The names that a top-level statement gives a meaning to, other than by an import."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
    else:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def _imports(module: str, tree: ast.AST) -> dict[str, set[str]]:
    """Name -> the modules of this package that an import in `tree`, part of the source of `module`, reads for it."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted = [(alias.asname or alias.name.partition(".")[0], [alias.name]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(module, node)
            wanted = [(alias.asname or alias.name, [origin, f"{origin}.{alias.name}"]) for alias in node.names]
        else:
            continue
        for name, modules in wanted:
            parts = {part for one in modules for part in _with_parents(one) if _path(part) is not None}
            found.setdefault(name, set()).update(parts - {PACKAGE})
    return found


def _outside_class(kind: type) -> str:
    """Of a class of another package: the file of its module, else its functions."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if file is not None and Path(file).is_file():
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    functions = (value for value in vars(kind).values() if hasattr(value, "__code__"))
    return hashlib.sha256("".join(_outside_function(one) for one in functions).encode()).hexdigest()


def _outside_function(function: Any) -> str:
    code = getattr(function, "__code__", None)
    said = _of_code(code) if isinstance(code, CodeType) else repr(type(function))
    return hashlib.sha256(f"{function.__module__}.{getattr(function, '__qualname__', '')} {said}".encode()).hexdigest()


def _of_code(code: CodeType) -> str:
    """Instructions, names and constants, also of the functions within."""
    constants = [_of_code(it) if isinstance(it, CodeType) else repr(it) for it in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


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
