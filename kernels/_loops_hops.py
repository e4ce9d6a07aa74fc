"""Loops over one hop of a batch: draw, read the neighbours and number them in one walk. They release the GIL.

The bits are those of `gnnkit.kernels._loops_sample`, without the memory between its walks: while a block of rows is
drawn, the neighbours of the block before it come.
"""

from __future__ import annotations

from gnnkit.kernels._jit import loop
from gnnkit.kernels._loops_sample import AHEAD, FEW, ROWS, draw_rows
from gnnkit.kernels._vector import prefetch_item


@loop
def open_hop(indptr, nodes, num_entries, fanout, replace, starts, ends, pointers):
    """Where the rows of the hop's nodes begin and end, and pointers[k + 1] - pointers[k] = how many each gives."""
    bad = False
    total, most = 0, fanout if fanout >= 0 else 1 << 31
    pointers[0] = 0
    for k in range(len(nodes)):
        if k + AHEAD < len(nodes):
            prefetch_item(indptr, nodes[k + AHEAD])
        start, end = indptr[nodes[k]], indptr[nodes[k] + 1]
        degree = end - start
        bad |= (start < 0) | (degree < 0) | (end > num_entries) | (degree >= 1 << 31)
        starts[k], ends[k] = start, end
        total += most * (degree > 0) if replace else min(degree, most)
        pointers[k + 1] = total
    return 1 if bad else 0


@loop
def walk_hop(
    starts, ends, fanout, key, replace, pointers, indices, scratch, local, first, nodes, found, row, col, entries
):
    """The edges of a hop whose nodes have the numbers from ``first`` on.

    found[0] nodes are known, and new ones follow them in ``nodes``, which has room for one more than can come. A
    neighbour that is none is left in found[1].
    """
    num_rows, size, known = len(starts), len(local), found[0]
    few = 0 <= fanout <= FEW
    for low in range(0, num_rows + ROWS, ROWS):
        if low < num_rows:
            high = min(low + ROWS, num_rows)
            draw_rows(low, high, starts, ends, fanout, key, replace, pointers, indices, scratch, entries)
            for k in range(low, high):
                begin = pointers[k]
                for m in range(begin, begin + fanout if few else pointers[k + 1]):  # as in draw_rows
                    col[m] = first + k
        begin, end = pointers[max(low - ROWS, 0)], pointers[min(low, num_rows)]
        for m in range(begin, end):
            row[m] = indices[entries[m]]
            prefetch_item(local, row[m])
        for m in range(begin, end):
            j = row[m]
            if j < 0 or j >= size or local[j] >= known:
                found[0], found[1] = known, j
                return 1
            # no branch: whether a neighbour is new is as random as the draws
            label = local[j]
            fresh = label < 0
            label = known if fresh else label
            local[j] = label
            nodes[known] = j
            known += fresh
            row[m] = label
    found[0] = known
    return 0


@loop
def forget(local, nodes):
    """local[nodes] = -1."""
    for k in range(len(nodes)):
        if k + AHEAD < len(nodes):
            prefetch_item(local, nodes[k + AHEAD])
        local[nodes[k]] = -1
    return 0
