"""The finished pieces of a long computation, kept in a folder, so that it goes on after a kill.

A piece is a few named arrays in one .npz, written whole or not at all. What determines the results is hashed into the
names, so pieces of another computation are never taken for these.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smalti.core.errors import InputError
from smalti.core.files import atomic_write, load_npz, save_npz

__all__ = ["Pieces", "differences", "key_of"]

IDENTITY = "determined_by.json"


class Pieces:
    """Named groups of arrays under one key.

    Args:
        folder: where they are kept; made when the first is. None keeps nothing.
        key: goes before every file name.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, key: str = "piece") -> None:
        self.folder, self.key = None if folder is None else Path(folder), key

    @classmethod
    def open(cls, folder: str | os.PathLike[str] | Pieces | None, identity: Mapping[str, Any]) -> Pieces:
        """The pieces of the computation that `identity` determines (plain JSON values); Pieces are taken as they are.

        Raises:
            InputError: the folder keeps another computation; says in what it differs.
            EnvironmentFailure: it cannot be written.
        """
        if isinstance(folder, Pieces):
            return folder
        if folder is None:
            return cls()
        plain, key = key_of(identity)
        record = Path(folder) / IDENTITY
        if record.exists():
            try:
                before = json.loads(record.read_text("utf-8"))
            except (OSError, ValueError):
                before = {}
            if before != plain:
                changed = "; ".join(differences(before if isinstance(before, dict) else {}, plain))
                raise InputError(f"{folder} keeps another computation ({changed}); choose another folder or remove it")
        else:
            with atomic_write(record) as file:
                file.write((json.dumps(plain, indent=2) + "\n").encode())
        return cls(folder, key[:16])

    def get(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays called `name`, or None where they are not kept (or not readable)."""
        return None if self.folder is None else load_npz(self._path(name))

    def put(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays.

        Raises:
            EnvironmentFailure: the disk is full or the folder may not be written.
        """
        if self.folder is not None:
            save_npz(self._path(name), arrays)

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{self.key}-{name}.npz"


def key_of(identity: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """`identity` as plain JSON values, and the sha256 hex of them."""
    plain = json.loads(json.dumps(identity))
    return plain, hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """ "seed was 0, now 1", for every value that differs."""
    found: list[str] = []
    for name in dict.fromkeys([*old, *new]):
        before, now = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            found += differences(before, now, f"{prefix}{name} ")
        elif before != now:
            found.append(f"{prefix}{name} was {_short(before)}, now {_short(now)}")
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
