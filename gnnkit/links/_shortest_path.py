"""One over the distance of two nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnkit.kernels._pair_sets import check_bytes
from gnnkit.links import _inputs
from gnnkit.links._blocks import MAX_BYTES, grouped
from gnnkit.links._graph import LinkGraph

Array = np.ndarray[Any, Any]


def shortest_path(graph: LinkGraph, pairs: Tensor, *, max_bytes: int = MAX_BYTES) -> Tensor:
    """Score pairs by 1 / (number of edges on a shortest path between them).

    0 where there is no path, and infinite for a node paired with itself. Exact.

    Cost: a search in breadth from each distinct i, 64 of them at a time on the bits of a word: O(E) words a step, as
    many steps as the longest distance. On the CPU, in one thread.

    Args:
        graph: The graph.
        pairs: ``[2, P]``.
        max_bytes: Bound of the memory for intermediate rows; at least those of 64 nodes are made.

    Returns:
        ``[P]`` float64.

    Raises:
        ValueError: Not such pairs, or a node that the graph has not.

    Example:
        >>> import torch
        >>> from gnnkit.links import LinkGraph, shortest_path
        >>> path = LinkGraph.from_edges(torch.tensor([[0, 1], [1, 2]]), num_nodes=4)
        >>> shortest_path(path, torch.tensor([[0, 0, 0, 0], [0, 1, 2, 3]])).tolist()
        [inf, 1.0, 0.5, 0.0]
    """
    given = _inputs.pairs("pairs", pairs, graph.num_nodes).cpu()
    check_bytes(max_bytes)
    indptr, indices = graph.adj.indptr.cpu().numpy(), graph.adj.indices.cpu().numpy()
    words = max(1, max_bytes // (8 * (len(indices) + 3 * graph.num_nodes + 1)))
    distance = np.full(given.shape[1], np.inf)
    for nodes, positions, place in grouped(given[0], 64 * words):
        targets = given[1, positions].numpy()
        distance[positions.numpy()] = _distances(indptr, indices, nodes.numpy(), place.numpy(), targets)
    with np.errstate(divide="ignore"):
        return torch.from_numpy(1 / distance).to(pairs.device)


def _distances(indptr: Array, indices: Array, nodes: Array, place: Array, targets: Array) -> Array:
    """``[K]`` float64: how far each target is from the node at its place among ``nodes``; inf without a path."""
    found = np.full(len(targets), np.inf)
    column, word, bit = np.arange(len(nodes)), place // 64, (place % 64).astype(np.uint64)
    # [N, W]: bit b of word w says whether a node is reached from the start number 64 w + b
    reached = np.zeros((len(indptr) - 1, -(-len(nodes) // 64)), dtype=np.uint64)
    np.bitwise_or.at(reached, (nodes, column // 64), np.uint64(1) << (column % 64).astype(np.uint64))
    with_edges = np.flatnonzero(np.diff(indptr))
    steps = 0
    while True:
        there = (reached[targets, word] >> bit & np.uint64(1)).astype(bool)
        found[there & np.isinf(found)] = steps
        if not len(with_edges) or np.isfinite(found).all():
            return found
        before = reached.copy()
        reached[with_edges] |= np.bitwise_or.reduceat(before[indices], indptr[with_edges], axis=0)
        if (reached == before).all():
            return found
        steps += 1
