"""Numba's missing type: a vector of floats in registers, so that a loop can keep a tile of a row while it walks edges.

``zeros(table, lanes)`` makes one; ``load``, ``load_part``, ``store`` and ``store_part`` move it from and to a row of a
table ``[N, W]``, counted from a column; ``+ - * /`` work lane by lane. A vector wider than the machine's registers is
split over several. Tables of 16-bit floats come as integers (int16: bfloat16, uint16: float16) and are float32 in
registers: Numba has no 16-bit arithmetic on CPUs.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg, misc"
from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from gnnkit.kernels import _half

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
_BUILD = {operator.add: "fadd", operator.sub: "fsub", operator.mul: "fmul", operator.truediv: "fdiv"}


class Vector(types.Type):
    """``lanes`` numbers of one float type."""

    def __init__(self, scalar: Any, lanes: int) -> None:
        self.scalar, self.lanes = scalar, lanes
        super().__init__(name=f"Vector({scalar}, {lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, _llvm(vector))


@infer_global(operator.add)
@infer_global(operator.sub)
@infer_global(operator.mul)
@infer_global(operator.truediv)
class _Arithmetic(AbstractTemplate):
    def generic(self, args, kws):
        same = len(args) == 2 and isinstance(args[0], Vector) and args[0] == args[1]
        return signature(args[0], *args) if same else None


for _function, _instruction in _BUILD.items():

    @lower_builtin(_function, Vector, Vector)
    def _(context, builder, sig, args, instruction=_instruction):
        # contract: a product and a sum may become one fused instruction; nothing else of fastmath
        return getattr(builder, instruction)(*args, flags=("contract",))


def scalar_of(table):
    """Return the type in which a table's numbers are computed."""
    return types.float32 if table.dtype in _half.DECODE else table.dtype


@intrinsic(prefer_literal=True)
def zeros(typing_context, table, lanes):
    """A vector of zeros for rows of a table."""
    vector = Vector(scalar_of(table), lanes.literal_value)

    def generate(context, builder, signature, args):
        return ir.Constant(_llvm(vector), None)

    return vector(table, lanes), generate


@intrinsic
def load(typing_context, like, table, row, column):
    """The lanes of ``table[row, column:]``."""

    def generate(context, builder, signature, args):
        pointer = _address(context, builder, signature.args[1:4], args[1:4])
        raw = builder.load(builder.bitcast(pointer, _raw(table, like).as_pointer()), align=_size(table))
        return _decode(builder, table, raw)

    return like(like, table, row, column), generate


@intrinsic
def load_part(typing_context, like, table, row, column, count):
    """The first ``count`` lanes of ``table[row, column:]``, zeros after them; nothing else is read."""

    def generate(context, builder, signature, args):
        kind = _raw(table, like)
        pointer = builder.bitcast(_address(context, builder, signature.args[1:4], args[1:4]), kind.as_pointer())
        mask = _first(context, builder, signature.args[4], args[4], like.lanes)
        function_type = ir.FunctionType(kind, [kind.as_pointer(), I32, mask.type, kind])
        function = _llvm_function(builder, f"llvm.masked.load.{_suffix(kind)}.p0", function_type)
        raw = builder.call(function, [pointer, I32(_size(table)), mask, ir.Constant(kind, None)])
        return _decode(builder, table, raw)

    return like(like, table, row, column, count), generate


@intrinsic
def store(typing_context, value, table, row, column):
    """Write a vector to ``table[row, column:]``."""

    def generate(context, builder, signature, args):
        raw = _encode(builder, table, args[0])
        pointer = _address(context, builder, signature.args[1:4], args[1:4])
        builder.store(raw, builder.bitcast(pointer, raw.type.as_pointer()), align=_size(table))
        return context.get_dummy_value()

    return types.void(value, table, row, column), generate


@intrinsic
def store_part(typing_context, value, table, row, column, count):
    """Write the first ``count`` lanes to ``table[row, column:]``, and nothing after them."""

    def generate(context, builder, signature, args):
        raw = _encode(builder, table, args[0])
        pointer = builder.bitcast(_address(context, builder, signature.args[1:4], args[1:4]), raw.type.as_pointer())
        mask = _first(context, builder, signature.args[4], args[4], value.lanes)
        function_type = ir.FunctionType(ir.VoidType(), [raw.type, pointer.type, I32, mask.type])
        function = _llvm_function(builder, f"llvm.masked.store.{_suffix(raw.type)}.p0", function_type)
        builder.call(function, [raw, pointer, I32(_size(table)), mask])
        return context.get_dummy_value()

    return types.void(value, table, row, column, count), generate


@intrinsic
def number(typing_context, table, row, column):
    """``table[row, column]`` as the number that a loop computes with."""

    def generate(context, builder, signature, args):
        pointer = _address(context, builder, signature.args, args)
        kind = ir.VectorType(context.get_value_type(table.dtype), 1)
        raw = builder.load(builder.bitcast(pointer, kind.as_pointer()), align=_size(table))
        return builder.extract_element(_decode(builder, table, raw), I32(0))

    return scalar_of(table)(table, row, column), generate


@intrinsic
def put(typing_context, value, table, row, column):
    """``table[row, column] = value``."""

    def generate(context, builder, signature, args):
        pointer = _address(context, builder, signature.args[1:4], args[1:4])
        single = ir.Constant(ir.VectorType(args[0].type, 1), ir.Undefined)
        raw = _encode(builder, table, builder.insert_element(single, args[0], I32(0)))
        builder.store(raw, builder.bitcast(pointer, raw.type.as_pointer()), align=_size(table))
        return context.get_dummy_value()

    return types.void(scalar_of(table), table, row, column), generate


@intrinsic
def splat(typing_context, like, value):
    """One number in every lane."""

    def generate(context, builder, signature, args):
        return _splat(builder, context.cast(builder, args[1], value, like.scalar), like.lanes)

    return like(like, value), generate


@intrinsic
def spread(typing_context, like, table, row, column, depth):
    """Lane l holds ``table[row, (column + l) // depth]``: one number a head; depth is a multiple of 16, or lanes are 16."""

    def generate(context, builder, signature, args):
        _, table_type, row_type, column_type, depth_type = signature.args
        _, array, row_id, first, width = args
        first = context.cast(builder, first, column_type, types.int64)
        width = context.cast(builder, width, depth_type, types.int64)
        groups = max(like.lanes // 16, 1)
        heads = ir.Constant(ir.VectorType(_llvm(like).element, groups), ir.Undefined)
        for group in range(groups):
            head = builder.udiv(builder.add(first, I64(16 * group)), width)
            types_, values = (table_type, row_type, types.int64), (array, row_id, head)
            pointer = _address(context, builder, types_, values)
            kind = ir.VectorType(context.get_value_type(table.dtype), 1)
            raw = builder.load(builder.bitcast(pointer, kind.as_pointer()), align=_size(table))
            single = builder.extract_element(_decode(builder, table, raw), I32(0))
            heads = builder.insert_element(heads, single, I32(group))
        lanes = ir.Constant(ir.VectorType(I32, like.lanes), [lane // 16 for lane in range(like.lanes)])
        return builder.shuffle_vector(heads, heads, lanes)

    return like(like, table, row, column, depth), generate


@intrinsic
def total(typing_context, value):
    """The sum of the lanes, in a fixed order."""

    def generate(context, builder, signature, args):
        kind = _llvm(value)
        function_type = ir.FunctionType(kind.element, [kind.element, kind])
        function = _llvm_function(builder, f"llvm.vector.reduce.fadd.{_suffix(kind)}", function_type)
        return builder.call(function, [ir.Constant(kind.element, 0.0), args[0]], fastmath=("reassoc",))

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
        one = ir.Constant(_llvm(a), [1.0] * a.lanes)
        return builder.select(builder.fcmp_ordered("==", *args), one, ir.Constant(_llvm(a), None))

    return a(a, b), generate


@intrinsic
def leaky(typing_context, value, slope):
    """The lanes above 0 as they are, the others times ``slope``; NaN stays."""

    def generate(context, builder, signature, args):
        factor = _splat(builder, context.cast(builder, args[1], slope, value.scalar), value.lanes)
        positive = builder.fcmp_ordered(">", args[0], ir.Constant(_llvm(value), None))
        return builder.select(positive, args[0], builder.fmul(args[0], factor))

    return value(value, slope), generate


@intrinsic
def leaky_slope(typing_context, value, slope):
    """The derivative of `leaky`: 1 in the lanes above 0, ``slope`` in the others."""

    def generate(context, builder, signature, args):
        factor = _splat(builder, context.cast(builder, args[1], slope, value.scalar), value.lanes)
        positive = builder.fcmp_ordered(">", args[0], ir.Constant(_llvm(value), None))
        return builder.select(positive, ir.Constant(_llvm(value), [1.0] * value.lanes), factor)

    return value(value, slope), generate


@intrinsic
def prefetch_line(typing_context, table, row, offset_bytes):
    """Ask the processor for the cache line at a byte of a table's row; a wrong address does no harm."""

    def generate(context, builder, signature, args):
        types_ = signature.args[0], signature.args[1], types.int64
        byte = ir.IntType(8).as_pointer()
        start = builder.bitcast(_address(context, builder, types_, (args[0], args[1], I64(0))), byte)
        offset = context.cast(builder, args[2], signature.args[2], types.int64)
        function_type = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
        function = _llvm_function(builder, "llvm.prefetch.p0", function_type)
        builder.call(function, [builder.gep(start, [offset]), I32(0), I32(3), I32(1)])  # to read, keep close, data
        return context.get_dummy_value()

    return types.void(table, row, offset_bytes), generate


# ------------------------------------------------------------------ what the intrinsics are made of


def _llvm(vector: Vector) -> Any:
    return ir.VectorType({32: ir.FloatType(), 64: ir.DoubleType()}[vector.scalar.bitwidth], vector.lanes)


def _raw(table: Any, vector: Vector) -> Any:
    """The vector as it lies in memory."""
    return ir.VectorType(ir.IntType(16), vector.lanes) if table.dtype in _half.DECODE else _llvm(vector)


def _decode(builder, table, raw):
    return _half.DECODE[table.dtype](builder, raw) if table.dtype in _half.DECODE else raw


def _encode(builder, table, value):
    return _half.ENCODE[table.dtype](builder, value) if table.dtype in _half.ENCODE else value


def _size(table: Any) -> int:
    size: int = table.dtype.bitwidth // 8
    return size


def _suffix(kind: Any) -> str:
    name = {"float": "f32", "double": "f64", "i16": "i16"}[str(kind.element)]
    return f"v{kind.count}{name}"


def _address(context, builder, kinds, values):
    """The address of ``table[row, column]``, rows contiguous; 64-bit arithmetic."""
    array = context.make_array(kinds[0])(context, builder, values[0])
    width = cgutils.unpack_tuple(builder, array.shape)[1]
    row, column = (context.cast(builder, v, k, types.int64) for v, k in zip(values[1:], kinds[1:], strict=True))
    return builder.gep(array.data, [builder.add(builder.mul(row, width), column)])


def _splat(builder, value, lanes):
    single = builder.insert_element(ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined), value, I32(0))
    return builder.shuffle_vector(single, single, ir.Constant(ir.VectorType(I32, lanes), None))


def _first(context, builder, kind, count, lanes):
    """A mask of the first ``count`` lanes."""
    lane = ir.Constant(ir.VectorType(I64, lanes), list(range(lanes)))
    bound = _splat(builder, context.cast(builder, count, kind, types.int64), lanes)
    return builder.icmp_signed("<", lane, bound)


def _llvm_function(builder, name, function_type):
    return cgutils.get_or_insert_function(builder.module, function_type, name)
