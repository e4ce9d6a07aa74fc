"""``gcn_norm``, remembered; with gradients the graph with its self-loops is, and sums run along rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from gnnkit._accelerate import _cache
from gnnkit._accelerate._cache import CACHE, Values
from gnnkit._accelerate._remembered import Remembered
from gnnkit._accelerate._rows import FLOATS
from gnnkit.adjacency import Adjacency
from gnnkit.kernels import content_hash


class GCNNorm:
    """PyG's ``gcn_norm``: remembered for constant weights, on the kernels for those that require gradients.

    Args:
        share: As in `Remembered`.
    """

    def __init__(self, share: bool) -> None:
        self._constant, self._looped = Remembered(gcn_norm, share), Remembered(_looped, share)

    def __call__(
        self,
        edge_index: Any,
        edge_weight: Any = None,
        num_nodes: Any = None,
        improved: bool = False,
        add_self_loops: bool = True,
        flow: str = "source_to_target",
        dtype: Any = None,
    ) -> Any:
        arguments = edge_index, edge_weight, num_nodes, improved, add_self_loops, flow, dtype
        out = None
        if _is_tracked(edge_index, edge_weight) and type(num_nodes) is int and flow == "source_to_target":
            out = self._tracked(edge_index, edge_weight, num_nodes, improved, add_self_loops)
        return self._constant(*arguments) if out is None else out

    def _tracked(
        self, edge_index: Tensor, weight: Tensor, num_nodes: int, improved: bool, add_self_loops: bool
    ) -> tuple[Tensor, Tensor] | None:
        edges = edge_index
        if add_self_loops:
            edges, kept, loops, nodes = self._looped(edge_index, num_nodes)
            if edges is None:
                return None
            of_loops = weight.new_full((num_nodes,), 2.0 if improved else 1.0)
            if len(loops):
                of_loops = of_loops.index_put((nodes,), weight.index_select(0, loops))
                weight = weight.index_select(0, kept)
            weight = torch.cat([weight, of_loops])
        try:
            adj = _cache.of_edges(edges, (num_nodes, num_nodes)).adj
        except ValueError:
            return None  # PyG says it in its own words
        scale = adj.aggregate(weight.unsqueeze(-1)).pow(-0.5)  # [N, 1]
        scale = scale.masked_fill(scale == float("inf"), 0)
        return edges, (adj.gather(scale, "src").squeeze(-1) * weight * adj.gather(scale, "dst").squeeze(-1))


def normalised(
    edge_index: Tensor,
    edge_weight: Tensor,
    num_nodes: int,
    improved: bool,
    add_self_loops: bool,
    dtype: torch.dtype,
) -> tuple[Adjacency, Values]:
    """Return what PyG's ``gcn_norm`` makes of constant weights, as a CSR and its values; remembered by content.

    Raises:
        ValueError: An id is no node's.
    """
    settings = num_nodes, improved, add_self_loops, "source_to_target", dtype
    key = "gcn", _cache.edges_key(edge_index, (num_nodes, num_nodes)), content_hash(edge_weight), settings

    def make() -> tuple[tuple[Adjacency, Values], int]:
        with torch.inference_mode(False):
            edges, weight = gcn_norm(_lasting(edge_index), _lasting(edge_weight), *settings)
            adj = Adjacency.from_edge_index(edges, num_nodes)
            values = Values(adj, weight.index_select(0, adj.edge_ids))
        return (adj, values), _cache.nbytes(adj) + values.nbytes

    return CACHE.get(key, make)  # type: ignore[no-any-return]


def unit_normalised(
    edge_index: Tensor, num_nodes: int, add_self_loops: bool, dtype: torch.dtype
) -> tuple[Adjacency, Tensor]:
    """Return what ``gcn_norm`` makes of a graph without weights: its CSR, and ``deg ** -0.5`` of every node.

    An edge's weight is the product of its ends' numbers: none is kept, and the CSR is also that of other layers.

    Raises:
        ValueError: An id is no node's.
    """
    sizes = num_nodes, num_nodes

    def make() -> tuple[tuple[Adjacency, Tensor], int]:
        adj = _cache.of_looped_edges(edge_index, sizes, num_nodes if add_self_loops else None)
        with torch.inference_mode(False):
            scale = adj.in_degree().to(dtype).pow(-0.5)  # [N]
            scale = scale.masked_fill(scale == float("inf"), 0)
        return (adj, scale), _cache.nbytes(adj) + scale.numel() * scale.element_size()

    key = "gcn", _cache.edges_key(edge_index, sizes), add_self_loops, dtype
    return CACHE.get(key, make)  # type: ignore[no-any-return]


def _lasting(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor


def _is_tracked(edge_index: Any, weight: Any) -> bool:
    return (
        type(weight) in (Tensor, Parameter)
        and weight.requires_grad
        and torch.is_grad_enabled()
        and weight.dtype in FLOATS
        and type(edge_index) is Tensor
        and edge_index.dim() == 2
        and edge_index.shape[0] == 2
        and edge_index.dtype is torch.int64
        and edge_index.device.type == weight.device.type == "cpu"
        and weight.shape == (edge_index.shape[1],)
    )


def _looped(edge_index: Tensor, num_nodes: int) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
    """Return a graph with every self-loop at its end, which edges are kept, which are loops, and at which nodes.

    No graph is returned if a node has two loops: which of their weights counts is not said.
    """
    is_loop = edge_index[0] == edge_index[1]
    kept, loops = (~is_loop).nonzero().view(-1), is_loop.nonzero().view(-1)
    nodes = edge_index[0].index_select(0, loops)
    every = torch.arange(num_nodes).expand(2, -1)
    unique = len(nodes) == len(torch.unique(nodes))
    return torch.cat([edge_index[:, kept], every], dim=1) if unique else None, kept, loops, nodes
