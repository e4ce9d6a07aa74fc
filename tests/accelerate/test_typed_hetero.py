"""Models with a layer for every relation: each of their layers is taken."""

from __future__ import annotations

import copy

import pytest
import torch
import torch_geometric
from compare import TOLERANCE, distance
from torch_geometric.nn import (
    GATConv,
    GCNConv,
    GraphConv,
    HeteroConv,
    MessagePassing,
    SAGEConv,
    TransformerConv,
    to_hetero,
)
from typed_inputs import NODES, OUT, RELATIONS, outcome, typed_graph

import gnnkit
from gnnkit._accelerate._layer import FastLayer


@pytest.mark.parametrize("aggr", ["sum", "mean", "max", "cat", None])
def test_every_layer_of_a_hetero_conv_is_taken(aggr: str | None) -> None:
    torch.manual_seed(0)
    makers = (
        lambda: SAGEConv((OUT, OUT), OUT),
        lambda: GATConv((OUT, OUT), OUT, add_self_loops=False),
        lambda: GCNConv(OUT, OUT),
        lambda: GraphConv((OUT, OUT), OUT, aggr="max"),
        lambda: TransformerConv((OUT, OUT), OUT),
    )
    plain = HeteroConv({key: make() for key, make in zip(RELATIONS, makers, strict=True)}, aggr).double()
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    assert sum(isinstance(layer, FastLayer) for layer in fast.modules()) == len(RELATIONS)
    x, edges = typed_graph(3, torch.float64, dict.fromkeys(NODES, OUT))
    edges = dict.fromkeys(RELATIONS, torch.empty(2, 0, dtype=torch.int64)) | edges
    leaves = list(x.values())
    results = [outcome(layer, lambda layer: layer(x, edges), leaves, 0) for layer in (plain, fast)]
    for a, e in zip(results[1], results[0], strict=True):
        assert distance(a, e) <= TOLERANCE[torch.float64]


@pytest.mark.parametrize("name", ["GraphSAGE", "GAT", "GIN"])
def test_every_layer_of_a_to_hetero_model_is_taken(name: str) -> None:
    torch.manual_seed(0)
    more = {"add_self_loops": False} if name == "GAT" else {}
    metadata = ["a", "b"], [("a", "to", "b"), ("b", "back", "a"), ("b", "like", "b")]
    width = OUT if name == "GIN" else (OUT, OUT)
    plain = to_hetero(getattr(torch_geometric.nn, name)(width, 8, 2, OUT, **more), metadata).double()
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    layers = [layer for layer in fast.modules() if isinstance(layer, MessagePassing)]
    assert len(layers) == 6
    assert all(isinstance(layer, FastLayer) for layer in layers)
    x, edges = typed_graph(3, torch.float64, dict.fromkeys(NODES, OUT))
    none = torch.empty(2, 0, dtype=torch.int64)
    x, edges = {key: x[key] for key in metadata[0]}, {key: edges.get(key, none) for key in metadata[1]}
    results = [outcome(model, lambda model: model(x, edges), list(x.values()), 0) for model in (plain, fast)]
    for a, e in zip(results[1], results[0], strict=True):
        assert distance(a, e) <= TOLERANCE[torch.float64]
