"""CPU backend of whole batches: a hop is one walk of one thread, without the GIL and little outside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.kernels import _check, _loops_hops
from gnnkit.kernels._arrays import array
from gnnkit.kernels._by_hops import Batch, by_hops, number_seeds
from gnnkit.kernels._numba_sample import SLACK, relabel, sample_neighbors, scratch


def sample_hops(
    indptr: Tensor,
    indices: Tensor,
    seeds: Tensor,
    fanouts: list[int],
    keys: list[int],
    replace: bool,
    cumulative: Tensor | None,
    local: Tensor,
) -> Batch:
    """See `gnnkit.kernels._torch_sample.sample_hops`."""
    if cumulative is not None:
        given = indptr, indices, seeds, fanouts, keys, replace, cumulative, local
        return by_hops(sample_neighbors, relabel, *given)
    pointers, columns, numbers = array(indptr), array(indices), local.numpy()
    nodes = array(seeds.long())
    row: Any = np.empty(SLACK, dtype=np.int64)
    col = entries = row
    num_nodes, num_edges = [len(nodes)], []
    begin = used = 0
    found = np.array([len(nodes), 0])  # how many nodes are known, and what was no node
    number_seeds(relabel, seeds, local)
    try:
        for fanout, key in zip(fanouts, keys, strict=True):
            again, count = replace and fanout >= 0, int(found[0])
            starts, ends, draws = (np.empty(count - begin + extra, dtype=np.int64) for extra in (0, 0, 1))
            frontier = nodes[begin:count]
            if _loops_hops.open_hop(pointers, frontier, len(columns), fanout, again, starts, ends, draws):
                _check.ranges(torch.from_numpy(starts), torch.from_numpy(ends), len(columns))
                raise AssertionError("a loop refused ranges that the checks accept")
            more = int(draws[-1])
            nodes = _grown(nodes, count, more + 1)
            row, col, entries = (_grown(values, used, more + SLACK) for values in (row, col, entries))
            args = starts, ends, fanout, np.uint64(key), again, draws, columns, scratch(fanout, again, more)
            out = row[used:], col[used:], entries[used:]
            if _loops_hops.walk_hop(*args, numbers, begin, nodes, found, *out):
                wrong = torch.from_numpy(found[1:])
                _check.ids("ids", wrong, len(local))
                _check.labels(local, int(found[0]), wrong)
                raise AssertionError("a loop refused numbers that the checks accept")
            begin, used = count, used + more
            num_nodes.append(int(found[0]) - count)
            num_edges.append(more)
    finally:
        _loops_hops.forget(numbers, nodes[: found[0]])
    row, col, entries = (torch.from_numpy(values[:used]) for values in (row, col, entries))
    return torch.from_numpy(nodes[: found[0]].copy()), row, col, entries, num_nodes, num_edges


def _grown(values: Any, used: int, more: int) -> Any:
    """The first ``used`` values, and room for more."""
    grown = np.empty(used + more, dtype=values.dtype)
    grown[:used] = values[:used]
    return grown
