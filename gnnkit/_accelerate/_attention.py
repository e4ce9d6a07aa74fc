"""GATConv and GATv2Conv: attention in one fused kernel, on a graph whose self-loops are remembered."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.parameter import UninitializedParameter

from gnnkit._accelerate import _cache
from gnnkit._accelerate._compiled_attention import gat_op, gatv2_op
from gnnkit._accelerate._inplace import is_plain
from gnnkit._accelerate._layer import FastLayer, is_fast, is_fast_compiled
from gnnkit._accelerate._rows import FLOATS
from gnnkit._accelerate._watch import is_compiled
from gnnkit.kernels import gat_attention, gatv2_attention


class FastAttention(FastLayer):
    """What the two layers share: everything but the scores."""

    _attention: Callable[..., Tensor]
    _compiled_op: Callable[..., tuple[Tensor, ...]]

    @abstractmethod
    def _operands(self, x: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three tensors that the attention takes, the rows of the sources first."""

    def _attend(self, x: Any, edge_index: Tensor) -> Tensor | None:
        """Return what the layer returns; None if this call is PyG's."""
        x_src, x_dst = (x, x) if isinstance(x, Tensor) else x
        sizes = len(x_src), len(x_src if x_dst is None else x_dst)
        loops = min(sizes) if self.add_self_loops else None
        operands = self._operands(x)
        if is_compiled():
            # how many edges are left beside the self-loops is not known yet: one number for each that there may be
            mask = self._mask(edge_index.shape[1] + (loops or 0), operands[0])
            out = self._compiled_op(edge_index, *operands, mask, self.negative_slope, loops)[0]
        else:
            try:
                adj = _cache.of_looped_edges(edge_index, sizes, loops)
            except ValueError:
                return None
            # drawn in the order of the edges, so that a seed drops what it drops in PyG
            mask = self._mask(adj.num_edges, operands[0])
            how = {
                "mask": None if mask is None else mask.index_select(0, adj.edge_ids),
                "negative_slope": self.negative_slope,
                "transpose": adj.transpose if torch.is_grad_enabled() else None,
            }
            out = self._attention(adj.indptr, adj.indices, *operands, **how)
        out = out.flatten(1) if self.concat else out.mean(dim=1)
        if self.res is not None and x_dst is not None:
            out = out + self.res(x_dst)
        return out if self.bias is None else out + self.bias

    def _mask(self, num_edges: int, x: Tensor) -> Tensor | None:
        """Draw the factors of the dropout, ``[E, H]``; None where nothing is dropped."""
        if not self.training or self.dropout == 0:
            return None
        return F.dropout(torch.ones(num_edges, self.heads, dtype=x.dtype), self.dropout)

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
            and (is_fast(self, edge_index) or is_fast_compiled(self, edge_index))
        )


class FastGAT(FastAttention):
    """A ``GATConv`` whose scores are sums of one number of each end."""

    _attention = staticmethod(gat_attention)
    _compiled_op = staticmethod(gat_op)

    def forward(
        self, x: Any, edge_index: Any, edge_attr: Any = None, size: Any = None, return_attention_weights: Any = None
    ) -> Any:
        """PyG's ``GATConv.forward``."""
        if self._is_fast(x, edge_index, edge_attr, size, return_attention_weights):
            out = self._attend(x, edge_index)
            if out is not None:
                return out
        return super().forward(x, edge_index, edge_attr, size, return_attention_weights)

    def _operands(self, x: Any) -> tuple[Tensor, Tensor, Tensor]:
        x_src, x_dst = (x, x) if isinstance(x, Tensor) else x
        to_src, to_dst = (self.lin, self.lin) if self.lin is not None else (self.lin_src, self.lin_dst)
        src = to_src(x_src).view(-1, self.heads, self.out_channels)
        a_src = self._scores(x_src, to_src, self.att_src, src)
        if x_dst is None:
            return src, a_src, a_src.new_zeros(a_src.shape)
        known = src if x_dst is x_src and to_dst is to_src else None
        return src, a_src, self._scores(x_dst, to_dst, self.att_dst, known)

    def _scores(self, x: Tensor, linear: Any, att: Tensor, rows: Tensor | None) -> Tensor:
        """The sum over channels of ``att * linear(x)``, ``[N, H]``; ``rows`` is ``linear(x)`` where it is known."""
        if not is_plain(linear) or linear.bias is not None or isinstance(linear.weight, UninitializedParameter):
            rows = linear(x).view(-1, self.heads, self.out_channels) if rows is None else rows
            return (rows * att).sum(-1)
        # x (W a) in place of (x W) a: neither forward nor backward touches anything of size N * H * C
        weight = linear.weight.view(self.heads, self.out_channels, -1)  # [H, C, in]
        return x @ torch.einsum("hci,hc->ih", weight, att.squeeze(0))


class FastGATv2(FastAttention):
    """A ``GATv2Conv``, whose scores mix the channels of both ends before they are summed."""

    _attention = staticmethod(gatv2_attention)
    _compiled_op = staticmethod(gatv2_op)

    def forward(self, x: Any, edge_index: Any, edge_attr: Any = None, return_attention_weights: Any = None) -> Any:
        """PyG's ``GATv2Conv.forward``."""
        pair = isinstance(x, Tensor) or (isinstance(x, tuple | list) and len(x) == 2 and x[1] is not None)
        if pair and self._is_fast(x, edge_index, edge_attr, None, return_attention_weights):
            out = self._attend(x, edge_index)
            if out is not None:
                return out
        return super().forward(x, edge_index, edge_attr, return_attention_weights)

    def _operands(self, x: Any) -> tuple[Tensor, Tensor, Tensor]:
        x_src, x_dst = (x, x) if isinstance(x, Tensor) else x
        shape = -1, self.heads, self.out_channels
        src = self.lin_l(x_src).view(shape)
        dst = src if isinstance(x, Tensor) and self.share_weights else self.lin_r(x_dst).view(shape)
        return src, dst, self.att.squeeze(0)
