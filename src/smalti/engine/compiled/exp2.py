"""2^x for float32, in straight-line code that LLVM turns into vector instructions (Numba's wheels carry no vector math library).

    x = n + f,  n = round(x),  |f| <= 1/2;   2^x = 2^n P(f),   P the degree-5 minimax polynomial of 2^f in relative error

The polynomial is within 7.5e-8 of 2^f, the result within 2.5e-7 (relative) of 2^x for -126 <= x <= 126. Below -126 the
result is exactly 0, at -infinity too. NaN is not handled: the engine's input is checked first.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = ["emit_exp2", "exp2"]

POLYNOMIAL = (
    1.0000000716546729,
    0.6931469670643611,
    0.24022119723881863,
    0.055507132741493374,
    0.009675541332773452,
    0.0013276471781990622,
)
SMALLEST = -126.0  # below, 2^x would be subnormal
ROUNDING = 12582912.0  # 1.5 * 2^23: adding it leaves round(x) in the low bits of the significand
ONE = 0x3F800000  # the bits of 1.0f


def emit_exp2(builder: Any, x: Any) -> Any:
    """The instructions for 2^x of a float32, or of a vector of them."""
    lanes = x.type.count if isinstance(x.type, ir.VectorType) else 0

    def real(value: float) -> Any:
        kind = ir.FloatType()
        return ir.Constant(ir.VectorType(kind, lanes), [value] * lanes) if lanes else ir.Constant(kind, value)

    def whole(value: int) -> Any:
        kind = ir.IntType(32)
        return ir.Constant(ir.VectorType(kind, lanes), [value] * lanes) if lanes else ir.Constant(kind, value)

    contract = ("contract",)
    clamped = builder.select(builder.fcmp_ordered(">", x, real(SMALLEST)), x, real(SMALLEST))
    shifted = builder.fadd(clamped, real(ROUNDING))
    f = builder.fsub(clamped, builder.fsub(shifted, real(ROUNDING)))
    value = real(POLYNOMIAL[-1])
    for coefficient in reversed(POLYNOMIAL[:-1]):
        value = builder.fadd(builder.fmul(value, f, flags=contract), real(coefficient), flags=contract)
    exponent = builder.shl(builder.bitcast(shifted, whole(0).type), whole(23))
    power = builder.bitcast(builder.add(exponent, whole(ONE)), x.type)
    return builder.select(builder.fcmp_ordered("<", x, real(SMALLEST)), real(0.0), builder.fmul(value, power))


@intrinsic
def exp2(typing_context: Any, x: Any) -> Any:
    """2^x of a float32 scalar, as float32."""
    if x != types.float32:
        return None
    return types.float32(types.float32), lambda context, builder, signature, arguments: emit_exp2(builder, arguments[0])
