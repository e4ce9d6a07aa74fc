"""Scores of a pair by the neighbours of its two nodes: counts of common ones, weighted or not, and degrees."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels import common_neighbors, pair_blocks, spmm
from gnnkit.links import _inputs
from gnnkit.links._blocks import MAX_BYTES
from gnnkit.links._graph import LinkGraph


def common_neighbors_score(graph: LinkGraph, pairs: Tensor, *, max_bytes: int = MAX_BYTES) -> Tensor:
    r"""Score pairs by their number of common neighbours, :math:`|N(i) \cap N(j)|` (Newman 2001).

    Cost: O(d(i) + d(j)) a pair at most, exact. A node paired with itself has its degree.

    Args:
        graph: The graph.
        pairs: ``[2, P]`` nodes i and j.
        max_bytes: Bound of the memory for common neighbours, by the degrees; at least those of one pair are listed.

    Returns:
        ``[P]`` float64.

    Raises:
        ValueError: Not such pairs, or a node that the graph has not.

    Example:
        >>> import torch
        >>> from gnnkit.links import LinkGraph, common_neighbors_score
        >>> square = LinkGraph.from_edges(torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]), num_nodes=5)
        >>> common_neighbors_score(square, torch.tensor([[0, 0, 0], [2, 1, 4]])).tolist()
        [2.0, 0.0, 0.0]
    """
    return _over_common(graph, pairs, torch.ones(graph.num_nodes, dtype=torch.float64), max_bytes)


def adamic_adar(graph: LinkGraph, pairs: Tensor, *, max_bytes: int = MAX_BYTES) -> Tensor:
    r"""Score pairs by :math:`\sum_{u \in N(i) \cap N(j)} 1 / \log d(u)` (Adamic and Adar 2003).

    A common neighbour of two nodes has two neighbours; of a node paired with itself it may have one, and counts 0.
    Arguments, cost and errors are those of `common_neighbors_score`.

    Example:
        >>> import torch
        >>> from gnnkit.links import LinkGraph, adamic_adar
        >>> square = LinkGraph.from_edges(torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]), num_nodes=5)
        >>> [round(score, 4) for score in adamic_adar(square, torch.tensor([[0, 0], [2, 4]])).tolist()]
        [2.8854, 0.0]
    """
    degree = graph.degree().double()
    return _over_common(graph, pairs, degree.log().reciprocal().masked_fill(degree < 2, 0), max_bytes)


def resource_allocation(graph: LinkGraph, pairs: Tensor, *, max_bytes: int = MAX_BYTES) -> Tensor:
    r"""Score pairs by :math:`\sum_{u \in N(i) \cap N(j)} 1 / d(u)` (Zhou, Lü and Zhang 2009).

    Arguments, cost and errors are those of `common_neighbors_score`.

    Example:
        >>> import torch
        >>> from gnnkit.links import LinkGraph, resource_allocation
        >>> square = LinkGraph.from_edges(torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]), num_nodes=5)
        >>> resource_allocation(square, torch.tensor([[0, 0], [2, 4]])).tolist()
        [1.0, 0.0]
    """
    return _over_common(graph, pairs, graph.degree().double().clamp(min=1).reciprocal(), max_bytes)


def jaccard(graph: LinkGraph, pairs: Tensor, *, max_bytes: int = MAX_BYTES) -> Tensor:
    r"""Score pairs by :math:`|N(i) \cap N(j)| / |N(i) \cup N(j)|` (Jaccard 1901), 0 where neither has neighbours.

    Arguments, cost and errors are those of `common_neighbors_score`.

    Example:
        >>> import torch
        >>> from gnnkit.links import LinkGraph, jaccard
        >>> square = LinkGraph.from_edges(torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]), num_nodes=5)
        >>> jaccard(square, torch.tensor([[0, 0, 4], [2, 1, 4]])).tolist()
        [1.0, 0.0, 0.0]
    """
    shared = common_neighbors_score(graph, pairs, max_bytes=max_bytes)
    degree = graph.degree().double()
    either = degree[pairs[0].long()] + degree[pairs[1].long()] - shared
    return shared / either.clamp(min=1)


def preferential_attachment(graph: LinkGraph, pairs: Tensor) -> Tensor:
    r"""Score pairs by :math:`d(i) d(j)` (Barabási and Albert 1999); O(P).

    Args:
        graph: The graph.
        pairs: ``[2, P]``.

    Returns:
        ``[P]`` float64.

    Raises:
        ValueError: Not such pairs, or a node that the graph has not.

    Example:
        >>> import torch
        >>> from gnnkit.links import LinkGraph, preferential_attachment
        >>> path = LinkGraph.from_edges(torch.tensor([[0, 1], [1, 2]]), num_nodes=4)
        >>> preferential_attachment(path, torch.tensor([[0, 0, 1], [1, 2, 3]])).tolist()
        [2.0, 1.0, 0.0]
    """
    i, j = _inputs.pairs("pairs", pairs, graph.num_nodes)
    degree = graph.degree().double()
    return degree[i] * degree[j]


def _over_common(graph: LinkGraph, pairs: Tensor, weight: Tensor, max_bytes: int) -> Tensor:
    """Sum the weights ``[N]`` of the common neighbours of each pair."""
    given = _inputs.pairs("pairs", pairs, graph.num_nodes)
    indptr, indices = graph.adj.indptr, graph.adj.indices
    weight = weight.to(indices.device).unsqueeze(1)
    scores = torch.empty(given.shape[1], dtype=torch.float64, device=given.device)
    for block in pair_blocks(indptr, given, max_bytes):
        both = common_neighbors(indptr, indices, given[:, block], sets=("both",), check=False).both
        assert both is not None
        scores[block] = spmm(both.indptr, both.indices, weight).squeeze(1)
    return scores
