"""Which layers have more than the aggregation to gain."""

from __future__ import annotations

from torch_geometric.nn.conv import (
    FastRGCNConv,
    GATConv,
    GATv2Conv,
    GCNConv,
    GINConv,
    HGTConv,
    MessagePassing,
    RGATConv,
    RGCNConv,
    SAGEConv,
)

from gnnkit._accelerate._attention import FastGAT, FastGATv2
from gnnkit._accelerate._gcn import FastGCN
from gnnkit._accelerate._inplace import FastGIN, FastSAGE
from gnnkit._accelerate._layer import FastLayer
from gnnkit._accelerate._typed_hgt import FastHGT
from gnnkit._accelerate._typed_rgat import FastRGAT
from gnnkit._accelerate._typed_rgcn import FastFastRGCN, FastRGCN

_FUNCTIONS = (
    *("forward", "message", "aggregate", "update", "edge_update", "edge_updater"),
    *("_cat", "_construct_src_node_feat"),  # HGTConv's
)
_MIXINS: dict[type[MessagePassing], type[FastLayer]] = {
    GCNConv: FastGCN,
    SAGEConv: FastSAGE,
    GINConv: FastGIN,
    GATConv: FastGAT,
    GATv2Conv: FastGATv2,
    FastRGCNConv: FastFastRGCN,  # a subclass of the next
    RGCNConv: FastRGCN,
    RGATConv: FastRGAT,
    HGTConv: FastHGT,
}


def mixin_of(layer_class: type[MessagePassing]) -> type[FastLayer]:
    """Return what to put before a layer's class: a subclass that keeps its parent's functions is its parent."""
    for known, mixin in _MIXINS.items():
        if issubclass(layer_class, known):
            same = all(getattr(layer_class, name, None) is getattr(known, name, None) for name in _FUNCTIONS)
            return mixin if same else FastLayer
    return FastLayer
