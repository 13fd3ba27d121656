"""Rows of whole numbers, int32 or, where these are too short, float64 (exact up to 2^53): the steps of the tree kernel.

A row is LANES neighbouring entries of a flat array.

    change_row(s, source, target, d, entries, low, middle, high)
        s[target] = s[source] + sum over low <= j < middle of d[entries[j]] - sum over middle <= j < high of d[entries[j]]    (rows)
        and returns the least of s[target]
    weigh_row(s, at, best, bits, counted, weights)    weights = 2^-(bits (s[at] - best)) counted; returns their sum
    weighted_sum(weights, tile, at, offset)           sum over lanes of weights (tile[at] - offset)
    apart(a, b)                                       a - b >= 0 of two whole numbers, as float32
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from smalti.engine.compiled.exp2 import emit_exp2
from smalti.engine.compiled.rows import LANES
from smalti.engine.compiled.vectors import INT, VECTOR, Vectors, data_of, item, same_reals

__all__ = ["apart", "change_row", "weigh_row", "weighted_sum"]

WHOLE = (types.int32, types.float64)


class _WholeVectors(Vectors):
    """Vectors of int32 or float64."""

    def __init__(self, builder: Any, kind: Any) -> None:
        super().__init__(builder, types.float64)
        self.fixed = kind == types.int32
        if self.fixed:
            self.real, self.size, self.lanes = ir.IntType(32), 4, VECTOR // 4
            self.type = ir.VectorType(self.real, self.lanes)

    def plus(self, a: Any, b: Any) -> Any:
        return self.builder.add(a, b) if self.fixed else self.builder.fadd(a, b)

    def minus(self, a: Any, b: Any) -> Any:
        return self.builder.sub(a, b) if self.fixed else self.builder.fsub(a, b)

    def lower(self, a: Any, b: Any) -> Any:
        less = self.builder.icmp_signed("<", a, b) if self.fixed else self.builder.fcmp_ordered("<", a, b)
        return self.builder.select(less, a, b)

    def apart(self, a: Any, b: Any) -> Any:
        """a - b >= 0, as float32; of vectors or of two numbers."""
        single = ir.FloatType()
        kind = ir.VectorType(single, a.type.count) if isinstance(a.type, ir.VectorType) else single
        gap = self.minus(a, b)
        return self.builder.uitofp(gap, kind) if self.fixed else self.builder.fptrunc(gap, kind)


def _folded(builder: Any, vector: Any, join: Callable[[Any, Any], Any]) -> Any:
    """All entries of a vector joined, by halves."""
    count = vector.type.count
    while count > 1:
        count //= 2
        kind = ir.VectorType(ir.IntType(32), count)
        halves = [
            builder.shuffle_vector(vector, vector, ir.Constant(kind, [start + i for i in range(count)]))
            for start in (0, count)
        ]
        vector = join(*halves)
    return builder.extract_element(vector, ir.IntType(32)(0))


def _positions(builder: Any, at: Any, lanes: int) -> list[Any]:
    """Where the vectors of a row begin."""
    return [builder.add(at, INT(part)) for part in range(0, LANES, lanes)]


@intrinsic
def change_row(
    typing: Any, sums: Any, source: Any, target: Any, d: Any, entries: Any, first: Any, middle: Any, last: Any
) -> Any:
    """sums[target] = sums[source] + rows of d at entries[first : middle] - rows of d at entries[middle : last]; the least of it."""
    if sums.dtype not in WHOLE or d.dtype != sums.dtype or not isinstance(entries.dtype, types.Integer):
        return None
    place = types.int64
    signature = sums.dtype(sums, place, place, d, entries, place, place, place)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = _WholeVectors(builder, d.dtype)
        held = data_of(context, builder, sums, arguments[0])
        terms = data_of(context, builder, d, arguments[3])
        numbers = data_of(context, builder, entries, arguments[4])

        def row(number: Any) -> list[Any]:
            return _positions(builder, builder.mul(number, INT(LANES)), vectors.lanes)

        slots = [cgutils.alloca_once_value(builder, vectors.load(held, at)) for at in row(arguments[1])]
        for low, high, join in ((5, 6, vectors.plus), (6, 7, vectors.minus)):
            with cgutils.for_range_slice(builder, arguments[low], arguments[high], INT(1), INT) as (index, _):
                entry = item(builder, numbers, index, ir.IntType(entries.dtype.bitwidth))
                entry = builder.zext(entry, INT) if entry.type.width < INT.width else entry
                for slot, at in zip(slots, row(entry), strict=True):
                    builder.store(join(builder.load(slot), vectors.load(terms, at)), slot)
        found = [builder.load(slot) for slot in slots]
        for value, at in zip(found, row(arguments[2]), strict=True):
            vectors.store(value, held, at)
        return _folded(builder, functools.reduce(vectors.lower, found), vectors.lower)

    return signature, build


@intrinsic
def weigh_row(typing: Any, sums: Any, at: Any, best: Any, bits: Any, counted: Any, weights: Any) -> Any:
    """weights = 2^-(bits (sums[at : at + LANES] - best)) counted, float32; returns their sum."""
    if sums.dtype not in WHOLE or best != sums.dtype or not same_reals(counted, weights) or bits != counted.dtype:
        return None
    signature = types.float32(sums, types.int64, best, bits, counted, weights)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors, singles = _WholeVectors(builder, sums.dtype), Vectors(builder, types.float32)
        held, mask, out = (
            data_of(context, builder, kind, arguments[i]) for i, kind in ((0, sums), (4, counted), (5, weights))
        )
        least = vectors.repeat(arguments[2])
        rows = [vectors.load(held, at) for at in _positions(builder, arguments[1], vectors.lanes)]
        gaps = [vectors.apart(value, least) for value in rows]
        while len(gaps) * singles.lanes > LANES:  # two halves make a vector of float32
            gaps = [_joined(builder, a, b) for a, b in zip(gaps[::2], gaps[1::2], strict=True)]
        down = singles.repeat(builder.fneg(arguments[3]))
        found = []
        for gap, to in zip(gaps, _positions(builder, INT(0), singles.lanes), strict=True):
            weight = builder.fmul(emit_exp2(builder, builder.fmul(gap, down)), singles.load(mask, to))
            singles.store(weight, out, to)
            found.append(weight)
        return _folded(builder, functools.reduce(builder.fadd, found), builder.fadd)

    return signature, build


@intrinsic
def weighted_sum(typing: Any, weights: Any, tile: Any, at: Any, offset: Any) -> Any:
    """sum over lanes of weights[lane] (tile[at + lane] - offset); weights and offset float32, the tile uint8 or float32."""
    if weights.dtype != types.float32 or tile.dtype not in (types.uint8, types.float32) or offset != types.float32:
        return None
    signature = types.float32(weights, tile, types.int64, offset)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        singles = Vectors(builder, types.float32)
        factors, values = (data_of(context, builder, kind, arguments[i]) for i, kind in ((0, weights), (1, tile)))
        less = singles.repeat(arguments[3])
        found = singles.constant(0.0)
        for part, at in zip(
            range(0, LANES, singles.lanes), _positions(builder, arguments[2], singles.lanes), strict=True
        ):
            if tile.dtype == types.float32:
                value = singles.load(values, at)
            else:
                kind = ir.VectorType(ir.IntType(8), singles.lanes)
                here = builder.bitcast(builder.gep(values, [at], source_etype=kind.element), kind.as_pointer())
                value = builder.uitofp(builder.load(here, align=1, typ=kind), singles.type)
            found = singles.times_plus(singles.load(factors, INT(part)), builder.fsub(value, less), found)
        return _folded(builder, found, builder.fadd)

    return signature, build


def _joined(builder: Any, a: Any, b: Any) -> Any:
    """Two vectors one after the other."""
    count = 2 * a.type.count
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(count))))


@intrinsic
def apart(typing: Any, a: Any, b: Any) -> Any:
    """a - b >= 0 of two int32 (up to 2^32 - 1) or two float64, as float32."""
    if a not in WHOLE or a != b:
        return None
    return types.float32(a, b), lambda context, builder, _, arguments: _WholeVectors(builder, a).apart(*arguments)
