"""16-bit floats as integers in LLVM's terms: to float32 exactly, and back to the nearest, ties to even.

Written with integers, not with LLVM's own half type, which calls into a library on processors without the
instructions for it. bfloat16 is the upper half of a float32; float16 has 5 bits of exponent and subnormals.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types

I16, I32, F32 = ir.IntType(16), ir.IntType(32), ir.FloatType()


def _all(kind, value, like):
    return ir.Constant(ir.VectorType(kind, like.type.count), [value] * like.type.count)


def _as(builder, value, kind):
    return builder.bitcast(value, ir.VectorType(kind, value.type.count))


def _from_bfloat16(builder, raw):
    wide = builder.zext(raw, ir.VectorType(I32, raw.type.count))
    return _as(builder, builder.shl(wide, _all(I32, 16, raw)), F32)


def _to_bfloat16(builder, value):
    bits = _as(builder, value, I32)
    upper = builder.lshr(bits, _all(I32, 16, value))
    odd = builder.and_(upper, _all(I32, 1, value))
    rounded = builder.add(bits, builder.add(odd, _all(I32, 0x7FFF, value)))
    nearest = builder.lshr(rounded, _all(I32, 16, value))
    quiet = builder.or_(upper, _all(I32, 0x40, value))  # rounding would carry a NaN's bits away
    chosen = builder.select(builder.fcmp_unordered("uno", value, value), quiet, nearest)
    return builder.trunc(chosen, ir.VectorType(I16, value.type.count))


def _from_float16(builder, raw):
    wide = builder.zext(raw, ir.VectorType(I32, raw.type.count))
    magnitude = builder.shl(builder.and_(wide, _all(I32, 0x7FFF, raw)), _all(I32, 13, raw))
    # exponents differ by 127 - 15; the product is exact, and brings subnormals into their normal form
    scaled = builder.fmul(_as(builder, magnitude, F32), _all(F32, 2.0**112, raw))
    special = builder.icmp_unsigned(">=", magnitude, _all(I32, 0x7C00 << 13, raw))
    bits = builder.select(special, builder.or_(magnitude, _all(I32, 0x7F800000, raw)), _as(builder, scaled, I32))
    sign = builder.shl(builder.and_(wide, _all(I32, 0x8000, raw)), _all(I32, 16, raw))
    return _as(builder, builder.or_(bits, sign), F32)


def _to_float16(builder, value):
    bits = _as(builder, value, I32)
    magnitude = builder.and_(bits, _all(I32, 0x7FFFFFFF, value))
    odd = builder.and_(builder.lshr(magnitude, _all(I32, 13, value)), _all(I32, 1, value))
    # 2^-14 and above: the exponent moves by 112, and half of the last place (less one if even) rounds
    moved = builder.sub(magnitude, _all(I32, (112 << 23) - 0xFFF, value))
    normal = builder.lshr(builder.add(moved, odd), _all(I32, 13, value))
    # below: adding 1/2 puts the float16's last place at the float32's, which rounds it
    small = builder.fadd(_as(builder, magnitude, F32), _all(F32, 0.5, value))
    subnormal = builder.sub(_as(builder, small, I32), _all(I32, 0x3F000000, value))
    finite = builder.select(builder.icmp_unsigned("<", magnitude, _all(I32, 113 << 23, value)), subnormal, normal)
    nan = builder.icmp_unsigned(">", magnitude, _all(I32, 0x7F800000, value))
    special = builder.select(nan, _all(I32, 0x7E00, value), _all(I32, 0x7C00, value))
    large = builder.icmp_unsigned(">=", magnitude, _all(I32, 143 << 23, value))  # 2^16; smaller ones round up to inf
    chosen = builder.select(large, special, finite)
    sign = builder.and_(builder.lshr(bits, _all(I32, 16, value)), _all(I32, 0x8000, value))
    return builder.trunc(builder.or_(chosen, sign), ir.VectorType(I16, value.type.count))


DECODE = {types.int16: _from_bfloat16, types.uint16: _from_float16}
ENCODE = {types.int16: _to_bfloat16, types.uint16: _to_float16}
