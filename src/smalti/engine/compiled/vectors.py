"""What the intrinsics share: vectors in LLVM's own language, loaded from and stored to flat arrays.

Loops over a few rows of some tens of numbers are too short, and have too many pointers, for LLVM's own vectoriser; so the innermost loops
of the mask and shift kernels are written out in vectors.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

__all__ = ["INT", "Vectors", "data_of", "is_real", "is_true", "item", "same_reals"]

INT = ir.IntType(64)
VECTOR = 64  # bytes


class Vectors:
    """Vectors of one real type, float32 or float64, and of so many bytes."""

    def __init__(self, builder: Any, real: Any, size: int = VECTOR) -> None:
        self.builder = builder
        self.single = real == types.float32
        self.real = ir.FloatType() if self.single else ir.DoubleType()
        self.size = 4 if self.single else 8
        self.lanes = size // self.size
        self.type = ir.VectorType(self.real, self.lanes)

    def place(self, data: Any, index: Any) -> Any:
        """Where the vector from entry `index` on lies."""
        here = self.builder.gep(data, [index], source_etype=self.real)
        return self.builder.bitcast(here, self.type.as_pointer())

    def load(self, data: Any, index: Any) -> Any:
        return self.builder.load(self.place(data, index), align=self.size, typ=self.type)

    def store(self, value: Any, data: Any, index: Any) -> None:
        self.builder.store(value, self.place(data, index), align=self.size)

    def constant(self, value: float) -> Any:
        return ir.Constant(self.type, [value] * self.lanes)

    def repeat(self, value: Any) -> Any:
        """A vector of one number."""
        undefined = ir.Constant(self.type, ir.Undefined)
        one = self.builder.insert_element(undefined, value, ir.IntType(32)(0))
        return self.builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None))

    def times_plus(self, a: Any, b: Any, c: Any) -> Any:
        """a b + c."""
        flags = ("contract",)
        return self.builder.fadd(self.builder.fmul(a, b, flags=flags), c, flags=flags)

    def minus_times(self, a: Any, b: Any, c: Any) -> Any:
        """c - a b."""
        flags = ("contract",)
        return self.builder.fsub(c, self.builder.fmul(a, b, flags=flags), flags=flags)

    def larger(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def any(self, condition: Any) -> Any:
        """Whether any lane of a vector of conditions holds."""
        bits = ir.IntType(self.lanes)
        return self.builder.icmp_unsigned("!=", self.builder.bitcast(condition, bits), bits(0))

    def to_single(self, value: Any) -> Any:
        single = ir.VectorType(ir.FloatType(), self.lanes)
        return value if self.single else self.builder.fptrunc(value, single)

    def from_single(self, value: Any) -> Any:
        return value if self.single else self.builder.fpext(value, self.type)


def data_of(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    """Pointer to the first entry of an array argument."""
    return context.make_array(kind)(context, builder, array).data


def item(builder: Any, data: Any, index: Any, kind: Any) -> Any:
    """One entry."""
    return builder.load(builder.gep(data, [index], source_etype=kind), typ=kind)


def is_true(builder: Any, value: Any) -> Any:
    """A boolean argument as one bit."""
    return builder.trunc(value, ir.IntType(1)) if value.type.width > 1 else value


def is_real(array: Any, real: Any) -> bool:
    """Whether it is an array of this type."""
    return isinstance(array, types.Array) and array.dtype == real


def same_reals(*arrays: Any) -> bool:
    """Whether all are arrays of float32, or all of float64."""
    return all(
        isinstance(a, types.Array) and a.dtype == arrays[0].dtype in (types.float32, types.float64) for a in arrays
    )
