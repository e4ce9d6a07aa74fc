"""PyG's aggregations on the kernels: what each of its modules computes from the messages of a graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch_geometric.nn.aggr import (
    DegreeScalerAggregation,
    MaxAggregation,
    MeanAggregation,
    MinAggregation,
    MultiAggregation,
    PowerMeanAggregation,
    SoftmaxAggregation,
    StdAggregation,
    SumAggregation,
    VarAggregation,
)

from gnnkit._accelerate._cache import Topology
from gnnkit._accelerate._products import reduced
from gnnkit._accelerate._rows import FLOATS, Rows, materialised
from gnnkit.kernels import segment_reduce, segment_softmax

REDUCES = {SumAggregation: "sum", MeanAggregation: "mean", MaxAggregation: "max", MinAggregation: "min"}

# how far apart a channel's exponents may be: weights lose no digits, and their sums do not underflow
_SPANS = {torch.float32: 30.0, torch.float64: 300.0}


class Messages:
    """The messages of a graph; what several aggregations want of them is computed once.

    Attributes:
        rows: One row an edge, pending or not.
        topology: The graph.
        dim: Where in ``rows`` the edges are.
    """

    def __init__(self, rows: Any, topology: Topology, dim: int) -> None:
        self.rows, self.topology, self.dim = rows, topology, dim
        self._known: dict[str, Tensor] = {}

    def reduce(self, reduce: str) -> Tensor:
        """Reduce them by one of the kernels' four."""
        return self._once(reduce, lambda: reduced(self.rows, self.topology, reduce, self.dim))

    def variance(self, semi_grad: bool) -> Tensor:
        """Return the mean of the squares less the square of the mean; ``semi_grad``: the squares are constants."""

        def compute() -> Tensor:
            mean = self.reduce("mean")
            rows = materialised(self.rows).detach() if semi_grad else self.rows
            return reduced(rows * rows, self.topology, "mean", self.dim) - mean * mean

        return self._once(f"variance {semi_grad}", compute)

    def _once(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        if name not in self._known:
            self._known[name] = compute()
        return self._known[name]


def aggregation(module: Any, rows: Any, topology: Topology, dim: int) -> Tensor | None:
    """Return what PyG's aggregation ``module`` makes of messages; None if that is left to it."""
    plain = type(rows) is Tensor or isinstance(rows, Rows)
    if not plain or rows.dtype not in FLOATS or rows.shape[dim] != topology.adj.num_edges:
        return None
    return _compute(module, Messages(rows, topology, dim)) if is_served(module, rows.dim(), dim) else None


def is_served(module: Any, dims: int, dim: int) -> bool:
    """Whether the kernels do what a module does with messages of ``dims`` dimensions, edges in ``dim``."""
    if type(module) is MultiAggregation:
        # PyG's fused one takes the squares as constants for all of them if for one of them
        semi = any(getattr(getattr(a, "var_aggr", a), "semi_grad", False) for a in module.aggrs)
        return not semi and all(is_served(a, dims, dim) for a in module.aggrs)
    if type(module) is DegreeScalerAggregation:
        return is_served(module.aggr, dims, dim)
    if type(module) in (SoftmaxAggregation, PowerMeanAggregation):
        return dim == 0 and (dims == 2 or (dims == 3 and module.channels == 1))
    if type(module) is StdAggregation:
        return type(module.var_aggr) is VarAggregation
    return type(module) in REDUCES or type(module) is VarAggregation


def _compute(module: Any, messages: Messages) -> Tensor:
    if (reduce := REDUCES.get(type(module))) is not None:
        return messages.reduce(reduce)
    return _COMPUTE[type(module)](module, messages)


def _variance(module: VarAggregation, messages: Messages) -> Tensor:
    return messages.variance(module.semi_grad)


def _deviation(module: StdAggregation, messages: Messages) -> Tensor:
    out = messages.variance(module.var_aggr.semi_grad).clamp(min=1e-5).sqrt()
    return out.masked_fill(out <= math.sqrt(1e-5), 0.0)


def _softmax(module: SoftmaxAggregation, messages: Messages) -> Tensor:
    t = _per_channel(module, module.t)
    constant = module.semi_grad and not module.learn
    if not constant and (out := _softmax_of_nodes(messages, t)) is not None:
        return out
    adj = messages.topology.adj
    rows = adj.to_csr_order(materialised(messages.rows))  # [E, ...]: brought into order once, for all that follows
    alpha = rows.detach() if constant else rows
    alpha = alpha if _is_one(t) else alpha * t
    alpha = segment_softmax(alpha.flatten(1), adj.indptr).view_as(rows)
    return segment_reduce(rows * alpha, adj.indptr)


def _softmax_of_nodes(messages: Messages, t: Any) -> Tensor | None:
    """Weight messages that are rows of sources as they are: two products with the graph, nothing at the edges.

    The weights are powers of e below each channel's largest. Where they could underflow, None.
    """
    rows = messages.rows
    if not isinstance(rows, Rows) or rows.end != "src" or rows.dim() != 2 or not rows.is_node_level(multiplies=True):
        return None
    scaled = rows.own_table() * t  # [N, D]
    if not len(scaled):
        return None
    low, high = scaled.detach().aminmax(dim=0)
    if not bool((high - low <= _SPANS[rows.dtype]).all()):
        return None
    weights = (scaled - high).exp()
    both = reduced(rows.like(torch.cat([weights, weights * rows.own_table()], dim=-1)), messages.topology, "sum")
    total, weighted = torch.chunk(both, 2, dim=-1)
    # a row without messages is 0 / 0 here, and 0 in PyG
    return weighted / total.masked_fill(total == 0, 1)


def _power_mean(module: PowerMeanAggregation, messages: Messages) -> Tensor:
    p = _per_channel(module, module.p)
    if _is_one(p):
        return messages.reduce("mean")
    low, high = module.min_value, module.max_value
    powers = materialised(messages.rows).clamp(min=low, max=high).pow(p)
    mean = reduced(powers, messages.topology, "mean", messages.dim)
    out: Tensor = mean.clamp(min=low, max=high).pow(1.0 / p)
    return out


def _per_channel(module: Any, parameter: Any) -> Any:
    return parameter if module.channels == 1 else parameter.view(-1, module.channels)


def _is_one(parameter: Any) -> bool:
    return type(parameter) in (int, float) and parameter == 1


def _several(module: MultiAggregation, messages: Messages) -> Tensor:
    out: Tensor = module.combine([_compute(one, messages) for one in module.aggrs])
    return out


def _scaled(module: DegreeScalerAggregation, messages: Messages) -> Tensor:
    out = _compute(module.aggr, messages)
    shape = [1] * out.dim()
    shape[messages.dim] = -1
    degree = messages.topology.adj.in_degree().to(out.dtype).view(shape)
    lin, log = module.avg_deg_lin, module.avg_deg_log
    scales: dict[str, Callable[[], Any]] = {
        "identity": lambda: 1,
        "amplification": lambda: torch.log(degree + 1) / log,
        "attenuation": lambda: log / torch.log(degree.clamp(min=1) + 1),
        "linear": lambda: degree / lin,
        "inverse_linear": lambda: lin / degree.clamp(min=1),
    }
    if unknown := [name for name in module.scaler if name not in scales]:
        raise ValueError(f"Unknown scaler '{unknown[0]}'")  # PyG's words
    outs = [out if name == "identity" else out * scales[name]() for name in module.scaler]
    return torch.cat(outs, dim=-1) if len(outs) > 1 else outs[0]


_COMPUTE: dict[type, Callable[[Any, Messages], Tensor]] = {
    VarAggregation: _variance,
    StdAggregation: _deviation,
    SoftmaxAggregation: _softmax,
    PowerMeanAggregation: _power_mean,
    MultiAggregation: _several,
    DegreeScalerAggregation: _scaled,
}
