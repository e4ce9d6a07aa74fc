"""Loops that give numbers to edges: products of the rows at both ends, and the softmax over a row's edges.

Tables are ``[N, W]`` with the heads side by side in a row, numbers of edges ``[E, H]``. A loop serves rows low to
high, and returns 0, or 1 as soon as a pointer or an index leaves its table.
"""

from __future__ import annotations

from gnnkit.kernels._jit import loop, part
from gnnkit.kernels._math import equal, exponential, total
from gnnkit.kernels._tiles import bad_pointers, bad_rows, prefetch_row
from gnnkit.kernels._vector import number, put, read, splat, write, zeros


@part
def dots(a, i, b, j, depth, out, row):
    """out[row, h] = a[i] . b[j] over the columns of head h; all heads in one call, which costs more than a head."""
    for h in range(out.shape[1]):
        first, last = h * depth, (h + 1) * depth
        acc = zeros(a, 16)
        for column in range(first, last - 15, 16):
            acc = acc + read(acc, a, i, column, None) * read(acc, b, j, column, None)
        rest = depth % 16
        if rest:
            acc = acc + read(acc, a, i, last - rest, rest) * read(acc, b, j, last - rest, rest)
        put(total(acc), out, row, h)


@loop
def sddmm(low, high, indptr, indices, a, b, depth, out):
    """out[e] = a[i] . b[indices[e]] for every e of row i, a head at a time."""
    if bad_rows(low, high, indptr, indices, b.shape[0]):
        return 1
    for i in range(low, high):
        for e in range(indptr[i], indptr[i + 1]):
            prefetch_row(b, indices, e)
            dots(a, i, b, indices[e], depth, out, e)
    return 0


@part
def masked_product_step(acc, a, i, b, j, x, extreme, w, column, count):
    mask = equal(splat(acc, w) * read(acc, x, j, column, count), read(acc, extreme, i, column, count))
    return acc + read(acc, a, i, column, count) * read(acc, b, j, column, count) * mask


@loop
def sddmm_masked(low, high, indptr, indices, a, b, x, extreme, weight, depth, out):
    """out[e] = sum over d of mask * a[i, d] * b[j, d], with the mask of `spmm_masked`."""
    if bad_rows(low, high, indptr, indices, b.shape[0]):
        return 1
    for i in range(low, high):
        for e in range(indptr[i], indptr[i + 1]):
            j = indices[e]
            prefetch_row(b, indices, e)
            prefetch_row(x, indices, e)
            for h in range(out.shape[1]):
                w = x.dtype.type(1) if weight is None else weight[e, h]
                acc, last = zeros(a, 16), (h + 1) * depth
                for column in range(h * depth, last - 15, 16):
                    acc = masked_product_step(acc, a, i, b, j, x, extreme, w, column, None)
                if depth % 16:
                    column = last - depth % 16
                    acc = masked_product_step(acc, a, i, b, j, x, extreme, w, column, depth % 16)
                put(total(acc), out, e, h)
    return 0


@part
def exp_flat(table, count):
    """Replace the first ``count`` numbers of a table, row after row, by their exponentials."""
    like = zeros(table, 16)
    column = 0
    while column + 16 <= count:
        write(exponential(read(like, table, 0, column, None)), table, 0, column, None)
        column += 16
    if column < count:
        last = exponential(read(like, table, 0, column, count - column))
        write(last, table, 0, column, count - column)


@part
def softmax_rows(scores, count, top, total_, i):
    """Replace ``scores[:count]`` by exp(score - largest), a head at a time; the largest and the sum go to row i."""
    heads = scores.shape[1]
    for h in range(heads):
        best = scores[0, h]
        for k in range(1, count):
            if scores[k, h] > best or scores[k, h] != scores[k, h]:
                best = scores[k, h]
        top[i, h] = best
    for k in range(count):
        for h in range(heads):
            scores[k, h] -= top[i, h]
    exp_flat(scores, count * heads)
    for h in range(heads):
        total_[i, h] = 0
    for k in range(count):
        for h in range(heads):
            total_[i, h] += scores[k, h]


@loop
def segment_softmax(low, high, indptr, logits, out, scratch):
    """out[e] = exp(logits[e] - max) / sum of the same, over each row."""
    if bad_pointers(low, high, indptr, logits.shape[0]):
        return 1
    heads = logits.shape[1]
    scores, top, total_ = scratch[2:], scratch[0:1], scratch[1:2]
    for i in range(low, high):
        begin, count = indptr[i], indptr[i + 1] - indptr[i]
        if count == 0:
            continue
        for k in range(count):
            for h in range(heads):
                scores[k, h] = number(logits, begin + k, h)
        softmax_rows(scores, count, top, total_, 0)
        for k in range(count):
            for h in range(heads):
                put(scores[k, h] / total_[0, h], out, begin + k, h)
    return 0


@loop
def segment_softmax_backward(low, high, indptr, out, grad, dlogits):
    """dlogits[e] = out[e] * (grad[e] - sum over the row of out * grad)."""
    if bad_pointers(low, high, indptr, out.shape[0]):
        return 1
    for i in range(low, high):
        begin, end = indptr[i], indptr[i + 1]
        if begin == end:
            continue
        for h in range(out.shape[1]):
            weighted = number(out, begin, h) * number(grad, begin, h)
            for e in range(begin + 1, end):
                weighted += number(out, e, h) * number(grad, e, h)
            for e in range(begin, end):
                put(number(out, e, h) * (number(grad, e, h) - weighted), dlogits, e, h)
    return 0
