"""What layers and models of links ask of a graph, of pairs and of a mask."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from gnnkit.adjacency import Adjacency
from gnnkit.kernels import _check

# graphs found to be simple, by their indices: the check reads all edges, and a graph is asked about in every batch
_SIMPLE: Any = WeakTensorKeyDictionary()


def check_simple(adj: object) -> None:
    """Require a simple undirected graph: every edge in both directions and once, no self-loop, sorted rows.

    O(E), once for each graph; the transpose that it builds serves the backward pass later.
    """
    if not isinstance(adj, Adjacency):
        raise ValueError(f"adj: expected a gnnkit.Adjacency (got {_check.describe(adj)})")
    known = _SIMPLE.get(adj.indices)
    if known is not None and known[0] is adj.indptr and known[1] == adj.num_src:
        return
    fault = _fault(adj)
    if fault is not None:
        raise ValueError(
            "adj: expected a simple undirected graph, every edge once in both directions, no self-loop, the indices "
            f"of each row increasing (got {fault})"
        )
    _SIMPLE[adj.indices] = adj.indptr, adj.num_src


def _fault(adj: Adjacency) -> str | None:
    """Say what keeps a graph from being simple, or None."""
    if adj.num_src != adj.num_dst:
        return f"{adj.num_src} sources and {adj.num_dst} destinations"
    row = adj.entries[0]
    loops = row[adj.indices == row]
    if len(loops):
        return f"a self-loop at node {int(loops[0])}"
    same_row, step = row[1:] == row[:-1], adj.indices.diff()
    for wrong, what in ((same_row & (step == 0), "twice"), (same_row & (step < 0), "out of order")):
        if bool(wrong.any()):
            at = int(wrong.nonzero()[0]) + 1
            return f"neighbour {int(adj.indices[at])} of node {int(row[at])} {what}"
    t_indptr, t_indices, _ = adj.transpose
    if not (torch.equal(t_indptr, adj.indptr) and torch.equal(t_indices, adj.indices)):
        return "an edge without its reverse"
    return None


def check_pairs(pairs: object, num_nodes: int) -> Tensor:
    """Require ``[2, P]`` node ids, the two of a pair different; return them as int64."""
    if not _check.is_dense(pairs, (2,), _check.INDEX_DTYPES) or len(pairs) != 2:  # type: ignore[arg-type]
        raise ValueError(f"pairs: expected an int32 or int64 tensor of shape [2, P] (got {_check.describe(pairs)})")
    assert isinstance(pairs, Tensor)
    _check.ids("pairs", pairs.flatten(), num_nodes)
    same = pairs[0] == pairs[1]
    if bool(same.any()):
        raise ValueError(f"pairs: expected two different nodes (got node {int(pairs[0, same][0])} twice)")
    return pairs.long()


def check_keep(keep: object, adj: Adjacency) -> None:
    """Require a mask of the graph's CSR entries, or None."""
    if keep is not None:
        _check.shaped("keep", keep, [adj.num_edges], (torch.bool,))


def check_rows(name: str, x: object, num_nodes: int, channels: int | None = None) -> None:
    """Require float32 or float64 rows, one a node, of a width."""
    _check.float_tensor(name, x, (2,))
    assert isinstance(x, Tensor)
    expected = [num_nodes, x.shape[1] if channels is None else channels]
    if list(x.shape) != expected:
        raise ValueError(f"{name}: expected shape {expected} (got {list(x.shape)})")
