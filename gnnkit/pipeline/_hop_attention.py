"""PyG's GATConv as a hop: neighbours see rows that are mapped already, destinations attend to them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gnnkit.kernels import gat_attention
from gnnkit.pipeline._hops import Hop
from gnnkit.pipeline._network import Neighbourhood


class GATHop(Hop):
    """``GATConv``: z = h W for each node; the scores s_j + d_i + t_e and the softmax at destinations."""

    def message(self, h: Tensor) -> Tensor:
        return F.linear(h, self.conv.lin.weight)  # [n, H * C]

    def aggregate(self, z: Tensor, graph: Neighbourhood) -> Tensor:
        self.weight(z, graph)  # refuses weights
        conv, adj = self.conv, graph.adj
        rows = z.view(-1, conv.heads, conv.out_channels)  # [num_src, H, C]
        mask = self._mask(adj.num_edges, z)
        edge = self._edge_scores(graph)
        out = gat_attention(
            adj.indptr,
            adj.indices,
            rows,
            (rows * conv.att_src).sum(dim=-1),  # [num_src, H]; einsum takes three times as long
            (rows[: adj.num_dst] * conv.att_dst).sum(dim=-1),
            None if edge is None else adj.to_csr_order(edge),
            mask=None if mask is None else adj.to_csr_order(mask),
            negative_slope=conv.negative_slope,
            transpose=adj.transpose if torch.is_grad_enabled() else None,
        )
        return out.flatten(1) if conv.concat else out.mean(dim=1)

    def update(self, a: Tensor, x: Tensor, shared: Tensor | None) -> Tensor:
        if self.conv.res is not None:
            return a + F.linear(x, self.conv.res.weight, self.conv.bias)
        return a if self.conv.bias is None else a + self.conv.bias

    def _mask(self, num_edges: int, z: Tensor) -> Tensor | None:
        """Draw the factors of the coefficients' dropout, ``[E, H]`` in edge order as PyG does."""
        if not self.training or self.conv.dropout == 0:
            return None
        return F.dropout(torch.ones(num_edges, self.conv.heads, dtype=z.dtype, device=z.device), self.conv.dropout)

    def _edge_scores(self, graph: Neighbourhood) -> Tensor | None:
        """``[E, H]``: the edges' part of the scores."""
        conv: Any = self.conv
        if graph.edge_attr is None or conv.edge_dim is None:
            return None
        weight = conv.lin_edge.weight.view(conv.heads, conv.out_channels, -1)  # [H, C, De]
        out: Tensor = graph.edge_attr @ torch.einsum("hcd,hc->dh", weight, conv.att_edge[0])
        return out
