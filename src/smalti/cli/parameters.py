"""--denoiser, --param and --backend: from text to a denoiser, typed by its constructor's signature."""

from __future__ import annotations

import inspect
import math
import os
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from smalti import denoisers
from smalti.cli.command import check_regular
from smalti.core.denoiser import Denoiser
from smalti.core.errors import InputError, did_you_mean
from smalti.denoisers.schedule_file import BY_LEVEL, SCHEDULE, expanded

__all__ = ["parse_arguments", "parse_parameters", "split_name"]

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


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

    A value is read as what the parameter's annotation allows, tried in this order: None ("none"), bool ("true",
    "false"), int, float, a list of numbers ("3,5,7"), text. Without an annotation, anything goes. "schedule=FILE" gives the values
    and sigmas in the file, so that these, not its name, determine a run.

    Args:
        kind: the denoiser's class.
        pairs: from --param.
        backend: from --backend; None if it was not given.

    Raises:
        InputError: no "="; an unknown parameter (with the nearest and the list of valid ones); one given twice; a value
            of another type; a backend for a denoiser that has none.
    """
    known = denoisers.parameters_of(kind)
    hints = typing.get_type_hints(kind.__init__)
    values: dict[str, Any] = {}
    if backend is not None:
        if "backend" not in known:
            raise InputError(f"{kind.name} has no backends; leave --backend out")
        values["backend"] = backend
    names = [*known, SCHEDULE] if kind.name in BY_LEVEL else list(known)
    values = expanded(kind.name, _read(kind.name, names, {**hints, SCHEDULE: str}, pairs, values))
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
    return _read(owner, known, typing.get_type_hints(constructor.__init__), pairs, {})  # type: ignore[misc]


def _read(
    owner: str, known: Collection[str], hints: Mapping[str, Any], pairs: Sequence[str], values: dict[str, Any]
) -> dict[str, Any]:
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise InputError(f"--param must be NAME=VALUE, not {pair!r}")
        if name not in known:
            raise InputError(
                f"{owner} has no parameter {name!r}{did_you_mean(name, known)} (there are: {', '.join(known) or 'none'})"
            )
        if name in values:
            raise InputError(f"{name} is given twice; give it once")
        values[name] = _value(owner, name, text.strip(), hints.get(name, Any))
    return values


def _value(owner: str, name: str, text: str, hint: Any) -> Any:
    for read in _readers(hint):
        try:
            value = read(text)
        except (ValueError, OverflowError):
            continue
        if isinstance(value, str):
            _refuse_endless(name, value)
        return value
    raise InputError(f"{owner}: {name} cannot be {text!r}; it takes {_in_words(hint)}")


def _readers(hint: Any) -> list[Any]:
    """Functions that read text as one of the types in `hint`, most specific first."""
    choices = _choices(hint)
    allowed = set(choices)
    anything = Any in allowed
    readers: list[Any] = []
    if anything or type(None) in allowed:
        readers.append(_none)
    if anything or bool in allowed:
        readers.append(_bool)
    if anything or int in allowed or float in allowed:
        readers.append(_int)
    if anything or float in allowed:
        readers.append(_float)
    for choice in choices:
        if typing.get_origin(choice) is typing.Literal:
            readers.append(_one_of(typing.get_args(choice)))
        elif _is_list(choice):
            readers.append(_list_of(_int if _of_whole_numbers(choice) else _float))
    if anything:
        readers.append(_list_of(_float))
    if anything or str in allowed:
        readers.append(str)
    return readers


def _in_words(hint: Any) -> str:
    """What may be typed for `hint`; types that cannot be typed (tensors) are left out."""
    choices, words = _choices(hint), []
    for choice in choices:
        if typing.get_origin(choice) is typing.Literal:
            words += [str(value) for value in typing.get_args(choice)]
        elif _is_list(choice):
            kind = "whole numbers" if _of_whole_numbers(choice) else "numbers"
            words.append(f"{kind} separated by commas")
        elif choice in _WORDS and not (choice is int and float in choices):
            words.append(_WORDS[choice])
    if not words:
        return "nothing but none here; give its other values in Python"
    words += ["none"] if type(None) in choices else []
    return ", ".join(words[:-1]) + f"{',' * ('none' in words)} or {words[-1]}" if len(words) > 1 else words[0]


def _choices(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _none(text: str) -> None:
    if text.lower() != "none":
        raise ValueError(text)


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _int(text: str) -> int:
    value = int(text)
    if abs(value) >= 2**63:
        raise OverflowError(text)
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise OverflowError(text)
    return value


def _refuse_endless(name: str, text: str) -> None:
    """Raise InputError where `text` is the path of something that is no file and might be read for ever."""
    if os.path.exists(text):
        check_regular(name, text, folders=True)


def _one_of(choices: tuple[Any, ...]) -> Any:
    def read(text: str) -> Any:
        for choice in choices:
            if str(choice) == text:
                return choice
        raise ValueError(text)

    return read


def _list_of(kind: Callable[[str], Any]) -> Any:
    def read(text: str) -> list[Any]:
        return [kind(part) for part in text.strip("[]() ").split(",")]

    return read


def _of_whole_numbers(choice: Any) -> bool:
    return int in _choices((typing.get_args(choice) or (float,))[0])


def _is_list(choice: Any) -> bool:
    origin = typing.get_origin(choice) or choice
    return isinstance(origin, type) and issubclass(origin, Sequence) and origin is not str
