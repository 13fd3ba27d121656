"""The innermost loops of the shift kernels, as vector instructions; four shifts of the rows at a time share what they load.

strip_differences   squared differences of a strip of columns, a vector wide, to a buffer that stays in the L1 cache
strip_sums          its sums over p neighbouring rows
strip_gaps          the same from running sums
partial_sums        sums over a few neighbouring columns, of which the sums over windows are made
absorb              those, as logits, into the posterior means' running form: a maximum, the sum of weights, and of weights times pixels
any_matters         whether any of those logits can matter
row_weights         their weights, where normalisers are known

Vectors of pixels are of 32 bytes: rows are short, and what lies beyond their ends is computed in vain.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from smalti.engine.compiled.exp2 import emit_exp2
from smalti.engine.compiled.vectors import INT, Vectors, data_of, is_true, item, same_reals

__all__ = [
    "AT_ONCE",
    "FOUR",
    "absorb",
    "any_matters",
    "partial_sums",
    "row_weights",
    "strip_differences",
    "strip_gaps",
    "strip_sums",
]

FOUR = 4  # shifts at a time
BYTES = 32  # of a vector
WIDE = 64  # the same where windows are taken together
AT_ONCE = WIDE // 4 + 1  # columns of windows that two vectors hold, at most
SHUFFLED = 5  # columns of a window from which on shuffles are quicker than loads


def _loop(builder: Any, low: Any, high: Any, step: int = 1) -> Any:
    return cgutils.for_range_slice(builder, low, high, INT(step), INT)


@intrinsic
def strip_differences(
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
    relative: Any,
    running: Any,
    rows: Any,
    out: Any,
    quarter: Any,
) -> Any:
    """A strip for four shifts q: out[q quarter + y lanes ...] = sum_c (x - z)^2, or |x|^2 - sum_c x z if `relative`, y < rows.

    With `relative` and `running`, a row of zeros, and then the sums of all rows up to each, one further on.

    x is at `x_at + (y + q) x_step`, z at `z_at + y z_step`; channels lie `x_plane` and `z_plane` apart, and after those of x comes |x|^2.
    Up to FOUR - 1 rows beyond the last are read and written (of x, as many more for the shifts).
    """
    if not same_reals(x, z, out):
        return None
    ints = types.int64
    flag = types.boolean
    signature = types.void(x, ints, ints, ints, z, ints, ints, ints, ints, flag, flag, ints, out, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, x.dtype, BYTES)
        source, (x_at, x_step, x_plane) = data_of(context, builder, x, arguments[0]), arguments[1:4]
        other, (z_at, z_step, z_plane, channels) = data_of(context, builder, z, arguments[4]), arguments[5:9]
        rows, quarter = arguments[11], arguments[13]
        target = data_of(context, builder, out, arguments[12])
        totals = [cgutils.alloca_once_value(builder, vectors.constant(0.0)) for _ in range(FOUR)]

        def pixel(row: Any, plane: Any) -> Any:
            place = builder.add(builder.mul(row, x_step), builder.mul(plane, x_plane))
            return vectors.load(source, builder.add(x_at, place))

        def noisy(row: Any, plane: Any) -> Any:
            place = builder.add(builder.mul(row, z_step), builder.mul(plane, z_plane))
            return vectors.load(other, builder.add(z_at, place))

        def add(value: Any, x: Any, z: Any, products: bool) -> Any:
            if products:
                return vectors.minus_times(x, z, value)
            gap = builder.fsub(x, z)
            return vectors.times_plus(gap, gap, value)

        def keep(values: list[Any], y: Any, sums: bool) -> None:
            if sums:
                y = builder.add(y, INT(1))
                values = [builder.fadd(builder.load(total), value) for total, value in zip(totals, values, strict=True)]
                for total, value in zip(totals, values, strict=True):
                    builder.store(value, total)
            for q, value in enumerate(values):
                at = builder.add(builder.mul(quarter, INT(q)), builder.mul(y, INT(vectors.lanes)))
                vectors.store(value, target, at)

        def three_channels(products: bool, sums: bool) -> None:
            """Rows of x stay in registers for all four shifts, four rows of z at a time."""
            planes = [INT(c) for c in range(4 if products else 3)]
            carried = [[cgutils.alloca_once_value(builder, pixel(INT(y), c)) for y in range(FOUR - 1)] for c in planes]
            with _loop(builder, INT(0), rows, FOUR) as (top, _):
                held = [[builder.load(slot) for slot in slots] for slots in carried]
                for k in range(FOUR):
                    y = builder.add(top, INT(k))
                    new = builder.add(y, INT(FOUR - 1))
                    held = [[*kept[-FOUR + 1 :], pixel(new, c)] for kept, c in zip(held, planes, strict=True)]
                    values = list(held[3]) if products else [vectors.constant(0.0)] * FOUR
                    for c in range(3):
                        z_row = noisy(y, INT(c))
                        values = [add(value, x, z_row, products) for value, x in zip(values, held[c], strict=True)]
                    keep(values, y, sums)
                for slots, kept in zip(carried, held, strict=True):
                    for slot, value in zip(slots, kept[-FOUR + 1 :], strict=True):
                        builder.store(value, slot)

        def any_channels(products: bool, sums: bool) -> None:
            slots = [cgutils.alloca_once_value(builder, vectors.constant(0.0)) for _ in range(FOUR)]
            with _loop(builder, INT(0), rows) as (y, _):
                below = [builder.add(y, INT(q)) for q in range(FOUR)]
                for slot, row in zip(slots, below, strict=True):
                    builder.store(pixel(row, channels) if products else vectors.constant(0.0), slot)
                with _loop(builder, INT(0), channels) as (c, _):
                    z_row = noisy(y, c)
                    for slot, row in zip(slots, below, strict=True):
                        builder.store(add(builder.load(slot), pixel(row, c), z_row, products), slot)
                keep([builder.load(slot) for slot in slots], y, sums)

        def every(products: bool, sums: bool) -> None:
            if sums:
                keep([vectors.constant(0.0)] * FOUR, INT(0), False)
            with builder.if_else(builder.icmp_signed("==", channels, INT(3))) as (three, others):
                with three:
                    three_channels(products, sums)
                with others:
                    any_channels(products, sums)

        with builder.if_else(is_true(builder, arguments[9])) as (products, squares):
            with products, builder.if_else(is_true(builder, arguments[10])) as (sums, single):
                with sums:
                    every(True, True)
                with single:
                    every(True, False)
            with squares:
                every(False, False)
        return context.get_dummy_value()

    return signature, build


@intrinsic
def strip_sums(
    typing: Any, strip: Any, quarter: Any, suffix: Any, side: Any, rows: Any, out: Any, to: Any, step: Any, plane: Any
) -> Any:
    """Sums over `side` neighbouring rows: out[to + q plane + t step ...] = sum_{j < side} strip[q quarter + (t + j) lanes ...], t < rows.

    Rows are taken `side` at a time: the sum is what is left of one such block (kept at `suffix`) and the beginning of the next, two
    additions a row whatever the side, and nothing is subtracted (van Herk 1992). Reads one row beyond the last.
    """
    if not same_reals(strip, out):
        return None
    ints = types.int64
    signature = types.void(strip, ints, ints, ints, ints, out, ints, ints, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, strip.dtype, BYTES)
        lanes = INT(vectors.lanes)
        source, (quarter, suffix, side, rows) = data_of(context, builder, strip, arguments[0]), arguments[1:5]
        target, (to, step, plane) = data_of(context, builder, out, arguments[5]), arguments[6:]

        def load(row: Any, q: int) -> Any:
            return vectors.load(source, builder.add(builder.mul(quarter, INT(q)), builder.mul(row, lanes)))

        def kept(j: Any, q: int) -> Any:
            return builder.add(suffix, builder.mul(builder.add(builder.mul(j, INT(FOUR)), INT(q)), lanes))

        slots = [cgutils.alloca_once_value(builder, vectors.constant(0.0)) for _ in range(FOUR)]
        with cgutils.for_range_slice(builder, INT(0), rows, side, INT) as (first, _):
            for slot in slots:
                builder.store(vectors.constant(0.0), slot)
            with _loop(builder, INT(0), side) as (back, _):
                j = builder.sub(builder.sub(side, INT(1)), back)
                for q, slot in enumerate(slots):
                    value = builder.fadd(builder.load(slot), load(builder.add(first, j), q))
                    builder.store(value, slot)
                    vectors.store(value, source, kept(j, q))
            for slot in slots:
                builder.store(vectors.constant(0.0), slot)
            left = builder.sub(rows, first)
            count = builder.select(builder.icmp_signed("<", left, side), left, side)
            with _loop(builder, INT(0), count) as (j, _):
                t = builder.add(first, j)
                for q, slot in enumerate(slots):
                    before = builder.load(slot)
                    place = builder.add(builder.add(to, builder.mul(plane, INT(q))), builder.mul(t, step))
                    vectors.store(builder.fadd(before, vectors.load(source, kept(j, q))), target, place)
                    builder.store(builder.fadd(before, load(builder.add(t, side), q)), slot)
        return context.get_dummy_value()

    return signature, build


@intrinsic
def strip_gaps(
    typing: Any, strip: Any, quarter: Any, side: Any, rows: Any, out: Any, to: Any, step: Any, plane: Any
) -> Any:
    """Sums over `side` neighbouring rows from running ones: out[to + q plane + t step ...] = strip[q quarter + (t + side) lanes ...] -
    strip[q quarter + t lanes ...], t < rows. One addition a row, but what is far away is subtracted: for sums of either sign."""
    if not same_reals(strip, out):
        return None
    ints = types.int64
    signature = types.void(strip, ints, ints, ints, out, ints, ints, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, strip.dtype, BYTES)
        source, (quarter, side, rows) = data_of(context, builder, strip, arguments[0]), arguments[1:4]
        target, (to, step, plane) = data_of(context, builder, out, arguments[4]), arguments[5:]

        def load(row: Any, q: int) -> Any:
            return vectors.load(source, builder.add(builder.mul(quarter, INT(q)), builder.mul(row, INT(vectors.lanes))))

        with _loop(builder, INT(0), rows) as (t, _):
            for q in range(FOUR):
                place = builder.add(builder.add(to, builder.mul(plane, INT(q))), builder.mul(t, step))
                vectors.store(builder.fsub(load(builder.add(t, side), q), load(t, q)), target, place)
        return context.get_dummy_value()

    return signature, build


@intrinsic
def partial_sums(typing: Any, x: Any, at: Any, width: Any, count: Any, to: Any) -> Any:
    """x[to + i] = sum_{j < width} x[at + i + j], i < count, up to a vector beyond."""
    if not same_reals(x):
        return None
    ints = types.int64
    signature = types.void(x, ints, ints, ints, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, x.dtype, BYTES)
        data, (at, width, count, to) = data_of(context, builder, x, arguments[0]), arguments[1:]
        slot = cgutils.alloca_once_value(builder, vectors.constant(0.0))
        with _loop(builder, INT(0), count, vectors.lanes) as (i, _):
            begin = builder.add(at, i)
            builder.store(vectors.load(data, begin), slot)
            with _loop(builder, INT(1), width) as (j, _):
                builder.store(builder.fadd(builder.load(slot), vectors.load(data, builder.add(begin, j))), slot)
            vectors.store(builder.load(slot), data, builder.add(to, i))
        return context.get_dummy_value()

    return signature, build


class _Row:
    """A row of windows, four shifts q each: the logits of window i are

    l_q = log_prior + rows[rows_at + q] + ends[ends_at + i] - scale S_q,
    S_q = sum_{t < part_count} tape[parts + q quarter + i + t part] + sum_{t < rest_count} tape[rests + q quarter + i + t].
    """

    def __init__(
        self, context: Any, builder: Any, vectors: Vectors, tape: Any, rows: Any, ends: Any, arguments: Any
    ) -> None:
        self.builder, self.vectors = builder, vectors
        self.data = data_of(context, builder, tape, arguments[0])
        self.parts, self.part, self.part_count, self.rests, self.rest_count, self.quarter = arguments[1:7]
        self.factor = vectors.repeat(arguments[7])
        penalties, at = data_of(context, builder, rows, arguments[9]), arguments[10]
        self.end, self.end_at = data_of(context, builder, ends, arguments[11]), arguments[12]
        self.sums = [cgutils.alloca_once_value(builder, vectors.constant(0.0)) for _ in range(FOUR)]
        self.heads = [
            vectors.repeat(builder.fadd(arguments[8], item(builder, penalties, builder.add(at, INT(q)), vectors.real)))
            for q in range(FOUR)
        ]

    def _add(self, begin: Any, times: Any, step: Any) -> None:
        builder = self.builder
        with _loop(builder, INT(0), times) as (t, _):
            here = builder.add(begin, builder.mul(t, step))
            for q, total in enumerate(self.sums):
                value = self.vectors.load(self.data, builder.add(here, builder.mul(self.quarter, INT(q))))
                builder.store(builder.fadd(builder.load(total), value), total)

    def _sum(self, i: Any) -> None:
        """S_q of windows i, i + 1, ...: of single columns by shuffles where there are a vector of them and one, at most, else by loads."""
        builder = self.builder
        single = builder.icmp_signed("==", self.part, INT(1))
        done, rest = builder.append_basic_block("sums.done"), builder.append_basic_block("sums.loads")
        side = builder.select(single, self.part_count, INT(0))
        cases = builder.switch(side, rest)
        for width in range(SHUFFLED, AT_ONCE + 1, 2):
            block = builder.append_basic_block(f"sums.{width}")
            cases.add_case(INT(width), block)
            builder.position_at_end(block)
            for q, total in enumerate(self.sums):
                builder.store(self._shuffled(builder.add(self.parts, i), q, width), total)
            builder.branch(done)
        builder.position_at_end(rest)
        for total in self.sums:
            builder.store(self.vectors.constant(0.0), total)
        self._add(builder.add(self.parts, i), self.part_count, self.part)
        self._add(builder.add(self.rests, i), self.rest_count, INT(1))
        builder.branch(done)
        builder.position_at_end(done)

    def _shuffled(self, begin: Any, q: int, width: int) -> Any:
        """sum_{t < width} tape[begin + q quarter + t ...], from two vectors side by side: sums of 1, 2, 4, ... columns, by doubling."""
        builder, lanes = self.builder, self.vectors.lanes
        here = builder.add(begin, builder.mul(self.quarter, INT(q)))
        low, high = (self.vectors.load(self.data, builder.add(here, INT(k * lanes))) for k in range(2))

        def moved(a: Any, b: Any, by: int) -> Any:
            order = ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(by, by + lanes)))
            return builder.shuffle_vector(a, b, order)

        found, size, left = [], 1, width
        while left:
            if left & 1:
                found.append((size, low, high))
            low, high = builder.fadd(low, moved(low, high, size)), builder.fadd(high, moved(high, high, size))
            size, left = 2 * size, left // 2
        (at, total, _), *others = reversed(found)
        for size, low, high in others:
            total, at = builder.fadd(total, moved(low, high, at)), at + size
        return total

    def logits(self, i: Any) -> tuple[list[Any], Any]:
        """The four of windows i, i + 1, ..., without what `ends` adds to all of them, and that."""
        builder, vectors = self.builder, self.vectors
        self._sum(i)
        found = [
            vectors.minus_times(builder.load(total), self.factor, head)
            for total, head in zip(self.sums, self.heads, strict=True)
        ]
        return found, vectors.load(self.end, builder.add(self.end_at, i))

    def top(self, logits: list[Any], end: Any) -> Any:
        """The largest of the four."""
        larger = self.vectors.larger
        return self.builder.fadd(larger(larger(logits[0], logits[1]), larger(logits[2], logits[3])), end)


def _row_types(real: Any, tape: Any, rows: Any, ends: Any) -> tuple:
    """The types of a row's arguments."""
    ints = types.int64
    return tape, ints, ints, ints, ints, ints, ints, real, real, rows, ints, ends, ints


@intrinsic
def any_matters(
    typing: Any,
    tape: Any,
    parts: Any,
    part: Any,
    part_count: Any,
    rests: Any,
    rest_count: Any,
    quarter: Any,
    scale: Any,
    log_prior: Any,
    rows: Any,
    rows_at: Any,
    ends: Any,
    ends_at: Any,
    state: Any,
    state_at: Any,
    gap: Any,
    slack: Any,
    count: Any,
    out: Any,
    out_row: Any,
) -> Any:
    """Whether any logit of a row (see `_Row`) has l_q + gap >= m slack, with the maxima m at state[state_at + i].

    The vectors' logits go to out[q out_row + i].
    """
    if not same_reals(tape, rows, ends, state, out) or any(
        kind != tape.dtype for kind in (scale, log_prior, gap, slack)
    ):
        return None
    ints, real = types.int64, tape.dtype
    signature = types.boolean(*_row_types(real, tape, rows, ends), state, ints, real, real, ints, out, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, tape.dtype, WIDE)
        row = _Row(context, builder, vectors, tape, rows, ends, arguments)
        states, state_at = data_of(context, builder, state, arguments[13]), arguments[14]
        gap, slack, count = vectors.repeat(arguments[15]), vectors.repeat(arguments[16]), arguments[17]
        target, out_row = data_of(context, builder, out, arguments[18]), arguments[19]
        one = ir.IntType(1)
        seen = cgutils.alloca_once_value(builder, one(0))
        with _loop(builder, INT(0), count, vectors.lanes) as (i, _):
            logits, end = row.logits(i)
            before = vectors.load(states, builder.add(state_at, i))
            limit = builder.fmul(before, slack)
            matters = builder.fcmp_ordered(">=", builder.fadd(row.top(logits, end), gap), limit)
            builder.store(builder.or_(builder.load(seen), vectors.any(matters)), seen)
            for q, logit in enumerate(logits):
                vectors.store(builder.fadd(logit, end), target, builder.add(builder.mul(out_row, INT(q)), i))
        return builder.load(seen)

    return signature, build


@intrinsic
def row_weights(
    typing: Any,
    tape: Any,
    parts: Any,
    part: Any,
    part_count: Any,
    rests: Any,
    rest_count: Any,
    quarter: Any,
    scale: Any,
    log_prior: Any,
    rows: Any,
    rows_at: Any,
    ends: Any,
    ends_at: Any,
    references: Any,
    corrections: Any,
    bounds: Any,
    together: Any,
    at: Any,
    gap: Any,
    slack: Any,
    count: Any,
    out: Any,
    out_row: Any,
) -> Any:
    """Weights 2^(l_q - m) c of a row (see `_Row`), with m at references[at + i], c at corrections[at + i]: float32.

    They go to out[q out_row + i] and are added to together[at + i]; where all l_q + gap < m slack they are 0.

    Returns bits: 1 where there is a weight, 2 where one is above bounds[at + i].
    """
    if not same_reals(tape, rows, ends, references, corrections, bounds, together, out) or any(
        kind != tape.dtype for kind in (scale, log_prior, gap, slack)
    ):
        return None
    ints, real = types.int64, tape.dtype
    arrays = references, corrections, bounds, together
    signature = types.int64(*_row_types(real, tape, rows, ends), *arrays, ints, real, real, ints, out, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, tape.dtype, WIDE)
        row = _Row(context, builder, vectors, tape, rows, ends, arguments)
        kinds = zip(arrays, arguments[13:17], strict=True)
        known, factors, lowest, sums = (data_of(context, builder, kind, array) for kind, array in kinds)
        at, gap, slack = arguments[17], vectors.repeat(arguments[18]), vectors.repeat(arguments[19])
        count, target, out_row = arguments[20], data_of(context, builder, out, arguments[21]), arguments[22]
        found = cgutils.alloca_once_value(builder, INT(0))

        def note(condition: Any, bit: int) -> None:
            flag = builder.select(vectors.any(condition), INT(bit), INT(0))
            builder.store(builder.or_(builder.load(found), flag), found)

        with _loop(builder, INT(0), count, vectors.lanes) as (i, _):
            logits, end = row.logits(i)
            here = builder.add(at, i)
            reference = vectors.load(known, here)
            limit = builder.fmul(reference, slack)
            matters = builder.fcmp_ordered(">=", builder.fadd(row.top(logits, end), gap), limit)
            places = [builder.add(builder.mul(out_row, INT(q)), i) for q in range(len(logits))]
            with builder.if_else(vectors.any(matters)) as (then, otherwise):
                with then:
                    factor, bound = vectors.load(factors, here), vectors.load(lowest, here)
                    less, total = builder.fsub(end, reference), vectors.load(sums, here)
                    for logit, place in zip(logits, places, strict=True):
                        above = builder.fadd(logit, less)
                        cap = vectors.constant(64.0)
                        above = builder.select(builder.fcmp_ordered("<", above, cap), above, cap)
                        weight = builder.fmul(vectors.from_single(emit_exp2(builder, vectors.to_single(above))), factor)
                        vectors.store(weight, target, place)
                        total = builder.fadd(total, weight)
                        note(builder.fcmp_ordered(">", weight, bound), 2)
                    vectors.store(total, sums, here)
                    note(matters, 1)
                with otherwise:
                    for place in places:
                        vectors.store(vectors.constant(0.0), target, place)
        return builder.load(found)

    return signature, build


@intrinsic
def absorb(
    typing: Any,
    tape: Any,
    parts: Any,
    part: Any,
    part_count: Any,
    rests: Any,
    rest_count: Any,
    quarter: Any,
    scale: Any,
    log_prior: Any,
    rows: Any,
    rows_at: Any,
    ends: Any,
    ends_at: Any,
    x: Any,
    x_at: Any,
    x_step: Any,
    x_plane: Any,
    channels: Any,
    state: Any,
    state_at: Any,
    state_plane: Any,
    gap: Any,
    slack: Any,
    count: Any,
) -> Any:
    """A row of windows i < count (see `_Row`) into their running posterior means; returns whether any weight mattered.

    The pixel of shift q is x[x_at + q x_step + i]. The state is at `state_at` + i: the maximum m, the total sum 2^(l - m), and for each
    channel sum 2^(l - m) x, `state_plane` apart. Nothing is done for vectors in which all l_q + gap < m slack.
    """
    if not same_reals(tape, rows, ends, x, state) or any(kind != tape.dtype for kind in (scale, log_prior, gap, slack)):
        return None
    ints, real = types.int64, tape.dtype
    signature = types.boolean(
        *_row_types(real, tape, rows, ends), x, ints, ints, ints, ints, state, ints, ints, real, real, ints
    )

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, tape.dtype, WIDE)
        row = _Row(context, builder, vectors, tape, rows, ends, arguments)
        source, (x_at, x_step, x_plane, channels) = data_of(context, builder, x, arguments[13]), arguments[14:18]
        states, (state_at, state_plane) = data_of(context, builder, state, arguments[18]), arguments[19:21]
        gap, slack, count = vectors.repeat(arguments[21]), vectors.repeat(arguments[22]), arguments[23]
        one = ir.IntType(1)
        seen = cgutils.alloca_once_value(builder, one(0))
        slot = cgutils.alloca_once_value(builder, vectors.constant(0.0))

        def weight(value: Any) -> Any:
            return vectors.from_single(emit_exp2(builder, vectors.to_single(value)))

        with _loop(builder, INT(0), count, vectors.lanes) as (i, _):
            logits, end = row.logits(i)
            top = row.top(logits, end)
            here = builder.add(state_at, i)
            before = vectors.load(states, here)
            matters = builder.fcmp_ordered(">=", builder.fadd(top, gap), builder.fmul(before, slack))
            with builder.if_then(vectors.any(matters), likely=False):
                builder.store(one(1), seen)
                builder.store(before, slot)
                with builder.if_then(vectors.any(builder.fcmp_ordered(">", top, before)), likely=False):
                    after = vectors.larger(top, before)
                    builder.store(after, slot)
                    vectors.store(after, states, here)
                    shrink = weight(builder.fsub(before, after))
                    with _loop(builder, INT(1), builder.add(channels, INT(2))) as (plane, _):
                        place = builder.add(here, builder.mul(plane, state_plane))
                        vectors.store(builder.fmul(vectors.load(states, place), shrink), states, place)
                reference = builder.fsub(end, builder.load(slot))
                weights = [weight(builder.fadd(logit, reference)) for logit in logits]
                mass = builder.fadd(builder.fadd(weights[0], weights[1]), builder.fadd(weights[2], weights[3]))
                place = builder.add(here, state_plane)
                vectors.store(builder.fadd(vectors.load(states, place), mass), states, place)
                with _loop(builder, INT(0), channels) as (c, _):
                    place = builder.add(here, builder.mul(state_plane, builder.add(c, INT(2))))
                    pixels = builder.add(x_at, builder.add(builder.mul(x_plane, c), i))
                    total = vectors.load(states, place)
                    for q, w in enumerate(weights):
                        value = vectors.load(source, builder.add(pixels, builder.mul(x_step, INT(q))))
                        total = vectors.times_plus(w, value, total)
                    vectors.store(total, states, place)
        return builder.load(seen)

    return signature, build
