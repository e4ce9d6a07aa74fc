"""Loops that aggregate source rows into destination rows: sum and mean, max and min, and the masks of their gradients.

Tables are ``[N, W]`` with the heads side by side in a row (W = H * depth), values ``[E, H]`` or None. A loop serves
rows low to high, and returns 0, or 1 as soon as a pointer or an index leaves its table.
"""

from __future__ import annotations

from gnnkit.kernels._jit import loop, part
from gnnkit.kernels._math import equal, larger, smaller
from gnnkit.kernels._tiles import WIDEST, bad_rows, over_tiles, prefetch
from gnnkit.kernels._vector import read, splat, weighted


@part
def by_heads(values, depth):
    """How to walk a row: blocks of columns with one value an edge each, or one block with values spread over it.

    Returns the number of blocks, and the depth of a head where values are spread (0 where they are not).
    """
    if values is None:
        return 1, 0
    heads = values.shape[1]
    if heads > 1 and depth % 16 == 0:
        return 1, depth
    return heads, 0


@part
def sum_step(acc, column, count, begin, end, indices, x, values, shift, head, depth):
    """Add up the rows of edges begin to end; the values of edge e are in row ``e - shift``."""
    for e in range(begin, end):
        prefetch(acc, x, indices, e, column)
        acc = acc + weighted(read(acc, x, indices[e], column, count), values, e - shift, head, column, depth)
    return acc


sum_tiles = over_tiles(sum_step)


@part
def mean_step(acc, column, count, begin, end, indices, x, values, head, depth, mean):
    acc = sum_step(acc, column, count, begin, end, indices, x, values, 0, head, depth)
    return acc / splat(acc, end - begin) if mean and end > begin else acc


mean_tiles = over_tiles(mean_step)


@loop
def spmm_sum(low, high, indptr, indices, x, values, depth, mean, out):
    """out[i] = sum over e of row i of values[e] * x[indices[e]], over the row's length if ``mean``."""
    if bad_rows(low, high, indptr, indices, x.shape[0]):
        return 1
    blocks, spread_depth = by_heads(values, depth)
    width = x.shape[1] // blocks
    # A tile of all rows before the next: what the rows share stays in the caches, of half a row twice as long.
    panel = WIDEST if blocks == 1 else max(width, 1)
    for left in range(0, width, panel):
        for i in range(low, high):
            begin, end = indptr[i], indptr[i + 1]
            for block in range(blocks):
                first, last = block * width + left, min(block * width + left + panel, (block + 1) * width)
                state = (begin, end, indices, x, values, block, spread_depth, mean)
                mean_tiles(out, i, first, last, *state)
    return 0


@part
def scaled_step(acc, column, count, i, begin, end, indices, x, values, src_scale, dst_scale):
    for e in range(begin, end):
        prefetch(acc, x, indices, e, column)
        j = indices[e]
        scale = src_scale[j] if values is None else src_scale[j] * values[e, 0]
        acc = acc + read(acc, x, j, column, count) * splat(acc, scale)
    return acc * splat(acc, dst_scale[i])


scaled_tiles = over_tiles(scaled_step)


@loop
def spmm_scaled(low, high, indptr, indices, x, values, src_scale, dst_scale, out):
    """out[i] = dst_scale[i] * sum over e of row i of values[e] * src_scale[indices[e]] * x[indices[e]]."""
    if bad_rows(low, high, indptr, indices, x.shape[0]):
        return 1
    for left in range(0, x.shape[1], WIDEST):  # as in spmm_sum
        for i in range(low, high):
            state = (i, indptr[i], indptr[i + 1], indices, x, values, src_scale, dst_scale)
            scaled_tiles(out, i, left, min(left + WIDEST, x.shape[1]), *state)
    return 0


@part
def extreme_step(acc, column, count, begin, end, indices, x, values, head, depth, largest):
    for e in range(begin, end):
        prefetch(acc, x, indices, e, column)
        m = weighted(read(acc, x, indices[e], column, count), values, e, head, column, depth)
        if e == begin:
            acc = m
        elif largest:
            acc = larger(acc, m)
        else:
            acc = smaller(acc, m)
    return acc


extreme_tiles = over_tiles(extreme_step)


@loop
def spmm_extreme(low, high, indptr, indices, x, values, depth, largest, out):
    """out[i] = max (or min) over e of row i of values[e] * x[indices[e]]; NaN wins; 0 without edges."""
    if bad_rows(low, high, indptr, indices, x.shape[0]):
        return 1
    blocks, spread_depth = by_heads(values, depth)
    width = x.shape[1] // blocks
    for i in range(low, high):
        begin, end = indptr[i], indptr[i + 1]
        for block in range(blocks):
            first = block * width
            state = (begin, end, indices, x, values, block, spread_depth, largest)
            extreme_tiles(out, i, first, first + width, *state)
    return 0


@part
def ties_step(acc, column, count, i, begin, end, indices, x, weight, extreme, head, depth):
    best = read(acc, extreme, i, column, count)
    acc = equal(best, acc)
    for e in range(begin, end):
        prefetch(acc, x, indices, e, column)
        m = weighted(read(acc, x, indices[e], column, count), weight, e, head, column, depth)
        acc = acc + equal(m, best)
    return acc


ties_tiles = over_tiles(ties_step)


@loop
def extreme_ties(low, high, indptr, indices, x, weight, depth, extreme, out):
    """out[i] = how many messages of row i equal extreme[i], and one more where extreme[i] is 0."""
    if bad_rows(low, high, indptr, indices, x.shape[0]):
        return 1
    blocks, spread_depth = by_heads(weight, depth)
    width = x.shape[1] // blocks
    for i in range(low, high):
        begin, end = indptr[i], indptr[i + 1]
        for block in range(blocks):
            first = block * width
            state = (i, begin, end, indices, x, weight, extreme, block, spread_depth)
            ties_tiles(out, i, first, first + width, *state)
    return 0


@part
def masked_step(acc, column, count, r, begin, end, indices, z, values, x, extreme, weight, head, depth, to_src):
    own = read(acc, x, r, column, count) if to_src else read(acc, extreme, r, column, count)
    for e in range(begin, end):
        c = indices[e]
        prefetch(acc, z, indices, e, column)
        prefetch(acc, extreme if to_src else x, indices, e, column)
        other = read(acc, extreme, c, column, count) if to_src else read(acc, x, c, column, count)
        source, best = (own, other) if to_src else (other, own)
        mask = equal(weighted(source, weight, e, head, column, depth), best)
        acc = acc + weighted(read(acc, z, c, column, count), values, e, head, column, depth) * mask
    return acc


masked_tiles = over_tiles(masked_step)


@loop
def spmm_masked(low, high, indptr, indices, z, values, x, extreme, weight, depth, to_src, out):
    """out[r] = sum over e of row r of values[e] * mask * z[c], c = indices[e].

    mask = [weight[e] * x[src] == extreme[dst]]; rows are sources if ``to_src``, else destinations. It is a
    factor and not a choice, so that the infinite share of an extreme that is NaN ends as NaN, as in PyG.
    """
    if bad_rows(low, high, indptr, indices, z.shape[0]):
        return 1
    blocks, spread_depth = by_heads(weight if values is None else values, depth)
    width = z.shape[1] // blocks
    for r in range(low, high):
        begin, end = indptr[r], indptr[r + 1]
        for block in range(blocks):
            first = block * width
            state = (r, begin, end, indices, z, values, x, extreme, weight, block, spread_depth, to_src)
            masked_tiles(out, r, first, first + width, *state)
    return 0
