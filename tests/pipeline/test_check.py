"""Networks looked at before anything is launched: what breaks the contract is named, and nothing is left changed."""

from __future__ import annotations

import copy
from collections.abc import Callable

import networks
import pytest
import torch
from least_hops import Sum, TwoHops, with_layer
from torch import nn
from torch_geometric import nn as pyg

from gnnkit.pipeline import HopShape, Network, inspect
from gnnkit.pipeline.adapters import adapt


@pytest.mark.parametrize("kind", ["plain", "shared", "attention", "edges", "bare"])
def test_networks_of_every_kind_pass_with_their_widths(kind: str) -> None:
    shapes = inspect(networks.network(kind), networks.FEATURES, 2 if kind == "edges" else None)
    width = networks.FEATURES if kind == "bare" else 6
    parameters = sum(p.numel() for p in networks.network(kind).layers[0].parameters())
    shape = HopShape(width, width, width, 2 if kind == "edges" else 0, True, parameters)
    first_reads_features = kind == "bare"
    assert shapes[1:] == (shape,) * 3
    assert shapes[0] == HopShape(*{**vars(shape), "message_grad": not first_reads_features}.values())


@pytest.mark.parametrize(
    "make",
    [
        lambda: pyg.SAGEConv(6, 6),
        lambda: pyg.GATv2Conv(6, 3, heads=2),
        lambda: pyg.GINConv(nn.Linear(6, 6)),
        lambda: pyg.GraphConv(6, 6, aggr="max"),
        lambda: pyg.TransformerConv(6, 3, heads=2, dropout=0.5),
        lambda: pyg.ResGatedGraphConv(6, 6),
        lambda: pyg.GENConv(6, 6, norm="layer"),
        lambda: pyg.SimpleConv(),
    ],
)
def test_layers_of_pyg_that_are_one_hop_pass_as_they_are(make: Callable[[], nn.Module]) -> None:
    assert inspect(with_layer(make()), 4)[1].out_channels == 6


def test_widths_follow_the_messages_and_the_gradient() -> None:
    hops = [adapt(pyg.GATConv(5, 3, heads=2)), adapt(pyg.GATConv(6, 4, heads=2, concat=False))]
    frozen = adapt(pyg.GATConv(5, 3, heads=2)).requires_grad_(False)
    shapes = inspect(Network(None, hops, nn.Linear(4, 2), edges="loops"), 5)
    assert [(s.in_channels, s.message_channels, s.out_channels) for s in shapes] == [(5, 6, 6), (6, 8, 4)]
    assert [s.message_grad for s in shapes] == [True, True]
    shapes = inspect(Network(None, [frozen, hops[1]], None, edges="loops"), 5)
    assert [s.message_grad for s in shapes] == [False, True]
    assert shapes[0].parameters == 0


def test_nothing_is_left_changed() -> None:
    drops = adapt(pyg.GCNConv(6, 6), enter=nn.Dropout(0.5))
    network, refused = with_layer(drops, edges="gcn"), with_layer(TwoHops())
    network.layers[1].eval()  # a mode of its own
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = copy.deepcopy(network)
    random, threads, grad = torch.get_rng_state(), torch.get_num_threads(), torch.is_grad_enabled()
    inspect(network, 4)
    with torch.inference_mode():
        inspect(network, 4)
    with pytest.raises(ValueError, match="expected one hop"):
        inspect(refused, 4)
    assert torch.equal(torch.get_rng_state(), random)
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, grad)
    for (name, module), (_, old) in zip(network.named_modules(), before.named_modules(), strict=True):
        assert module.training == old.training, name
    for (name, value), (_, old_value) in zip(network.named_parameters(), before.named_parameters(), strict=True):
        assert torch.equal(value, old_value), name
        assert value.grad is not None
        assert torch.equal(value.grad, torch.ones_like(value)), name
        assert value.requires_grad, name


def test_a_module_that_is_no_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^network: expected a gnnkit.pipeline.Network \(got Linear\)$"):
        inspect(nn.Linear(2, 2), 2)  # type: ignore[arg-type]


def test_widths_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^in_channels: expected a width >= 1 \(got 0\)$"):
        inspect(with_layer(Sum()), 0)
    with pytest.raises(ValueError, match=r"^in_channels: expected a width >= 1 \(got None\)$"):
        inspect(with_layer(Sum()), None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^edge_channels: expected a width >= 1 \(got 2.5\)$"):
        inspect(with_layer(Sum()), 4, edge_channels=2.5)  # type: ignore[arg-type]
