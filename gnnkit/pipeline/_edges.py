"""What the layers of a network read of a graph: its edges, self-loops, weights of the whole graph."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from gnnkit.adjacency import Adjacency
from gnnkit.pipeline._network import Edges


def read_edges(
    edge_index: Tensor, num_nodes: int, kind: Edges, dtype: torch.dtype = torch.float32
) -> tuple[Adjacency, Tensor | None]:
    """Give the edges of a whole graph as a network's ``edges`` says, and their weights.

    - ``"plain"``: the edges as they are, no weight.
    - ``"loops"``: self-loops of the graph removed, then one at each node appended in order, no weight.
    - ``"gcn"``: the edges of ``"loops"``, A + I, with the weights D^-1/2 (A + I) D^-1/2 of Kipf and Welling,
      *Semi-Supervised Classification with Graph Convolutional Networks*, 2017, equation (2); D holds in-degrees.
    - ``"mean"``: the edges as they are, each with 1 / in-degree of its destination.

    ``"loops"`` and ``"gcn"`` are PyG's ``add_remaining_self_loops`` and ``gcn_norm`` of a graph without weights, to the
    bit. Degrees are those of the whole graph, so weights are found once, before nodes go to chunks. O(E + N).

    Args:
        edge_index: ``[2, E]`` int32 or int64, sources above destinations.
        num_nodes: N.
        kind: One of the four.
        dtype: Of the weights, a floating one; half types are rounded from float32.

    Returns:
        The adjacency of N nodes, and ``[E']`` weights in the order of its edges, or None.

    Raises:
        ValueError: Another kind, a dtype that is not floating, or edges that `gnnkit.Adjacency` refuses.

    Example:
        >>> import torch
        >>> from gnnkit.pipeline._edges import read_edges
        >>> adj, weight = read_edges(torch.tensor([[0, 1], [1, 1]]), 2, "gcn")
        >>> adj.to_edge_index().tolist(), [round(w, 4) for w in weight.tolist()]
        ([[0, 0, 1], [1, 0, 1]], [0.7071, 1.0, 0.5])
    """
    if kind not in get_args(Edges):
        raise ValueError(f"edges: expected plain, loops, gcn or mean (got {kind!r})")
    if not dtype.is_floating_point:
        raise ValueError(f"dtype: expected a floating type for weights (got {dtype})")
    if kind in ("loops", "gcn") and isinstance(edge_index, Tensor) and edge_index.dim() == 2 and len(edge_index) == 2:
        # any other value is refused by Adjacency, which says what it expects
        loop = torch.arange(num_nodes, dtype=edge_index.dtype, device=edge_index.device).expand(2, -1)
        edge_index = torch.cat([edge_index[:, edge_index[0] != edge_index[1]], loop], dim=1)  # [2, E']
    adj = Adjacency.from_edge_index(edge_index, num_nodes)
    if kind in ("plain", "loops"):
        return adj, None
    exact = torch.promote_types(dtype, torch.float32)  # half types do not hold the degree of a hub
    src, dst = adj.to_edge_index()
    degree = adj.in_degree().to(exact)  # [N]
    if kind == "mean":
        return adj, degree.reciprocal()[dst].to(dtype)  # 1 / 0 belongs to no edge
    scale = degree.pow(-0.5)  # a self-loop each: no degree is 0
    return adj, (scale[src] * scale[dst]).to(dtype)
