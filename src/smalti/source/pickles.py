"""Pickled dicts of NumPy arrays, on the machine of smalti.core.pickles: arrays become inert records over their bytes."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from smalti.core.pickles import Budget, Name, Names, Record, RefusedError, refusals, run_pickle

__all__ = ["ARRAY_NAMES", "ArrayRecord", "read_pickle"]


@dataclass(eq=False)
class _DtypeRecord(Record):
    text: str  # the state that a file sets is a byte order, which uint8 does not have


@dataclass(eq=False)
class ArrayRecord(Record):
    """What a pickle says of an array: its shape, dtype ("u1"), order and raw bytes; nothing until its state is set."""

    shape: tuple[int, ...] = ()
    dtype: str = ""
    fortran: bool = False
    data: bytes = b""

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise RefusedError("it sets the state of something that is not an array")
        _, shape, dtype, fortran, data = state
        if not isinstance(shape, tuple) or len(shape) > 32 or not all(type(side) is int for side in shape):
            raise ValueError("an array without a shape")
        if not isinstance(dtype, _DtypeRecord) or not isinstance(data, bytes):
            raise ValueError("an array without bytes")
        self.shape, self.dtype, self.fortran, self.data = shape, dtype.text, bool(fortran), data

    def to_uint8(self) -> np.ndarray:
        """The array, read-only, over the same bytes.

        Raises:
            ValueError: not uint8, or bytes that do not fit the shape.
        """
        if self.dtype.lstrip("|=<>") not in ("u1", "B", "uint8"):
            raise ValueError(f"an array of {self.dtype or 'unknown'} where uint8 was expected")
        # sides first: the product of absurd ones would take for ever
        if not self.shape or any(not 1 <= side <= len(self.data) for side in self.shape):
            raise ValueError(f"an array of an absurd shape, with {len(self.data)} bytes")
        if math.prod(self.shape) != len(self.data):
            raise ValueError(f"an array of shape {self.shape} with {len(self.data)} bytes")
        return np.frombuffer(self.data, np.uint8).reshape(self.shape, order="F" if self.fortran else "C")


def _array(arguments: tuple[Any, ...]) -> ArrayRecord:
    kind = arguments[0]
    if not isinstance(kind, Name) or (kind.module, kind.attribute) != ("numpy", "ndarray"):
        raise RefusedError("it makes an array in a way that pickled arrays do not")
    return ArrayRecord()


def _dtype(arguments: tuple[Any, ...]) -> _DtypeRecord:
    text = arguments[0]
    if not isinstance(text, (str, bytes)) or len(text) > 32:
        raise RefusedError("it makes a dtype in a way that pickled arrays do not")
    return _DtypeRecord(text.decode("latin-1") if isinstance(text, bytes) else text)


ARRAY_NAMES: Names = {
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _dtype,
}


def read_pickle(data: bytes, what: str) -> Any:
    """The data in a pickle, with arrays as ArrayRecord; text of Python 2 is bytes.

    Args:
        data: the pickle.
        what: its name, for messages.

    Raises:
        InputError: it names or does anything but building dicts, lists, tuples, numbers, text and arrays.
    """
    with refusals(what, "plain data and arrays"):
        return run_pickle(io.BytesIO(data), ARRAY_NAMES, Budget.of(len(data)))
