"""Topological concentration in time linear in the edges, by random projections of walk distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gnnkit.kernels import _check, spmm
from gnnkit.links._concentration import at_least_one, link_graph
from gnnkit.links._graph import LinkGraph


def approximate_concentration(
    graph: LinkGraph,
    pairs: Tensor | None = None,
    hops: int = 1,
    dim: int = 64,
    *,
    weights: Sequence[float] | None = None,
    similarity: str = "dot",
    seed: int = 0,
) -> Tensor:
    r"""Compare walk distributions of nodes and their neighbours through a random projection of them.

    .. math:: ATC_i = mean_j \; \langle H_i, H_j \rangle, \quad H = \sum_{k=1}^{K} \alpha_k (D^{-1} A)^k R

    R has independent normal entries of variance 1 / d, so that the expectation of the dot product is that of the rows
    i and j of :math:`P`, the same sum without R: a weighted overlap of where walks from i and from j end. Variance:

    .. math:: \left(|P_i|^2 |P_j|^2 + \langle P_i, P_j \rangle^2\right) \;/\; d

    The overlap is normalised by the degrees of both ends, topological concentration by that of i only, and it asks how
    many walks of j end at a node where the other asks whether any does. So its limit is another number.

    Source: *A Topological Perspective on Demystifying GNN-Based Link Prediction Performance*, ICLR 2024. What differs:
    cosines on request, and lists of any split; the authors' code holds no such function.

    Cost: O(K E d) by `gnnkit.kernels.spmm`, where the graph lives; three tables of N d float32.

    Args:
        graph: The training graph.
        pairs: ``[2, P]``, those that make up the lists of neighbours, each serving both of its nodes, repeated ones
            once, self-loops not at all; None for the edges of ``graph``.
        hops: K, the length of the longest walks.
        dim: d, the width of the projection; the error falls with its root.
        weights: alpha, ``hops`` numbers; None for ones, which is what a decay of 1 / mean degree makes of walk counts
            where all degrees are alike.
        similarity: ``"dot"``, or ``"cosine"`` of the projected rows, which takes out how spread a distribution is.
        seed: Seed of the projection, which depends on nothing else.

    Returns:
        ``[N]`` float32, 0 for a node without neighbours in the list or without edges in the graph.

    Raises:
        ValueError: Not a `LinkGraph`, not pairs of its nodes, or an option out of range.

    Example:
        >>> import torch
        >>> from gnnkit.links import LinkGraph, approximate_concentration
        >>> graph = LinkGraph.from_edges(torch.tensor([[0, 0, 1, 2], [1, 2, 2, 3]]), num_nodes=5)
        >>> approximate_concentration(graph, dim=4096).tolist()  # 0.21, 0.21, 0.11, 0 and 0 for an infinite d
        [0.2..., 0.2..., 0.1..., 0.0..., 0.0]
    """
    adj = link_graph(graph).adj
    at_least_one("hops", hops)
    at_least_one("dim", dim)
    alpha = _weights(weights, hops)
    if similarity not in ("dot", "cosine"):
        raise ValueError(f"similarity: expected 'dot' or 'cosine' (got {similarity!r})")
    _check.count("seed", seed)
    listed = adj if pairs is None else LinkGraph.from_edges(pairs, graph.num_nodes).adj
    # [N, d]: drawn on the CPU, so that every device has the same
    rows = torch.randn(graph.num_nodes, dim, generator=torch.Generator().manual_seed(seed)).to(adj.device)
    rows *= dim**-0.5
    projected = torch.zeros_like(rows)
    for weight in alpha:
        rows = spmm(adj.indptr, adj.indices, rows, reduce="mean")
        projected.add_(rows, alpha=weight)
    if similarity == "cosine":
        projected = torch.nn.functional.normalize(projected, dim=1)  # rows of zeros stay
    # the mean of dot products is the dot product with the mean
    return (projected * spmm(listed.indptr, listed.indices, projected, reduce="mean")).sum(dim=1)


def _weights(weights: Sequence[float] | None, hops: int) -> list[float]:
    alpha = [1.0] * hops if weights is None else list(weights) if isinstance(weights, Sequence) else []
    numbers = [value for value in alpha if isinstance(value, int | float) and math.isfinite(value)]
    if len(numbers) != hops or len(alpha) != hops:
        raise ValueError(f"weights: expected {hops} finite numbers, one a hop (got {weights!r})")
    return numbers
