"""Orders in which nodes that share neighbours lie near each other, for `gnnkit.Adjacency.reorder`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.int64]  # [N], the old number of every new node

_SWEEPS = 10
_PARTS = 8
_STIR = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: its multiples spread over all 64 bits


def order(method: str, src: NDArray[np.int64], dst: NDArray[np.int64], num_nodes: int) -> Order:
    """Find the order of the nodes by one of the three methods below, given by name."""
    methods = {"degree": degree, "rcm": rcm, "cluster": cluster}
    if not isinstance(method, str) or method not in methods:
        raise ValueError(f"method: expected {', '.join(methods)} (got {method!r})")
    return methods[method](src, dst, num_nodes) if num_nodes else np.empty(0, np.int64)


def degree(src: NDArray[np.int64], dst: NDArray[np.int64], num_nodes: int) -> Order:
    """Order by falling in-degree; equal degrees keep their order."""
    return np.argsort(-np.bincount(dst, minlength=num_nodes), kind="stable")


def rcm(src: NDArray[np.int64], dst: NDArray[np.int64], num_nodes: int) -> Order:
    """Order by Cuthill and McKee's walk, reversed, over the edges in both directions."""
    return _rcm(_both_ways(src, dst, num_nodes))


def cluster(src: NDArray[np.int64], dst: NDArray[np.int64], num_nodes: int) -> Order:
    """Order by the communities of the Louvain method, and inside each by the communities that it was made of.

    Blondel et al., *Fast unfolding of communities in large networks*, 2008, section 2. Communities side by side, and
    nodes in one of the first level, stand in the order of `rcm` over the graph of their level. In place of one node
    at a time, an eighth of them chosen by a hash of their numbers moves at once, which makes a step a product of
    sparse matrices.
    """
    graph = _both_ways(src, dst, num_nodes)
    levels = []  # of the nodes of each level: their place in an order of all, their community
    while True:
        label = _communities(graph)
        levels.append((_inverse(_rcm(graph)), label))
        if len(label) == label.max() + 1:  # each stays alone
            break
        members = _membership(label, int(label.max()) + 1)
        graph = (members.T @ graph @ members).tocsr()
    place, _ = levels.pop()
    for rank, label in reversed(levels):
        place = _inverse(np.lexsort((rank, place[label])))
    return _inverse(place)


def _both_ways(src: NDArray[np.int64], dst: NDArray[np.int64], num_nodes: int) -> Any:
    """Count the edges between every two nodes, as a symmetric SciPy CSR with int32 ids (`_rcm` takes no other)."""
    from scipy.sparse import coo_array

    if max(num_nodes, 2 * len(src)) >= 2**31:
        raise ValueError(f"expected fewer than 2^31 nodes and 2^30 edges (got {num_nodes} nodes, {len(src)} edges)")
    ids = (np.concatenate([src, dst]).astype(np.int32), np.concatenate([dst, src]).astype(np.int32))
    return coo_array((np.ones(2 * len(src)), ids), shape=(num_nodes, num_nodes)).tocsr()


def _rcm(graph: Any) -> Order:
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    order: Order = reverse_cuthill_mckee(graph, symmetric_mode=True).astype(np.int64)
    return order


def _inverse(order: Order) -> Order:
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place


def _membership(label: Order, num_labels: int) -> Any:
    """Give the matrix of zeros and ones of which node has which label."""
    from scipy.sparse import csr_array

    num_nodes = len(label)
    shape, ones = (num_nodes, num_labels), np.ones(num_nodes)
    return csr_array((ones, label.astype(np.int32), np.arange(num_nodes + 1, dtype=np.int32)), shape=shape)


def _communities(graph: Any) -> Order:
    r"""Move nodes, each alone at first, to where the modularity rises most, until few move; labels from 0 without gaps.

    Where node i with degree d moves into community c, modularity rises in proportion to

    .. math:: \sum_{j \in c, j \ne i} A_{ij} - \frac{d_i}{2 m} \sum_{j \in c, j \ne i} d_j
    """
    num_nodes = graph.shape[0]
    degrees = graph.sum(axis=0)
    total = max(degrees.sum(), 1.0)
    others = graph.copy()
    others.setdiag(0)
    others.eliminate_zeros()
    label = np.arange(num_nodes)
    part_of = (label.astype(np.uint64) * _STIR) >> np.uint64(61)
    parts = [(ids, others[ids]) for ids in (np.flatnonzero(part_of == part) for part in range(_PARTS))]
    for _ in range(_SWEEPS):
        moved = 0
        for ids, rows in parts:
            volume = np.bincount(label, degrees, num_nodes)
            best = _best(rows @ _membership(label, num_nodes), label[ids], degrees[ids] / total, volume, degrees[ids])
            moved += int((best != label[ids]).sum())
            label[ids] = best
        if moved <= num_nodes // 100:
            break
    _, label = np.unique(label, return_inverse=True)
    return label


def _best(near: Any, own: Order, share: NDArray[Any], volume: NDArray[Any], degrees: NDArray[Any]) -> Order:
    """Choose for each row of ``near``, edges to communities, that with the largest rise; its own if no other has more.

    Of equals, the first. ``share`` is ``degrees`` in parts of the whole graph's, ``volume`` its sum in each community.
    """
    row = np.repeat(np.arange(len(own)), np.diff(near.indptr))
    at_home = near.indices == own[row]
    rise = near.data - share[row] * (volume[near.indices] - at_home * degrees[row])
    home = -share * (volume[own] - degrees)  # without a neighbour there
    home[row[at_home]] = rise[at_home]
    highest = home + 1e-9  # what rounding adds to equal sums moves nobody
    np.maximum.at(highest, row, rise)
    chosen = (rise == highest[row]).nonzero()
    best = np.full(len(own), len(volume))
    np.minimum.at(best, row[chosen], near.indices[chosen])
    return np.where(best < len(volume), best, own)
