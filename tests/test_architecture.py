"""The rooms of the house and who may call whom, read from the imports as they are written.

Imports within functions and under TYPE_CHECKING count: whoever reads a module follows them. `from smalti.engine import Crops` is an import
of `smalti.engine`; `from smalti.engine.windows import Crops` is one of that module alone, though Python runs the package too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import smalti

ROOT = Path(smalti.__file__).parent
# from the ground up; rooms of one floor may call one another
FLOORS = (
    ("core",),
    ("source",),
    ("engine",),
    ("denoisers", "networks", "checks"),
    ("adapters",),
    ("sampling",),
    ("metrics", "report", "provenance", "quality", "analysis", "training"),
    ("experiments", "audit", "bench"),
    ("cli",),
    ("", "__main__"),  # the package itself, which names what the rooms offer
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> dict[str, Path]:
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = ["smalti", *path.relative_to(ROOT).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def written(name: str, path: Path) -> Iterator[str]:
    """The modules of this package that a module's imports name."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                if inner in MODULES:
                    yield inner
                elif origin in MODULES:
                    yield origin


IMPORTS = {name: set(written(name, path)) - {name} for name, path in MODULES.items()}


def circles(imports: dict[str, set[str]]) -> list[set[str]]:
    """The strongly connected components of more than one module (Tarjan's algorithm)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for other in sorted(imports[name]):
            if other not in number:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], number[other])
        if low[name] == number[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(set(stack[at:]))
            del stack[at:]

    for name in sorted(imports):
        if name not in number:
            visit(name)
    return found


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def test_there_are_no_import_circles():
    assert circles(IMPORTS) == []


def test_rooms_call_downward_only():
    upward = [
        f"{name} imports {other}"
        for name, imported in IMPORTS.items()
        for other in imported
        if FLOOR[room(other)] > FLOOR[room(name)]
    ]
    assert upward == []


def test_every_room_has_a_floor():
    assert {room(name) for name in MODULES} <= set(FLOOR)


def test_kernels_are_made_of_their_own_folder():
    """What is compiled must lie where `jit` looks for sources: a kernel kept from before a change elsewhere would be run."""
    kernels = [name for name in MODULES if name.startswith("smalti.engine.compiled.")]
    others = {other for name in kernels for other in IMPORTS[name] if not other.startswith("smalti.engine.compiled")}
    assert others <= {"smalti.core.cache"}


@pytest.mark.parametrize(
    ("imports", "found"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, [{"b", "c"}]),
        ({"a": {"b", "c"}, "b": {"a"}, "c": {"d"}, "d": {"c"}}, [{"c", "d"}, {"a", "b"}]),
    ],
)
def test_circles(imports, found):
    assert circles(imports) == found
