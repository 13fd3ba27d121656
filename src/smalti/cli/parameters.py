"""--denoiser, --param and --backend: from text to a denoiser, typed by its constructor's signature."""

from __future__ import annotations

import inspect
import os
import re
import typing
from collections.abc import Sequence
from typing import Any

from smalti import denoisers
from smalti.cli.command import check_regular
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError
from smalti.denoisers.named import parameters_from_text
from smalti.denoisers.text import read_parameters

__all__ = ["parse_arguments", "parse_parameters", "split_name"]


def split_name(text: str) -> tuple[str, list[str]]:
    """ "pspc-square:patch_size=5" as ("pspc-square", ["patch_size=5"]); a colon that no NAME= follows belongs to the value.

    Raises:
        InputError: something else after the name.
    """
    name, *pairs = re.split(r":(?=\s*[A-Za-z_][A-Za-z0-9_-]*\s*=)", text.strip())
    if ":" in name:
        raise InputError(f"--denoiser takes NAME:PARAM=VALUE, such as local-score:window=5, not {text!r}")
    return name.strip(), pairs


def parse_parameters(kind: type[Denoiser], pairs: Sequence[str], backend: str | None = None) -> dict[str, Any]:
    """Constructor arguments from NAME=VALUE pairs.

    Values are read as `smalti.denoisers.text` says.

    Args:
        kind: the denoiser's class.
        pairs: from --param.
        backend: from --backend; None if it was not given.

    Raises:
        InputError: no "="; an unknown parameter (with the nearest and the list of valid ones); one given twice; a value
            of another type; a backend for a denoiser that has none.
    """
    known = denoisers.parameters_of(kind)
    if backend is not None and "backend" not in known:
        raise InputError(f"{kind.name} has no backends; leave --backend out")
    for pair in pairs:
        name, _, text = pair.partition("=")
        if os.path.exists(text.strip()):  # a path; a device or a pipe might be read for ever
            check_regular(name, text.strip(), folders=True)
    values = parameters_from_text(kind, pairs, {} if backend is None else {"backend": backend})
    missing = [n for n, p in known.items() if p.default is p.empty and n not in values]
    if missing:
        raise InputError(f"{kind.name} needs --param {missing[0]}=VALUE")
    return values


def parse_arguments(owner: str, constructor: type, pairs: Sequence[str]) -> dict[str, Any]:
    """The same for any class, called `owner` in messages; nothing is required.

    Raises:
        InputError: as `parse_parameters`.
    """
    known = [name for name in inspect.signature(constructor.__init__).parameters if name != "self"]  # type: ignore[misc]
    return read_parameters(owner, known, typing.get_type_hints(constructor.__init__), pairs, {})  # type: ignore[misc]
