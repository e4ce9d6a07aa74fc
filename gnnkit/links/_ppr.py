"""Personalised PageRank: where a walk that keeps returning to its start is found."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels._pair_sets import check_bytes
from gnnkit.links import _inputs
from gnnkit.links._blocks import MAX_BYTES, by_first
from gnnkit.links._graph import LinkGraph
from gnnkit.links._solve import solve


def ppr(graph: LinkGraph, pairs: Tensor, *, alpha: float = 0.15, max_bytes: int = MAX_BYTES) -> Tensor:
    r"""Score pairs (i, j) by the personalised PageRank of j for walks from i.

    .. math:: \pi_i = \alpha e_i + (1 - \alpha) A D^{-1} \pi_i

    The rooted PageRank of Liben-Nowell and Kleinberg ("The Link-Prediction Problem for Social Networks", 2007). It is
    not symmetric: :math:`d_i \pi_i(j) = d_j \pi_j(i)`. The walk from a node without neighbours stays there. Exact to
    about 1e-14; nothing is cut off.

    Cost: some 60 sums over the edges for each distinct i, in blocks of nodes.

    Args:
        graph: The graph.
        pairs: ``[2, P]``.
        alpha: Chance of a return in every step, in (0, 1).
        max_bytes: Bound of the memory for intermediate rows; at least those of one node are made.

    Returns:
        ``[P]`` float64.

    Raises:
        ValueError: Not such pairs, or ``alpha`` outside (0, 1).

    Example:
        >>> import torch
        >>> from gnnkit.links import LinkGraph, ppr
        >>> path = LinkGraph.from_edges(torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
        >>> [round(score, 4) for score in ppr(path, torch.tensor([[0, 0, 0], [0, 1, 2]])).tolist()]
        [0.3453, 0.4595, 0.1953]
    """
    check_alpha(alpha)
    check_bytes(max_bytes)
    given = _inputs.pairs("pairs", pairs, graph.num_nodes)
    size = max_bytes // (8 * 5 * max(graph.num_nodes, 1))
    return by_first(given, size, lambda nodes: pagerank(graph, nodes, alpha))


def check_alpha(alpha: object) -> None:
    """Require a chance of a return."""
    if not isinstance(alpha, float) or not 0 < alpha < 1:
        raise ValueError(f"alpha: expected a number in (0, 1) (got {alpha!r})")


def pagerank(graph: LinkGraph, nodes: Tensor, alpha: float) -> Tensor:
    """``[B, N]`` float64: the personalised PageRank of all nodes for walks from each of ``nodes [B]``."""
    degree = graph.degree().double()
    # S = (1 - alpha) D^-1/2 A D^-1/2, similar to (1 - alpha) A D^-1 and symmetric
    root = degree.clamp(min=1).sqrt()
    dst = torch.arange(graph.num_nodes, device=root.device).repeat_interleave(graph.adj.indptr.diff())
    values = (1 - alpha) / (root[dst] * root[graph.adj.indices.long()])
    column = torch.arange(len(nodes), device=nodes.device)
    b = torch.zeros(graph.num_nodes, len(nodes), dtype=torch.float64, device=nodes.device)
    b[nodes, column] = alpha / root[nodes]
    rows = solve(graph, values, 1 - alpha, b).mul_(root.unsqueeze(1)).clamp_(min=0).t().contiguous()
    alone = degree[nodes] == 0
    rows[column[alone], nodes[alone]] = 1.0
    return rows
