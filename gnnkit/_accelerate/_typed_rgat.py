"""RGATConv: products of groups over compact rows, one number an edge and head for the attention."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import Linear

from gnnkit._accelerate._aggregation import REDUCES
from gnnkit._accelerate._layer import FastLayer
from gnnkit._accelerate._rows import FLOATS
from gnnkit._accelerate._typed_edges import TypedEnds
from gnnkit._accelerate._typed_graph import is_plain, is_typed, lasting, remembered, typed_key
from gnnkit._accelerate._watch import is_watched
from gnnkit.kernels import segment_matmul, segment_softmax, spmm

_MODS = ("additive", "scaled", "f-additive", "f-scaled")


class FastRGAT(FastLayer):
    """An ``RGATConv`` that writes out nothing with channels for every edge."""

    def forward(
        self,
        x: Any,
        edge_index: Any,
        edge_type: Any = None,
        edge_attr: Any = None,
        size: Any = None,
        return_attention_weights: Any = None,
    ) -> Any:
        """PyG's ``RGATConv.forward``."""
        asked = size is not None or isinstance(return_attention_weights, bool)
        if not asked and is_typed(self, edge_index, edge_type) and self._fits(x, edge_index, edge_attr):
            try:
                return self._attend(x, self._edges(x, edge_index, edge_type), edge_attr)
            except ValueError:  # PyG says it in its own words
                pass
        return super().forward(x, edge_index, edge_type, edge_attr, size, return_attention_weights)

    def _fits(self, x: Any, edge_index: Tensor, edge_attr: Any) -> bool:
        if not is_plain(x) or x.dtype not in FLOATS or any(p.dtype != x.dtype for p in self.parameters()):
            return False
        if edge_attr is not None:
            linear = self.lin_edge
            if type(linear) is not Linear or is_watched(linear) or linear.bias is not None:
                return False
            if not is_plain(edge_attr) or edge_attr.dtype != x.dtype or edge_attr.dim() not in (1, 2):
                return False
            width = 1 if edge_attr.dim() == 1 else edge_attr.shape[1]
            if edge_attr.shape[0] != edge_index.shape[1] or width != linear.weight.shape[1]:
                return False
        return (
            x.dim() == 2
            and x.shape[1] == self.in_channels
            and self.num_relations > 0
            and REDUCES.get(type(self.aggr_module)) == "sum"
            and not is_watched(self.activation)
        )

    def _edges(self, x: Tensor, edge_index: Tensor, edge_type: Tensor) -> TypedEnds:
        """Return the graph; raises a ValueError for an id out of range."""
        sizes = len(x), len(x)

        def make() -> TypedEnds:
            edges, relation = lasting(edge_index, edge_type)
            return TypedEnds(edges[0], edges[1], relation, sizes, self.num_relations)

        return remembered(("typed ends", typed_key(edge_index, edge_type, sizes, self.num_relations)), make)

    def _attend(self, x: Tensor, edges: TypedEnds, edge_attr: Tensor | None) -> Tensor:
        weight = self._weight()  # [R, B, K / B, H C / B]
        rows = edges.sources.gather @ x
        rows = rows.view(len(rows), *weight.shape[1:3])
        values = segment_matmul(rows, edges.sources.ptr, weight).flatten(1)  # [P, H C]
        # the queries of a destination are asked for, its values are not: one product with both matrices
        to_query = (weight @ self.q.view(*weight.shape[1:2], weight.shape[3], -1)).flatten(1, 2)  # [R, K, H dim]
        queries = segment_matmul(edges.destinations.gather @ x, edges.destinations.ptr, to_query)
        scores = self._scores(edges, queries, values @ self.k, edge_attr)  # [E, H dim]
        within = self.attention_mechanism == "within-relation"
        alpha = segment_softmax(scores, edges.indptr if within else edges.adj.indptr)
        out = self._modified(edges, alpha, values.view(len(values), self.heads, self.out_channels))  # [N, H, dim, C]
        out = out.flatten(1) if self.concat else out.mean(dim=1).flatten(1)
        return out if self.bias is None else out + self.bias

    def _weight(self) -> Tensor:
        """``[R, B, K / B, H C / B]``: one block, or those of the block-diagonal decomposition."""
        if self.num_blocks is not None:
            blocks: Tensor = self.weight
            return blocks
        if self.num_bases is None:
            return self.weight.unsqueeze(1)  # type: ignore[no-any-return]
        weight: Tensor = self.att @ self.basis.view(self.num_bases, -1)
        return weight.view(self.num_relations, 1, self.in_channels, self.heads * self.out_channels)

    def _scores(self, edges: TypedEnds, queries: Tensor, keys: Tensor, edge_attr: Tensor | None) -> Tensor:
        q, k = edges.from_destinations(queries), edges.from_sources(keys)
        of_edge = None
        if edge_attr is not None:
            attr = edge_attr.view(-1, 1) if edge_attr.dim() == 1 else edge_attr
            of_edge = edges.in_order(attr @ (self.lin_edge.weight.t() @ self.e))
        if self.attention_mode == "multiplicative-self-attention":
            return q * k if of_edge is None else q * k * of_edge
        scores = q.add_(k) if of_edge is None else q.add_(k).add_(of_edge)
        return F.leaky_relu(scores, self.negative_slope, inplace=self.negative_slope > 0)

    def _modified(self, edges: TypedEnds, alpha: Tensor, values: Tensor) -> Tensor:
        """Aggregate, with the cardinality that ``mod`` preserves: ``[N, H, dim, C]``."""
        adj = edges.adj
        if self.mod == "f-additive":
            alpha = torch.where(alpha > 0, alpha + 1, alpha)
        elif self.mod not in _MODS and self.training and self.dropout > 0:
            # drawn in the order of the edges, so that a seed drops what it drops in PyG
            alpha = alpha * F.dropout(torch.ones_like(alpha), self.dropout).index_select(0, edges.edge_ids)
        heads = alpha.view(-1, self.heads, self.dim).unbind(2)
        sums = [spmm(adj.indptr, adj.indices, values, one, transpose=edges.transpose) for one in heads]
        out = torch.stack(sums, dim=2)
        if self.mod == "additive":
            total = spmm(adj.indptr, adj.indices, values, transpose=edges.transpose)
            out = out + (self.w * total).unsqueeze(2)
        if self.mod in ("scaled", "f-scaled"):
            degree = adj.in_degree().to(out.dtype).unsqueeze(1)  # [N, 1]
            if self.mod == "scaled":
                degree = self.activation(degree @ self.l1 + self.b1) @ self.l2 + self.b2  # [N, C]
            return out * degree[:, None, None]
        return out
