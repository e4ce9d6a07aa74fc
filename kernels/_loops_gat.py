"""Loops of GAT's attention, fused: scores, softmax and sum of a row of edges before the next row is looked at.

See `gnnkit.kernels._loops_attention` for the arguments.
"""

from __future__ import annotations

from gnnkit.kernels._jit import loop, part
from gnnkit.kernels._loops_attention import DELTA, TOP, TOTAL, aggregate, normalise
from gnnkit.kernels._loops_edges import dots, exp_flat, softmax_rows
from gnnkit.kernels._tiles import bad_rows, prefetch_row


@part
def gat_score(a_src, j, a_dst, i, a_edge, e, h, slope):
    """The score of an edge, a head's column at a time."""
    raw = a_src[j, h] + a_dst[i, h]
    if a_edge is not None:
        raw += a_edge[e, h]
    return raw if raw > 0 else raw * a_dst.dtype.type(slope)


@loop
def gat_forward(low, high, indptr, indices, x, a_src, a_dst, a_edge, mask, slope, depth, out, top, total_, scratch):
    """See `gnnkit.kernels._torch.gat_forward`."""
    if bad_rows(low, high, indptr, indices, x.shape[0]):
        return 1
    heads = a_dst.shape[1]
    scores = scratch[2:]
    for i in range(low, high):
        begin, end = indptr[i], indptr[i + 1]
        if begin == end:
            top[i], total_[i] = 0, 0
        else:
            for e in range(begin, end):
                for h in range(heads):
                    scores[e - begin, h] = gat_score(a_src, indices[e], a_dst, i, a_edge, e, h, slope)
            softmax_rows(scores, end - begin, top, total_, i)
            normalise(scores, end - begin, total_, i, mask, begin)
        aggregate(begin, end, indices, x, scores, depth, out, i)
    return 0


@loop
def gat_backward_dst(
    low, high, indptr, indices, x, a_src, a_dst, a_edge, mask, slope, depth, top, total_, grad, delta, d_dst,
    d_edge, scratch,
):  # fmt: skip
    """See `gnnkit.kernels._torch.gat_backward_dst`."""
    if bad_rows(low, high, indptr, indices, x.shape[0]):
        return 1
    heads = a_dst.shape[1]
    scores, products = scratch[2:], scratch[0:1]
    for i in range(low, high):
        begin, end = indptr[i], indptr[i + 1]
        for e in range(begin, end):
            for h in range(heads):
                score = gat_score(a_src, indices[e], a_dst, i, a_edge, e, h, slope)
                scores[e - begin, h] = score - top[i, h]
        exp_flat(scores, (end - begin) * heads)
        d_dst[i] = 0
        for e in range(begin, end):
            j = indices[e]
            prefetch_row(x, indices, e)
            dots(grad, i, x, j, depth, products, 0)
            for h in range(heads):
                product = products[0, h]
                if mask is not None:
                    product *= mask[e, h]
                draw = scores[e - begin, h] / total_[i, h] * (product - delta[i, h])
                if not gat_score(a_src, j, a_dst, i, a_edge, e, h, slope) > 0:
                    draw *= a_dst.dtype.type(slope)
                d_dst[i, h] += draw
                if d_edge is not None:
                    d_edge[e, h] = draw
    return 0


@loop
def gat_backward_src(
    low, high, t_indptr, t_indices, t_perm, x, a_src, ends, a_edge, mask, slope, depth, grad, dx, d_src, scratch
):
    """See `gnnkit.kernels._torch.gat_backward_src`; ``ends [N_dst, 4 * H]`` is a_dst, top, total and delta."""
    if bad_rows(low, high, t_indptr, t_indices, grad.shape[0]) or bad_rows(low, high, t_indptr, t_perm, len(t_perm)):
        return 1
    heads = a_src.shape[1]
    # exponentials, then weights; the slope and later the gradient of each score
    most = len(scratch) // 2 - 1
    weight, gradient, products = scratch[2 : 2 + most], scratch[2 + most :], scratch[0:1]
    for j in range(low, high):
        begin, end = t_indptr[j], t_indptr[j + 1]
        for k in range(end - begin):
            i, e = t_indices[begin + k], t_perm[begin + k]
            prefetch_row(ends, t_indices, begin + k)
            for h in range(heads):
                score = gat_score(ends, i, a_src, j, a_edge, e, h, slope)
                weight[k, h] = score - ends[i, TOP * heads + h]
                gradient[k, h] = 1 if score > 0 else slope
        exp_flat(weight, (end - begin) * heads)
        d_src[j] = 0
        for k in range(end - begin):
            i, e = t_indices[begin + k], t_perm[begin + k]
            prefetch_row(grad, t_indices, begin + k)
            dots(x, j, grad, i, depth, products, 0)
            for h in range(heads):
                alpha = weight[k, h] / ends[i, TOTAL * heads + h]
                product, kept = products[0, h], alpha
                if mask is not None:
                    m = mask[e, h]
                    product, kept = product * m, alpha * m
                weight[k, h] = kept
                d_src[j, h] += alpha * (product - ends[i, DELTA * heads + h]) * gradient[k, h]
        aggregate(begin, end, t_indices, grad, weight, depth, dx, j)
    return 0
