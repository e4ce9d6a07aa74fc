"""Numba's missing type: a vector of floats in registers, so that a loop can keep a tile of a row while it walks edges.

``zeros(table, lanes)`` makes one; ``read`` and ``write`` move it from and to a row of a table ``[N, W]``, from a
column on; ``+ - * /`` work lane by lane. A vector wider than the machine's registers is
split over several. Tables of 16-bit floats come as integers (int16: bfloat16, uint16: float16) and are float32 in
registers: Numba has no 16-bit arithmetic on CPUs.
"""

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
        super().__init__(manager, vector, llvm(vector))


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
        return ir.Constant(llvm(vector), None)

    return vector(table, lanes), generate


@intrinsic
def read(typing_context, like, table, row, column, count):
    """The lanes of ``table[row, column:]``: all, or the first ``count`` and zeros after them, reading nothing else."""

    def generate(context, builder, signature, args):
        kind = _raw(table, like)
        pointer = builder.bitcast(address_of(context, builder, signature.args[1:4], args[1:4]), kind.as_pointer())
        if isinstance(count, types.NoneType):
            return _decode(builder, table, builder.load(pointer, align=item_bytes(table)))
        mask = _first(context, builder, count, args[4], like.lanes)
        function_type = ir.FunctionType(kind, [kind.as_pointer(), I32, mask.type, kind])
        function = llvm_function(builder, f"llvm.masked.load.{suffix(kind)}.p0", function_type)
        raw = builder.call(function, [pointer, I32(item_bytes(table)), mask, ir.Constant(kind, None)])
        return _decode(builder, table, raw)

    return like(like, table, row, column, count), generate


@intrinsic
def write(typing_context, value, table, row, column, count):
    """Write a vector to ``table[row, column:]``: all of it, or the first ``count`` lanes and nothing after them."""

    def generate(context, builder, signature, args):
        raw = _encode(builder, table, args[0])
        pointer = builder.bitcast(address_of(context, builder, signature.args[1:4], args[1:4]), raw.type.as_pointer())
        if isinstance(count, types.NoneType):
            builder.store(raw, pointer, align=item_bytes(table))
            return context.get_dummy_value()
        mask = _first(context, builder, count, args[4], value.lanes)
        function_type = ir.FunctionType(ir.VoidType(), [raw.type, pointer.type, I32, mask.type])
        function = llvm_function(builder, f"llvm.masked.store.{suffix(raw.type)}.p0", function_type)
        builder.call(function, [raw, pointer, I32(item_bytes(table)), mask])
        return context.get_dummy_value()

    return types.void(value, table, row, column, count), generate


@intrinsic
def number(typing_context, table, row, column):
    """``table[row, column]`` as the number that a loop computes with."""

    def generate(context, builder, signature, args):
        pointer = address_of(context, builder, signature.args, args)
        kind = ir.VectorType(context.get_value_type(table.dtype), 1)
        raw = builder.load(builder.bitcast(pointer, kind.as_pointer()), align=item_bytes(table))
        return builder.extract_element(_decode(builder, table, raw), I32(0))

    return scalar_of(table)(table, row, column), generate


@intrinsic
def put(typing_context, value, table, row, column):
    """``table[row, column] = value``."""

    def generate(context, builder, signature, args):
        pointer = address_of(context, builder, signature.args[1:4], args[1:4])
        single = ir.Constant(ir.VectorType(args[0].type, 1), ir.Undefined)
        raw = _encode(builder, table, builder.insert_element(single, args[0], I32(0)))
        builder.store(raw, builder.bitcast(pointer, raw.type.as_pointer()), align=item_bytes(table))
        return context.get_dummy_value()

    return types.void(scalar_of(table), table, row, column), generate


@intrinsic
def splat(typing_context, like, value):
    """One number in every lane."""

    def generate(context, builder, signature, args):
        return splatted(builder, context.cast(builder, args[1], value, like.scalar), like.lanes)

    return like(like, value), generate


@intrinsic
def weighted(typing_context, value, weights, row, head, column, depth):
    """A tile times the weight of its edge: ``weights[row, head]``, or with a ``depth`` one of each head.

    Lane l belongs to head ``(column + l) // depth`` then, and depth is a multiple of 16. Without weights
    the tile stays as it is.
    """

    def generate(context, builder, signature, args):
        if isinstance(weights, types.NoneType):
            return args[0]
        _, _, row_type, head_type, column_type, depth_type = signature.args
        tile, array, row_id, block, first, width = args
        block, first, width = (
            context.cast(builder, v, t, types.int64)
            for v, t in ((block, head_type), (first, column_type), (width, depth_type))
        )

        def weight(head):
            pointer = address_of(context, builder, (weights, row_type, types.int64), (array, row_id, head))
            kind = ir.VectorType(context.get_value_type(weights.dtype), 1)
            raw = builder.load(builder.bitcast(pointer, kind.as_pointer()), align=item_bytes(weights))
            return builder.extract_element(_decode(builder, weights, raw), I32(0))

        spread = builder.icmp_signed("!=", width, I64(0))
        with builder.if_else(spread) as (then, otherwise):
            with then:
                groups = max(value.lanes // 16, 1)
                heads = ir.Constant(ir.VectorType(llvm(value).element, groups), ir.Undefined)
                for group in range(groups):
                    head = builder.udiv(builder.add(first, I64(16 * group)), width)
                    heads = builder.insert_element(heads, weight(head), I32(group))
                lanes = ir.Constant(ir.VectorType(I32, value.lanes), [lane // 16 for lane in range(value.lanes)])
                every = builder.shuffle_vector(heads, heads, lanes)
                from_then = builder.block
            with otherwise:
                one = splatted(builder, weight(block), value.lanes)
                from_otherwise = builder.block
        factor = builder.phi(llvm(value))
        factor.add_incoming(every, from_then)
        factor.add_incoming(one, from_otherwise)
        return builder.fmul(factor, tile, flags=("contract",))

    return value(value, weights, row, head, column, depth), generate


@intrinsic
def prefetch_tile(typing_context, like, table, row, column):
    """Ask the processor for what `read` would read; a wrong address does no harm."""

    def generate(context, builder, signature, args):
        byte = ir.IntType(8).as_pointer()
        start = builder.bitcast(address_of(context, builder, signature.args[1:], args[1:]), byte)
        function_type = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
        function = llvm_function(builder, "llvm.prefetch.p0", function_type)
        for offset_bytes in range(0, like.lanes * item_bytes(table), 64):
            line = builder.gep(start, [I64(offset_bytes)])
            builder.call(function, [line, I32(0), I32(3), I32(1)])  # to read, keep close, data
        return context.get_dummy_value()

    return types.void(like, table, row, column), generate


@intrinsic
def prefetch_item(typing_context, array, k):
    """Ask the processor for ``array[k]`` of a vector in one piece; a wrong address does no harm."""

    def generate(context, builder, signature, args):
        byte = ir.IntType(8).as_pointer()
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        item = builder.gep(data, [context.cast(builder, args[1], signature.args[1], types.int64)])
        function_type = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
        function = llvm_function(builder, "llvm.prefetch.p0", function_type)
        builder.call(function, [builder.bitcast(item, byte), I32(0), I32(3), I32(1)])  # to read, keep close, data
        return context.get_dummy_value()

    return types.void(array, k), generate


# ------------------------------------------------------------------ what the intrinsics are made of


def llvm(vector: Vector) -> Any:
    return ir.VectorType({32: ir.FloatType(), 64: ir.DoubleType()}[vector.scalar.bitwidth], vector.lanes)


def _raw(table: Any, vector: Vector) -> Any:
    """The vector as it lies in memory."""
    return ir.VectorType(ir.IntType(16), vector.lanes) if table.dtype in _half.DECODE else llvm(vector)


def _decode(builder, table, raw):
    return _half.DECODE[table.dtype](builder, raw) if table.dtype in _half.DECODE else raw


def _encode(builder, table, value):
    return _half.ENCODE[table.dtype](builder, value) if table.dtype in _half.ENCODE else value


def item_bytes(table: Any) -> int:
    size: int = table.dtype.bitwidth // 8
    return size


def suffix(kind: Any) -> str:
    name = {"float": "f32", "double": "f64", "i16": "i16"}[str(kind.element)]
    return f"v{kind.count}{name}"


def address_of(context, builder, kinds, values):
    """The address of ``table[row, column]``, rows contiguous; 64-bit arithmetic."""
    array = context.make_array(kinds[0])(context, builder, values[0])
    width = cgutils.unpack_tuple(builder, array.shape)[1]
    row, column = (context.cast(builder, v, k, types.int64) for v, k in zip(values[1:], kinds[1:], strict=True))
    return builder.gep(array.data, [builder.add(builder.mul(row, width), column)])


def splatted(builder, value, lanes):
    single = builder.insert_element(ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined), value, I32(0))
    return builder.shuffle_vector(single, single, ir.Constant(ir.VectorType(I32, lanes), None))


def _first(context, builder, kind, count, lanes):
    """A mask of the first ``count`` lanes."""
    lane = ir.Constant(ir.VectorType(I64, lanes), list(range(lanes)))
    bound = splatted(builder, context.cast(builder, count, kind, types.int64), lanes)
    return builder.icmp_signed("<", lane, bound)


def llvm_function(builder, name, function_type):
    return cgutils.get_or_insert_function(builder.module, function_type, name)
