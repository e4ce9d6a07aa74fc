"""Networks side by side are the plain PyG networks one by one, in value, gradient and training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.base import clone
from torch import nn
from torch.testing import assert_close
from torch_geometric.nn import GATConv, GCNConv, SAGEConv
from torch_geometric.utils import barabasi_albert_graph

from gnnkit.causal._networks import GraphNetwork
from gnnkit.causal._nodes import Nodes
from gnnkit.causal._stack import KINDS, Stack
from gnnkit.causal._stages import Asked, NetworkStage, _output, fit_all
from gnnkit.causal._task import Task
from gnnkit.causal._training import train


def nodes(number: int = 60, features: int = 5, seed: int = 0) -> Nodes:
    torch.manual_seed(seed)
    edge_index = barabasi_albert_graph(number - 3, 3)
    return Nodes(torch.randn(number, features), edge_index)  # the last three nodes have no neighbour


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_computes_what_each_network_computes(kind: str, layers: int) -> None:
    graph = nodes()
    networks = [GraphNetwork(kind, 5, 8, layers) for _ in range(3)]
    stack = Stack(networks, graph)
    out = stack.forward()
    weight = torch.randn(3, 60)
    (out * weight).sum().backward()
    for number, network in enumerate(networks):
        expected = network(graph.x, graph.edge_index).squeeze(1)
        assert_close(out[number], expected, atol=1e-5, rtol=1e-5)
        (expected * weight[number]).sum().backward()
        for name, parameter in network.named_parameters():
            gradient = stack.weights[name].grad
            assert gradient is not None
            assert parameter.grad is not None
            assert_close(gradient[number], parameter.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("kind", "layer"), [("gcn", GCNConv), ("sage", SAGEConv), ("gat", GATConv)])
def test_the_same_seed_gives_the_weights_of_a_plain_pyg_network(kind: str, layer: type[nn.Module]) -> None:
    torch.manual_seed(3)
    ours = GraphNetwork(kind, 5, 8, 2)
    torch.manual_seed(3)
    plain = [GATConv(5, 8, heads=4), GATConv(32, 1)] if kind == "gat" else [layer(5, 8), layer(8, 1)]
    for own, other in zip(ours.layers, plain, strict=True):
        for a, b in zip(own.parameters(), other.parameters(), strict=True):
            assert_close(a, b, atol=0, rtol=0)
    graph = nodes()
    h = plain[1](plain[0](graph.x, graph.edge_index).relu(), graph.edge_index)
    assert_close(ours(graph.x, graph.edge_index), h)


@pytest.mark.parametrize("task_kind", ["regression", "classification", "effect"])
@pytest.mark.parametrize("kind", [*KINDS, "gat"])
def test_training_side_by_side_is_a_plain_loop_over_the_networks(kind: str, task_kind: str) -> None:
    graph = nodes()
    target = torch.randn(60)
    tasks = {
        "regression": Task("regression", target),
        "classification": Task("classification", (target > 0).float()),
        "effect": Task("effect", target, torch.randn(60), torch.rand(60)),
    }
    task = tasks[task_kind]
    parts = [torch.arange(0, 40), torch.arange(20, 60)]
    stage = NetworkStage(kind, epochs=12, lr=0.01, weight_decay=0.0, patience=None, start=None)
    torch.manual_seed(5)
    fits = fit_all([Asked(stage, task, rows) for rows in parts], graph)
    torch.manual_seed(5)
    networks = [GraphNetwork(kind, 5, 32, 2) for _ in parts]
    for network, rows, fitted in zip(networks, parts, fits, strict=True):
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        for _ in range(12):
            optimizer.zero_grad()
            task.losses(network(graph.x, graph.edge_index)[rows, 0], rows).mean().backward()
            optimizer.step()
        expected = network(graph.x, graph.edge_index)[:, 0].detach()
        assert_close(fitted.predictions, expected, atol=2e-4, rtol=2e-3)
        assert_close(fitted.predict(graph), expected, atol=2e-4, rtol=2e-3)


class Dropped(nn.Module):
    """A module of a user's, with dropout."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_channels, 1)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        return self.layer(nn.functional.dropout(x, 0.5, self.training))


@pytest.mark.parametrize("network", [*KINDS, "gat", Dropped, Dropped(5)])
def test_held_out_nodes_end_the_training_and_choose_the_epoch(network: Any) -> None:
    graph = nodes(300)
    signal = graph.gcn(graph.x)[:, 0]
    noisy = signal + 2 * torch.randn(300)
    torch.manual_seed(0)
    held_out, rows = torch.randperm(300).split([100, 200])  # what the stage draws first
    settings: dict[str, Any] = {"epochs": 400, "lr": 0.05, "weight_decay": 0.0}
    stage = NetworkStage(network, validation=1 / 3, patience=20, start="constant", **settings)
    torch.manual_seed(0)
    fitted = stage.fit_task(Task("regression", noisy), graph, torch.arange(300))
    assert fitted.epochs < 300
    error = (fitted.predictions - noisy)[held_out].square().mean()
    assert_close(fitted.predict(graph), fitted.predictions, atol=1e-4, rtol=1e-4)
    torch.manual_seed(0)
    untrained = (
        clone(stage).set_params(epochs=1, lr=1e-12).fit_task(Task("regression", noisy), graph, torch.arange(300))
    )
    start = untrained.predictions
    if isinstance(network, str):  # modules of a user's start as they are made
        assert_close(start, noisy[rows].mean().expand(300), atol=1e-4, rtol=1e-4)
    assert error <= (start - noisy)[held_out].square().mean() * 1.0001
    longer = NetworkStage(network, patience=None, **settings)
    overfitted = longer.fit_task(Task("regression", noisy), graph, rows)
    if network not in ("gat",) and isinstance(network, str):
        assert (overfitted.predictions - noisy)[held_out].square().mean() > error


def test_the_networks_of_a_stack_stop_each_at_its_own_epoch() -> None:
    graph = nodes(200)
    easy = graph.x[:, 0] * 3
    tasks = [Task("regression", easy), Task("regression", torch.randn(200))]
    stage = NetworkStage("mlp", epochs=200, lr=0.01, patience=10, start="constant", validation=0.5)
    fits = [stage.prepared(task, graph, torch.arange(200))[0] for task in tasks]
    train(fits, _output)
    assert fits[1].epochs < 50 < fits[0].epochs
    for fit in fits:
        rows, held_out = fit.rows, fit.held_out
        assert held_out is not None
        assert sorted(torch.cat([rows, held_out]).tolist()) == list(range(200))
        error = fit.task.losses(fit.predictions[held_out], held_out).mean()
        constant = torch.full((100,), float(fit.task.target[rows].mean()))
        assert error <= fit.task.losses(constant, held_out).mean() * 1.0001


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "gin"}, "network: expected one of gcn"),
        ({"epochs": 0}, "epochs: expected a whole number >= 1"),
        ({"num_layers": 1.5}, "num_layers: expected a whole number >= 1"),
        ({"lr": 0.0}, "lr, weight_decay, validation"),
        ({"validation": 1.0}, "lr, weight_decay, validation"),
        ({"patience": 0}, "patience: expected a whole number > 0 or None"),
        ({"network": lambda width: 3}, "network: expected a function that makes a torch.nn.Module"),
        ({"network": lambda width: Wide()}, "network: expected an output of shape"),
    ],
)
def test_a_networks_bad_settings_are_named(settings: dict[str, object], message: str) -> None:
    graph = nodes()
    stage = NetworkStage(**settings)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        stage.fit_task(Task("regression", torch.randn(60)), graph, torch.arange(60))


class Wide(nn.Module):
    """A module with two numbers a node."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        return x[:, :2] * self.weight


def test_training_that_diverges_says_so() -> None:
    graph = nodes()
    stage = NetworkStage("mlp", lr=1e30, epochs=20, patience=None, start=None)
    with pytest.raises(FloatingPointError, match="expected a finite loss: lower lr"):
        stage.fit_task(Task("regression", torch.randn(60)), graph, torch.arange(60))
