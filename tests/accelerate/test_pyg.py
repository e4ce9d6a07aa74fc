"""What PyG and trainers do with modules works with accelerated layers."""

from __future__ import annotations

import pytest
import torch
import torch_geometric.nn as pyg_nn
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.nn import GATConv, GCNConv, SAGEConv, to_hetero
from usual_layers import EDGES, Net, X, fast_copy, ran

import gnnkit
from gnnkit._accelerate._layer import FastLayer


def test_sequential(kernel_calls: list[int]) -> None:
    plain = pyg_nn.Sequential(
        "x, edge_index",
        [(GCNConv(3, 8), "x, edge_index -> x"), nn.ReLU(), (GATConv(8, 2), "x, edge_index -> x")],
    )
    fast = fast_copy(plain)
    torch.testing.assert_close(fast(X, EDGES), plain(X, EDGES))
    assert ran(kernel_calls)


@pytest.mark.parametrize("first", ["accelerate", "to_hetero"])
def test_to_hetero(first: str, kernel_calls: list[int]) -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = SAGEConv((-1, -1), 8), GATConv((-1, -1), 4, add_self_loops=False)

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return self.second(self.first(x, edge_index).relu(), edge_index)

    data = HeteroData()
    data["paper"].x, data["author"].x = torch.randn(7, 3), torch.randn(5, 2)
    data["paper", "cites", "paper"].edge_index = torch.randint(7, (2, 15))
    data["author", "writes", "paper"].edge_index = torch.stack([torch.randint(5, (9,)), torch.randint(7, (9,))])
    data["paper", "by", "author"].edge_index = data["author", "writes", "paper"].edge_index.flip(0)
    network = Pair()
    if first == "accelerate":
        network = gnnkit.accelerate(network)
    network = to_hetero(network, data.metadata())
    if first == "to_hetero":
        gnnkit.accelerate(network)
    with torch.no_grad():
        network(data.x_dict, data.edge_index_dict)  # lazy sizes
    ran(kernel_calls)
    out = network(data.x_dict, data.edge_index_dict)
    assert ran(kernel_calls)
    assert sum(isinstance(layer, FastLayer) for layer in network.modules()) == 6
    expected = gnnkit.accelerate(network, undo=True)(data.x_dict, data.edge_index_dict)
    assert not ran(kernel_calls)
    torch.testing.assert_close(out, expected)


def test_hetero_conv(kernel_calls: list[int]) -> None:
    plain = pyg_nn.HeteroConv(
        {("a", "to", "b"): SAGEConv((3, 3), 4), ("b", "to", "a"): SAGEConv((3, 3), 4)}, aggr="sum"
    )
    x = {"a": torch.randn(6, 3), "b": torch.randn(8, 3)}
    edges = {("a", "to", "b"): torch.randint(6, (2, 9)), ("b", "to", "a"): torch.randint(6, (2, 9))}
    torch.testing.assert_close(fast_copy(plain)(x, edges), plain(x, edges))
    assert ran(kernel_calls)


def test_ready_models(kernel_calls: list[int]) -> None:
    for plain in (pyg_nn.GCN(3, 8, 2, 4), pyg_nn.GraphSAGE(3, 8, 3), pyg_nn.GIN(3, 8, 2), pyg_nn.GAT(3, 8, 2, heads=2)):
        plain.eval()
        torch.testing.assert_close(fast_copy(plain)(X, EDGES), plain(X, EDGES))
        assert ran(kernel_calls)


def test_lazy_input_sizes(kernel_calls: list[int]) -> None:
    torch.manual_seed(0)
    plain = SAGEConv(-1, 4)
    layer = fast_copy(plain)
    for one in (plain, layer):
        torch.manual_seed(1)
        one(X, EDGES)
    torch.testing.assert_close(layer(X, EDGES), plain(X, EDGES))
    assert ran(kernel_calls)


def test_a_training_loop_that_somebody_else_owns() -> None:
    """What PyTorch Lightning does: training_step, a checkpoint of the state, a fresh module that loads it."""

    class Lit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = Net()

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            return self.network(*batch).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    torch.manual_seed(0)
    module = gnnkit.accelerate(Lit())
    optimizer = module.configure_optimizers()
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = module.training_step((X, EDGES))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[0]
    fresh = Lit()
    fresh.load_state_dict(module.state_dict())
    torch.testing.assert_close(fresh.training_step((X, EDGES)), module.training_step((X, EDGES)))
