"""The innermost loops of the pixel kernels, as vector instructions.

sum_of_three     the last pass of a sliding sum, from rows of one stride to rows of another
absorb_pixels    four images into running posteriors, with means of single pixels if any, skipping windows in which they carry no weight
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from smalti.engine.compiled.exp2 import emit_exp2
from smalti.engine.compiled.vectors import INT, Vectors, data_of, same_reals

__all__ = ["FOUR", "absorb_pixels", "sum_of_three"]

FOUR = 4  # images at a time


@intrinsic
def sum_of_three(
    typing: Any,
    x: Any,
    first: Any,
    second: Any,
    third: Any,
    stride: Any,
    plus: Any,
    times: Any,
    inside: Any,
    out: Any,
    to: Any,
    out_stride: Any,
    rows: Any,
    width: Any,
) -> Any:
    """out[to + r out_stride + i] = inside[i] (plus + times (x[first + r stride + i] + x[second + ...] + x[third + ...])), r < rows,
    i < width, in order of r. Up to a vector beyond each row is read, and written."""
    if not same_reals(x, inside, out):
        return None
    ints = types.int64
    signature = types.void(x, ints, ints, ints, ints, x.dtype, x.dtype, inside, out, ints, ints, ints, ints)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, x.dtype)
        source, kept = data_of(context, builder, x, arguments[0]), data_of(context, builder, inside, arguments[7])
        places, stride = arguments[1:4], arguments[4]
        plus, times = vectors.repeat(arguments[5]), vectors.repeat(arguments[6])
        target, (to, out_stride, rows, width) = data_of(context, builder, out, arguments[8]), arguments[9:]
        with cgutils.for_range_slice(builder, INT(0), rows, INT(1), INT) as (row, _):
            down, end = builder.mul(row, stride), builder.add(to, builder.mul(row, out_stride))
            begins = [builder.add(place, down) for place in places]
            with cgutils.for_range_slice(builder, INT(0), width, INT(vectors.lanes), INT) as (i, _):
                one, two, three = (vectors.load(source, builder.add(begin, i)) for begin in begins)
                total = builder.fadd(builder.fadd(one, two), three)
                value = builder.fmul(vectors.times_plus(times, total, plus), vectors.load(kept, i))
                vectors.store(value, target, builder.add(end, i))
        return context.get_dummy_value()

    return signature, build


@intrinsic
def absorb_pixels(
    typing: Any,
    logits: Any,
    row: Any,
    x: Any,
    offset: Any,
    step: Any,
    plane: Any,
    channels: Any,
    state: Any,
    length: Any,
    count: Any,
    gap: Any,
    wide: Any,
) -> Any:
    """Take four images into the running posteriors of windows i < count.

    state: rows of `length`: the maximum m, the total sum 2^(l - m), and for each channel sum 2^(l - m) (x - offset).
    logits: four rows of `row`. The pixel of window i is x[q step + c plane + i], stored or real; no channels, no pixels.
    A vector of windows is passed over where all four lie below the maximum less `gap`.

    Returns bits: 1 << q where image q has a logit that is not below its maximum less `gap`; 1 << FOUR if any has, less `wide`.
    """
    if not same_reals(logits, state) or not isinstance(x, types.Array):
        return None
    if x.dtype not in (types.uint8, types.float32, logits.dtype):
        return None
    ints, real = types.int64, logits.dtype
    signature = types.int64(logits, ints, x, real, ints, ints, ints, state, ints, ints, real, real)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        vectors = Vectors(builder, real)
        values, row = data_of(context, builder, logits, arguments[0]), arguments[1]
        source, offset = data_of(context, builder, x, arguments[2]), vectors.repeat(arguments[3])
        step, plane, channels = arguments[4:7]
        states, (length, count) = data_of(context, builder, state, arguments[7]), arguments[8:10]
        least, least_wide = (vectors.repeat(builder.fneg(bound)) for bound in arguments[10:12])
        conditions = ir.VectorType(ir.IntType(1), vectors.lanes)
        seen = [cgutils.alloca_once_value(builder, ir.Constant(conditions, None)) for _ in range(FOUR + 1)]

        def note(slot: Any, condition: Any) -> None:
            builder.store(builder.or_(builder.load(slot), condition), slot)

        def weight(gap: Any) -> Any:
            return vectors.from_single(emit_exp2(builder, vectors.to_single(gap)))

        def pixels(index: Any) -> Any:
            kind = {types.uint8: ir.IntType(8), types.float32: ir.FloatType()}.get(x.dtype, ir.DoubleType())
            several = ir.VectorType(kind, vectors.lanes)
            here = builder.bitcast(builder.gep(source, [index], source_etype=kind), several.as_pointer())
            stored = builder.load(here, align=x.dtype.bitwidth // 8, typ=several)
            if x.dtype == types.uint8:
                return builder.fsub(builder.uitofp(stored, vectors.type), offset)
            return builder.fsub(stored if x.dtype == real else vectors.from_single(stored), offset)

        with cgutils.for_range_slice(builder, INT(0), count, INT(vectors.lanes), INT) as (i, _):
            four = [vectors.load(values, builder.add(builder.mul(row, INT(q)), i)) for q in range(FOUR)]
            top = vectors.larger(vectors.larger(four[0], four[1]), vectors.larger(four[2], four[3]))
            before = vectors.load(states, i)
            above = builder.fsub(top, before)
            note(seen[FOUR], builder.fcmp_ordered(">=", above, least_wide))
            with builder.if_then(vectors.any(builder.fcmp_ordered(">=", above, least)), likely=False):
                slot = cgutils.alloca_once(builder, vectors.type)
                builder.store(before, slot)
                with builder.if_then(vectors.any(builder.fcmp_ordered(">", top, before)), likely=False):
                    after = vectors.larger(top, before)
                    builder.store(after, slot)
                    vectors.store(after, states, i)
                    factor = weight(builder.fsub(before, after))
                    rows = builder.add(channels, INT(2))
                    with cgutils.for_range_slice(builder, INT(1), rows, INT(1), INT) as (r, _):
                        here = builder.add(builder.mul(r, length), i)
                        vectors.store(builder.fmul(vectors.load(states, here), factor), states, here)
                reference = builder.load(slot)
                below = [builder.fsub(value, reference) for value in four]
                for slot, value in zip(seen, below, strict=False):
                    note(slot, builder.fcmp_ordered(">=", value, least))
                weights = [weight(value) for value in below]
                total = builder.fadd(builder.fadd(weights[0], weights[1]), builder.fadd(weights[2], weights[3]))
                here = builder.add(length, i)
                vectors.store(builder.fadd(vectors.load(states, here), total), states, here)
                with cgutils.for_range_slice(builder, INT(0), channels, INT(1), INT) as (c, _):
                    here = builder.add(builder.mul(builder.add(c, INT(2)), length), i)
                    begin = builder.add(builder.mul(c, plane), i)
                    total = vectors.load(states, here)
                    for q, w in enumerate(weights):
                        total = vectors.times_plus(w, pixels(builder.add(begin, builder.mul(step, INT(q)))), total)
                    vectors.store(total, states, here)
        found = INT(0)
        for q, slot in enumerate(seen):
            bit = builder.select(vectors.any(builder.load(slot)), INT(1 << q), INT(0))
            found = builder.or_(found, bit)
        return found

    return signature, build
