"""GATConv and GATv2Conv: scores, softmax and aggregation in CSR order, on a graph whose self-loops are remembered."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.utils import add_self_loops, remove_self_loops

from gnnkit import _edge_rows
from gnnkit._accelerate import _cache
from gnnkit._accelerate._cache import CACHE
from gnnkit._accelerate._layer import FastLayer, is_fast
from gnnkit._accelerate._rows import FLOATS
from gnnkit.adjacency import Adjacency
from gnnkit.kernels import segment_softmax, spmm


class FastAttention(FastLayer):
    """What the two layers share: everything but the scores."""

    @abstractmethod
    def _project(self, x_src: Tensor, x_dst: Tensor | None, shared: bool) -> tuple[Tensor, Tensor | None]:
        """Return the rows ``[N, H, C]`` of sources and destinations; ``shared`` if they are the same nodes."""

    @abstractmethod
    def _scores(self, edges: CSREdges, src: Tensor, dst: Tensor | None) -> Tensor:
        """Return ``[E, H]`` scores before the softmax, in CSR order."""

    def _attend(self, x: Any, edge_index: Tensor) -> Tensor | None:
        """Return what the layer returns; None if this call is PyG's."""
        x_src, x_dst = (x, x) if isinstance(x, Tensor) else x
        src, dst = self._project(x_src, x_dst, shared=isinstance(x, Tensor))
        sizes = len(src), len(src) if dst is None else len(dst)
        try:
            adj = _graph(edge_index, sizes, min(sizes) if self.add_self_loops else None)
        except ValueError:
            return None
        edges = CSREdges(adj)
        alpha = segment_softmax(self._scores(edges, src, dst), adj.indptr)  # [E, H]
        if self.training and self.dropout > 0:
            # drawn in the order of the edges, so that a seed drops what it drops in PyG
            kept = F.dropout(torch.ones_like(alpha), self.dropout)
            alpha = alpha * kept.index_select(0, adj.edge_ids)
        out = spmm(adj.indptr, adj.indices, src, alpha, transpose=edges.transpose)  # [N_dst, H, C]
        out = out.flatten(1) if self.concat else out.mean(dim=1)
        if self.res is not None and x_dst is not None:
            out = out + self.res(x_dst)
        return out if self.bias is None else out + self.bias

    def _is_fast(self, x: Any, edge_index: Any, edge_attr: Any, size: Any, return_attention_weights: Any) -> bool:
        src, dst = (x, x) if isinstance(x, Tensor) else x
        rows = [src] if dst is None else [src, dst]
        return (
            edge_attr is None
            and not return_attention_weights
            and all(type(end) in (Tensor, torch.nn.Parameter) and end.dim() == 2 for end in rows)
            and all(end.dtype in FLOATS and end.dtype == src.dtype for end in rows)
            and (size is None or (dst is not None and tuple(size) == (len(src), len(dst))))
            and self.flow == "source_to_target"
            and self.node_dim == 0
            and self.aggr in ("add", "sum")
            and not torch.is_autocast_enabled("cpu")
            and is_fast(self, edge_index)
        )


class FastGAT(FastAttention):
    """A ``GATConv`` whose scores are sums of one number of each end."""

    def forward(
        self, x: Any, edge_index: Any, edge_attr: Any = None, size: Any = None, return_attention_weights: Any = None
    ) -> Any:
        """PyG's ``GATConv.forward``."""
        if self._is_fast(x, edge_index, edge_attr, size, return_attention_weights):
            out = self._attend(x, edge_index)
            if out is not None:
                return out
        return super().forward(x, edge_index, edge_attr, size, return_attention_weights)

    def _project(self, x_src: Tensor, x_dst: Tensor | None, shared: bool) -> tuple[Tensor, Tensor | None]:
        shape = -1, self.heads, self.out_channels
        to_src, to_dst = (self.lin, self.lin) if self.lin is not None else (self.lin_src, self.lin_dst)
        src = to_src(x_src).view(shape)
        if shared and to_src is to_dst:
            return src, src
        return src, None if x_dst is None else to_dst(x_dst).view(shape)

    def _scores(self, edges: CSREdges, src: Tensor, dst: Tensor | None) -> Tensor:
        scores = edges.from_src((src * self.att_src).sum(-1))  # [E, H]
        if dst is not None:
            scores.add_(edges.from_dst((dst * self.att_dst).sum(-1)))
        # in place where autograd can tell the slope from the result: fresh memory costs more than the arithmetic
        return F.leaky_relu(scores, self.negative_slope, inplace=self.negative_slope > 0)


class FastGATv2(FastAttention):
    """A ``GATv2Conv``, whose scores mix the channels of both ends before they are summed."""

    def forward(self, x: Any, edge_index: Any, edge_attr: Any = None, return_attention_weights: Any = None) -> Any:
        """PyG's ``GATv2Conv.forward``."""
        pair = isinstance(x, Tensor) or (isinstance(x, tuple | list) and len(x) == 2 and x[1] is not None)
        if pair and self._is_fast(x, edge_index, edge_attr, None, return_attention_weights):
            out = self._attend(x, edge_index)
            if out is not None:
                return out
        return super().forward(x, edge_index, edge_attr, return_attention_weights)

    def _project(self, x_src: Tensor, x_dst: Tensor | None, shared: bool) -> tuple[Tensor, Tensor | None]:
        shape = -1, self.heads, self.out_channels
        src = self.lin_l(x_src).view(shape)
        return src, src if shared and self.share_weights else self.lin_r(x_dst).view(shape)

    def _scores(self, edges: CSREdges, src: Tensor, dst: Tensor | None) -> Tensor:
        assert dst is not None
        mixed = edges.from_src(src).add_(edges.from_dst(dst))  # [E, H, C]
        mixed = F.leaky_relu(mixed, self.negative_slope, inplace=self.negative_slope > 0)
        scores: Tensor = (mixed * self.att).sum(-1)
        return scores


class CSREdges:
    """Rows of nodes for the edges of a graph in CSR order, with gradients summed along rows."""

    def __init__(self, adj: Adjacency) -> None:
        self.adj = adj
        self.transpose = adj.transpose if torch.is_grad_enabled() else None

    def from_src(self, x: Tensor) -> Tensor:
        """``[E, ...]``: the row of each edge's source."""
        if self.transpose is None:
            return x.index_select(0, self.adj.indices)
        t_indptr, _, t_perm = self.transpose
        return _edge_rows.gather(x, self.adj.indices, t_indptr, t_perm)

    def from_dst(self, x: Tensor) -> Tensor:
        """``[E, ...]``: the row of each edge's destination."""
        return _edge_rows.gather(x, *self.adj.entries)


def _graph(edge_index: Tensor, sizes: tuple[int, int], loops: int | None) -> Adjacency:
    """Return a graph, the first ``loops`` nodes with a self-loop each in place of theirs."""
    if loops is None:
        return _cache.of_edges(edge_index, sizes).adj

    def make() -> tuple[Adjacency, int]:
        with torch.inference_mode(False):
            edges = edge_index.clone() if edge_index.is_inference() else edge_index
            edges, _ = add_self_loops(remove_self_loops(edges)[0], num_nodes=loops)
            adj = Adjacency.from_edge_index(edges, sizes)
        return adj, _cache.nbytes(adj)

    key = "loops", loops, _cache.edges_key(edge_index, sizes)
    return CACHE.get(key, make)  # type: ignore[no-any-return]
