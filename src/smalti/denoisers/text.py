"""Parameters that were typed: text becomes values, by the annotations of a constructor."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from smalti.core.errors import InputError, did_you_mean

__all__ = ["read_parameters"]

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def read_parameters(
    owner: str, known: Collection[str], hints: Mapping[str, Any], pairs: Sequence[str], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Values from NAME=VALUE pairs, beside those that are given.

    A value is read as what the parameter's annotation allows, tried in this order: None ("none"), bool ("true",
    "false"), int, float, a list of numbers ("3,5,7"), text. Without an annotation, anything goes. A name may be typed with "-" for "_".

    Args:
        owner: whose parameters they are, for messages.
        known: the names that there are.
        hints: their annotations.
        pairs: what was typed.
        given: values that are there already, by name.

    Raises:
        InputError: no "="; an unknown parameter (with the nearest and the list of valid ones); one given twice; a value
            of another type.
    """
    values = dict(given)
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise InputError(f"a parameter must be NAME=VALUE, not {pair[:80]!r}")
        if name not in known:
            raise InputError(
                f"{owner} has no parameter {name[:80]!r}{did_you_mean(name[:80], known)} "
                f"(there are: {', '.join(known) or 'none'})"
            )
        if name in values:
            raise InputError(f"{name} is given twice; give it once")
        values[name] = _value(owner, name, text.strip(), hints.get(name, Any))
    return values


def _value(owner: str, name: str, text: str, hint: Any) -> Any:
    for read in _readers(hint):
        try:
            return read(text)
        except ValueError:
            continue
    raise InputError(f"{owner}: {name} cannot be {text[:80]!r}; it takes {_in_words(hint)}")


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
        readers.append(_whole)
    if anything or float in allowed:
        readers.append(_finite)
    for choice in choices:
        if typing.get_origin(choice) is typing.Literal:
            readers.append(_one_of(typing.get_args(choice)))
        elif _is_list(choice):
            readers.append(_list_of(_whole if _of_whole_numbers(choice) else _finite))
    if anything:
        readers.append(_list_of(_finite))
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


def _whole(text: str) -> int:
    value = int(text)
    if abs(value) >= 2**63:
        raise ValueError(text)
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


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
