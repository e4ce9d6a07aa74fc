"""The benchmark's layers: PyG's own, made for a place in a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

Reads = Literal["rows", "edges", "normalised edges"]  # see `gnnkit.train.Step`


@dataclass(frozen=True)
class Place:
    """Where a layer stands.

    Attributes:
        in_channels: Width of what comes in.
        out_channels: Width of what goes out; of each head's, for heads that are concatenated.
        heads: Attention heads.
        concat: Whether heads are concatenated; otherwise averaged.
        attention_dropout: Dropout of the attention coefficients.
        edge_dim: Width of ``edge_attr``; None for a layer that is given none.
        one_graph: Whether the layer sees one graph only, and may keep what it computes from it.
    """

    in_channels: int
    out_channels: int
    heads: int = 1
    concat: bool = False
    attention_dropout: float = 0.0
    edge_dim: int | None = None
    one_graph: bool = True


@dataclass(frozen=True)
class Kind:
    """A kind of layer.

    Attributes:
        make: Makes the layer for its place.
        about: What it is, in a line.
        attends: Whether it has heads.
        takes_edges: Whether it is called with ``edge_attr`` where the place has an ``edge_dim``.
        for_graphs: Whether the benchmark offers it for tasks on whole graphs.
        reads: What it reads of a graph.
    """

    make: Callable[[Place], nn.Module]
    about: str
    attends: bool = False
    takes_edges: bool = False
    for_graphs: bool = True
    reads: Reads = "edges"


def call(layer: Any, x: Tensor, edge_index: Tensor | None, edge_weight: Tensor | None) -> Tensor:
    """Call a layer; with ``edge_weight`` a GCN layer takes the edges as they are, normalised already."""
    if edge_weight is None:
        out: Tensor = layer(x, edge_index)
        return out
    kept = layer.normalize
    layer.normalize = False
    try:
        weighted: Tensor = layer(x, edge_index, edge_weight)
        return weighted
    finally:
        layer.normalize = kept


class _Row(nn.Linear):
    """A linear layer that does not look at the graph."""

    def forward(self, x: Tensor, edge_index: Tensor | None) -> Tensor:  # type: ignore[override]
        return super().forward(x)


def _mlp(place: Place) -> nn.Module:
    return _Row(place.in_channels, place.out_channels)


def _gcn(place: Place) -> nn.Module:
    from torch_geometric.nn import GCNConv

    # cached: the one graph's normalised edges are computed once
    layer: nn.Module = GCNConv(place.in_channels, place.out_channels, cached=place.one_graph)
    return layer


def _sage(place: Place) -> nn.Module:
    from torch_geometric.nn import SAGEConv

    layer: nn.Module = SAGEConv(place.in_channels, place.out_channels)
    return layer


def _gat(place: Place) -> nn.Module:
    from torch_geometric.nn import GATConv

    return _attention(GATConv, place)


def _gatv2(place: Place) -> nn.Module:
    from torch_geometric.nn import GATv2Conv

    return _attention(GATv2Conv, place)


def _attention(conv: Callable[..., nn.Module], place: Place) -> nn.Module:
    return conv(
        place.in_channels,
        place.out_channels,
        heads=place.heads,
        concat=place.concat,
        dropout=place.attention_dropout,
        edge_dim=place.edge_dim,
    )


def _gin(place: Place) -> nn.Module:
    from torch_geometric.nn import GINConv, GINEConv

    width = place.out_channels
    inner = nn.Sequential(
        nn.Linear(place.in_channels, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width)
    )
    layer: nn.Module
    if place.edge_dim is None:
        layer = GINConv(inner, train_eps=True)
    else:
        layer = GINEConv(inner, train_eps=True, edge_dim=place.edge_dim)
    return layer


KINDS = {
    "mlp": Kind(
        _mlp, "multilayer perceptron: looks at no edge, the baseline that a graph model must beat", reads="rows"
    ),
    "gcn": Kind(_gcn, "graph convolution, Kipf and Welling 2017 (PyG GCNConv)", reads="normalised edges"),
    "sage": Kind(_sage, "GraphSAGE with mean aggregation, Hamilton et al. 2017 (PyG SAGEConv)", for_graphs=False),
    "gat": Kind(_gat, "graph attention, Veličković et al. 2018 (PyG GATConv)", attends=True, takes_edges=True),
    "gatv2": Kind(_gatv2, "dynamic graph attention, Brody et al. 2022 (PyG GATv2Conv)", attends=True, takes_edges=True),
    "gin": Kind(_gin, "graph isomorphism network, Xu et al. 2019 (PyG GINConv, GINEConv)", takes_edges=True),
}
