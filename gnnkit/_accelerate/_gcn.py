"""GCNConv: the normalised graph is remembered, and the layer is one dense product and one `spmm`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from gnnkit._accelerate import _cache
from gnnkit._accelerate._cache import CACHE, Values
from gnnkit._accelerate._gcn_norm import GCNNorm
from gnnkit._accelerate._layer import FastLayer, is_fast
from gnnkit._accelerate._products import FixedProduct, aggregate
from gnnkit._accelerate._rows import FLOATS
from gnnkit.adjacency import Adjacency
from gnnkit.kernels import content_hash

_NORM = GCNNorm(share=True)


class FastGCN(FastLayer):
    """A ``GCNConv`` that normalises a graph once, however often it is asked."""

    _cached_edge_index: Any

    def forward(self, x: Any, edge_index: Any, edge_weight: Any = None) -> Any:
        """PyG's ``GCNConv.forward``."""
        if not self._is_fast(x, edge_index, edge_weight):
            return super().forward(x, edge_index, edge_weight)
        try:
            out = self._propagated(self.lin(x), edge_index, edge_weight, x.dtype)
        except ValueError:  # PyG says it in its own words
            return super().forward(x, edge_index, edge_weight)
        return out if self.bias is None else out.add_(self.bias)  # nobody else holds it, and fresh memory is dear

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
            and self.aggr in ("add", "sum")
            and not torch.is_autocast_enabled("cpu")
            and is_fast(self, edge_index)
        )

    def _propagated(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None, dtype: torch.dtype) -> Tensor:
        num_nodes = len(x)
        settings = num_nodes, self.improved, self.add_self_loops, self.flow, dtype
        if self.cached and self._cached_edge_index is None:
            self._cached_edge_index = gcn_norm(edge_index, edge_weight, *settings)
        if self.cached or (edge_weight is not None and edge_weight.requires_grad):
            edges, weight = self._cached_edge_index or _NORM(edge_index, edge_weight, *settings)
            return aggregate(_cache.of_edges(edges, (num_nodes, num_nodes)), x, weight, "sum")
        weight_key = None if edge_weight is None else content_hash(edge_weight)
        key = "gcn", _cache.edges_key(edge_index, (num_nodes, num_nodes)), weight_key, settings

        def make() -> tuple[tuple[Adjacency, Values], int]:
            with torch.inference_mode(False):
                edges, weight = gcn_norm(_lasting(edge_index), _lasting(edge_weight), *settings)
                adj = Adjacency.from_edge_index(edges, num_nodes)
                values = Values(adj, weight.index_select(0, adj.edge_ids))
            return (adj, values), _cache.nbytes(adj) + values.nbytes

        adj, values = CACHE.get(key, make)
        return FixedProduct.of(adj, values, x)


def _lasting(tensor: Tensor | None) -> Tensor | None:
    return tensor.clone() if tensor is not None and tensor.is_inference() else tensor
