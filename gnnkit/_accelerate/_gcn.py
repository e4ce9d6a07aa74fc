"""GCNConv: the normalised graph is remembered, and the layer is one dense product and one `spmm`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from gnnkit._accelerate import _cache
from gnnkit._accelerate._cache import CACHE, Topology
from gnnkit._accelerate._layer import FastLayer, is_fast
from gnnkit._accelerate._propagate import REDUCES
from gnnkit._accelerate._rows import FLOATS
from gnnkit.adjacency import Adjacency
from gnnkit.kernels import content_hash, spmm


class FastGCN(FastLayer):
    """A ``GCNConv`` that normalises a graph once, however often it is asked."""

    def forward(self, x: Any, edge_index: Any, edge_weight: Any = None) -> Any:
        """PyG's ``GCNConv.forward``."""
        if not self._is_fast(x, edge_index, edge_weight):
            return super().forward(x, edge_index, edge_weight)
        try:
            adj, values = self._normalised(edge_index, edge_weight, len(x), x.dtype)
        except ValueError:  # PyG says it in its own words
            return super().forward(x, edge_index, edge_weight)
        x = self.lin(x)
        backward = torch.is_grad_enabled() and (x.requires_grad or values.requires_grad)
        reduce = REDUCES[type(self.aggr_module)]
        out = spmm(adj.indptr, adj.indices, x, values, reduce, transpose=adj.transpose if backward else None)
        return out if self.bias is None else out + self.bias

    def _is_fast(self, x: Any, edge_index: Any, edge_weight: Any) -> bool:
        plain_weight = edge_weight is None or (
            type(edge_weight) in (Tensor, torch.nn.Parameter)
            and edge_weight.dim() == 1
            and edge_weight.dtype == x.dtype
        )
        return (
            self.normalize
            and type(x) in (Tensor, torch.nn.Parameter)
            and x.dim() == 2
            and x.dtype in FLOATS
            and plain_weight
            and self.flow == "source_to_target"
            and not torch.is_autocast_enabled("cpu")
            and is_fast(self, edge_index)
        )

    def _normalised(
        self, edge_index: Tensor, edge_weight: Tensor | None, num_nodes: int, dtype: torch.dtype
    ) -> tuple[Adjacency, Tensor]:
        """Return the graph with self-loops and its weights in CSR order."""
        settings = num_nodes, self.improved, self.add_self_loops, self.flow, dtype
        if self.cached:
            if self._cached_edge_index is None:
                self._cached_edge_index = gcn_norm(edge_index, edge_weight, *settings)
            topology, weight = _graph(*self._cached_edge_index, num_nodes)
            return topology.adj, topology.values(weight)
        if edge_weight is not None and edge_weight.requires_grad:
            topology, weight = _graph(*gcn_norm(edge_index, edge_weight, *settings), num_nodes)
            return topology.adj, topology.values(weight)
        weight_key = None if edge_weight is None else content_hash(edge_weight)
        key = "gcn", _cache.edges_key(edge_index, (num_nodes, num_nodes)), weight_key, settings

        def make() -> tuple[tuple[Adjacency, Tensor], int]:
            with torch.inference_mode(False):
                edges, weight = gcn_norm(_plain(edge_index), _plain(edge_weight), *settings)
                adj = Adjacency.from_edge_index(edges, num_nodes)
                values = weight.index_select(0, adj.edge_ids)
            return (adj, values), _cache.nbytes(adj) + values.numel() * values.element_size()

        return CACHE.get(key, make)  # type: ignore[no-any-return]


def _graph(edge_index: Tensor, weight: Tensor, num_nodes: int) -> tuple[Topology, Tensor]:
    return _cache.of_edges(edge_index, (num_nodes, num_nodes)), weight


def _plain(tensor: Tensor | None) -> Tensor | None:
    return tensor.clone() if tensor is not None and tensor.is_inference() else tensor
