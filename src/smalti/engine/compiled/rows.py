"""Sums of rows of `LANES` numbers, as vector instructions: what the mask kernels spend their time on.

A row is LANES neighbouring entries of a flat array.

    sum_rows(d, places, values, low, high, out, at)      out[at] = sum over low <= j < high of values[j] d[places[j]]      (rows)
    spread_row(w, at, places, values, low, high, out)    out[places[j]] += values[j] w[at]    for low <= j < high
    add_row(out, to, w, at)                              out[to] += w[at]
    any_above(a, at, b, b_at)                            whether any a[at] > b[b_at]
    difference_row(x, at, z, relative, out, to, more)    out[to] = (x[at] - z)^2, or x[at] (x[at] - z); if `more` added to it
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from smalti.engine.compiled.vectors import INT, Vectors, data_of, is_true, item, same_reals

__all__ = ["LANES", "add_row", "any_above", "difference_row", "spread_row", "sum_rows"]

LANES = 32  # images of a tile: two vectors of AVX-512, so that a tile of 32 x 32 x 3 entries stays in the L2 cache
UNROLL = 2  # terms whose sums are kept apart: an addition waits for the one before


def _load(vectors: Vectors, data: Any, index: Any) -> list[Any]:
    """A row as vectors."""
    builder = vectors.builder
    return [vectors.load(data, builder.add(index, INT(part))) for part in range(0, LANES, vectors.lanes)]


def _store(vectors: Vectors, row: list[Any], data: Any, index: Any) -> None:
    for part, value in enumerate(row):
        vectors.store(value, data, vectors.builder.add(index, INT(part * vectors.lanes)))


@intrinsic
def sum_rows(typing: Any, d: Any, places: Any, values: Any, low: Any, high: Any, out: Any, at: Any) -> Any:
    """out[at : at + LANES] = sum over low <= j < high of values[j] d[places[j] : places[j] + LANES]."""
    if not same_reals(d, values, out):
        return None
    signature = types.void(d, places, values, types.int64, types.int64, out, types.int64)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, d.dtype)
        source = data_of(context, builder, d, arguments[0])
        where = data_of(context, builder, places, arguments[1])
        weight = data_of(context, builder, values, arguments[2])
        first, last = arguments[3], arguments[4]
        sums = [
            [cgutils.alloca_once_value(builder, vectors.constant(0.0)) for _ in range(LANES // vectors.lanes)]
            for _ in range(UNROLL)
        ]

        def add(index: Any, which: int) -> None:
            row = _load(vectors, source, item(builder, where, index, INT))
            factor = vectors.repeat(item(builder, weight, index, vectors.real))
            for slot, value in zip(sums[which], row, strict=True):
                builder.store(vectors.times_plus(factor, value, builder.load(slot)), slot)

        whole = builder.sub(last, builder.srem(builder.sub(last, first), INT(UNROLL)))
        with cgutils.for_range_slice(builder, first, whole, INT(UNROLL), INT) as (index, _):
            for which in range(UNROLL):
                add(builder.add(index, INT(which)), which)
        with cgutils.for_range_slice(builder, whole, last, INT(1), INT) as (index, _):
            add(index, 0)
        total = [builder.load(s) for s in sums[0]]
        for others in sums[1:]:
            total = [builder.fadd(a, builder.load(b)) for a, b in zip(total, others, strict=True)]
        _store(vectors, total, data_of(context, builder, out, arguments[5]), arguments[6])
        return context.get_dummy_value()

    return signature, build


@intrinsic
def spread_row(typing: Any, w: Any, at: Any, places: Any, values: Any, low: Any, high: Any, out: Any) -> Any:
    """out[places[j] : places[j] + LANES] += values[j] w[at : at + LANES] for low <= j < high."""
    if not same_reals(w, values, out):
        return None
    signature = types.void(w, types.int64, places, values, types.int64, types.int64, out)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, w.dtype)
        row = _load(vectors, data_of(context, builder, w, arguments[0]), arguments[1])
        where, weight = data_of(context, builder, places, arguments[2]), data_of(context, builder, values, arguments[3])
        target = data_of(context, builder, out, arguments[6])
        with cgutils.for_range_slice(builder, arguments[4], arguments[5], INT(1), INT) as (index, _):
            place = item(builder, where, index, INT)
            factor = vectors.repeat(item(builder, weight, index, vectors.real))
            before = _load(vectors, target, place)
            after = [vectors.times_plus(factor, a, b) for a, b in zip(row, before, strict=True)]
            _store(vectors, after, target, place)
        return context.get_dummy_value()

    return signature, build


@intrinsic
def add_row(typing: Any, out: Any, to: Any, w: Any, at: Any) -> Any:
    """out[to : to + LANES] += w[at : at + LANES]."""
    if not same_reals(out, w):
        return None
    signature = types.void(out, types.int64, w, types.int64)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, out.dtype)
        target = data_of(context, builder, out, arguments[0])
        row = _load(vectors, data_of(context, builder, w, arguments[2]), arguments[3])
        before = _load(vectors, target, arguments[1])
        after = [builder.fadd(a, b) for a, b in zip(before, row, strict=True)]
        _store(vectors, after, target, arguments[1])
        return context.get_dummy_value()

    return signature, build


@intrinsic
def any_above(typing: Any, a: Any, at: Any, b: Any, b_at: Any) -> Any:
    """Whether any of a[at : at + LANES] is larger than its number of b[b_at : b_at + LANES]."""
    if not same_reals(a, b):
        return None
    signature = types.boolean(a, types.int64, b, types.int64)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, a.dtype)
        row = _load(vectors, data_of(context, builder, a, arguments[0]), arguments[1])
        bounds = _load(vectors, data_of(context, builder, b, arguments[2]), arguments[3])
        found = [builder.fcmp_ordered(">", value, bound) for value, bound in zip(row, bounds, strict=True)]
        larger = found[0]
        for other in found[1:]:
            larger = builder.or_(larger, other)
        return vectors.any(larger)

    return signature, build


@intrinsic
def difference_row(typing: Any, x: Any, at: Any, z: Any, relative: Any, out: Any, to: Any, more: Any) -> Any:
    """out[to : to + LANES] (+)= (x - z)^2, or x (x - z) if `relative`, for x = x[at : at + LANES] and one z."""
    if not same_reals(x, out) or z != x.dtype:
        return None
    signature = types.void(x, types.int64, z, types.boolean, out, types.int64, types.boolean)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, x.dtype)
        row = _load(vectors, data_of(context, builder, x, arguments[0]), arguments[1])
        target, to = data_of(context, builder, out, arguments[4]), arguments[5]
        one, is_relative, adds = (
            vectors.repeat(arguments[2]),
            is_true(builder, arguments[3]),
            is_true(builder, arguments[6]),
        )
        found = []
        for value, before in zip(row, _load(vectors, target, to), strict=True):
            gap = builder.fsub(value, one)
            start = builder.select(adds, before, vectors.constant(0.0))
            found.append(vectors.times_plus(gap, builder.select(is_relative, value, gap), start))
        _store(vectors, found, target, to)
        return context.get_dummy_value()

    return signature, build
