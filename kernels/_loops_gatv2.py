"""Loops of GATv2's attention, fused as GAT's are; see `gnnkit.kernels._loops_attention` for the arguments."""

from __future__ import annotations

from gnnkit.kernels._jit import loop, part
from gnnkit.kernels._loops_attention import DELTA, TOP, TOTAL, aggregate, normalise
from gnnkit.kernels._loops_edges import dots, exp_flat, softmax_rows
from gnnkit.kernels._loops_spmm import by_heads
from gnnkit.kernels._math import leaky, leaky_slope, total
from gnnkit.kernels._tiles import bad_rows, over_tiles, prefetch_row
from gnnkit.kernels._vector import read, weighted, zeros


@part
def gatv2_scores(x, j, x_dst, i, att, slope, depth, out, row):
    """out[row, h] = att . leaky(x[j] + x_dst[i]) over the columns of head h."""
    for h in range(out.shape[1]):
        first, last = h * depth, (h + 1) * depth
        acc = zeros(x, 16)
        for column in range(first, last - 15, 16):
            mixed = read(acc, x, j, column, None) + read(acc, x_dst, i, column, None)
            acc = acc + read(acc, att, 0, column, None) * leaky(mixed, slope)
        rest = depth % 16
        if rest:
            mixed = read(acc, x, j, last - rest, rest) + read(acc, x_dst, i, last - rest, rest)
            acc = acc + read(acc, att, 0, last - rest, rest) * leaky(mixed, slope)
        out[row, h] = total(acc)


@loop
def gatv2_forward(low, high, indptr, indices, x, x_dst, att, mask, slope, depth, out, top, total_, scratch):
    """See `gnnkit.kernels._torch.gatv2_forward`; ``att [1, W]``."""
    if bad_rows(low, high, indptr, indices, x.shape[0]):
        return 1
    scores = scratch[2:]
    for i in range(low, high):
        begin, end = indptr[i], indptr[i + 1]
        if begin == end:
            top[i], total_[i] = 0, 0
        else:
            for e in range(begin, end):
                prefetch_row(x, indices, e)
                gatv2_scores(x, indices[e], x_dst, i, att, slope, depth, scores, e - begin)
            softmax_rows(scores, end - begin, top, total_, i)
            normalise(scores, end - begin, total_, i, mask, begin)
        aggregate(begin, end, indices, x, scores, depth, out, i)
    return 0


@part
def mixed_gradient_step(acc, column, count, i, begin, end, indices, x, x_dst, att, slope, dscores, head, depth):
    """sum over e of dscores[e - begin] * leaky'(x[j] + x_dst[i]), times att"""
    own = read(acc, x_dst, i, column, count)
    for e in range(begin, end):
        mixed = read(acc, x, indices[e], column, count) + own
        acc = acc + weighted(leaky_slope(mixed, slope), dscores, e - begin, head, column, depth)
    return acc * read(acc, att, 0, column, count)


mixed_gradient_tiles = over_tiles(mixed_gradient_step)


@part
def attention_gradient_step(acc, column, count, i, begin, end, indices, x, x_dst, att, slope, dscores, head, depth):
    """The gradient of att so far, and that of row i: sum over e of dscores[e - begin] * leaky(x[j] + x_dst[i])"""
    own = read(acc, x_dst, i, column, count)
    acc = read(acc, att, 0, column, count)
    for e in range(begin, end):
        mixed = read(acc, x, indices[e], column, count) + own
        acc = acc + weighted(leaky(mixed, slope), dscores, e - begin, head, column, depth)
    return acc


attention_gradient_tiles = over_tiles(attention_gradient_step)


@loop
def gatv2_backward_dst(
    low, high, indptr, indices, x, x_dst, att, mask, slope, depth, top, total_, grad, delta, d_dst, d_att,
    bounds, scratch,
):  # fmt: skip
    """See `gnnkit.kernels._torch.gatv2_backward_dst`; part p of the rows, from ``bounds``, adds to ``d_att[p]``."""
    for p in range(low, high):
        if gatv2_backward_dst_rows(
            bounds[p], bounds[p + 1], indptr, indices, x, x_dst, att, mask, slope, depth, top, total_, grad, delta,
            d_dst, d_att[p : p + 1], scratch,
        ):  # fmt: skip
            return 1
    return 0


@part
def gatv2_backward_dst_rows(
    low, high, indptr, indices, x, x_dst, att, mask, slope, depth, top, total_, grad, delta, d_dst, d_att, scratch
):
    if bad_rows(low, high, indptr, indices, x.shape[0]):
        return 1
    heads = top.shape[1]
    scores, products = scratch[2:], scratch[0:1]
    d_att[0] = 0
    blocks, spread_depth = by_heads(scores, depth)
    width = x.shape[1] // blocks
    for i in range(low, high):
        begin, end = indptr[i], indptr[i + 1]
        for e in range(begin, end):
            prefetch_row(x, indices, e)
            gatv2_scores(x, indices[e], x_dst, i, att, slope, depth, scores, e - begin)
            for h in range(heads):
                scores[e - begin, h] -= top[i, h]
        exp_flat(scores, (end - begin) * heads)
        for e in range(begin, end):
            dots(grad, i, x, indices[e], depth, products, 0)
            for h in range(heads):
                product = products[0, h]
                if mask is not None:
                    product *= mask[e, h]
                alpha = scores[e - begin, h] / total_[i, h]
                scores[e - begin, h] = alpha * (product - delta[i, h])
        for block in range(blocks):
            first, last = block * width, (block + 1) * width
            state = (i, begin, end, indices, x, x_dst, att, slope, scores, block, spread_depth)
            mixed_gradient_tiles(d_dst, i, first, last, *state)
            state = (i, begin, end, indices, x, x_dst, d_att, slope, scores, block, spread_depth)
            attention_gradient_tiles(d_att, 0, first, last, *state)
    return 0


@part
def gatv2_source_step(
    acc, column, count, j, begin, end, indices, x, x_dst, att, slope, grad, alpha, dscores, head, depth
):
    """sum over e of alpha * grad[i] + dscores * att * leaky'(x[j] + x_dst[i])"""
    own, weights = read(acc, x, j, column, count), read(acc, att, 0, column, count)
    for e in range(begin, end):
        i, k = indices[e], e - begin
        slopes = leaky_slope(own + read(acc, x_dst, i, column, count), slope) * weights
        acc = acc + weighted(slopes, dscores, k, head, column, depth)
        acc = acc + weighted(read(acc, grad, i, column, count), alpha, k, head, column, depth)
    return acc


gatv2_source_tiles = over_tiles(gatv2_source_step)


@loop
def gatv2_backward_src(
    low, high, t_indptr, t_indices, t_perm, x, x_dst, att, ends, mask, slope, depth, grad, dx, scratch
):
    """See `gnnkit.kernels._torch.gatv2_backward_src`; ``ends`` as in `gat_backward_src`, its first part unused."""
    if bad_rows(low, high, t_indptr, t_indices, grad.shape[0]) or bad_rows(low, high, t_indptr, t_perm, len(t_perm)):
        return 1
    heads = ends.shape[1] // 4
    most = len(scratch) // 2 - 1
    alpha, dscores, products = scratch[2 : 2 + most], scratch[2 + most :], scratch[0:1]
    blocks, spread_depth = by_heads(alpha, depth)
    width = x.shape[1] // blocks
    for j in range(low, high):
        begin, end = t_indptr[j], t_indptr[j + 1]
        for e in range(begin, end):
            i, k = t_indices[e], e - begin
            prefetch_row(x_dst, t_indices, e)
            prefetch_row(ends, t_indices, e)
            gatv2_scores(x_dst, i, x, j, att, slope, depth, alpha, k)
            for h in range(heads):
                alpha[k, h] -= ends[i, TOP * heads + h]
        exp_flat(alpha, (end - begin) * heads)
        for e in range(begin, end):
            i, k = t_indices[e], e - begin
            prefetch_row(grad, t_indices, e)
            dots(x, j, grad, i, depth, products, 0)
            for h in range(heads):
                share = alpha[k, h] / ends[i, TOTAL * heads + h]
                product, kept = products[0, h], share
                if mask is not None:
                    m = mask[t_perm[e], h]
                    product, kept = product * m, share * m
                alpha[k, h] = kept
                dscores[k, h] = share * (product - ends[i, DELTA * heads + h])
        for block in range(blocks):
            state = (j, begin, end, t_indices, x, x_dst, att, slope, grad, alpha, dscores, block, spread_depth)
            gatv2_source_tiles(dx, j, block * width, (block + 1) * width, *state)
    return 0
