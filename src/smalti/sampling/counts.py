"""Whole numbers from users."""

from __future__ import annotations

import operator
from typing import Any

from smalti.core.errors import InputError

__all__ = ["check_count"]


def check_count(name: str, value: Any) -> int:
    """`value` as an int of at least 1, or InputError that names it. numpy integers are accepted, True is not."""
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if count < 1 or isinstance(value, bool):
        raise InputError(f"{name} must be a whole number of at least 1, not {value}")
    return count
