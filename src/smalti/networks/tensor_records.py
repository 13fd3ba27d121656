"""Tensors and storages of pickles, as records that are checked when they are made and become tensors when they are used.

A pickled tensor is a call: rebuild(storage, offset, size, stride, ...). torch itself trusts these numbers far enough to have
had memory errors from them; here, what lies outside its storage, and what would be larger than it, is refused first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from smalti.core.pickles import Attributed, Name, Names, Record, RefusedError

__all__ = ["DTYPES", "StorageRecord", "TensorRecord", "check_shares", "storage_of", "tensor_names"]

DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
MAX_DIMENSIONS = 8
MAX_SIDE = 1 << 31


@dataclass(eq=False)
class StorageRecord(Record):
    """A run of numbers: what the pickle says of it, and its bytes once they are found."""

    dtype: torch.dtype
    count: int
    data: memoryview | None = None
    flat: torch.Tensor | None = None  # made once, for all tensors that share it

    def fill(self, data: memoryview) -> None:
        if len(data) != self.count * self.dtype.itemsize:
            raise ValueError(f"a storage of {self.count} numbers with {len(data)} bytes")
        self.data = data

    def to_tensor(self) -> torch.Tensor:
        """All its numbers, (count,), in memory of their own."""
        if self.flat is None:
            if self.data is None:
                raise ValueError("a storage without its numbers")
            if self.count == 0:
                self.flat = torch.empty(0, dtype=self.dtype)
            else:
                self.flat = torch.frombuffer(bytearray(self.data), dtype=self.dtype)
            self.data = None
        return self.flat


@dataclass(eq=False)
class TensorRecord(Record):
    """A view of a storage, known to lie inside it and to have no more elements than it."""

    storage: StorageRecord
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.size) != len(self.stride) or len(self.size) > MAX_DIMENSIONS:
            raise ValueError("a tensor whose size and stride do not fit together")
        if any(side < 0 or side > MAX_SIDE for side in (*self.size, *self.stride, self.offset)):
            raise ValueError("a tensor of an absurd size")
        last = self.offset + sum((side - 1) * step for side, step in zip(self.size, self.stride, strict=True))
        elements = math.prod(self.size)
        if math.prod(max(side, 1) for side in self.size) > MAX_SIDE:
            raise ValueError("a tensor of an absurd size")
        if elements > self.storage.count or self.offset > self.storage.count:
            raise ValueError(f"a tensor of {elements} numbers in a storage of {self.storage.count}")
        if elements and last >= self.storage.count:
            raise ValueError("a tensor that reaches beyond its storage")

    @property
    def elements(self) -> int:
        return math.prod(self.size)

    @property
    def dtype(self) -> torch.dtype:
        return self.storage.dtype

    def to_tensor(self) -> torch.Tensor:
        """The tensor, in its dtype; tensors that share a storage share memory."""
        return self.storage.to_tensor().as_strided(self.size, self.stride, self.offset)


def storage_of(kind: Any, count: Any, limit: int) -> StorageRecord:
    """The storage that a persistent id declares, before its bytes are known.

    Raises:
        RefusedError: an unknown kind, or more bytes than `limit`.
    """
    dtype = DTYPES.get(kind.attribute) if isinstance(kind, Name) and kind.module == "torch" else None
    if dtype is None:
        raise RefusedError("it has a storage of an unknown kind")
    if type(count) is not int or count < 0:
        raise ValueError("a storage without a size")
    if count * dtype.itemsize > limit:
        raise RefusedError(f"it claims a storage of {count} numbers, which is more than it holds")
    return StorageRecord(dtype, count)


def tensor_names(load: Callable[[bytes], Any] | None = None) -> Names:
    """The names that pickled tensors have.

    Args:
        load: what a nested stream of `torch.save` holds; without it they are refused.
    """

    def rebuild(arguments: tuple[Any, ...]) -> TensorRecord:
        if not 5 <= len(arguments) <= 7 or not isinstance(arguments[0], StorageRecord):
            raise RefusedError("it makes a tensor in a way that torch does not")
        storage, offset, size, stride = arguments[:4]
        return TensorRecord(storage, _integers((offset,))[0], _integers(size), _integers(stride))

    def parameter(arguments: tuple[Any, ...]) -> TensorRecord:
        if len(arguments) != 3 or not isinstance(arguments[0], TensorRecord):
            raise RefusedError("it makes a parameter in a way that torch does not")
        return arguments[0]

    def size(arguments: tuple[Any, ...]) -> tuple[int, ...]:
        (sides,) = arguments
        return _integers(sides)

    def ordered(arguments: tuple[Any, ...]) -> Attributed:
        if arguments:
            raise RefusedError("it makes an OrderedDict in a way that torch does not")
        return Attributed()

    def nested(arguments: tuple[Any, ...]) -> StorageRecord:
        (data,) = arguments
        found = load(data) if load is not None and isinstance(data, bytes) else None
        if not isinstance(found, StorageRecord):
            raise RefusedError("it has a storage that is not one")
        return found

    names: dict[tuple[str, str], Callable[[tuple[Any, ...]], Any] | None] = {
        ("torch._utils", "_rebuild_tensor_v2"): rebuild,
        ("torch._utils", "_rebuild_parameter"): parameter,
        ("torch", "Size"): size,
        ("collections", "OrderedDict"): ordered,
        **{("torch", kind): None for kind in DTYPES},
    }
    if load is not None:
        names["torch.storage", "_load_from_bytes"] = nested
    return names


def check_shares(records: Mapping[str, TensorRecord], size: int) -> None:
    """That the tensors of a file of `size` bytes are not many times larger than it, by sharing storages.

    Raises:
        RefusedError: they are.
    """
    if sum(record.elements for record in records.values()) > 4 * size:
        raise RefusedError("its tensors have many times more numbers than it holds")


def _integers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple) or len(values) > MAX_DIMENSIONS or not all(type(v) is int for v in values):
        raise ValueError("a tensor without a size")
    return values
