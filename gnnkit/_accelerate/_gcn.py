"""GCNConv: its graph is normalised once; the layer is a dense product and one `spmm_scaled`, or weighted `spmm`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from gnnkit._accelerate import _cache
from gnnkit._accelerate._compiled_ops import gcn_op
from gnnkit._accelerate._gcn_norm import GCNNorm, normalised, unit_normalised
from gnnkit._accelerate._layer import FastLayer, is_fast, is_fast_compiled
from gnnkit._accelerate._products import FixedProduct, aggregate, scaled
from gnnkit._accelerate._rows import FLOATS

_NORM = GCNNorm(share=True)


class FastGCN(FastLayer):
    """A ``GCNConv`` that normalises a graph once, however often it is asked."""

    _cached_edge_index: Any

    def forward(self, x: Any, edge_index: Any, edge_weight: Any = None) -> Any:
        """PyG's ``GCNConv.forward``."""
        if not self._is_served(x, edge_weight):
            return super().forward(x, edge_index, edge_weight)
        if is_fast_compiled(self, edge_index):
            if self.cached or (edge_weight is not None and edge_weight.requires_grad):
                return super().forward(x, edge_index, edge_weight)  # its propagate is ours
            out = gcn_op(edge_index, self.lin(x), edge_weight, self.improved, self.add_self_loops, False)
            return out if self.bias is None else out + self.bias
        if not is_fast(self, edge_index):
            return super().forward(x, edge_index, edge_weight)
        try:
            out = self._propagated(self.lin(x), edge_index, edge_weight, x.dtype)
        except ValueError:  # PyG says it in its own words
            return super().forward(x, edge_index, edge_weight)
        return out if self.bias is None else out.add_(self.bias)  # nobody else holds it, and fresh memory is dear

    def _is_served(self, x: Any, edge_weight: Any) -> bool:
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
        )

    def _propagated(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None, dtype: torch.dtype) -> Tensor:
        num_nodes = len(x)
        settings = num_nodes, self.improved, self.add_self_loops, self.flow, dtype
        if self.cached and self._cached_edge_index is None:
            self._cached_edge_index = gcn_norm(edge_index, edge_weight, *settings)
        if self.cached or (edge_weight is not None and edge_weight.requires_grad):
            edges, weight = self._cached_edge_index or _NORM(edge_index, edge_weight, *settings)
            return aggregate(_cache.of_edges(edges, (num_nodes, num_nodes)), x, weight, "sum")
        if edge_weight is None:
            adj, scale = unit_normalised(edge_index, num_nodes, self.add_self_loops, dtype)
            return scaled(adj, scale, x)
        adj, values = normalised(edge_index, edge_weight, num_nodes, self.improved, self.add_self_loops, dtype)
        return FixedProduct.of(adj, values, x)
