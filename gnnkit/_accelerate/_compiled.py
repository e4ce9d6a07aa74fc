"""An accelerated layer inside ``torch.compile``: what of it is one operation of ours in the compiled graph.

Pending rows and a hash of content cannot be traced. What can is the choice, made from the layer's class, between PyG's
code and an operation that takes the ``edge_index`` as it is and looks the graph up when it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import Parameter
from torch_geometric.nn.conv import (
    APPNP,
    ARMAConv,
    ClusterGCNConv,
    GATConv,
    GatedGraphConv,
    GATv2Conv,
    GCN2Conv,
    GCNConv,
    GINConv,
    GraphConv,
    LGConv,
    MessagePassing,
    MFConv,
    MixHopConv,
    PANConv,
    PDNConv,
    SAGEConv,
    SGConv,
    SignedConv,
    SimpleConv,
    SSGConv,
    TAGConv,
    WLConvContinuous,
)
from torch_geometric.nn.models import LabelPropagation

from gnnkit._accelerate._aggregation import REDUCES
from gnnkit._accelerate._compiled_ops import aggregate_op
from gnnkit._accelerate._rows import FLOATS

_UNWEIGHTED = (SAGEConv, GINConv, MFConv, SignedConv)
_WEIGHTED = (
    *(APPNP, ARMAConv, ClusterGCNConv, GatedGraphConv, GCN2Conv, GCNConv, GraphConv, LGConv, LabelPropagation),
    *(MixHopConv, PANConv, PDNConv, SGConv, SimpleConv, SSGConv, TAGConv, WLConvContinuous),
)
# the argument that holds the weights, for every function that returns x_j or weights * x_j
_MESSAGES: dict[Callable[..., Any], str] = {
    MessagePassing.message: "",
    **dict.fromkeys((layer.message for layer in _UNWEIGHTED), ""),
    **dict.fromkeys((layer.message for layer in _WEIGHTED), "edge_weight"),
    **dict.fromkeys((layer.message for layer in (GATConv, GATv2Conv)), "alpha"),
}


def propagate(layer: MessagePassing, edge_index: Tensor, size: Any, kwargs: dict[str, Any]) -> Tensor | None:
    """Aggregate by one operation; None if the layer's functions or the arguments are not of the few that this serves.

    Served are sum, mean, max and min of ``x_j`` or ``weight * x_j``, by functions of PyG that are known to be that: a
    subclass with a ``message``, ``aggregate`` or ``update`` of its own is not.
    """
    kind = type(layer)
    weight_name = _MESSAGES.get(kind.message)
    reduce = REDUCES.get(type(layer.aggr_module))
    own = kind.aggregate is not MessagePassing.aggregate or kind.update is not MessagePassing.update
    if weight_name is None or reduce is None or own:
        return None
    sizes = layer._check_input(edge_index, size)
    i, j = (1, 0) if layer.flow == "source_to_target" else (0, 1)
    x = kwargs.get("x")
    if isinstance(x, tuple | list):
        if len(x) != 2 or (i == 0 and x[0] is not x[1]):
            return None
        if isinstance(x[i], Tensor):
            layer._set_size(sizes, i, x[i])
        x = x[j]
    if not isinstance(x, Tensor) or not _are_rows(layer, x):
        return None
    layer._set_size(sizes, j, x)
    num_dst = sizes[j] if sizes[i] is None else sizes[i]
    weight = kwargs.get(weight_name) if weight_name else None
    if weight is not None:
        weight = _numbers(weight, x, weight_name == "alpha", edge_index.shape[1])
        if weight is None:
            return None
    edges = edge_index if i == 1 else edge_index.flip(0)
    out: Tensor = aggregate_op(edges, x, weight, reduce, num_dst)
    return out


def _are_rows(layer: MessagePassing, x: Tensor) -> bool:
    node_dim = layer.node_dim % x.dim() if x.dim() in (2, 3) else None
    return type(x) in (Tensor, Parameter) and x.dtype in FLOATS and node_dim == 0


def _numbers(weight: Any, x: Tensor, per_head: bool, num_edges: int) -> Tensor | None:
    """Return the weights, ``[E]`` or ``[E, H]``; None if the message is no product of each row with them."""
    if type(weight) not in (Tensor, Parameter) or weight.dtype != x.dtype or weight.shape[:1] != (num_edges,):
        return None
    if per_head:  # weight.unsqueeze(-1) * x_j
        return weight if weight.dim() == 2 and x.dim() == 3 and weight.shape[1] == x.shape[1] else None
    # weight.view(-1, 1) * x_j
    return weight.view(-1) if x.dim() == 2 and weight.shape.numel() == num_edges else None
