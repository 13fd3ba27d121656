"""The innermost loops of the search kernels, as vector instructions.

survivors         windows of z against windows of an image, by their short sketches: which pairs may be near
sketch_distance   the squared distance of two long sketches
window_distance   that of two windows
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from smalti.engine.compiled.vectors import INT, Vectors, data_of, item, same_reals

__all__ = ["COARSE", "FINE", "QUERIES", "sketch_distance", "survivors", "window_distance"]

COARSE = 5  # numbers of the sketches that all pairs are compared by
FINE = 16  # the same of those that are left: a vector
QUERIES = 4  # windows of z at a time
UNROLLED = 4  # rows of a window at a time


def _loop(builder: Any, low: Any, high: Any, step: int = 1) -> Any:
    return cgutils.for_range_slice(builder, low, high, INT(step), INT)


@contextmanager
def _while_any(builder: Any, slot: Any) -> Iterator[Any]:
    """Repeats its body while the bits in `slot` are not all 0; gives the bits."""
    test, body, after = (builder.append_basic_block(name) for name in ("bits.test", "bits.body", "bits.after"))
    builder.branch(test)
    builder.position_at_end(test)
    value = builder.load(slot)
    builder.cbranch(builder.icmp_unsigned("!=", value, value.type(0)), body, after)
    builder.position_at_end(body)
    yield value
    builder.branch(test)
    builder.position_at_end(after)


def _total(builder: Any, vector: Any) -> Any:
    """The sum of a vector's lanes, in any order."""
    kind = vector.type.element
    name = f"llvm.vector.reduce.fadd.v{vector.type.count}f{32 if isinstance(kind, ir.FloatType) else 64}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind, vector.type]), name)
    return builder.call(function, [kind(-0.0), vector], fastmath=("reassoc",))


@intrinsic
def survivors(
    typing: Any, x: Any, at: Any, plane: Any, count: Any, z: Any, z_at: Any, z_plane: Any, limits: Any, out: Any
) -> Any:
    """The pairs of windows i < count of an image and of QUERIES windows q of z with sum_d (x[d, i] - z[d, q])^2 <= limits[q].

    x[d, i] is x[at + d plane + i], z[d, q] is z[z_at + d z_plane + q], limits[q] is limits[z_at + q]. Writes i QUERIES + q to `out` and
    returns how many. Takes whole vectors of x.
    """
    if not same_reals(x, z, limits) or x.dtype != types.float32 or out.dtype != types.int64:
        return None
    ints = types.int64
    signature = ints(x, ints, ints, ints, z, ints, ints, limits, out)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, x.dtype)
        source, (at, plane, count) = data_of(context, builder, x, arguments[0]), arguments[1:4]
        other, (z_at, z_plane) = data_of(context, builder, z, arguments[4]), arguments[5:7]
        bounds, target = data_of(context, builder, limits, arguments[7]), data_of(context, builder, out, arguments[8])
        bits = ir.IntType(vectors.lanes)

        def everywhere(data: Any, index: Any) -> Any:
            return vectors.repeat(item(builder, data, index, vectors.real))

        numbers = [builder.add(z_at, INT(q)) for q in range(QUERIES)]
        planes = [builder.mul(z_plane, INT(d)) for d in range(COARSE)]
        noisy = [[everywhere(other, builder.add(n, offset)) for offset in planes] for n in numbers]
        limit = [everywhere(bounds, n) for n in numbers]
        count_zeros = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(bits, [bits, ir.IntType(1)]), f"llvm.cttz.i{vectors.lanes}"
        )
        found = cgutils.alloca_once_value(builder, INT(0))
        left = cgutils.alloca_once_value(builder, bits(0))
        with _loop(builder, INT(0), count, vectors.lanes) as (i, _):
            here = builder.add(at, i)
            clean = [vectors.load(source, builder.add(here, builder.mul(plane, INT(d)))) for d in range(COARSE)]
            near = []
            for q in range(QUERIES):
                total = None
                for value, query in zip(clean, noisy[q], strict=True):
                    gap = builder.fsub(value, query)
                    total = builder.fmul(gap, gap) if total is None else vectors.times_plus(gap, gap, total)
                near.append(builder.bitcast(builder.fcmp_unordered("<=", total, limit[q]), bits))
            some = near[0]
            for mask in near[1:]:
                some = builder.or_(some, mask)
            with builder.if_then(builder.icmp_unsigned("!=", some, bits(0)), likely=False):
                for q, mask in enumerate(near):
                    builder.store(mask, left)
                    with _while_any(builder, left) as value:
                        lane = builder.zext(builder.call(count_zeros, [value, ir.IntType(1)(1)]), INT)
                        pair = builder.add(builder.mul(builder.add(i, lane), INT(QUERIES)), INT(q))
                        n = builder.load(found)
                        builder.store(pair, builder.gep(target, [n], source_etype=INT))
                        builder.store(builder.add(n, INT(1)), found)
                        builder.store(builder.and_(value, builder.sub(value, bits(1))), left)
        return builder.load(found)

    return signature, build


@intrinsic
def sketch_distance(typing: Any, x: Any, at: Any, z: Any, z_at: Any) -> Any:
    """sum_d (x[at + d] - z[z_at + d])^2 over FINE numbers."""
    if not same_reals(x, z) or x.dtype != types.float32:
        return None
    signature = types.float32(x, types.int64, z, types.int64)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, x.dtype, 4 * FINE)
        a = vectors.load(data_of(context, builder, x, arguments[0]), arguments[1])
        b = vectors.load(data_of(context, builder, z, arguments[2]), arguments[3])
        gap = builder.fsub(a, b)
        return _total(builder, builder.fmul(gap, gap))

    return signature, build


@intrinsic
def window_distance(typing: Any, x: Any, at: Any, rows: Any, z: Any, z_at: Any, z_rows: Any, side: Any) -> Any:
    """The squared distance of two windows, as real as z: row t is x[at + rows[t] ...] and z[z_at + z_rows[t] ...], `side` numbers each.

    Reads whole vectors of both.
    """
    reals = types.float32, types.float64
    if x.dtype != types.float32 or z.dtype not in reals or not rows.dtype == z_rows.dtype == types.int64:
        return None
    signature = z.dtype(x, types.int64, rows, z, types.int64, z_rows, types.int64)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        source, other = data_of(context, builder, x, arguments[0]), data_of(context, builder, z, arguments[3])
        tables = data_of(context, builder, rows, arguments[2]), data_of(context, builder, z_rows, arguments[5])
        at, z_at, side = arguments[1], arguments[4], arguments[6]
        count = cgutils.unpack_tuple(builder, context.make_array(rows)(context, builder, arguments[2]).shape)[0]
        real = ir.FloatType() if z.dtype == types.float32 else ir.DoubleType()
        result = cgutils.alloca_once_value(builder, real(0.0))

        def distance(lanes: int) -> None:
            """With vectors of so many pixels."""
            theirs = Vectors(builder, x.dtype, 4 * lanes)
            ours = Vectors(builder, z.dtype, (4 if z.dtype == types.float32 else 8) * lanes)
            whole = ir.VectorType(INT, lanes)
            order = ir.Constant(whole, list(range(lanes)))
            sums = [cgutils.alloca_once_value(builder, ours.constant(0.0)) for _ in range(UNROLLED)]

            def add(row: Any, first: Any, used: Any, slot: Any) -> None:
                begin, z_begin = (builder.add(item(builder, table, row, INT), first) for table in tables)
                pixels = theirs.load(source, builder.add(at, begin))
                if z.dtype != types.float32:
                    pixels = builder.fpext(pixels, ours.type)
                gap = builder.fsub(pixels, ours.load(other, builder.add(z_at, z_begin)))
                gap = builder.select(used, gap, ours.constant(0.0))
                builder.store(ours.times_plus(gap, gap, builder.load(slot)), slot)

            blocks = builder.and_(count, INT(-UNROLLED))
            with _loop(builder, INT(0), side, lanes) as (first, _):
                undefined = ir.Constant(whole, ir.Undefined)
                left = builder.insert_element(undefined, builder.sub(side, first), ir.IntType(32)(0))
                zeros = ir.Constant(ir.VectorType(ir.IntType(32), lanes), None)
                used = builder.icmp_signed("<", order, builder.shuffle_vector(left, undefined, zeros))
                with _loop(builder, INT(0), blocks, UNROLLED) as (row, _):
                    for k, slot in enumerate(sums):
                        add(builder.add(row, INT(k)), first, used, slot)
                with _loop(builder, blocks, count) as (row, _):
                    add(row, first, used, sums[0])
            a, b, c, d = (builder.load(slot) for slot in sums)
            builder.store(_total(builder, builder.fadd(builder.fadd(a, b), builder.fadd(c, d))), result)

        few, many = (8, 16) if z.dtype == types.float32 else (4, 8)
        with builder.if_else(builder.icmp_signed("<=", side, INT(few))) as (narrow, wide):
            with narrow:
                distance(few)
            with wide:
                distance(many)
        return builder.load(result)

    return signature, build
