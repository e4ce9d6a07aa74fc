"""The CPU loops, compiled by Numba: each serves a range of rows without holding the GIL.

Arrays are C-contiguous: ``x [N, H, D]``, ``values [E, H]`` or None (a branch that Numba removes at
compile time). A loop returns 0, or 1 as soon as a pointer or an index leaves its table.

Numba compiles one version for each combination of dtypes at first use and keeps it on disk.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, call-arg"
from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_AHEAD = 8  # edges; measured on rows of 512 bytes


def _jit(**more: Any) -> Callable[[Callable[..., Any]], Any]:
    # contract: fused multiply-add. Nothing else of fastmath, so NaN, infinity and order stay as written.
    options = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy", **more}

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError as error:  # no folder that Numba may write its cache to
            warnings.warn(f"gnnkit compiles its CPU kernels anew in every process: {error}", stacklevel=2)
            return numba.njit(**options)(function)

    return decorate


@intrinsic
def _prefetch_line(typing_context, table, row, offset_bytes):
    """Ask the processor for the cache line at a byte of a table's row; a wrong address does no harm."""

    def generate(context, builder, signature, args):
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        array = context.make_array(signature.args[0])(context, builder, args[0])
        stride = cgutils.unpack_tuple(builder, array.strides)[0]
        row_id = context.cast(builder, args[1], signature.args[1], types.int64)
        offset = context.cast(builder, args[2], signature.args[2], types.int64)
        position = builder.add(builder.mul(row_id, stride), offset)
        address = builder.gep(builder.bitcast(array.data, byte), [position])
        kind = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        builder.call(function, [address, i32(0), i32(3), i32(1)])  # to read, keep close, data
        return context.get_dummy_value()

    return types.void(table, row, offset_bytes), generate


@_jit(inline="always")
def _prefetch(table, indices, e):
    """Ask for the row of the edge ``_AHEAD`` edges on: rows scatter, and the processor cannot guess them."""
    if e + _AHEAD < len(indices):
        row_bytes = table.shape[1] * table.shape[2] * table.itemsize
        for offset_bytes in range(0, min(row_bytes, 1024), 64):
            _prefetch_line(table, indices[e + _AHEAD], offset_bytes)


@_jit(inline="always")
def _bad_row(begin, end, num_edges):
    return begin < 0 or end < begin or end > num_edges


@_jit()
def spmm_sum(low, high, indptr, indices, x, values, mean, out):
    """out[i] = sum over e of row i of values[e] * x[indices[e]], over the row's length if ``mean``."""
    num_src, heads, depth = x.shape
    for i in range(low, high):
        begin, end = indptr[i], indptr[i + 1]
        if _bad_row(begin, end, len(indices)):
            return 1
        out[i] = 0
        for e in range(begin, end):
            j = indices[e]
            if j < 0 or j >= num_src:
                return 1
            _prefetch(x, indices, e)
            for h in range(heads):
                row, source = out[i, h], x[j, h]
                if values is None:
                    for d in range(depth):
                        row[d] += source[d]
                else:
                    w = values[e, h]
                    for d in range(depth):
                        row[d] += w * source[d]
        if mean and end > begin:
            count = x.dtype.type(end - begin)
            for h in range(heads):
                row = out[i, h]
                for d in range(depth):
                    row[d] /= count
    return 0


@_jit()
def spmm_extreme(low, high, indptr, indices, x, values, largest, out):
    """out[i] = max (or min) over e of row i of values[e] * x[indices[e]]; NaN wins; 0 without edges."""
    num_src, heads, depth = x.shape
    for i in range(low, high):
        begin, end = indptr[i], indptr[i + 1]
        if _bad_row(begin, end, len(indices)):
            return 1
        if begin == end:
            out[i] = 0
        for e in range(begin, end):
            j = indices[e]
            if j < 0 or j >= num_src:
                return 1
            _prefetch(x, indices, e)
            for h in range(heads):
                row, source = out[i, h], x[j, h]
                w = x.dtype.type(1) if values is None else values[e, h]
                if e == begin:
                    for d in range(depth):
                        row[d] = w * source[d]
                elif largest:
                    for d in range(depth):
                        m = w * source[d]
                        row[d] = m if (m > row[d] or m != m) else row[d]
                else:
                    for d in range(depth):
                        m = w * source[d]
                        row[d] = m if (m < row[d] or m != m) else row[d]
    return 0


@_jit()
def extreme_ties(low, high, indptr, indices, x, weight, extreme, out):
    """out[i] = how many messages of row i equal extreme[i], and one more where extreme[i] is 0."""
    num_src, heads, depth = x.shape
    one = x.dtype.type(1)
    for i in range(low, high):
        begin, end = indptr[i], indptr[i + 1]
        if _bad_row(begin, end, len(indices)):
            return 1
        for h in range(heads):
            row, best = out[i, h], extreme[i, h]
            for d in range(depth):
                row[d] = one if best[d] == 0 else 0
        for e in range(begin, end):
            j = indices[e]
            if j < 0 or j >= num_src:
                return 1
            _prefetch(x, indices, e)
            for h in range(heads):
                row, best, source = out[i, h], extreme[i, h], x[j, h]
                w = one if weight is None else weight[e, h]
                for d in range(depth):
                    row[d] += one if w * source[d] == best[d] else 0
    return 0


@_jit()
def spmm_masked(low, high, indptr, indices, z, values, x, extreme, weight, to_src, out):
    """out[r] = sum over e of row r of values[e] * mask * z[c], c = indices[e].

    mask = [weight[e] * x[src] == extreme[dst]]; rows are sources if ``to_src``, else destinations. It is a
    factor and not a choice, so that the infinite share of an extreme that is NaN ends as NaN, as in PyG.
    """
    num_cols, heads, depth = z.shape
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for r in range(low, high):
        begin, end = indptr[r], indptr[r + 1]
        if _bad_row(begin, end, len(indices)):
            return 1
        out[r] = 0
        for e in range(begin, end):
            c = indices[e]
            if c < 0 or c >= num_cols:
                return 1
            _prefetch(z, indices, e)
            for h in range(heads):
                row, other = out[r, h], z[c, h]
                w = one if weight is None else weight[e, h]
                v = one if values is None else values[e, h]
                source, best = (x[r, h], extreme[c, h]) if to_src else (x[c, h], extreme[r, h])
                for d in range(depth):
                    row[d] += v * other[d] * (one if w * source[d] == best[d] else zero)
    return 0


@_jit(fastmath={"contract", "reassoc"})
def sddmm(low, high, indptr, indices, a, b, out):
    """out[e] = a[i] . b[indices[e]] for every e of row i, a head at a time."""
    num_src, heads, depth = b.shape
    for i in range(low, high):
        begin, end = indptr[i], indptr[i + 1]
        if _bad_row(begin, end, len(indices)):
            return 1
        for e in range(begin, end):
            j = indices[e]
            if j < 0 or j >= num_src:
                return 1
            _prefetch(b, indices, e)
            for h in range(heads):
                left, right = a[i, h], b[j, h]
                total = a.dtype.type(0)
                for d in range(depth):
                    total += left[d] * right[d]
                out[e, h] = total
    return 0


@_jit(fastmath={"contract", "reassoc"})
def sddmm_masked(low, high, indptr, indices, a, b, x, extreme, weight, out):
    """out[e] = sum over d of mask * a[i, d] * b[j, d], with the mask of `spmm_masked`."""
    num_src, heads, depth = b.shape
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for i in range(low, high):
        begin, end = indptr[i], indptr[i + 1]
        if _bad_row(begin, end, len(indices)):
            return 1
        for e in range(begin, end):
            j = indices[e]
            if j < 0 or j >= num_src:
                return 1
            _prefetch(b, indices, e)
            for h in range(heads):
                left, right, source, best = a[i, h], b[j, h], x[j, h], extreme[i, h]
                w = one if weight is None else weight[e, h]
                total = zero
                for d in range(depth):
                    total += left[d] * right[d] * (one if w * source[d] == best[d] else zero)
                out[e, h] = total
    return 0


@_jit()
def segment_softmax(low, high, indptr, logits, out):
    """out[e] = exp(logits[e] - max) / sum of the same, over the entries of each row."""
    num_edges, heads = logits.shape
    for i in range(low, high):
        begin, end = indptr[i], indptr[i + 1]
        if _bad_row(begin, end, num_edges):
            return 1
        for h in range(heads):
            top = logits.dtype.type(-np.inf)
            for e in range(begin, end):
                if logits[e, h] > top or logits[e, h] != logits[e, h]:
                    top = logits[e, h]
            total = logits.dtype.type(0)
            for e in range(begin, end):
                out[e, h] = np.exp(logits[e, h] - top)
                total += out[e, h]
            for e in range(begin, end):
                out[e, h] /= total
    return 0


@_jit()
def segment_softmax_backward(low, high, indptr, out, grad, dlogits):
    """dlogits[e] = out[e] * (grad[e] - sum over the row of out * grad)."""
    num_edges, heads = out.shape
    for i in range(low, high):
        begin, end = indptr[i], indptr[i + 1]
        if _bad_row(begin, end, num_edges):
            return 1
        for h in range(heads):
            total = out.dtype.type(0)
            for e in range(begin, end):
                total += out[e, h] * grad[e, h]
            for e in range(begin, end):
                dlogits[e, h] = out[e, h] * (grad[e, h] - total)
    return 0


@_jit()
def gather_rows(low, high, table, ids, out):
    """out[k] = table[ids[k]], rows as bytes."""
    num_rows, row_bytes = table.shape
    for k in range(low, high):
        j = ids[k]
        if j < 0 or j >= num_rows:
            return 1
        source, row = table[j], out[k]
        for b in range(row_bytes):
            row[b] = source[b]
    return 0


@_jit()
def group_by(keys, indptr, perm):
    """Stable counting sort: perm lists the positions of key 0, then of key 1 …; indptr says where each begins."""
    num_groups = len(indptr) - 1
    indptr[:] = 0
    for e in range(len(keys)):
        k = keys[e]
        if k < 0 or k >= num_groups:
            return 1
        indptr[k + 1] += 1
    for k in range(num_groups):
        indptr[k + 1] += indptr[k]
    for e in range(len(keys)):
        k = keys[e]
        perm[indptr[k]] = e
        indptr[k] += 1
    for k in range(num_groups, 0, -1):  # every pointer has moved to where the next group begins
        indptr[k] = indptr[k - 1]
    indptr[0] = 0
    return 0


HASH_BLOCK = 1 << 15  # words


@_jit()
def content_hash(low, high, words, key, sums):
    """sums[b] = the two sums of block b; uint64 arithmetic wraps."""
    for block in range(low, high):
        first, second = np.uint64(0), np.uint64(0)
        begin = block * HASH_BLOCK
        part = words[begin : min(begin + HASH_BLOCK, len(words))]
        for k in range(len(part)):
            z = np.uint64(part[k]) + np.uint64(begin + k + 1) * np.uint64(0x9E3779B97F4A7C15) + key
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z ^= z >> np.uint64(31)
            first += z
            second += (z >> np.uint64(32)) * (z & np.uint64(0xFFFFFFFF))
        sums[block, 0] = first
        sums[block, 1] = second
    return 0
