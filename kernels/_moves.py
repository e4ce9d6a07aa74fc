"""Moving rows of a table without looking at them: what Numba lacks for loops that gather."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from gnnkit.kernels._vector import I1, I32, I64, address_of, item_bytes, llvm_function


@intrinsic
def copy_row(typing_context, table, row, out, k):
    """``out[k] = table[row]``, by the C library's memcpy; both tables of one width, in memory apart."""

    def generate(context, builder, signature, args):
        _, row_type, _, k_type = signature.args
        source = address_of(context, builder, (table, row_type, types.int64), (*args[:2], I64(0)))
        target = address_of(context, builder, (out, k_type, types.int64), (*args[2:], I64(0)))
        width = cgutils.unpack_tuple(builder, context.make_array(table)(context, builder, args[0]).shape)[1]
        byte = ir.IntType(8).as_pointer()
        function_type = ir.FunctionType(ir.VoidType(), [byte, byte, I64, I1])
        function = llvm_function(builder, "llvm.memcpy.p0.p0.i64", function_type)
        ends = (builder.bitcast(pointer, byte) for pointer in (target, source))
        builder.call(function, [*ends, builder.mul(width, I64(item_bytes(table))), I1(0)])
        return context.get_dummy_value()

    return types.void(table, row, out, k), generate


@intrinsic
def prefetch_line(typing_context, table, row, column):
    """Ask the processor for the cache line of ``table[row, column]``; a wrong address does no harm."""

    def generate(context, builder, signature, args):
        byte = ir.IntType(8).as_pointer()
        function_type = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
        function = llvm_function(builder, "llvm.prefetch.p0", function_type)
        line = builder.bitcast(address_of(context, builder, signature.args, args), byte)
        builder.call(function, [line, I32(0), I32(3), I32(1)])  # to read, keep close, data
        return context.get_dummy_value()

    return types.void(table, row, column), generate
