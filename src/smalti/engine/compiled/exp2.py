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

__all__ = ["exp2"]

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


@intrinsic
def exp2(typing_context: Any, x: Any) -> Any:
    """2^x of a float32 scalar, as float32."""
    if x != types.float32:
        return None

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        real, integer = ir.FloatType(), ir.IntType(32)
        contract = ("contract",)
        smallest = ir.Constant(real, SMALLEST)
        x = arguments[0]
        clamped = builder.select(builder.fcmp_ordered(">", x, smallest), x, smallest)
        shifted = builder.fadd(clamped, ir.Constant(real, ROUNDING))
        f = builder.fsub(clamped, builder.fsub(shifted, ir.Constant(real, ROUNDING)))
        value = ir.Constant(real, POLYNOMIAL[-1])
        for coefficient in reversed(POLYNOMIAL[:-1]):
            value = builder.fadd(builder.fmul(value, f, flags=contract), ir.Constant(real, coefficient), flags=contract)
        exponent = builder.shl(builder.bitcast(shifted, integer), ir.Constant(integer, 23))
        power = builder.bitcast(builder.add(exponent, ir.Constant(integer, ONE)), real)
        zero = ir.Constant(real, 0.0)
        return builder.select(builder.fcmp_ordered("<", x, smallest), zero, builder.fmul(value, power))

    return types.float32(types.float32), build
