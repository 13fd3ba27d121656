"""The innermost loops of the picture kernels, as vector instructions of 16 numbers, of either type; on flat tapes of scratch memory.

sum_rows        squared differences of one row, and the sums of the last p rows of them
suffix_sums     the sums of a block of rows from each to its end
partial_sums    sums over a few neighbouring columns, of which the sums over windows are made
closest_row     logits of a row of windows against limits
absorb_row      those into running sums: a maximum, and the sum of 2^(logit - maximum)
weigh_row       posterior weights of a row of windows
spread_row      those, spread along the row by the response
meet_row        several such rows, spread down the columns, met with the picture
patch_distance  the squared distance of two patches
add_patch       a patch times its response, added to a sum

Whatever lies beyond the end of a row is computed in vain: rows and arrays go on for `EDGE` numbers more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from smalti.engine.compiled.exp2 import emit_exp2
from smalti.engine.compiled.vectors import INT, Vectors, data_of, is_real, item, same_reals

__all__ = [
    "LANES",
    "absorb_row",
    "add_patch",
    "closest_row",
    "fill",
    "meet_row",
    "partial_sums",
    "patch_distance",
    "spread_row",
    "suffix_sums",
    "sum_rows",
    "weigh_row",
]

LANES = 16
FOUR = 4  # vectors at a time, where one factor serves all


def _vectors(builder: Any, real: Any) -> Vectors:
    return Vectors(builder, real, LANES * (4 if real == types.float32 else 8))


def _loop(builder: Any, low: Any, high: Any, step: int = 1) -> Any:
    return cgutils.for_range_slice(builder, low, high, INT(step), INT)


@intrinsic
def fill(typing: Any, tape: Any, at: Any, count: Any, value: Any) -> Any:
    """tape[at ...] = value, `count` times, rounded up to whole vectors."""
    if not same_reals(tape) or value != tape.dtype:
        return None
    ints = types.int64
    signature = types.void(tape, ints, ints, value)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = _vectors(builder, tape.dtype)
        data, (at, count, value) = data_of(context, builder, tape, arguments[0]), arguments[1:]
        values = vectors.repeat(value)
        with _loop(builder, INT(0), count, LANES) as (i, _):
            vectors.store(values, data, builder.add(at, i))
        return context.get_dummy_value()

    return signature, build


@intrinsic
def sum_rows(
    typing: Any,
    x: Any,
    x_at: Any,
    x_plane: Any,
    z: Any,
    z_at: Any,
    z_plane: Any,
    channels: Any,
    wide: Any,
    tape: Any,
    here: Any,
    before: Any,
    prefix: Any,
    out: Any,
) -> Any:
    """s = sum_c (x[x_at + c x_plane ...] - z[z_at + c z_plane ...])^2, `wide` of them, to tape[here ...]; prefix += s; out = prefix + before."""
    if not same_reals(x, z, tape):
        return None
    ints = types.int64
    signature = types.void(x, ints, ints, z, ints, ints, ints, ints, tape, ints, ints, ints, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = _vectors(builder, x.dtype)
        source, (x_at, x_plane) = data_of(context, builder, x, arguments[0]), arguments[1:3]
        other, (z_at, z_plane, channels, wide) = data_of(context, builder, z, arguments[3]), arguments[4:8]
        data, (here, before, prefix, out) = data_of(context, builder, tape, arguments[8]), arguments[9:]

        def add(i: Any, c: Any, value: Any) -> Any:
            gap = builder.fsub(
                vectors.load(source, builder.add(builder.add(x_at, builder.mul(c, x_plane)), i)),
                vectors.load(other, builder.add(builder.add(z_at, builder.mul(c, z_plane)), i)),
            )
            return vectors.times_plus(gap, gap, value)

        def keep(i: Any, squares: Any) -> None:
            vectors.store(squares, data, builder.add(here, i))
            total = builder.fadd(vectors.load(data, builder.add(prefix, i)), squares)
            vectors.store(total, data, builder.add(prefix, i))
            total = builder.fadd(total, vectors.load(data, builder.add(before, i)))
            vectors.store(total, data, builder.add(out, i))

        with builder.if_else(builder.icmp_signed("==", channels, INT(3))) as (three, others):
            with three, _loop(builder, INT(0), wide, LANES) as (i, _):
                value = vectors.constant(0.0)
                for c in range(3):
                    value = add(i, INT(c), value)
                keep(i, value)
            with others:
                slot = cgutils.alloca_once_value(builder, vectors.constant(0.0))
                with _loop(builder, INT(0), wide, LANES) as (i, _):
                    builder.store(vectors.constant(0.0), slot)
                    with _loop(builder, INT(0), channels) as (c, _):
                        builder.store(add(i, c, builder.load(slot)), slot)
                    keep(i, builder.load(slot))
        return context.get_dummy_value()

    return signature, build


@intrinsic
def suffix_sums(typing: Any, tape: Any, first: Any, step: Any, rows: Any, wide: Any) -> Any:
    """Each of `rows` rows, `step` apart from tape[first ...] on, becomes the sum of itself and those after it."""
    if not same_reals(tape):
        return None
    ints = types.int64
    signature = types.void(tape, ints, ints, ints, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = _vectors(builder, tape.dtype)
        data, (first, step, rows, wide) = data_of(context, builder, tape, arguments[0]), arguments[1:]
        slot = cgutils.alloca_once_value(builder, vectors.constant(0.0))
        with _loop(builder, INT(0), wide, LANES) as (i, _):
            builder.store(vectors.constant(0.0), slot)
            with _loop(builder, INT(0), rows) as (back, _):
                row = builder.sub(builder.sub(rows, INT(1)), back)
                at = builder.add(builder.add(first, builder.mul(row, step)), i)
                builder.store(builder.fadd(builder.load(slot), vectors.load(data, at)), slot)
                vectors.store(builder.load(slot), data, at)
        return context.get_dummy_value()

    return signature, build


UNROLLED = 17  # sides up to this have code of their own


def partition(side: int) -> tuple[int, int, int]:
    """p = part * count + rest with the fewest additions a window: sums over `part` columns, `count` of them, and `rest` columns."""
    found = [(part + 1 if part > 1 else 0, part) for part in range(1, side + 1)]
    _, part = min((made + side // part + side % part, part) for made, part in found)
    return part, side // part, side % part


class _Logits:
    """The logits of a row of windows: bits * (sum_{t < count} tape[parts + i + t part] + sum_{t < rest} tape[row + i + count part + t])."""

    def __init__(self, builder: Any, vectors: Vectors, data: Any, arguments: Any) -> None:
        self.builder, self.vectors, self.data = builder, vectors, data
        self.row, self.parts, self.side = arguments[:3]
        self.bits = vectors.repeat(arguments[3])
        self.slot = cgutils.alloca_once_value(builder, vectors.constant(0.0))

    def _sum(self, begins: list[Any]) -> None:
        total = self.vectors.load(self.data, begins[0])
        for begin in begins[1:]:
            total = self.builder.fadd(total, self.vectors.load(self.data, begin))
        self.builder.store(total, self.slot)

    def at(self, i: Any) -> Any:
        builder = self.builder
        parts, row = builder.add(self.parts, i), builder.add(self.row, i)
        done, other = builder.append_basic_block("sums.done"), builder.append_basic_block("sums.other")
        cases = builder.switch(self.side, other)
        for side in range(2, UNROLLED + 1):
            part, count, rest = partition(side)
            block = builder.append_basic_block(f"sums.{side}")
            cases.add_case(INT(side), block)
            builder.position_at_end(block)
            begins = [builder.add(parts, INT(t * part)) for t in range(count)]
            self._sum(begins + [builder.add(row, INT(part * count + t)) for t in range(rest)])
            builder.branch(done)
        builder.position_at_end(other)
        builder.store(self.vectors.load(self.data, parts), self.slot)
        with _loop(builder, INT(1), self.side) as (t, _):
            value = self.vectors.load(self.data, builder.add(parts, t))
            builder.store(builder.fadd(builder.load(self.slot), value), self.slot)
        builder.branch(done)
        builder.position_at_end(done)
        return builder.fmul(builder.load(self.slot), self.bits)


@intrinsic
def partial_sums(typing: Any, tape: Any, at: Any, side: Any, count: Any, to: Any) -> Any:
    """tape[to + i] = sum_{j < part} tape[at + i + j], i < count, part that of the `partition` of p; whether there are such sums."""
    if not same_reals(tape):
        return None
    ints = types.int64
    signature = types.boolean(tape, ints, ints, ints, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = _vectors(builder, tape.dtype)
        data, (at, side, count, to) = data_of(context, builder, tape, arguments[0]), arguments[1:]
        made = cgutils.alloca_once_value(builder, ir.IntType(1)(0))
        builder.store(ir.IntType(1)(0), made)
        done = builder.append_basic_block("parts.done")
        cases = builder.switch(side, done)
        widths = {side: partition(side)[0] for side in range(2, UNROLLED + 1)}
        for width in sorted({width for width in widths.values() if width > 1}):
            block = builder.append_basic_block(f"parts.{width}")
            for each in [side for side in widths if widths[side] == width]:
                cases.add_case(INT(each), block)
            builder.position_at_end(block)
            builder.store(ir.IntType(1)(1), made)
            with _loop(builder, INT(0), count, LANES) as (i, _):
                begin = builder.add(at, i)
                total = vectors.load(data, begin)
                for j in range(1, width):
                    total = builder.fadd(total, vectors.load(data, builder.add(begin, INT(j))))
                vectors.store(total, data, builder.add(to, i))
            builder.branch(done)
        builder.position_at_end(done)
        return builder.load(made)

    return signature, build


ROW = (types.int64,) * 3  # row, parts, side


@intrinsic
def closest_row(
    typing: Any,
    tape: Any,
    row: Any,
    parts: Any,
    side: Any,
    bits: Any,
    columns: Any,
    limits: Any,
    to: Any,
    out: Any,
) -> Any:
    """Logits less limits[to ...] to tape[out ...], for `columns` windows; whether any is above 0."""
    if not same_reals(tape, limits) or bits != tape.dtype:
        return None
    ints = types.int64
    signature = types.boolean(tape, *ROW, bits, ints, limits, ints, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = _vectors(builder, tape.dtype)
        data, (columns, _, to, out) = data_of(context, builder, tape, arguments[0]), arguments[5:]
        bound = data_of(context, builder, limits, arguments[6])
        logits = _Logits(builder, vectors, data, arguments[1:5])
        largest = cgutils.alloca_once_value(builder, vectors.constant(-1.0))
        with _loop(builder, INT(0), columns, LANES) as (i, _):
            gap = builder.fsub(logits.at(i), vectors.load(bound, builder.add(to, i)))
            vectors.store(gap, data, builder.add(out, i))
            builder.store(vectors.larger(gap, builder.load(largest)), largest)
        return vectors.any(builder.fcmp_ordered(">", builder.load(largest), vectors.constant(0.0)))

    return signature, build


@intrinsic
def absorb_row(
    typing: Any,
    tape: Any,
    row: Any,
    parts: Any,
    side: Any,
    bits: Any,
    columns: Any,
    gap: Any,
    best: Any,
    total: Any,
    to: Any,
) -> Any:
    """best[to ...] = max(best, logit), total[to ...] = sum of 2^(logit - best); what is `gap` bits and more below best is left out."""
    if not same_reals(tape, best) or not is_real(total, types.float32) or bits != tape.dtype or gap != tape.dtype:
        return None
    ints = types.int64
    signature = types.void(tape, *ROW, bits, ints, gap, best, total, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors, singles = _vectors(builder, tape.dtype), _vectors(builder, types.float32)
        data, columns, to = data_of(context, builder, tape, arguments[0]), arguments[5], arguments[9]
        largest, sums = (
            data_of(context, builder, best, arguments[7]),
            data_of(context, builder, total, arguments[8]),
        )
        least = vectors.repeat(builder.fsub(ir.Constant(vectors.real, 0.0), arguments[6]))
        logits = _Logits(builder, vectors, data, arguments[1:5])
        zero, one = vectors.constant(0.0), singles.constant(1.0)
        with _loop(builder, INT(0), columns, LANES) as (i, _):
            here = builder.add(to, i)
            logit, before = logits.at(i), vectors.load(largest, here)
            higher = builder.fsub(logit, before)
            with builder.if_then(vectors.any(builder.fcmp_ordered(">", higher, least))):
                up = builder.fcmp_ordered(">", higher, zero)
                down = builder.select(up, builder.fsub(zero, higher), higher)  # -|higher|
                factor, mass = emit_exp2(builder, vectors.to_single(down)), singles.load(sums, here)
                grown = singles.times_plus(mass, factor, one)
                singles.store(builder.select(up, grown, builder.fadd(mass, factor)), sums, here)
                vectors.store(builder.select(up, logit, before), largest, here)
        return context.get_dummy_value()

    return signature, build


@intrinsic
def weigh_row(
    typing: Any,
    tape: Any,
    row: Any,
    parts: Any,
    side: Any,
    bits: Any,
    columns: Any,
    gap: Any,
    highest: Any,
    inverse: Any,
    to: Any,
    weights: Any,
    out: Any,
) -> Any:
    """weights[out ...] = 2^(logit - highest[to ...]) inverse[to ...]; whether any logit is less than `gap` bits below."""
    singles_only = is_real(inverse, types.float32) and is_real(weights, types.float32)
    if not same_reals(tape, highest) or not singles_only or bits != tape.dtype or gap != tape.dtype:
        return None
    ints = types.int64
    signature = types.boolean(tape, *ROW, bits, ints, gap, highest, inverse, ints, weights, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors, singles = _vectors(builder, tape.dtype), _vectors(builder, types.float32)
        data, columns, to, out = (
            data_of(context, builder, tape, arguments[0]),
            arguments[5],
            arguments[9],
            arguments[11],
        )
        largest = data_of(context, builder, highest, arguments[7])
        factors, target = (
            data_of(context, builder, inverse, arguments[8]),
            data_of(context, builder, weights, arguments[10]),
        )
        least = vectors.repeat(builder.fsub(ir.Constant(vectors.real, 0.0), arguments[6]))
        logits = _Logits(builder, vectors, data, arguments[1:5])
        found = cgutils.alloca_once_value(builder, ir.IntType(1)(0))
        with _loop(builder, INT(0), columns, LANES) as (i, _):
            here = builder.add(to, i)
            below = builder.fsub(logits.at(i), vectors.load(largest, here))
            singles.store(singles.constant(0.0), target, builder.add(out, i))
            with builder.if_then(vectors.any(builder.fcmp_ordered(">", below, least))):
                share = builder.fmul(emit_exp2(builder, vectors.to_single(below)), singles.load(factors, here))
                singles.store(share, target, builder.add(out, i))
                builder.store(ir.IntType(1)(1), found)
        return builder.load(found)

    return signature, build


def _strips(builder: Any, wide: Any, body: Callable[[Any, int], None]) -> None:
    """body(i, vectors) over a row: four vectors at a time, then one."""
    whole = builder.and_(builder.add(wide, INT(LANES - 1)), INT(-FOUR * LANES))
    with _loop(builder, INT(0), whole, FOUR * LANES) as (i, _):
        body(i, FOUR)
    with _loop(builder, whole, wide, LANES) as (i, _):
        body(i, 1)


@intrinsic
def spread_row(typing: Any, weights: Any, at: Any, response: Any, side: Any, wide: Any, to: Any) -> Any:
    """weights[to + j] = sum_{q < side} response[q] weights[at + j - q], j < wide."""
    if not (is_real(weights, types.float32) and is_real(response, types.float32)):
        return None
    ints = types.int64
    signature = types.void(weights, ints, response, ints, ints, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        singles = _vectors(builder, types.float32)
        data, at, side, wide, to = data_of(context, builder, weights, arguments[0]), arguments[1], *arguments[3:]
        shares = data_of(context, builder, response, arguments[2])
        slots = [cgutils.alloca_once_value(builder, singles.constant(0.0)) for _ in range(FOUR)]

        def body(j: Any, count: int) -> None:
            for slot in slots[:count]:
                builder.store(singles.constant(0.0), slot)
            with _loop(builder, INT(0), side) as (q, _):
                share = singles.repeat(item(builder, shares, q, singles.real))
                begin = builder.sub(builder.add(at, j), q)
                for k, slot in enumerate(slots[:count]):
                    value = singles.load(data, builder.add(begin, INT(k * LANES)))
                    builder.store(singles.times_plus(share, value, builder.load(slot)), slot)
            for k, slot in enumerate(slots[:count]):
                singles.store(builder.load(slot), data, builder.add(builder.add(to, j), INT(k * LANES)))

        _strips(builder, wide, body)
        return context.get_dummy_value()

    return signature, build


@intrinsic
def meet_row(
    typing: Any,
    weights: Any,
    rows: Any,
    shares: Any,
    count: Any,
    wide: Any,
    meet: Any,
    x: Any,
    x_at: Any,
    x_plane: Any,
    channels: Any,
    sums: Any,
    to: Any,
    plane: Any,
) -> Any:
    """m_j = sum_{i < count} shares[i] weights[rows[i] + j] to weights[meet + j], and sums[to + c plane + j] += m_j x[x_at + c x_plane + j]."""
    singles_only = all(is_real(each, types.float32) for each in (weights, shares, sums))
    if not singles_only or not same_reals(x) or rows.dtype != types.int64:
        return None
    ints = types.int64
    signature = types.void(weights, rows, shares, ints, ints, ints, x, ints, ints, ints, sums, ints, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors, singles = _vectors(builder, x.dtype), _vectors(builder, types.float32)
        data, places, factors = (
            data_of(context, builder, kind, array)
            for kind, array in zip((weights, rows, shares), arguments[:3], strict=True)
        )
        count, wide, meet = arguments[3:6]
        source, (x_at, x_plane, channels) = data_of(context, builder, x, arguments[6]), arguments[7:10]
        target, (to, plane) = data_of(context, builder, sums, arguments[10]), arguments[11:]
        slots = [cgutils.alloca_once_value(builder, singles.constant(0.0)) for _ in range(FOUR)]

        def body(j: Any, together: int) -> None:
            for slot in slots[:together]:
                builder.store(singles.constant(0.0), slot)
            with _loop(builder, INT(0), count) as (i, _):
                share = singles.repeat(item(builder, factors, i, singles.real))
                begin = builder.add(item(builder, places, i, INT), j)
                for k, slot in enumerate(slots[:together]):
                    value = singles.load(data, builder.add(begin, INT(k * LANES)))
                    builder.store(singles.times_plus(share, value, builder.load(slot)), slot)
            for k, slot in enumerate(slots[:together]):
                singles.store(builder.load(slot), data, builder.add(builder.add(meet, j), INT(k * LANES)))
            with _loop(builder, INT(0), channels) as (c, _):
                from_x = builder.add(builder.add(x_at, builder.mul(c, x_plane)), j)
                on_z = builder.add(builder.add(to, builder.mul(c, plane)), j)
                for k, slot in enumerate(slots[:together]):
                    pixels = vectors.to_single(vectors.load(source, builder.add(from_x, INT(k * LANES))))
                    there = builder.add(on_z, INT(k * LANES))
                    added = singles.times_plus(builder.load(slot), pixels, singles.load(target, there))
                    singles.store(added, target, there)

        _strips(builder, wide, body)
        return context.get_dummy_value()

    return signature, build


@intrinsic
def patch_distance(
    typing: Any,
    x: Any,
    x_at: Any,
    x_step: Any,
    x_plane: Any,
    z: Any,
    z_at: Any,
    z_step: Any,
    z_plane: Any,
    channels: Any,
    side: Any,
    inside: Any,
) -> Any:
    """sum (x - z)^2 over two patches whose rows lie `x_step` and `z_step` apart; `inside`: p ones, then zeros up to whole vectors."""
    if not same_reals(x, z, inside):
        return None
    ints = types.int64
    signature = x.dtype(x, ints, ints, ints, z, ints, ints, ints, ints, ints, inside)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = _vectors(builder, x.dtype)
        source, (x_at, x_step, x_plane) = data_of(context, builder, x, arguments[0]), arguments[1:4]
        other, (z_at, z_step, z_plane, channels, side) = data_of(context, builder, z, arguments[4]), arguments[5:10]
        mask = data_of(context, builder, inside, arguments[10])
        slot = cgutils.alloca_once_value(builder, vectors.constant(0.0))
        builder.store(vectors.constant(0.0), slot)
        with _loop(builder, INT(0), channels) as (c, _), _loop(builder, INT(0), side) as (row, _):
            from_x = builder.add(builder.add(x_at, builder.mul(c, x_plane)), builder.mul(row, x_step))
            from_z = builder.add(builder.add(z_at, builder.mul(c, z_plane)), builder.mul(row, z_step))
            with _loop(builder, INT(0), side, LANES) as (i, _):
                gap = builder.fsub(
                    vectors.load(source, builder.add(from_x, i)), vectors.load(other, builder.add(from_z, i))
                )
                gap = builder.fmul(gap, vectors.load(mask, i))
                builder.store(vectors.times_plus(gap, gap, builder.load(slot)), slot)
        sums, total = builder.load(slot), ir.Constant(vectors.real, 0.0)
        for lane in range(LANES):
            total = builder.fadd(total, builder.extract_element(sums, INT(lane)))
        return total

    return signature, build


@intrinsic
def add_patch(
    typing: Any,
    x: Any,
    x_at: Any,
    x_step: Any,
    x_plane: Any,
    sums: Any,
    to: Any,
    step: Any,
    plane: Any,
    channels: Any,
    side: Any,
    weight: Any,
    response: Any,
) -> Any:
    """sums[to + c plane + r step + i] += weight response[r] response[i] x[x_at + c x_plane + r x_step + i], r, i < p.

    `response`: p numbers, then zeros up to whole vectors.
    """
    if not same_reals(x, sums, response) or weight != x.dtype:
        return None
    ints = types.int64
    signature = types.void(x, ints, ints, ints, sums, ints, ints, ints, ints, ints, weight, response)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = _vectors(builder, x.dtype)
        source, (x_at, x_step, x_plane) = data_of(context, builder, x, arguments[0]), arguments[1:4]
        target, (to, step, plane, channels, side) = data_of(context, builder, sums, arguments[4]), arguments[5:10]
        shares = data_of(context, builder, response, arguments[11])
        with _loop(builder, INT(0), side) as (row, _):
            share = vectors.repeat(builder.fmul(arguments[10], item(builder, shares, row, vectors.real)))
            with _loop(builder, INT(0), side, LANES) as (i, _):
                factor = builder.fmul(share, vectors.load(shares, i))
                with _loop(builder, INT(0), channels) as (c, _):
                    from_x = builder.add(builder.add(x_at, builder.mul(c, x_plane)), builder.mul(row, x_step))
                    there = builder.add(builder.add(to, builder.mul(c, plane)), builder.mul(row, step))
                    there = builder.add(there, i)
                    value = vectors.load(source, builder.add(from_x, i))
                    vectors.store(vectors.times_plus(factor, value, vectors.load(target, there)), target, there)
        return context.get_dummy_value()

    return signature, build
