"""A denoiser by its name, with parameters as values or as text: "pspc-square", "pspc-square:patch_size=5"."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from typing import Any

from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError, did_you_mean
from smalti.denoisers.base import check_source
from smalti.denoisers.registry import find, parameters_of
from smalti.denoisers.schedule_file import SCHEDULE, expanded
from smalti.denoisers.text import read_parameters
from smalti.source import Source

__all__ = ["create", "denoiser", "parameters_from_text"]


def denoiser(name: str, source: Source, **parameters: Any) -> Denoiser:
    """A denoiser from its name.

        smalti.denoiser("pspc-square", source)
        smalti.denoiser("pspc-square:patch_size=5", source)          the same as patch_size=5

    Args:
        name: as `smalti denoisers` lists it, or with parameters as the command line takes them: NAME:PARAM=VALUE[:PARAM=VALUE...].
        source: the training images.
        parameters: others of its constructor; also schedule=, a `Schedule` or its file, for the denoisers that have one.

    Raises:
        InputError: an unknown name or parameter (with the nearest one), one given twice, a bad schedule, or a parameter that the denoiser
            refuses.
    """
    if isinstance(name, type) and isinstance(called := getattr(name, "name", None), str) and called:
        raise InputError(f"a denoiser's name is text, {called!r}, or call {name.__name__}(source) itself")
    if not isinstance(name, str):
        raise InputError(f"a denoiser's name is text, such as 'pspc-square', not {type(name).__name__}")
    check_source(source)
    alone, *pairs = name.split(":")
    return create(alone, source, **parameters_from_text(find(alone), pairs, parameters))


def create(name: str, source: Source, **parameters: Any) -> Denoiser:
    """The denoiser called `name` on `source`; `denoiser` without text.

    Raises:
        InputError: as there.
    """
    kind = find(name)
    known, parameters = parameters_of(kind), expanded(name, parameters)
    for parameter in parameters:
        if parameter not in known:
            listed = ", ".join(known) or "none"
            raise InputError(f"{name} has no parameter {parameter!r}{did_you_mean(parameter, known)}; it has: {listed}")
    return kind(source, **parameters)  # type: ignore[call-arg]


def parameters_from_text(
    kind: type[Denoiser], pairs: Sequence[str], given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Constructor arguments from NAME=VALUE pairs, typed by the constructor's annotations, beside those that are given.

    "schedule=FILE" gives the values and sigmas in the file, so that these, not its name, determine a run.

    Raises:
        InputError: as `smalti.denoisers.text.read_parameters`; a bad schedule.
    """
    names = [*parameters_of(kind), *([] if kind.by_level is None else [SCHEDULE])]
    hints = {**typing.get_type_hints(kind.__init__), SCHEDULE: str}
    return expanded(kind.name, read_parameters(kind.name, names, hints, pairs, given or {}))
