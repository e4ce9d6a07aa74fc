"""SAGEConv and GINConv: the root's term is added in place, because fresh memory costs more than the sum itself."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.module import _has_any_global_hook
from torch_geometric.nn import Linear

from gnnkit._accelerate._aggregation import REDUCES
from gnnkit._accelerate._layer import FastLayer, is_fast
from gnnkit._accelerate._rows import FLOATS


class FastSAGE(FastLayer):
    """A ``SAGEConv`` that adds the root's term to the product with the neighbours."""

    def forward(self, x: Any, edge_index: Any, size: Any = None) -> Any:
        """PyG's ``SAGEConv.forward``."""
        if not (_is_input(x) and is_fast(self, edge_index) and is_plain(self.lin_l)):
            return super().forward(x, edge_index, size)
        src, dst = (x, x) if isinstance(x, Tensor) else x
        if self.project:
            src = self.lin(src).relu()
        out = self.lin_l(self.propagate(edge_index, x=(src, dst), size=size))
        if self.root_weight and dst is not None:
            root = self.lin_r(dst)
            out = out.add_(root) if root.dtype == out.dtype else out + root
        return F.normalize(out, p=2.0, dim=-1) if self.normalize else out


class FastGIN(FastLayer):
    """A ``GINConv`` that adds the root's term to the sum over the neighbours."""

    def forward(self, x: Any, edge_index: Any, size: Any = None) -> Any:
        """PyG's ``GINConv.forward``."""
        src: Any
        dst: Any
        src, dst = (x, x) if isinstance(x, Tensor) else x if _is_input(x) else (None, None)
        floats = isinstance(src, Tensor) and src.dtype in FLOATS and self.eps.dtype == src.dtype
        like = dst is None or (floats and dst.dtype == src.dtype and dst.shape[1:] == src.shape[1:])
        number = self.eps.numel() == 1 and not self.eps.requires_grad
        # the backward of max and min looks at their output
        sums = REDUCES.get(type(self.aggr_module)) in ("sum", "mean")
        if not (floats and like and number and sums and is_fast(self, edge_index)):
            return super().forward(x, edge_index, size)
        out = self.propagate(edge_index, x=(src, dst), size=size)
        return self.nn(out if dst is None else out.add_(dst, alpha=1 + self.eps.item()))


def _is_input(x: Any) -> bool:
    return isinstance(x, Tensor) or (isinstance(x, tuple | list) and len(x) == 2)


def is_plain(linear: Any) -> bool:
    """Whether a dense layer is only that: nobody else can hold what it returns, and no hook sees it."""
    if type(linear) is not Linear or "forward" in linear.__dict__ or _has_any_global_hook():  # type: ignore[no-untyped-call]
        return False
    return not (linear._forward_hooks or linear._backward_hooks or linear._backward_pre_hooks)
