"""Topological concentration: how much the neighbourhood of a node overlaps with those of its neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.links._graph import LinkGraph

Vector = NDArray[np.float64]  # [N]

_ENTRY_BYTES = 16  # a float64 and an index of 64 bits; SciPy takes indices of 32 bits where they fit


def topological_concentration(
    graph: LinkGraph,
    pairs: Tensor | None = None,
    hops: int = 1,
    decay: float | None = None,
    *,
    max_bytes: int = 2**28,
) -> Tensor:
    r"""Say for each node how much of its neighbourhood its neighbours share, in the mean over them.

    .. math:: TC_i = mean_j \; \sum_{a, b} \beta^{a+b-2} |S_i^a \cap S_j^b| \;/\; \sum_{a, b} \beta^{a+b-2} |S_i^a|

    Here a and b run from 1 to K, the multiset :math:`S` of i and a holds the ends of all walks of a steps from i, and
    an intersection counts the walks of i that end where some walk of b steps from j ends. For a pair that is an edge
    of ``graph``, the term of a = b = 1 in the denominator is one less: j itself cannot be shared. With ``hops=1`` and
    the graph's own edges this is the local clustering coefficient.

    Source: *A Topological Perspective on Demystifying GNN-Based Link Prediction Performance*, ICLR 2024,
    with the multiplicities and the denominator of the authors' code. Walks are those of ``graph``, the training graph,
    whatever pairs the mean runs over. Where theirs lists walks one by one, O(N d^K) for each pair, this counts them by
    sparse products, and exactly.

    Cost: K products of the adjacency matrix with its powers and one more, in blocks of nodes. SciPy multiplies, on
    the CPU.

    Args:
        graph: The training graph.
        pairs: ``[2, P]``, those that make up the lists of neighbours: the validation or the test edges, each serving
            both of its nodes. Repeated pairs count once, self-loops not at all. None for the edges of ``graph``.
        hops: K, the length of the longest walks.
        decay: beta, the weight of a step after the first; None for 1 / mean degree, nodes without edges included.
        max_bytes: About how much memory the products of a block take; a block has at least one node.

    Returns:
        ``[N]`` float64. A node has 0 without neighbours in the list, without edges in the graph, and over the
        graph's own edges if it has only one.

    Raises:
        ValueError: Not a `LinkGraph`, not pairs of its nodes, or a number out of range.

    Example:
        >>> import torch
        >>> from gnnkit.links import LinkGraph, topological_concentration
        >>> graph = LinkGraph.from_edges(torch.tensor([[0, 0, 1, 2], [1, 2, 2, 3]]), num_nodes=5)
        >>> topological_concentration(graph).tolist()  # doctest: +ELLIPSIS
        [1.0, 1.0, 0.333..., 0.0, 0.0]
        >>> topological_concentration(graph, torch.tensor([[0, 0], [3, 4]])).tolist()
        [0.25, 0.0, 0.0, 1.0, 0.0]
    """
    num_nodes = link_graph(graph).num_nodes
    at_least_one("hops", hops)
    at_least_one("max_bytes", max_bytes)
    if decay is None:
        decay = num_nodes / max(graph.adj.num_edges, 1)
    elif not _is_decay(decay):
        raise ValueError(f"decay: expected a finite number >= 0 (got {decay!r})")
    degree = graph.degree().cpu().numpy()
    walks = _walks(graph, hops)
    powers: Vector = np.power(decay, np.arange(hops), dtype=np.float64)
    # [N]: the denominator, which is the same for every neighbour but those that are edges
    norm = np.tensordot(powers, walks, axes=1) * powers.sum()
    listed = graph if pairs is None else LinkGraph.from_edges(pairs, num_nodes)
    known = torch.ones(graph.num_edges, dtype=torch.bool) if pairs is None else graph.numbers(listed.edges).cpu() >= 0
    count = listed.degree().cpu().numpy()
    out = np.zeros(num_nodes)
    for chosen, base, valid in ((known, norm - 1, degree > 1), (~known, norm, degree > 0)):
        if chosen.any():
            edges = listed.edges[:, chosen.to(listed.edges.device)]
            found = _overlap(graph, LinkGraph.from_edges(edges, num_nodes), powers, walks, max_bytes)
            out += np.divide(found, base * count, out=np.zeros(num_nodes), where=valid & (found > 0))
    return torch.from_numpy(out).to(graph.adj.device)


def subgraph_density(graph: LinkGraph) -> Tensor:
    r"""Say for each node which share of the pairs among it and its neighbours are edges.

    .. math:: density_i = 2 (d_i + triangles_i) \;/\; (d_i (d_i + 1))

    The density of the subgraph of a node and its neighbours, to be compared with topological concentration, which
    leaves out the edges to the node itself. Cost: as `topological_concentration` of one hop.

    Args:
        graph: The training graph.

    Returns:
        ``[N]`` float64, 0 for a node without neighbours.

    Raises:
        ValueError: Not a `LinkGraph`.

    Example:
        >>> import torch
        >>> from gnnkit.links import LinkGraph, subgraph_density
        >>> graph = LinkGraph.from_edges(torch.tensor([[0, 0, 1, 2], [1, 2, 2, 3]]), num_nodes=5)
        >>> subgraph_density(graph)
        tensor([1.0000, 1.0000, 0.6667, 1.0000, 0.0000], dtype=torch.float64)
    """
    degree = link_graph(graph).degree().cpu().numpy()
    twice = _overlap(graph, graph, np.ones(1), _walks(graph, 1), max_bytes=2**28)  # each triangle from two neighbours
    pairs = np.maximum(degree * (degree + 1), 1)
    return torch.from_numpy((2 * degree + twice) / pairs).to(graph.adj.device)


def link_graph(graph: object) -> LinkGraph:
    """Require a `LinkGraph`."""
    if not isinstance(graph, LinkGraph):
        raise ValueError(f"graph: expected a LinkGraph (got {_check.describe(graph)})")
    return graph


def at_least_one(name: str, value: object) -> None:
    """Require a whole number >= 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}: expected a whole number >= 1 (got {value!r})")


def _is_decay(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and math.isfinite(value)


def _matrix(graph: LinkGraph) -> Any:
    from scipy.sparse import csr_array

    indptr, indices = graph.adj.indptr.cpu().numpy(), graph.adj.indices.cpu().numpy()
    return csr_array((np.ones(len(indices)), indices, indptr), shape=(graph.num_nodes, graph.num_nodes))


def _walks(graph: LinkGraph, hops: int) -> NDArray[np.float64]:
    """``[K, N]``: how many walks of 1 … K steps begin at each node."""
    matrix, counts = _matrix(graph), [np.ones(graph.num_nodes)]
    for _ in range(hops):
        counts.append(matrix @ counts[-1])
    return np.stack(counts[1:])


def _overlap(graph: LinkGraph, listed: LinkGraph, powers: Vector, walks: NDArray[np.float64], max_bytes: int) -> Vector:
    """``[N]``: the numerator of each node, summed over its neighbours in ``listed``.

    With A the adjacency matrix, Q that of ``listed`` and a node v where walks end, the sum over j is

        sum_v (sum_a beta^(a-1) A^a)[v, i] * ((sum_b beta^(b-1) 1[A^b > 0]) Q)[v, i]

    so that blocks of ends v need nothing of each other, and no row is computed twice.
    """
    matrix, neighbours = _matrix(graph), _matrix(listed)
    total = np.zeros(graph.num_nodes)
    for low, high in _blocks(matrix, neighbours, walks, max_bytes):
        counts = counted = matrix[low:high]  # [B, N]: walks from v, which are those to v; weighted with beta
        reached = counts  # [B, N]: whether there are any, weighted with beta
        for power in powers[1:]:
            counts = counts @ matrix
            mask = counts.copy()
            mask.data[:] = power
            counted, reached = counted + power * counts, reached + mask
        total += counted.multiply(reached @ neighbours).sum(axis=0)
    return total


def _blocks(matrix: Any, neighbours: Any, walks: NDArray[np.float64], max_bytes: int) -> Iterator[tuple[int, int]]:
    """Cut the nodes where walks end into blocks whose matrices fit; no row has more entries than walks, or than N."""
    num_nodes = matrix.shape[0]
    further = neighbours.sum(axis=1)
    steps = []
    for _ in walks:
        further = matrix @ further
        steps.append(further)  # [N]: walks whose last step is one in ``neighbours``
    product = np.minimum(np.sum(steps, axis=0), num_nodes)
    own = np.minimum(walks, num_nodes).sum(axis=0)
    # of the powers: one, its mask, both sums and their copies; the product and what multiplying by it selects
    bytes_to = np.cumsum(_ENTRY_BYTES * (6 * own + 2 * product))
    low = 0
    while low < num_nodes:
        before = bytes_to[low - 1] if low else 0.0
        high = max(low + 1, int(np.searchsorted(bytes_to, before + max_bytes, side="right")))
        yield low, high
        low = high
