"""Modules that no pipeline can cut into chunks are refused by class, wherever they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from least_hops import Sum, with_layer
from torch import nn
from torch_geometric import nn as pyg

from gnnkit.pipeline import Network, inspect

NORMS: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm1d": lambda: nn.BatchNorm1d(6),
    "SyncBatchNorm": lambda: nn.SyncBatchNorm(6),
    "InstanceNorm1d": lambda: nn.InstanceNorm1d(6),
    "BatchNorm": lambda: pyg.BatchNorm(6),
    "InstanceNorm": lambda: pyg.InstanceNorm(6),
    "GraphNorm": lambda: pyg.GraphNorm(6),
    "PairNorm": lambda: pyg.PairNorm(),
    "MeanSubtractionNorm": lambda: pyg.MeanSubtractionNorm(),
    "DiffGroupNorm": lambda: pyg.DiffGroupNorm(6, 2),
    "GraphSizeNorm": lambda: pyg.GraphSizeNorm(),
}
GLOBAL: dict[str, Callable[[], nn.Module]] = {
    "MultiheadAttention": lambda: nn.MultiheadAttention(6, 2),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(6, 2),
    "GPSConv": lambda: pyg.GPSConv(6, pyg.GCNConv(6, 6), heads=2, norm=None),
    "PerformerAttention": lambda: pyg.PerformerAttention(6, 2),
    "TopKPooling": lambda: pyg.TopKPooling(6),
    "SAGPooling": lambda: pyg.SAGPooling(6),
    # PyG's own needs a compiled package
    "DynamicEdgeConv": type("DynamicEdgeConv", (nn.Module,), {"__module__": "torch_geometric.nn.conv.edge_conv"}),
}


@pytest.mark.parametrize("name", [*NORMS, *GLOBAL])
def test_modules_that_read_all_nodes_are_refused_by_class(name: str) -> None:
    layer = {**NORMS, **GLOBAL}[name]()
    message = rf"^layer 1 \({name}\): expected each node to read itself and its in-neighbours \(got {name}.*, which "
    with pytest.raises(ValueError, match=message):
        inspect(with_layer(layer), 4)


@pytest.mark.parametrize("name", NORMS)
def test_they_are_found_wherever_they_are(name: str) -> None:
    norm = NORMS[name]()
    inside = nn.Sequential(nn.Linear(6, 6), norm)
    with pytest.raises(ValueError, match=rf"^layer 1 \(GINConv\): .* \(got {name} at \.nn\.1"):
        inspect(with_layer(pyg.GINConv(inside)), 4)
    with pytest.raises(ValueError, match=rf"^first: .* \(got {name} at \.1"):
        inspect(Network(nn.Sequential(nn.Linear(4, 6), norm), [Sum()], None), 4)
    with pytest.raises(ValueError, match=rf"^last: .* \(got {name}"):
        inspect(Network(None, [Sum()], norm), 6)


class MyNorm(pyg.PairNorm):
    """A subclass is found too."""


def test_subclasses_of_what_is_known_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^layer 1 \(MyNorm\): expected each node .* \(got MyNorm, which reads stat"):
        inspect(with_layer(MyNorm()), 4)


@pytest.mark.parametrize(
    ("make", "hops"),
    [
        (lambda: pyg.TAGConv(6, 6), 3),
        (lambda: pyg.SGConv(6, 6, K=2), 2),
        (lambda: pyg.SSGConv(6, 6, alpha=0.1, K=4), 4),
        (lambda: pyg.APPNP(10, 0.1), 10),
        (lambda: pyg.ChebConv(6, 6, K=3), 2),
        (lambda: pyg.MixHopConv(6, 2), 2),
        (lambda: pyg.ARMAConv(6, 6, num_layers=2), 2),
        (lambda: pyg.GatedGraphConv(6, 2), 2),
        (lambda: pyg.GCN(6, 6, 3), 3),
    ],
)
def test_layers_of_several_hops_are_refused_with_their_number(make: Callable[[], nn.Module], hops: int) -> None:
    layer = make()
    name = type(layer).__name__
    message = rf"^layer 1 \({name}\): expected one hop \(got {name}, which goes {hops}: make each a layer\)$"
    with pytest.raises(ValueError, match=message):
        inspect(with_layer(layer), 4)
