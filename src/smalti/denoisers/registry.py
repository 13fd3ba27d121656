"""Denoisers by name, as the command line and reports know them. A new one joins by one line in `REGISTRY`."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.denoisers.gaussian import Gaussian
from smalti.denoisers.local_score import LocalScore
from smalti.denoisers.nearest import Nearest
from smalti.denoisers.optimal import Optimal
from smalti.denoisers.pspc import PSPCSquare
from smalti.source import Source

__all__ = ["REGISTRY", "create", "parameters_of"]

REGISTRY: dict[str, type[Denoiser]] = {kind.name: kind for kind in (Optimal, PSPCSquare, LocalScore, Gaussian, Nearest)}


def create(name: str, source: Source, **parameters: Any) -> Denoiser:
    """The denoiser called `name` on `source`.

    Raises:
        InputError: an unknown name or parameter (with the nearest one), or a parameter that the denoiser refuses.
    """
    if name not in REGISTRY:
        raise InputError(f"unknown denoiser {name!r}{_hint(name, list(REGISTRY))}; there are {', '.join(REGISTRY)}")
    known = parameters_of(REGISTRY[name])
    for parameter in parameters:
        if parameter not in known:
            listed = ", ".join(known) or "none"
            raise InputError(f"{name} has no parameter {parameter!r}{_hint(parameter, list(known))}; it has: {listed}")
    return REGISTRY[name](source, **parameters)  # type: ignore[call-arg]


def parameters_of(kind: type[Denoiser]) -> dict[str, inspect.Parameter]:
    """Constructor parameters besides the source."""
    return {
        name: p for name, p in inspect.signature(kind.__init__).parameters.items() if name not in ("self", "source")
    }


def _hint(wrong: str, names: list[str]) -> str:
    near = difflib.get_close_matches(wrong, names, 1, 0.4)
    return f"; did you mean {near[0]!r}?" if near else ""
