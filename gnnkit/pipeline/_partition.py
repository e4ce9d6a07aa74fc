"""Cuts a graph's nodes into even parts with few edges between them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnnkit._optional import require
from gnnkit.adjacency import Adjacency

Method = Literal["auto", "metis", "builtin"]


def partition(adj: Adjacency, parts: int, method: Method = "auto", seed: int = 0) -> Tensor:
    """Cut nodes into parts of even work with few edges between them.

    Args:
        adj: A graph that is not bipartite; edges count in both directions, loops and repeats not.
        parts: How many, at most as many as nodes.
        method: ``"metis"`` (pymetis, the extra ``metis``), ``"builtin"``, or ``"auto"``: metis where it is installed.
        seed: A whole number from 0.

    Returns:
        ``[N]`` int64, the part of every node; each part has a node.

    Raises:
        ValueError: An argument is out of range, or the graph is bipartite.
        ImportError: ``"metis"`` without pymetis; the message holds the install command.
    """
    if method not in ("auto", "metis", "builtin"):
        raise ValueError(f"method: expected auto, metis or builtin (got {method!r})")
    if not 1 <= parts <= adj.num_nodes:
        raise ValueError(f"parts: expected 1 to {adj.num_nodes}, the number of nodes (got {parts})")
    if parts == 1:
        return torch.zeros(adj.num_nodes, dtype=torch.int64)
    graph, work = _undirected(adj)
    if method == "auto":
        method = "metis" if _has_metis() else "builtin"
    part = _metis(graph, work, parts, seed) if method == "metis" else _cut(graph, work, parts)
    return torch.from_numpy(_fill(part, parts))


def _undirected(adj: Adjacency) -> tuple[Any, NDArray[np.int64]]:
    """Give the simple graph of the edges in both directions, and each node's work."""
    from scipy.sparse import coo_array

    src, dst = adj.to_edge_index().cpu().numpy()
    other = src != dst
    ends = np.concatenate([src[other], dst[other]]), np.concatenate([dst[other], src[other]])
    graph = coo_array((np.ones(len(ends[0])), ends), shape=(adj.num_nodes, adj.num_nodes)).tocsr()
    graph.data[:] = 1
    mean = max(1, round(adj.num_edges / adj.num_nodes))
    return graph, adj.in_degree().cpu().numpy() + mean


def _has_metis() -> bool:
    try:
        require("pymetis", "metis")
    except ImportError:
        return False
    return True


def _metis(graph: Any, work: NDArray[np.int64], parts: int, seed: int) -> NDArray[np.int64]:
    pymetis = require("pymetis", "metis")
    csr = pymetis.CSRAdjacency(graph.indptr.astype(np.int64), graph.indices.astype(np.int64))
    options = pymetis.Options(seed=seed % 2**31)
    return np.asarray(pymetis.part_graph(parts, csr, vweights=work, options=options).vertex_part, np.int64)


def _cut(graph: Any, work: NDArray[np.int64], parts: int) -> NDArray[np.int64]:
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    order = reverse_cuthill_mckee(graph, symmetric_mode=True)
    done = np.cumsum(work[order])
    part = np.empty(len(work), np.int64)
    part[order] = np.minimum((done - work[order] / 2) * parts // done[-1], parts - 1)
    return part


def _fill(part: NDArray[np.int64], parts: int) -> NDArray[np.int64]:
    """Give every empty part a node of a part that has the most."""
    sizes = np.bincount(part, minlength=parts)
    for empty in np.flatnonzero(sizes == 0):
        most = sizes.argmax()
        part[np.flatnonzero(part == most)[-1]] = empty
        sizes[[most, empty]] += [-1, 1]
    return part
