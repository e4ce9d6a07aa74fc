"""How often a row is likely to be read: scores of the nodes of a graph."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.adjacency import Adjacency
from gnnkit.kernels import _check, spmm


def out_degree(adj: Adjacency) -> Tensor:
    """Return ``[num_src]`` int64: how many neighbourhoods list a node, the first guess at how often it is sampled.

    Example:
        >>> import torch, gnnkit
        >>> from gnnkit.data import out_degree
        >>> adj = gnnkit.Adjacency.from_edge_index(torch.tensor([[0, 0, 1], [1, 2, 2]]), num_nodes=3)
        >>> out_degree(adj).tolist()
        [2, 1, 0]
    """
    return torch.bincount(adj.indices.long(), minlength=adj.num_src)


def reverse_pagerank(adj: Adjacency, damping: float = 0.85, iterations: int = 20) -> Tensor:
    """PageRank against the direction of the edges: how often a random walk from neighbour to neighbour reads a node.

    ``r_u ← (1 - d) / N + d Σ_{u → v} r_v / indegree(v)``, starting from ``1 / N``: a node hands its score to its
    in-neighbours in equal parts, as a sampler draws them. GIDS (arXiv 2306.16384) fills its constant buffer by it, with
    these defaults. What nodes without in-edges hold is not handed on, so the scores add up to at most 1.

    Cost: ``iterations`` sums over the edges.

    Args:
        adj: The graph, with as many sources as destinations.
        damping: d, in [0, 1].
        iterations: How often.

    Returns:
        ``[N]`` float64.

    Example:
        >>> import torch, gnnkit
        >>> from gnnkit.data import reverse_pagerank
        >>> star = gnnkit.Adjacency.from_edge_index(torch.tensor([[0, 0, 0], [1, 2, 3]]), num_nodes=4)
        >>> [round(score, 4) for score in reverse_pagerank(star).tolist()]
        [0.1331, 0.0375, 0.0375, 0.0375]
    """
    if adj.num_src != adj.num_dst:
        raise ValueError(f"adj: expected one set of nodes (got {adj.num_src} sources, {adj.num_dst} destinations)")
    if not 0 <= damping <= 1:
        raise ValueError(f"damping: expected a number in [0, 1] (got {damping!r})")
    _check.count("iterations", iterations)
    indptr, indices, _ = adj.transpose
    degree = adj.indptr.diff().clamp(min=1).unsqueeze(1)  # [N, 1]
    base = (1 - damping) / max(adj.num_dst, 1)
    rank = torch.full((adj.num_dst, 1), 1 / max(adj.num_dst, 1), dtype=torch.float64, device=adj.device)
    for _ in range(iterations):
        rank = base + damping * spmm(indptr, indices, rank / degree)
    return rank.squeeze(1)
