"""Denoisers by name, as the command line, schedules, calibrations and reports know them.

The shipped ones are listed in `smalti.denoisers.__init__`; a denoiser of one's own joins with `register`, for as long as the program runs:

    smalti.denoisers.register(Columns)
    smalti.denoiser("columns:width=5", source)
    smalti.calibrate("columns", source)                  where the class has `by_level`
"""

from __future__ import annotations

import inspect
from typing import TypeVar

from smalti.core.by_level import ByLevel
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError, did_you_mean
from smalti.core.validation import shown

__all__ = ["REGISTRY", "by_level", "find", "parameters_of", "register"]

REGISTRY: dict[str, type[Denoiser]] = {}

Kind = TypeVar("Kind", bound=type[Denoiser])


def register(kind: Kind) -> Kind:
    """Make a denoiser known by its `name`; returns the class, so that it can stand above one with an @.

    Args:
        kind: a subclass of `smalti.Denoiser` with a `name` of its own, whose constructor takes `source` first.

    Raises:
        InputError: no such class, no name, or another class of that name.
    """
    if not (isinstance(kind, type) and issubclass(kind, Denoiser)):
        raise InputError(f"a class of denoisers is needed, a subclass of smalti.Denoiser, not {kind!r}")
    if not kind.name or set(kind.name) & set(":=, \t\n"):
        raise InputError(f"{kind.__name__} needs a name: name = 'my-denoiser', without spaces, ':', '=' or ','")
    if "source" not in inspect.signature(kind.__init__).parameters:
        raise InputError(f"the constructor of {kind.__name__} must take the source of images, called source")
    known = REGISTRY.get(kind.name)
    if known is not None and (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
        raise InputError(f"a denoiser is called {kind.name!r} already, {known.__module__}.{known.__qualname__}")
    REGISTRY[kind.name] = kind
    return kind


def find(name: str) -> type[Denoiser]:
    """The class of the denoiser called `name`; InputError, with the nearest name, if there is none."""
    if not isinstance(name, str) or name not in REGISTRY:
        raise InputError(
            f"no denoiser is called {shown(name)}{did_you_mean(str(name)[:80], REGISTRY)} (there are: {', '.join(REGISTRY)})"
        )
    return REGISTRY[name]


def parameters_of(kind: type[Denoiser]) -> dict[str, inspect.Parameter]:
    """Constructor parameters besides the source."""
    return {
        name: p for name, p in inspect.signature(kind.__init__).parameters.items() if name not in ("self", "source")
    }


def by_level(name: str) -> ByLevel:
    """What the denoiser called `name` has one value of for each noise level.

    Raises:
        InputError: there is no such denoiser, or it has nothing of the kind; lists those that do.
    """
    having = [key for key, kind in REGISTRY.items() if kind.by_level is not None]
    found = REGISTRY[name].by_level if isinstance(name, str) and name in REGISTRY else None
    if found is None:
        raise InputError(
            f"{shown(name)} has no parameter that a schedule chooses by noise level{did_you_mean(str(name)[:80], having)} "
            f"(these have: {', '.join(having)})"
        )
    return found
