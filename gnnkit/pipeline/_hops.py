"""PyG's layers as hops of three parts: the dense work once for each node, before or after its rows are gathered."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gnnkit.pipeline._network import Edges, Neighbourhood, OneHop


class Hop(OneHop):
    """x' = [x +] leave(conv(enter(x))), with PyG's ``conv`` and its parameters.

    ``enter`` may draw random numbers (dropout), so what it gave is read from the rows that neighbours see, never made
    a second time.

    Args:
        conv: PyG's layer.
        edges: What it reads, as `gnnkit.pipeline.Network` takes it.
        enter: Works row by row before it, or None.
        leave: Works row by row after it, or None.
        residual: Whether x is added.
    """

    def __init__(
        self, conv: Any, edges: Edges, enter: nn.Module | None, leave: nn.Module | None, residual: bool
    ) -> None:
        super().__init__()
        self.conv, self.enter, self.leave = conv, enter, leave
        self.edges, self.residual = edges, residual

    def before(self, x: Tensor, shared: Tensor | None = None) -> Tensor:
        """Give what neighbours see."""
        return self.message(x if self.enter is None else self.enter(x))

    def after(self, a: Tensor, x: Tensor, shared: Tensor | None = None) -> Tensor:
        """Make the new rows."""
        out = self.update(a, x, shared)
        out = out if self.leave is None else self.leave(out)
        return x + out if self.residual else out

    def message(self, h: Tensor) -> Tensor:
        """Give what neighbours see of what ``enter`` gave."""
        return h

    def aggregate(self, z: Tensor, graph: Neighbourhood) -> Tensor:
        """Add up the neighbours' rows by the edges' weights."""
        return graph.adj.spmm(z, self.weight(z, graph))

    def update(self, a: Tensor, x: Tensor, shared: Tensor | None) -> Tensor:
        """Finish what ``conv`` makes of the gathered rows; x is the hop's input, before ``enter``."""
        raise NotImplementedError(f"{type(self).__name__}.update: expected a subclass to say how rows are finished")

    def weight(self, z: Tensor, graph: Neighbourhood) -> Tensor | None:
        """Return the edges' weights, or None where the layer reads none."""
        weight = graph.edge_weight
        if (weight is None) != (self.edges in ("plain", "loops")):
            got = "edges without weights" if weight is None else "edges with weights"
            raise ValueError(f"{type(self.conv).__name__}: expected a network with edges={self.edges!r} (got {got})")
        return None if weight is None else weight.to(z.dtype)


class GCNHop(Hop):
    """``GCNConv``: x' = (A h) W + b, or A (h W) + b where W narrows."""

    def __init__(self, conv: Any, *options: Any) -> None:
        super().__init__(conv, *options)
        self.narrows = conv.out_channels < conv.in_channels

    def message(self, h: Tensor) -> Tensor:
        return F.linear(h, self.conv.lin.weight) if self.narrows else h

    def update(self, a: Tensor, x: Tensor, shared: Tensor | None) -> Tensor:
        if not self.narrows:
            return F.linear(a, self.conv.lin.weight, self.conv.bias)
        return a if self.conv.bias is None else a + self.conv.bias


class SAGEHop(Hop):
    """``SAGEConv``: x' = reduce_j(m_j) W_l + b + h W_r, m = h or relu(h W + b) with ``project``."""

    def __init__(self, conv: Any, *options: Any) -> None:
        super().__init__(conv, *options)
        # beside what is gathered, a destination's own row of what neighbours see
        self.carries = conv.root_weight and self.enter is not None
        linear = conv.aggr in ("mean", "add", "sum") and not conv.project
        self.narrows = linear and not self.carries and conv.lin_l.out_channels < conv.lin_l.in_channels

    def message(self, h: Tensor) -> Tensor:
        if self.conv.project:
            return F.linear(h, self.conv.lin.weight, self.conv.lin.bias).relu()
        return F.linear(h, self.conv.lin_l.weight) if self.narrows else h

    def aggregate(self, z: Tensor, graph: Neighbourhood) -> Tensor:
        weight = self.weight(z, graph)
        reduce = "sum" if self.conv.aggr in ("mean", "add") else self.conv.aggr  # a mean's weights are 1 / in-degree
        a = graph.adj.spmm(z, weight, reduce)
        return torch.cat([a, z[: graph.adj.num_dst]], dim=1) if self.carries else a  # [num_dst, 2 D]

    def update(self, a: Tensor, x: Tensor, shared: Tensor | None) -> Tensor:
        left, bias = self.conv.lin_l.weight, self.conv.lin_l.bias
        if self.carries:
            out = F.linear(a, torch.cat([left, self.conv.lin_r.weight], dim=1), bias)
        else:
            out = F.linear(a, left, bias) if not self.narrows else a if bias is None else a + bias
            out = out + F.linear(x, self.conv.lin_r.weight) if self.conv.root_weight else out
        return F.normalize(out, p=2.0, dim=-1) if self.conv.normalize else out


class GCN2Hop(Hop):
    """``GCN2Conv``: x' = m ((1 - beta) I + beta W), m = (1 - alpha) A h + alpha h0."""

    def update(self, a: Tensor, x: Tensor, shared: Tensor | None) -> Tensor:
        if shared is None:
            raise ValueError("GCN2Conv: expected a network with shares=True, which hands it h0 (got none)")
        alpha, beta = self.conv.alpha, self.conv.beta
        if self.conv.weight2 is None:
            return _mapped(torch.lerp(a, shared.to(a.dtype), alpha), self.conv.weight1, beta)
        return _mapped((1 - alpha) * a, self.conv.weight1, beta) + _mapped(alpha * shared, self.conv.weight2, beta)


def _mapped(m: Tensor, weight: Tensor, beta: float) -> Tensor:
    return torch.addmm(m, m, weight, beta=1 - beta, alpha=beta)
