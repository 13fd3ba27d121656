"""Sums of rows of `LANES` numbers, as vector instructions: what the mask kernels spend their time on.

A row is LANES neighbouring entries of a flat array. Written as loops these would be too short for LLVM to vectorise well (it checks each
time whether the arrays overlap), so they are built in its own language, in vectors of 64 bytes that stay in registers:

    sum_rows(d, places, values, low, high, out, at)      out[at] = sum over low <= j < high of values[j] d[places[j]]      (rows)
    spread_row(w, at, places, values, low, high, out)    out[places[j]] += values[j] w[at]    for low <= j < high
    add_row(out, to, w, at)                              out[to] += w[at]
    difference_row(x, at, z, relative, out, to, more)    out[to] = (x[at] - z)^2, or x[at] (x[at] - z); if `more` added to it
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["LANES", "add_row", "difference_row", "spread_row", "sum_rows"]

LANES = 32  # images of a tile: two vectors of AVX-512, so that a tile of 32 x 32 x 3 entries stays in the L2 cache
VECTOR = 64  # bytes
UNROLL = 2  # terms whose sums are kept apart: an addition waits for the one before


class _Rows:
    """Loads and stores of rows of one real type."""

    def __init__(self, builder: Any, real: Any) -> None:
        self.builder = builder
        self.real = ir.FloatType() if real == types.float32 else ir.DoubleType()
        self.size = 4 if real == types.float32 else 8
        self.lanes = VECTOR // self.size
        self.vector = ir.VectorType(self.real, self.lanes)
        self.parts = LANES // self.lanes

    def place(self, data: Any, index: Any, part: int) -> Any:
        here = self.builder.gep(data, [self.builder.add(index, index.type(part * self.lanes))], source_etype=self.real)
        return self.builder.bitcast(here, self.vector.as_pointer())

    def load(self, data: Any, index: Any) -> list[Any]:
        places = [self.place(data, index, part) for part in range(self.parts)]
        return [self.builder.load(place, align=self.size, typ=self.vector) for place in places]

    def store(self, row: list[Any], data: Any, index: Any) -> None:
        for part, value in enumerate(row):
            self.builder.store(value, self.place(data, index, part), align=self.size)

    def repeat(self, value: Any) -> Any:
        """A vector of one number."""
        one = self.builder.insert_element(ir.Constant(self.vector, ir.Undefined), value, ir.IntType(32)(0))
        return self.builder.shuffle_vector(
            one, ir.Constant(self.vector, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        )

    def times_plus(self, factor: Any, row: list[Any], other: list[Any]) -> list[Any]:
        """factor * row + other."""
        flags = ("contract",)
        return [
            self.builder.fadd(self.builder.fmul(factor, a, flags=flags), b, flags=flags)
            for a, b in zip(row, other, strict=True)
        ]


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return context.make_array(kind)(context, builder, array).data


def _item(builder: Any, data: Any, index: Any, kind: Any) -> Any:
    return builder.load(builder.gep(data, [index], source_etype=kind), typ=kind)


def _reals(*arrays: Any) -> bool:
    return all(
        isinstance(a, types.Array) and a.dtype == arrays[0].dtype in (types.float32, types.float64) for a in arrays
    )


INT = ir.IntType(64)


@intrinsic
def sum_rows(typing: Any, d: Any, places: Any, values: Any, low: Any, high: Any, out: Any, at: Any) -> Any:
    """out[at : at + LANES] = sum over low <= j < high of values[j] d[places[j] : places[j] + LANES]."""
    if not _reals(d, values, out):
        return None
    signature = types.void(d, places, values, types.int64, types.int64, out, types.int64)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        rows = _Rows(builder, d.dtype)
        source, where, weight = (
            _data(context, builder, kind, value) for kind, value in zip((d, places, values), arguments[:3], strict=True)
        )
        first, last = arguments[3], arguments[4]
        sums = [
            [
                cgutils.alloca_once_value(builder, ir.Constant(rows.vector, [0.0] * rows.lanes))
                for _ in range(rows.parts)
            ]
            for _ in range(UNROLL)
        ]

        def add(index: Any, which: int) -> None:
            row = rows.load(source, _item(builder, where, index, INT))
            factor = rows.repeat(_item(builder, weight, index, rows.real))
            before = [builder.load(s) for s in sums[which]]
            for slot, value in zip(sums[which], rows.times_plus(factor, row, before), strict=True):
                builder.store(value, slot)

        count = builder.sub(last, first)
        whole = builder.sub(count, builder.srem(count, INT(UNROLL)))
        with cgutils.for_range_slice(builder, first, builder.add(first, whole), INT(UNROLL), INT) as (index, _):
            for which in range(UNROLL):
                add(builder.add(index, INT(which)), which)
        with cgutils.for_range_slice(builder, builder.add(first, whole), last, INT(1), INT) as (index, _):
            add(index, 0)
        total = [builder.load(s) for s in sums[0]]
        for others in sums[1:]:
            total = [builder.fadd(a, builder.load(b)) for a, b in zip(total, others, strict=True)]
        rows.store(total, _data(context, builder, out, arguments[5]), arguments[6])
        return context.get_dummy_value()

    return signature, build


@intrinsic
def spread_row(typing: Any, w: Any, at: Any, places: Any, values: Any, low: Any, high: Any, out: Any) -> Any:
    """out[places[j] : places[j] + LANES] += values[j] w[at : at + LANES] for low <= j < high."""
    if not _reals(w, values, out):
        return None
    signature = types.void(w, types.int64, places, values, types.int64, types.int64, out)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        rows = _Rows(builder, w.dtype)
        row = rows.load(_data(context, builder, w, arguments[0]), arguments[1])
        where, weight = _data(context, builder, places, arguments[2]), _data(context, builder, values, arguments[3])
        target = _data(context, builder, out, arguments[6])
        with cgutils.for_range_slice(builder, arguments[4], arguments[5], INT(1), INT) as (index, _):
            place = _item(builder, where, index, INT)
            factor = rows.repeat(_item(builder, weight, index, rows.real))
            rows.store(rows.times_plus(factor, row, rows.load(target, place)), target, place)
        return context.get_dummy_value()

    return signature, build


@intrinsic
def add_row(typing: Any, out: Any, to: Any, w: Any, at: Any) -> Any:
    """out[to : to + LANES] += w[at : at + LANES]."""
    if not _reals(out, w):
        return None
    signature = types.void(out, types.int64, w, types.int64)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        rows = _Rows(builder, out.dtype)
        target = _data(context, builder, out, arguments[0])
        row = rows.load(_data(context, builder, w, arguments[2]), arguments[3])
        before = rows.load(target, arguments[1])
        rows.store([builder.fadd(a, b) for a, b in zip(before, row, strict=True)], target, arguments[1])
        return context.get_dummy_value()

    return signature, build


@intrinsic
def difference_row(typing: Any, x: Any, at: Any, z: Any, relative: Any, out: Any, to: Any, more: Any) -> Any:
    """out[to : to + LANES] (+)= (x - z)^2, or x (x - z) if `relative`, for x = x[at : at + LANES] and one z."""
    if not _reals(x, out) or z != x.dtype:
        return None
    signature = types.void(x, types.int64, z, types.boolean, out, types.int64, types.boolean)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        rows = _Rows(builder, x.dtype)
        row = rows.load(_data(context, builder, x, arguments[0]), arguments[1])
        target, to = _data(context, builder, out, arguments[4]), arguments[5]
        one = rows.repeat(arguments[2])
        is_relative = builder.trunc(arguments[3], ir.IntType(1)) if arguments[3].type.width > 1 else arguments[3]
        adds = builder.trunc(arguments[6], ir.IntType(1)) if arguments[6].type.width > 1 else arguments[6]
        flags = ("contract",)
        zero = ir.Constant(rows.vector, [0.0] * rows.lanes)
        found = []
        for value, before in zip(row, rows.load(target, to), strict=True):
            gap = builder.fsub(value, one)
            other = builder.select(is_relative, value, gap)
            start = builder.select(adds, before, zero)
            found.append(builder.fadd(builder.fmul(gap, other, flags=flags), start, flags=flags))
        rows.store(found, target, to)
        return context.get_dummy_value()

    return signature, build
