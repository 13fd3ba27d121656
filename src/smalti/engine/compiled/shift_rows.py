"""The innermost loops of the shift kernels, as vector instructions; four shifts at a time share what they load.

copy_rows           rows of one array to another, of any length (writes up to a vector beyond the last)
four_differences    out_q = sum_c (x_q - z)^2, or sum_c x_q (x_q - z), for four places q of x
absorb              the posterior mean's running form: a maximum, the sum of weights relative to it, and of weights times pixels
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from smalti.engine.compiled.exp2 import SMALLEST, emit_exp2
from smalti.engine.compiled.vectors import INT, Vectors, data_of, is_true, same_reals

__all__ = ["FOUR", "absorb", "copy_rows", "four_differences"]

FOUR = 4  # shifts at a time


@intrinsic
def copy_rows(typing: Any, x: Any, at: Any, step: Any, out: Any, to: Any, stride: Any, rows: Any, width: Any) -> Any:
    """out[to + r stride + i] = x[at + r step + i] for r < rows, i < width, in order of r; up to a vector beyond each is written."""
    if not same_reals(x, out):
        return None
    signature = types.void(x, *[types.int64] * 2, out, *[types.int64] * 4)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, x.dtype)
        source, target = data_of(context, builder, x, arguments[0]), data_of(context, builder, out, arguments[3])
        at, step, _, to, stride, rows, width = arguments[1:]
        with cgutils.for_range_slice(builder, INT(0), rows, INT(1), INT) as (row, _):
            begin = builder.add(at, builder.mul(row, step))
            end = builder.add(to, builder.mul(row, stride))
            with cgutils.for_range_slice(builder, INT(0), width, INT(vectors.lanes), INT) as (i, _):
                vectors.store(vectors.load(source, builder.add(begin, i)), target, builder.add(end, i))
        return context.get_dummy_value()

    return signature, build


@intrinsic
def four_differences(
    typing: Any,
    x: Any,
    at: Any,
    step: Any,
    plane: Any,
    z: Any,
    z_at: Any,
    z_plane: Any,
    channels: Any,
    relative: Any,
    out: Any,
    to: Any,
    row: Any,
    count: Any,
) -> Any:
    """out[to + q row + i] = sum_c d, q < FOUR, i < count, with x at `at + q step`, channels `plane` and `z_plane` apart."""
    if not same_reals(x, z, out):
        return None
    ints = types.int64
    signature = types.void(x, ints, ints, ints, z, ints, ints, ints, types.boolean, out, ints, ints, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, x.dtype)
        source, other = data_of(context, builder, x, arguments[0]), data_of(context, builder, z, arguments[4])
        at, step, plane = arguments[1:4]
        z_at, z_plane, channels = arguments[5:8]
        is_relative = is_true(builder, arguments[8])
        target, (to, row, count) = data_of(context, builder, out, arguments[9]), arguments[10:]

        def term(i: Any, c: Any, sums: list[Any]) -> list[Any]:
            noisy = vectors.load(other, builder.add(z_at, builder.add(builder.mul(c, z_plane), i)))
            begin = builder.add(at, builder.add(builder.mul(c, plane), i))
            found = []
            for q, before in enumerate(sums):
                pixel = vectors.load(source, builder.add(begin, builder.mul(step, INT(q))))
                gap = builder.fsub(pixel, noisy)
                found.append(vectors.times_plus(gap, builder.select(is_relative, pixel, gap), before))
            return found

        def store(i: Any, sums: list[Any]) -> None:
            for q, value in enumerate(sums):
                vectors.store(value, target, builder.add(to, builder.add(builder.mul(row, INT(q)), i)))

        with builder.if_else(builder.icmp_signed("==", channels, INT(3))) as (three, others):
            with three, cgutils.for_range_slice(builder, INT(0), count, INT(vectors.lanes), INT) as (i, _):
                sums = [vectors.constant(0.0)] * FOUR
                for c in range(3):
                    sums = term(i, INT(c), sums)
                store(i, sums)
            with others, cgutils.for_range_slice(builder, INT(0), count, INT(vectors.lanes), INT) as (i, _):
                slots = [cgutils.alloca_once(builder, vectors.type) for _ in range(FOUR)]
                for slot in slots:
                    builder.store(vectors.constant(0.0), slot)
                with cgutils.for_range_slice(builder, INT(0), channels, INT(1), INT) as (c, _):
                    for slot, value in zip(slots, term(i, c, [builder.load(s) for s in slots]), strict=True):
                        builder.store(value, slot)
                store(i, [builder.load(s) for s in slots])
        return context.get_dummy_value()

    return signature, build


@intrinsic
def absorb(
    typing: Any,
    logits: Any,
    row: Any,
    penalty: Any,
    penalty_at: Any,
    x: Any,
    at: Any,
    step: Any,
    plane: Any,
    channels: Any,
    state: Any,
    length: Any,
    count: Any,
) -> Any:
    """Take four logits of every window into its running posterior mean; returns whether any weight was more than 0.

    state: rows of `length`: the maximum m, the total sum 2^(l - m), and for each channel sum 2^(l - m) x, for windows i < count.
    logits: four rows of `row`; penalty[penalty_at + i] is added to all four. The pixel of window i is x[at + q step + c plane + i].
    """
    if not same_reals(logits, penalty, x, state):
        return None
    ints = types.int64
    signature = types.boolean(logits, ints, penalty, ints, x, ints, ints, ints, ints, state, ints, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, logits.dtype)
        values, row = data_of(context, builder, logits, arguments[0]), arguments[1]
        penalties, penalty_at = data_of(context, builder, penalty, arguments[2]), arguments[3]
        source, (at, step, plane, channels) = data_of(context, builder, x, arguments[4]), arguments[5:9]
        states, (length, count) = data_of(context, builder, state, arguments[9]), arguments[10:]
        one = ir.IntType(1)
        seen = cgutils.alloca_once_value(builder, one(0))
        smallest = vectors.constant(float(SMALLEST))

        def weight(gap: Any) -> Any:
            return vectors.from_single(emit_exp2(builder, vectors.to_single(gap)))

        with cgutils.for_range_slice(builder, INT(0), count, INT(vectors.lanes), INT) as (i, _):
            less = vectors.load(penalties, builder.add(penalty_at, i))
            four = [
                builder.fadd(vectors.load(values, builder.add(builder.mul(row, INT(q)), i)), less) for q in range(FOUR)
            ]
            top = vectors.larger(vectors.larger(four[0], four[1]), vectors.larger(four[2], four[3]))
            before = vectors.load(states, i)
            matters = vectors.any(builder.fcmp_ordered(">=", builder.fsub(top, before), smallest))
            with builder.if_then(matters, likely=False):
                builder.store(one(1), seen)
                slot = cgutils.alloca_once(builder, vectors.type)
                builder.store(before, slot)
                rises = vectors.any(builder.fcmp_ordered(">", top, before))
                with builder.if_then(rises, likely=False):
                    after = vectors.larger(top, before)
                    builder.store(after, slot)
                    vectors.store(after, states, i)
                    factor = weight(builder.fsub(before, after))
                    rows = builder.add(channels, INT(2))
                    with cgutils.for_range_slice(builder, INT(1), rows, INT(1), INT) as (r, _):
                        here = builder.add(builder.mul(r, length), i)
                        vectors.store(builder.fmul(vectors.load(states, here), factor), states, here)
                reference = builder.load(slot)
                weights = [weight(builder.fsub(value, reference)) for value in four]
                total = builder.fadd(builder.fadd(weights[0], weights[1]), builder.fadd(weights[2], weights[3]))
                here = builder.add(length, i)
                vectors.store(builder.fadd(vectors.load(states, here), total), states, here)
                with cgutils.for_range_slice(builder, INT(0), channels, INT(1), INT) as (c, _):
                    here = builder.add(builder.mul(builder.add(c, INT(2)), length), i)
                    begin = builder.add(at, builder.add(builder.mul(c, plane), i))
                    total = vectors.load(states, here)
                    for q, w in enumerate(weights):
                        total = vectors.times_plus(
                            w, vectors.load(source, builder.add(begin, builder.mul(step, INT(q)))), total
                        )
                    vectors.store(total, states, here)
        return builder.load(seen)

    return signature, build
