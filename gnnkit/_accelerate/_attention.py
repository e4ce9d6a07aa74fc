"""GATConv and GATv2Conv: attention in one fused kernel, on a graph whose self-loops are remembered."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch_geometric.utils import add_self_loops, remove_self_loops

from gnnkit._accelerate import _cache
from gnnkit._accelerate._cache import CACHE
from gnnkit._accelerate._inplace import is_plain
from gnnkit._accelerate._layer import FastLayer, is_fast
from gnnkit._accelerate._rows import FLOATS
from gnnkit.adjacency import Adjacency
from gnnkit.kernels import gat_attention, gatv2_attention


class FastAttention(FastLayer):
    """What the two layers share: everything but the scores."""

    @abstractmethod
    def _aggregated(self, x: Any, graph: Callable[[int, int | None], Adjacency | None]) -> Tensor | None:
        """Return the aggregated rows ``[N_dst, H, C]``; None if there is no such graph."""

    def _attend(self, x: Any, edge_index: Tensor) -> Tensor | None:
        """Return what the layer returns; None if this call is PyG's."""

        def graph(num_src: int, num_dst: int | None) -> Adjacency | None:
            sizes = num_src, num_src if num_dst is None else num_dst
            try:
                return _graph(edge_index, sizes, min(sizes) if self.add_self_loops else None)
            except ValueError:
                return None

        out = self._aggregated(x, graph)
        if out is None:
            return None
        out = out.flatten(1) if self.concat else out.mean(dim=1)
        x_dst = x if isinstance(x, Tensor) else x[1]
        if self.res is not None and x_dst is not None:
            out = out + self.res(x_dst)
        return out if self.bias is None else out + self.bias

    def _how(self, adj: Adjacency, x: Tensor) -> dict[str, Any]:
        """What both kinds of attention take by name."""
        mask = None
        if self.training and self.dropout > 0:
            # drawn in the order of the edges, so that a seed drops what it drops in PyG
            kept = F.dropout(torch.ones(adj.num_edges, self.heads, dtype=x.dtype), self.dropout)  # [E, H]
            mask = kept.index_select(0, adj.edge_ids)
        transpose = adj.transpose if torch.is_grad_enabled() else None
        return {"mask": mask, "negative_slope": self.negative_slope, "transpose": transpose}

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
            and self.negative_slope >= 0
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

    def _aggregated(self, x: Any, graph: Any) -> Tensor | None:
        x_src, x_dst = (x, x) if isinstance(x, Tensor) else x
        to_src, to_dst = (self.lin, self.lin) if self.lin is not None else (self.lin_src, self.lin_dst)
        src = to_src(x_src).view(-1, self.heads, self.out_channels)
        adj = graph(len(src), None if x_dst is None else len(x_dst))
        if adj is None:
            return None
        a_src = self._scores(x_src, to_src, self.att_src, src)
        if x_dst is None:
            a_dst = a_src.new_zeros(adj.num_dst, self.heads)
        else:
            a_dst = self._scores(x_dst, to_dst, self.att_dst, src if x_dst is x_src and to_dst is to_src else None)
        return gat_attention(adj.indptr, adj.indices, src, a_src, a_dst, **self._how(adj, src))

    def _scores(self, x: Tensor, linear: Any, att: Tensor, rows: Tensor | None) -> Tensor:
        """The sum over channels of ``att * linear(x)``, ``[N, H]``; ``rows`` is ``linear(x)`` where it is known."""
        if not is_plain(linear) or linear.bias is not None or is_lazy(linear.weight):
            rows = linear(x).view(-1, self.heads, self.out_channels) if rows is None else rows
            return (rows * att).sum(-1)
        # x (W a) in place of (x W) a: neither forward nor backward touches anything of size N * H * C
        weight = linear.weight.view(self.heads, self.out_channels, -1)  # [H, C, in]
        return x @ torch.einsum("hci,hc->ih", weight, att.squeeze(0))


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

    def _aggregated(self, x: Any, graph: Any) -> Tensor | None:
        x_src, x_dst = (x, x) if isinstance(x, Tensor) else x
        shape = -1, self.heads, self.out_channels
        src = self.lin_l(x_src).view(shape)
        dst = src if isinstance(x, Tensor) and self.share_weights else self.lin_r(x_dst).view(shape)
        adj = graph(len(src), len(dst))
        if adj is None:
            return None
        return gatv2_attention(adj.indptr, adj.indices, src, dst, self.att.squeeze(0), **self._how(adj, src))


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
