"""Arithmetic on vectors beyond ``+ - * /``: sums of lanes, extremes, the slopes of leaky ReLU, the exponential."""

from __future__ import annotations

import math

from llvmlite import ir
from numba.extending import intrinsic

from gnnkit.kernels._vector import I32, llvm, llvm_function, splatted, suffix


@intrinsic
def total(typing_context, value):
    """The sum of the lanes, in a fixed order."""

    def generate(context, builder, signature, args):
        # halves onto halves: LLVM's own reduction adds one lane after the other
        acc, lanes = args[0], value.lanes
        while lanes > 1:
            lanes //= 2
            low, high = (
                builder.shuffle_vector(acc, acc, ir.Constant(ir.VectorType(I32, lanes), list(range(k, k + lanes))))
                for k in (0, lanes)
            )
            acc = builder.fadd(low, high)
        return builder.extract_element(acc, I32(0))

    return value.scalar(value), generate


@intrinsic
def larger(typing_context, a, b):
    """Lane by lane the larger; NaN wins."""
    return a(a, b), _extreme(">")


@intrinsic
def smaller(typing_context, a, b):
    """Lane by lane the smaller; NaN wins."""
    return a(a, b), _extreme("<")


def _extreme(sign):
    def generate(context, builder, signature, args):
        best, new = args
        wins = builder.or_(builder.fcmp_ordered(sign, new, best), builder.fcmp_unordered("uno", new, new))
        return builder.select(wins, new, best)

    return generate


@intrinsic
def equal(typing_context, a, b):
    """1 in the lanes where both are equal, else 0."""

    def generate(context, builder, signature, args):
        one = ir.Constant(llvm(a), [1.0] * a.lanes)
        return builder.select(builder.fcmp_ordered("==", *args), one, ir.Constant(llvm(a), None))

    return a(a, b), generate


@intrinsic
def leaky(typing_context, value, slope):
    """The lanes above 0 as they are, the others times ``slope``; NaN stays."""

    def generate(context, builder, signature, args):
        factor = splatted(builder, context.cast(builder, args[1], slope, value.scalar), value.lanes)
        positive = builder.fcmp_ordered(">", args[0], ir.Constant(llvm(value), None))
        return builder.select(positive, args[0], builder.fmul(args[0], factor))

    return value(value, slope), generate


@intrinsic
def passed(typing_context, out, grad):
    """The lanes of ``grad``, and 0 where ``out`` is 0 or below: the gradient of ReLU by its result. NaN hands it on."""

    def generate(context, builder, signature, args):
        zero = ir.Constant(llvm(out), None)
        return builder.select(builder.fcmp_ordered("<=", args[0], zero), zero, args[1])

    return out(out, grad), generate


@intrinsic
def leaky_slope(typing_context, value, slope):
    """The derivative of `leaky`: 1 in the lanes above 0, ``slope`` in the others."""

    def generate(context, builder, signature, args):
        factor = splatted(builder, context.cast(builder, args[1], slope, value.scalar), value.lanes)
        positive = builder.fcmp_ordered(">", args[0], ir.Constant(llvm(value), None))
        return builder.select(positive, ir.Constant(llvm(value), [1.0] * value.lanes), factor)

    return value(value, slope), generate


@intrinsic
def exponential(typing_context, value):
    """exp of every lane: exp(x) = 2^n exp(r), x = n ln 2 + r, |r| <= ln 2 / 2, the Taylor series of exp(r).

    Within 2 units in the last place; infinite above the range, 0 below it, NaN of NaN.
    """
    # degree, the exponent's bias and place, what x is beyond, ln 2 with a short first part: n times it is exact
    degree, bias, place, integer, low, high, upper = {
        32: (7, 127, 23, ir.IntType(32), -104.0, 89.0, 0.693145751953125),
        64: (13, 1023, 52, ir.IntType(64), -746.0, 710.0, 0.6931471803691238),
    }[value.scalar.bitwidth]
    lower = {32: 1.4286068203094172e-06, 64: 1.9082149292705877e-10}[value.scalar.bitwidth]

    def generate(context, builder, signature, args):
        kind = llvm(value)
        integers = ir.VectorType(integer, value.lanes)

        def every(number):
            return ir.Constant(kind, [number] * value.lanes)

        def function(name, arguments):
            called = llvm_function(
                builder, f"llvm.{name}.{suffix(kind)}", ir.FunctionType(kind, [kind] * len(arguments))
            )
            return builder.call(called, arguments)

        x = args[0]
        below, above = builder.fcmp_ordered("<", x, every(low)), builder.fcmp_ordered(">", x, every(high))
        inside = builder.select(below, every(low), builder.select(above, every(high), x))
        whole = function("rint", [builder.fmul(inside, every(1 / math.log(2)))])
        r = function("fma", [whole, every(-upper), inside])
        r = function("fma", [whole, every(-lower), r])
        series = every(1 / math.factorial(degree))
        for power in range(degree - 1, -1, -1):
            series = function("fma", [series, r, every(1 / math.factorial(power))])
        # 2^n in two factors: either may lie outside the range where their product does not
        n = builder.fptosi(whole, integers)
        half = builder.ashr(n, ir.Constant(integers, [1] * value.lanes))
        for exponent in (half, builder.sub(n, half)):
            biased = builder.add(exponent, ir.Constant(integers, [bias] * value.lanes))
            bits = builder.shl(biased, ir.Constant(integers, [place] * value.lanes))
            series = builder.fmul(series, builder.bitcast(bits, kind))
        result = builder.select(below, every(0.0), builder.select(above, every(math.inf), series))
        return builder.select(builder.fcmp_unordered("uno", x, x), x, result)

    return value(value), generate
