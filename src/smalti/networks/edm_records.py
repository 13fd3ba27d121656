"""Objects of NVIDIA's EDM pickles as records: what their persistence decorator writes, and the few classes beside it.

An object of a decorated class is pickled as a call, _reconstruct_persistent_obj({type, version, module_src, class_name, state}), and
their loader compiles and runs module_src. Here the call makes a `ModuleRecord`, and module_src is text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from smalti.core.pickles import Attributed, Budget, Inert, Names, Record, RefusedError, printable
from smalti.networks.tensor_records import TensorRecord
from smalti.source.pickles import ARRAY_NAMES

__all__ = ["ModuleRecord", "edm_names", "modules_of", "tensors_of"]

PERSISTENCE = 6  # the version of the decorator in EDM, and the only one that its own loader takes
CONTAINERS = ("ModuleDict", "ModuleList", "Sequential")
MAX_DEPTH, MAX_MODULES, MAX_MEMBERS = 16, 5_000, 1_000  # the largest network of EDM's has some 700 modules


@dataclass(eq=False)
class ModuleRecord(Record):
    """An object: the name of its class, its attributes, and the source text that came with it, which is never compiled."""

    class_name: str
    state: dict[Any, Any] = field(default_factory=dict)
    source: str = ""

    def set_state(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ValueError("a module without a state")
        self.state = state

    def table(self, name: str) -> dict[str, Any]:
        """One of torch's tables of a module: "_parameters", "_buffers" or "_modules"."""
        found = self.state.get(name, {})
        plain = isinstance(found, dict) and len(found) <= MAX_MEMBERS
        if not plain or not all(isinstance(key, str) and len(key) <= 200 for key in found):
            raise ValueError(f"an object of {printable(self.class_name, 60)} without {name}")
        return found


def edm_names(budget: Budget) -> Names:
    """The names that EDM's pickles have besides those of tensors."""

    def persistent(arguments: tuple[Any, ...]) -> ModuleRecord:
        (meta,) = arguments
        if not isinstance(meta, dict) or meta.get("type") != "class":
            raise RefusedError("it has a persistent object that is not of a class")
        version, source, name, state = (meta.get(key) for key in ("version", "module_src", "class_name", "state"))
        if type(version) is not int or version != PERSISTENCE:
            raise RefusedError(f"it is of another version of the persistence decorator than {PERSISTENCE}")
        if not isinstance(source, str) or not isinstance(name, str) or not isinstance(state, dict):
            raise ValueError("a persistent object that is not whole")
        return ModuleRecord(name, state, source)

    def made_set(arguments: tuple[Any, ...]) -> set[str]:
        (items,) = arguments
        if not isinstance(items, list):
            raise RefusedError("it makes a set of something else than a list")
        budget.step(len(items))
        if not all(isinstance(item, str) for item in items):
            raise RefusedError("it makes a set of something else than text")
        return set(items)

    def container(kind: str) -> Callable[[tuple[Any, ...]], ModuleRecord]:
        return lambda arguments: ModuleRecord(kind)

    return {
        **ARRAY_NAMES,
        ("numpy.core.multiarray", "scalar"): lambda arguments: Inert("number"),
        ("numpy._core.multiarray", "scalar"): lambda arguments: Inert("number"),
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): persistent,
        ("dnnlib.util", "EasyDict"): lambda arguments: Attributed(),
        ("builtins", "set"): made_set,
        ("__builtin__", "set"): made_set,
        **{("torch.nn.modules.container", kind): container(kind) for kind in CONTAINERS},
    }


def modules_of(root: ModuleRecord) -> Iterator[tuple[str, ModuleRecord]]:
    """The modules in `root` and itself, each with the prefix of its parameters' names ("model.enc.").

    Raises:
        ValueError: modules nested too deep (or in a circle), or too many.
    """
    left = [("", root, 0)]
    count = 0
    while left:
        prefix, module, depth = left.pop()
        yield prefix, module
        for name, child in module.table("_modules").items():
            count += 1
            if depth == MAX_DEPTH or count > MAX_MODULES:
                raise ValueError("modules without end")
            if isinstance(child, ModuleRecord):
                left.append((f"{prefix}{name}.", child, depth + 1))
            elif child is not None:
                raise ValueError(f"a module that is a {type(child).__name__}")


def tensors_of(root: ModuleRecord) -> dict[str, TensorRecord]:
    """The state dict of `root`: parameters and persistent buffers by their full name."""
    found: dict[str, TensorRecord] = {}
    for prefix, module in modules_of(root):
        temporary = module.state.get("_non_persistent_buffers_set", ())
        for table in ("_parameters", "_buffers"):
            for name, value in module.table(table).items():
                if value is None or (table == "_buffers" and isinstance(temporary, set) and name in temporary):
                    continue
                if not isinstance(value, TensorRecord):
                    raise ValueError(f"a parameter that is a {type(value).__name__}")
                found[prefix + name] = value
    return found
