"""The innermost loops of the picture kernels, as vector instructions of 16 numbers, of either type; on flat tapes of scratch memory.

sum_block       squared differences of a block of p rows, and sums of p neighbouring rows of them
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
    "patch_distance",
    "spread_row",
    "sum_block",
    "weigh_row",
]

LANES = 16
TWO = 2  # shifts at a time
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
def sum_block(
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
    rows: Any,
    wide: Any,
    tape: Any,
    kept: Any,
    out: Any,
    step: Any,
    half: Any,
) -> Any:
    """The next `rows` rows (p; fewer at the end) for two shifts q, which differ by a row: with s_q = sum_c (x - z)^2, x a row on for q = 1,

    tape[out + q half + i step ...] = s_q of row i and of the p - 1 rows before it, `wide` numbers.

    `kept` is where sums of the block before lie, from each of its rows to its end; of this one, afterwards: q half apart too.
    Strips of a vector's width go down the rows, so that all this stays near; z's row serves both shifts, and x's the next row too.
    """
    if not same_reals(x, z, tape):
        return None
    ints = types.int64
    signature = types.void(x, ints, ints, ints, z, *(ints,) * 7, tape, ints, ints, ints, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = _vectors(builder, x.dtype)
        source, (x_at, x_step, x_plane) = data_of(context, builder, x, arguments[0]), arguments[1:4]
        other, (z_at, z_step, z_plane, channels, side, rows, wide) = (
            data_of(context, builder, z, arguments[4]),
            arguments[5:12],
        )
        data, (kept, out, step, half) = data_of(context, builder, tape, arguments[12]), arguments[13:]
        add, times, zero = builder.add, builder.mul, vectors.constant(0.0)
        prefix = [cgutils.alloca_once_value(builder, zero) for _ in range(TWO)]
        squares = [cgutils.alloca_once_value(builder, zero) for _ in range(TWO)]
        above = [cgutils.alloca_once_value(builder, zero) for _ in range(3)]  # rows of x, of three channels

        def pixels(i: Any, c: Any, strip: Any) -> Any:
            return vectors.load(source, add(add(x_at, times(c, x_plane)), add(times(i, x_step), strip)))

        def noisy(i: Any, c: Any, strip: Any) -> Any:
            return vectors.load(other, add(add(z_at, times(c, z_plane)), add(times(i, z_step), strip)))

        def place(q: int, i: Any, strip: Any) -> Any:
            """Of a strip's kept sums: p + 1 of them, the last 0."""
            begin = add(kept, times(INT(q), half))
            return add(begin, add(times(strip, add(side, INT(1))), times(i, INT(LANES))))

        def keep(i: Any, strip: Any, values: list[Any]) -> None:
            for q, value in enumerate(values):
                before = vectors.load(data, place(q, add(i, INT(1)), strip))
                vectors.store(value, data, place(q, i, strip))
                total = builder.fadd(builder.load(prefix[q]), value)
                builder.store(total, prefix[q])
                to = add(add(out, times(INT(q), half)), add(times(i, step), strip))
                vectors.store(builder.fadd(total, before), data, to)

        def square(a: Any, b: Any, so_far: Any) -> Any:
            gap = builder.fsub(a, b)
            return vectors.times_plus(gap, gap, so_far)

        def down(strip: Any, three: bool) -> None:
            if three:
                for c in range(3):
                    builder.store(pixels(INT(0), INT(c), strip), above[c])
            with _loop(builder, INT(0), rows) as (i, _):
                below = add(i, INT(1))
                if three:
                    first, second = zero, zero
                    for c in range(3):
                        on_z, next_x = noisy(i, INT(c), strip), pixels(below, INT(c), strip)
                        first = square(builder.load(above[c]), on_z, first)
                        second = square(next_x, on_z, second)
                        builder.store(next_x, above[c])
                    keep(i, strip, [first, second])
                else:
                    for slot in squares:
                        builder.store(zero, slot)
                    with _loop(builder, INT(0), channels) as (c, _):
                        on_z = noisy(i, c, strip)
                        for slot, row in zip(squares, (i, below), strict=True):
                            builder.store(square(pixels(row, c, strip), on_z, builder.load(slot)), slot)
                    keep(i, strip, [builder.load(slot) for slot in squares])

        def strips(three: bool) -> None:
            with _loop(builder, INT(0), wide, LANES) as (strip, _):
                for slot in prefix:
                    builder.store(zero, slot)
                down(strip, three)
                for slot in prefix:
                    builder.store(zero, slot)
                with _loop(builder, INT(0), rows) as (back, _):
                    i = builder.sub(builder.sub(rows, INT(1)), back)
                    for q, slot in enumerate(prefix):
                        builder.store(builder.fadd(builder.load(slot), vectors.load(data, place(q, i, strip))), slot)
                        vectors.store(builder.load(slot), data, place(q, i, strip))

        with builder.if_else(builder.icmp_signed("==", channels, INT(3))) as (three, others):
            with three:
                strips(True)
            with others:
                strips(False)
        return context.get_dummy_value()

    return signature, build


UNROLLED = 17  # sides up to this have code of their own


def partition(side: int) -> tuple[int, int, int]:
    """p = part * count + rest with the fewest additions a window: sums over `part` columns, `count` of them, and `rest` columns."""
    _, part = min((part + side // part + side % part, part) for part in range(1, side + 1))
    return part, side // part, side % part


class _Logits:
    """The logits of a row of windows from left to right, a vector at a time: bits * sum_{t < p} tape[row + i + t].

    For sides up to UNROLLED, of sums over a few columns, of which those of the next vector are made once: shuffles take the place of loads.
    """

    def __init__(self, builder: Any, vectors: Vectors, data: Any, arguments: Any) -> None:
        self.builder, self.vectors, self.data = builder, vectors, data
        self.row, self.side = arguments[:2]
        self.bits = vectors.repeat(arguments[2])
        self.slot = cgutils.alloca_once_value(builder, vectors.constant(0.0))
        self.part = cgutils.alloca_once_value(builder, vectors.constant(0.0))
        self._cases(lambda side: self._begin(side), lambda: None)

    def _cases(self, body: Callable[[int], None], other: Callable[[], None]) -> None:
        builder = self.builder
        done, default = builder.append_basic_block("sums.done"), builder.append_basic_block("sums.other")
        cases = builder.switch(self.side, default)
        for side in range(2, UNROLLED + 1):
            block = builder.append_basic_block(f"sums.{side}")
            cases.add_case(INT(side), block)
            builder.position_at_end(block)
            body(side)
            builder.branch(done)
        builder.position_at_end(default)
        other()
        builder.branch(done)
        builder.position_at_end(done)

    def _partial(self, begin: Any, width: int) -> Any:
        total = self.vectors.load(self.data, begin)
        for j in range(1, width):
            total = self.builder.fadd(total, self.vectors.load(self.data, self.builder.add(begin, INT(j))))
        return total

    def _begin(self, side: int) -> None:
        self.builder.store(self._partial(self.row, partition(side)[0]), self.part)

    def _sum(self, i: Any, side: int) -> None:
        builder, (part, count, _) = self.builder, partition(side)
        here = builder.load(self.part)
        there = self._partial(builder.add(self.row, builder.add(i, INT(LANES))), part)
        builder.store(there, self.part)
        total = here
        for t in range(1, count):
            lanes = ir.Constant(
                ir.VectorType(ir.IntType(32), LANES), [ir.IntType(32)(t * part + k) for k in range(LANES)]
            )
            total = builder.fadd(total, builder.shuffle_vector(here, there, lanes))
        for t in range(part * count, side):
            total = builder.fadd(total, self.vectors.load(self.data, builder.add(self.row, builder.add(i, INT(t)))))
        builder.store(total, self.slot)

    def _loads(self, i: Any) -> None:
        builder, begin = self.builder, self.builder.add(self.row, i)
        builder.store(self.vectors.load(self.data, begin), self.slot)
        with _loop(builder, INT(1), self.side) as (t, _):
            value = self.vectors.load(self.data, builder.add(begin, t))
            builder.store(builder.fadd(builder.load(self.slot), value), self.slot)

    def at(self, i: Any) -> Any:
        """Of windows i .. i + 15; i = 0, 16, 32 and so on."""
        self._cases(lambda side: self._sum(i, side), lambda: self._loads(i))
        return self.builder.fmul(self.builder.load(self.slot), self.bits)


ROW = (types.int64,) * 2  # row, side


@intrinsic
def closest_row(
    typing: Any,
    tape: Any,
    row: Any,
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
        data, (columns, _, to, out) = data_of(context, builder, tape, arguments[0]), arguments[4:]
        bound = data_of(context, builder, limits, arguments[5])
        logits = _Logits(builder, vectors, data, arguments[1:4])
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
        data, columns, to = data_of(context, builder, tape, arguments[0]), arguments[4], arguments[8]
        largest, sums = (
            data_of(context, builder, best, arguments[6]),
            data_of(context, builder, total, arguments[7]),
        )
        least = vectors.repeat(builder.fsub(ir.Constant(vectors.real, 0.0), arguments[5]))
        logits = _Logits(builder, vectors, data, arguments[1:4])
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
    """weights[out ...] = 2^(logit - highest[to ...]) inverse[to ...], 0 from `gap` bits below on; whether any is not."""
    singles_only = is_real(inverse, types.float32) and is_real(weights, types.float32)
    if not same_reals(tape, highest) or not singles_only or bits != tape.dtype or gap != tape.dtype:
        return None
    ints = types.int64
    signature = types.boolean(tape, *ROW, bits, ints, gap, highest, inverse, ints, weights, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors, singles = _vectors(builder, tape.dtype), _vectors(builder, types.float32)
        data, columns, to, out = (
            data_of(context, builder, tape, arguments[0]),
            arguments[4],
            arguments[8],
            arguments[10],
        )
        largest = data_of(context, builder, highest, arguments[6])
        factors, target = (
            data_of(context, builder, inverse, arguments[7]),
            data_of(context, builder, weights, arguments[9]),
        )
        least = vectors.repeat(builder.fsub(ir.Constant(vectors.real, 0.0), arguments[5]))
        logits = _Logits(builder, vectors, data, arguments[1:4])
        found = cgutils.alloca_once_value(builder, ir.IntType(1)(0))
        with _loop(builder, INT(0), columns, LANES) as (i, _):
            here = builder.add(to, i)
            below = builder.fsub(logits.at(i), vectors.load(largest, here))
            singles.store(singles.constant(0.0), target, builder.add(out, i))
            with builder.if_then(vectors.any(builder.fcmp_ordered(">", below, least))):
                share = builder.fmul(emit_exp2(builder, vectors.to_single(below)), singles.load(factors, here))
                tiny = builder.fcmp_ordered(
                    "<", below, least
                )  # times the response they would be subnormal, which is slow
                singles.store(builder.select(tiny, singles.constant(0.0), share), target, builder.add(out, i))
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
        data, (at, _, side, wide, to) = data_of(context, builder, weights, arguments[0]), arguments[1:]
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
    """m_j = sum_{i < count} shares[i] weights[rows[i] + j] to weights[meet + j]; sums[to + c plane + j] += m_j x[x_at + c x_plane + j]."""
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
