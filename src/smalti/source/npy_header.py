"""Headers of .npy arrays, read without believing what they claim."""

from __future__ import annotations

import math
import tokenize
import warnings
import zlib
from dataclasses import dataclass
from typing import IO

import numpy as np

from smalti.core.errors import InputError

__all__ = ["Header", "read_header"]

MOST_AXES, LARGEST_SIDE = 32, 1 << 40


@dataclass(frozen=True)
class Header:
    """What a .npy file says of its array: shape, order and dtype, and where its data starts."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        return math.prod(self.shape) * self.dtype.itemsize

    def check_size(self, size: int, what: str) -> None:
        """Raise InputError unless a file of `size` bytes holds the whole array, and nothing else."""
        if self.offset + self.nbytes != size:
            raise InputError(
                f"{what} has {size} bytes but its header claims {self.offset + self.nbytes}; it is damaged"
            )


def read_header(file: IO[bytes], what: str) -> Header:
    """The header of a .npy stream.

    Raises:
        InputError: it is damaged, or of an array of Python objects.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, on headers written by Python 2
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            elif version == (2, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
            else:
                raise ValueError(f"version {version} of the format")
        if len(shape) > MOST_AXES or not all(type(side) is int and 0 <= side <= LARGEST_SIDE for side in shape):
            raise ValueError("a shape that is none")
    except (
        *(ValueError, TypeError, SyntaxError, LookupError, AttributeError, RecursionError, ArithmeticError),
        *(MemoryError, EOFError, zlib.error, tokenize.TokenError),
    ) as error:
        raise InputError(f"{what} is not a readable .npy array ({' '.join(str(error).split())[:120]})") from error
    if dtype.hasobject:
        raise InputError(f"{what} holds Python objects, which are never loaded; save plain uint8 or float arrays")
    return Header(shape, fortran, dtype, file.tell())
