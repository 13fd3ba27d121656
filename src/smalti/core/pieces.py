"""The finished pieces of a long computation, kept in a folder, so that it goes on after a kill.

A piece is a few named arrays in one .npz, written whole or not at all, with a digest of its bytes: one that was damaged since counts as
absent, and is computed again. What determines the results is hashed into the names, the code that computes them too, so pieces of
another computation are never taken for these.

    for batch, arrays in pieces.batches("errors", n, size, compute, advance):     # the one loop over what is kept and what is not
        errors[batch.rows] = arrays["errors"]
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smalti.core.errors import InputError
from smalti.core.files import atomic_write, load_npz, save_npz

__all__ = ["Arrays", "Batch", "Pieces", "differences", "key_of"]

IDENTITY = "determined_by.json"

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Batch:
    """Some of n things: low, low + 1, ..., high - 1.

    Attributes:
        low, high: the first, and the one behind the last.
        advance: may be told of units of progress while the batch is computed; what is not told counts when it is finished.
    """

    low: int
    high: int
    advance: Callable[[int], None] = lambda units: None

    @property
    def numbers(self) -> range:
        """low .. high - 1."""
        return range(self.low, self.high)

    @property
    def rows(self) -> slice:
        """The same, as an index."""
        return slice(self.low, self.high)

    def __len__(self) -> int:
        return self.high - self.low


class Pieces:
    """Named groups of arrays under one key.

    Args:
        folder: where they are kept; made when the first is. None keeps nothing.
        key: goes before every file name.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, key: str = "piece") -> None:
        self.folder, self.key = None if folder is None else Path(folder), key

    @classmethod
    def open(cls, folder: str | os.PathLike[str] | None, identity: Mapping[str, Any]) -> Pieces:
        """The pieces of the computation that `identity` determines (plain JSON values).

        Raises:
            InputError: the folder keeps another computation; says in what it differs.
            EnvironmentFailure: it cannot be written.
        """
        if folder is None:
            return cls()
        plain, key = key_of(identity)
        record = Path(folder) / IDENTITY
        before = _read(record)
        if before is None:
            with atomic_write(record) as file:
                file.write((json.dumps({"key": key, "determined_by": plain}, indent=2) + "\n").encode())
        elif before != plain:
            changed = "; ".join(differences(before, plain))
            raise InputError(f"{folder} keeps another computation ({changed}); choose another folder or remove it")
        return cls(folder, key[:16])

    def under(self, name: str) -> Pieces:
        """Pieces of a part of this computation: in the same folder, apart from its others."""
        return Pieces(self.folder, f"{self.key}-{name}")

    def get(self, name: str) -> Arrays | None:
        """The arrays called `name`, or None where they are not kept, or not as they were written."""
        return None if self.folder is None else load_npz(self._path(name), sealed=True)

    def put(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays.

        Raises:
            EnvironmentFailure: the disk is full or the folder may not be written.
        """
        if self.folder is not None:
            save_npz(self._path(name), arrays)

    def computed(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        """The arrays called `name`, as they are kept, else as they are computed now, and kept from then on.

        Raises:
            EnvironmentFailure: the disk is full or the folder may not be written.
        """
        found = self.get(name)
        if found is None:
            found = compute()
            self.put(name, found)
        return found

    def batches(
        self,
        name: str,
        n: int,
        size: int,
        compute: Callable[[Batch], Arrays],
        advance: Callable[[int], object] = lambda units: None,
        units: int = 1,
    ) -> Iterator[tuple[Batch, Arrays]]:
        """n things in batches, each kept when it is finished; after Ctrl-C or a kill those that were finished are taken from the folder.

        Args:
            name: of the pieces, which are called "NAME-LOW-HIGH"; unique in the computation.
            n: number of things.
            size: of a batch.
            compute: makes the arrays of a batch.
            advance: is told of units of progress.
            units: of a thing.

        Yields:
            The batch and its arrays, in order.

        Raises:
            EnvironmentFailure: the disk is full or the folder may not be written.
        """
        for low in range(0, n, size):
            left = (min(low + size, n) - low) * units

            def told(done: int) -> None:
                nonlocal left
                left -= done
                advance(done)

            batch = Batch(low, min(low + size, n), told)
            arrays = self.computed(
                f"{name}-{batch.low:07d}-{batch.high:07d}",
                lambda batch=batch: compute(batch),  # type: ignore[misc]
            )
            if left:
                advance(left)
            yield batch, arrays

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


def _read(record: Path) -> dict[str, Any] | None:
    """What determines the computation that a folder keeps; None where it is not said, or where its key says that it was damaged."""
    try:
        found = json.loads(record.read_bytes())
        plain = found["determined_by"]
        return plain if isinstance(plain, dict) and key_of(plain)[1] == found["key"] else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
