"""Katz's index: all walks between two nodes, the longer the less."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels import spmm
from gnnkit.kernels._pair_sets import check_bytes
from gnnkit.links import _inputs
from gnnkit.links._blocks import MAX_BYTES, by_first
from gnnkit.links._graph import LinkGraph
from gnnkit.links._solve import solve


def katz(
    graph: LinkGraph,
    pairs: Tensor,
    *,
    beta: float = 0.005,
    max_length: int | None = None,
    max_bytes: int = MAX_BYTES,
) -> Tensor:
    r"""Score pairs by the number of walks between them, those of length l with weight beta to the l.

    .. math:: \sum_{l=1}^{\infty} \beta^l (A^l)_{ij} = ((I - \beta A)^{-1} - I)_{ij}

    (Katz 1953.) The sum is finite for beta below one over the largest eigenvalue of A. With ``max_length`` it ends
    there and is finite for every beta. Walks may repeat nodes; what some code calls Katz counts simple paths.

    Cost: sums over the edges, ``max_length`` of them or about 20 to 100, for each distinct i; in blocks of nodes.

    Args:
        graph: The graph.
        pairs: ``[2, P]``.
        beta: Positive.
        max_length: Of the longest walks; None for all.
        max_bytes: Bound of the memory for intermediate rows; at least those of one node are made.

    Returns:
        ``[P]`` float64.

    Raises:
        ValueError: Not such pairs, or ``beta`` is too large for a finite sum.

    Example:
        >>> import torch
        >>> from gnnkit.links import LinkGraph, katz
        >>> path = LinkGraph.from_edges(torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
        >>> [round(score, 6) for score in katz(path, torch.tensor([[0, 0], [1, 2]]), beta=0.1).tolist()]
        [0.102041, 0.010204]
        >>> [round(score, 6) for score in katz(path, torch.tensor([[0, 0], [1, 2]]), beta=0.1, max_length=2).tolist()]
        [0.1, 0.01]
    """
    given = _inputs.pairs("pairs", pairs, graph.num_nodes)
    if not isinstance(beta, float) or not 0 < beta < float("inf"):
        raise ValueError(f"beta: expected a number > 0 (got {beta!r})")
    check_bytes(max_bytes)
    indptr, indices = graph.adj.indptr, graph.adj.indices
    values = torch.full((graph.adj.num_edges,), beta, dtype=torch.float64, device=indices.device)
    if max_length is None:
        radius = beta * _largest_eigenvalue(graph)
        if radius >= 1:
            raise ValueError(f"beta: expected less than {beta / radius:.6g}, where the sum is finite (got {beta})")
    elif not isinstance(max_length, int) or max_length < 1:
        raise ValueError(f"max_length: expected a whole number >= 1 or None (got {max_length!r})")

    def rows(nodes: Tensor) -> Tensor:
        start = torch.zeros(graph.num_nodes, len(nodes), dtype=torch.float64, device=nodes.device)
        start[nodes, torch.arange(len(nodes), device=nodes.device)] = 1
        # walks of length 1 first, so that the start itself, of length 0, is no part of the sum
        first = spmm(indptr, indices, start, values)
        if max_length is None:
            return solve(graph, values, radius, first).t()
        found = step = first
        for _ in range(max_length - 1):
            step = spmm(indptr, indices, step, values)
            found = found + step
        return found.t()

    return by_first(given, max_bytes // (8 * 5 * max(graph.num_nodes, 1)), rows)


def _largest_eigenvalue(graph: LinkGraph) -> float:
    """Of A, rounded up: a bound by Collatz and Wielandt that closes in, from a walk that may stay where it is."""
    if not graph.num_edges:
        return 0.0
    x = torch.ones(graph.num_nodes, 1, dtype=torch.float64, device=graph.adj.device)
    bound = float("inf")
    for _ in range(1000):
        step = spmm(graph.adj.indptr, graph.adj.indices, x)
        upper = float((step / x).max())
        if upper > bound * (1 - 1e-9):  # falls no more
            break
        bound = upper
        x = ((x + step) / (x + step).max()).clamp(min=1e-250)  # the bound holds for every positive x
    return bound * (1 + 1e-9)
