"""What the loops of GAT and GATv2 share: a row's weights from its scores, and the sum that they weight.

A row's scores lie in a buffer of the row's length, so nothing of size E is kept; the backward makes them again from
each row's largest score ``top`` and its sum ``total``. Tables are ``[N, W]`` with H heads of ``depth`` side by side,
numbers of nodes and of edges ``[N, H]`` and ``[E, H]``. Loops return 0, or 1 where a pointer or an index is wrong.
"""

from __future__ import annotations

from gnnkit.kernels._jit import part
from gnnkit.kernels._loops_spmm import by_heads, sum_tiles

# a destination's numbers for the backward by source, side by side: one or two cache lines an edge in place of four
TOP, TOTAL, DELTA = 1, 2, 3  # after a_dst


@part
def aggregate(begin, end, indices, x, alpha, depth, out, i):
    """out[i] = sum over edges begin to end of alpha[e - begin] * x[indices[e]]."""
    blocks, spread_depth = by_heads(alpha, depth)
    width = x.shape[1] // blocks
    for block in range(blocks):
        state = (begin, end, indices, x, alpha, begin, block, spread_depth)
        sum_tiles(out, i, block * width, (block + 1) * width, *state)


@part
def normalise(scores, count, total_, i, mask, begin):
    """Turn exponentials into weights: over their sum, times the mask."""
    heads = scores.shape[1]
    for k in range(count):
        for h in range(heads):
            scores[k, h] /= total_[i, h]
            if mask is not None:
                scores[k, h] *= mask[begin + k, h]
