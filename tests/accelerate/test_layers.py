"""Accelerated layers compute what the plain ones do, on every kind of graph and with every argument."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import (
    APPNP,
    ChebConv,
    EdgeConv,
    GATConv,
    GATv2Conv,
    GCN2Conv,
    GCNConv,
    GINConv,
    GINEConv,
    GraphConv,
    LEConv,
    LGConv,
    MessagePassing,
    ResGatedGraphConv,
    SAGEConv,
    SGConv,
    TAGConv,
    TransformerConv,
)

import gnnkit
from gnnkit._accelerate._attention import FastGAT, FastGATv2
from gnnkit._accelerate._gcn import FastGCN
from gnnkit._accelerate._layer import FastLayer

WIDTH, OUT, EDGE = 6, 4, 3  # as in conftest.py


def mlp(width: int = WIDTH) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, OUT))


class Sigmoid(MessagePassing):
    """A layer as users write them: the default aggregate, a learnt weight for each edge."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lin = nn.Linear(WIDTH, OUT)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
        return self.propagate(edge_index, x=self.lin(x), edge_weight=edge_weight)

    def message(self, x_j: Tensor, edge_weight: Tensor) -> Tensor:
        return edge_weight.sigmoid().view(-1, 1) * x_j


class Everything(MessagePassing):
    """Both ends, an index, a size, an update with rows of its own, and a default argument."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lin = nn.Linear(2 * WIDTH, OUT)

    def forward(self, x: Tensor, edge_index: Tensor, size: Any = None) -> Tensor:
        degree = torch.bincount(edge_index[1], minlength=len(x)).to(x.dtype).view(-1, 1)
        return self.propagate(edge_index, x=x, degree=degree, size=size)

    def message(
        self, x_i: Tensor, x_j: Tensor, degree_i: Tensor, index: Tensor, size_i: int, scale: float = 2.0
    ) -> Tensor:
        assert len(index) == len(x_j)
        assert int(size_i) > 0
        return self.lin(torch.cat([x_i, x_j - x_i], dim=-1)) * scale / degree_i.clamp(min=1)

    def update(self, inputs: Tensor, x: Tensor) -> Tensor:
        return inputs + x.mean(dim=-1, keepdim=True)


# name -> (layer, what its forward takes: x | pair | weight | attr, or several; extra arguments)
Case = tuple[Callable[[], nn.Module], str]
CASES: dict[str, Case] = {
    "gcn": (lambda: GCNConv(WIDTH, OUT), "x"),
    "gcn weight": (lambda: GCNConv(WIDTH, OUT), "x weight"),
    "gcn improved, no bias": (lambda: GCNConv(WIDTH, OUT, improved=True, bias=False), "x weight"),
    "gcn cached": (lambda: GCNConv(WIDTH, OUT, cached=True), "x weight"),
    "gcn without loops": (lambda: GCNConv(WIDTH, OUT, add_self_loops=False), "x"),
    "gcn not normalised": (lambda: GCNConv(WIDTH, OUT, normalize=False), "x weight"),
    "gcn mean": (lambda: GCNConv(WIDTH, OUT, aggr="mean"), "x"),
    "gcn backwards": (lambda: GCNConv(WIDTH, OUT, flow="target_to_source"), "x weight"),
    "sage": (lambda: SAGEConv(WIDTH, OUT), "x"),
    "sage pair": (lambda: SAGEConv((WIDTH, WIDTH), OUT), "pair"),
    "sage source only": (lambda: SAGEConv((WIDTH, WIDTH), OUT, root_weight=False), "source"),
    "sage sum, normalised": (lambda: SAGEConv(WIDTH, OUT, aggr="sum", normalize=True, root_weight=False), "pair"),
    "sage max, projected": (lambda: SAGEConv(WIDTH, OUT, aggr="max", project=True, bias=False), "x"),
    "sage min": (lambda: SAGEConv(WIDTH, OUT, aggr="min"), "pair"),
    "sage several": (lambda: SAGEConv(WIDTH, OUT, aggr=["mean", "max", "std"]), "x"),
    "sage softmax": (lambda: SAGEConv(WIDTH, OUT, aggr="softmax"), "x"),
    "sage mul": (lambda: SAGEConv(WIDTH, OUT, aggr="mul"), "x"),
    "sage backwards": (lambda: SAGEConv(WIDTH, OUT, flow="target_to_source"), "x"),
    "graph": (lambda: GraphConv(WIDTH, OUT), "x weight"),
    "graph mean, pair": (lambda: GraphConv((WIDTH, WIDTH), OUT, aggr="mean", bias=False), "pair weight"),
    "graph max": (lambda: GraphConv(WIDTH, OUT, aggr="max"), "x weight"),
    "graph unweighted": (lambda: GraphConv(WIDTH, OUT, aggr="min"), "source"),
    "gin": (lambda: GINConv(mlp()), "x"),
    "gin eps, pair": (lambda: GINConv(mlp(), eps=0.5, train_eps=True), "pair"),
    "gin max, source": (lambda: GINConv(mlp(), aggr="max"), "source"),
    "gine": (lambda: GINEConv(mlp(), edge_dim=EDGE), "x attr"),
    "gine mean, pair": (lambda: GINEConv(mlp(), edge_dim=EDGE, train_eps=True, aggr="mean"), "pair attr"),
    "gat": (lambda: GATConv(WIDTH, OUT, heads=3), "x"),
    "gat without concat": (lambda: GATConv(WIDTH, OUT, heads=2, concat=False, bias=False), "x"),
    "gat residual": (lambda: GATConv(WIDTH, OUT, heads=2, residual=True, negative_slope=0.5), "x"),
    "gat edge_dim": (lambda: GATConv(WIDTH, OUT, heads=2, edge_dim=EDGE), "x attr"),
    "gat edge_dim, max fill": (lambda: GATConv(WIDTH, OUT, edge_dim=EDGE, fill_value="max"), "x attr"),
    "gat edge_dim unused": (lambda: GATConv(WIDTH, OUT, heads=2, edge_dim=EDGE), "x"),
    "gat without loops": (lambda: GATConv(WIDTH, OUT, heads=2, add_self_loops=False), "x"),
    "gat pair": (lambda: GATConv((WIDTH, WIDTH), OUT, heads=2, add_self_loops=False), "pair"),
    "gat pair with loops": (lambda: GATConv((WIDTH, WIDTH), OUT, heads=2), "pair"),
    "gat source only": (lambda: GATConv((WIDTH, WIDTH), OUT, add_self_loops=False), "source"),
    "gat shared pair": (lambda: GATConv(WIDTH, OUT, heads=2, add_self_loops=False), "pair"),
    "gat dropout": (lambda: GATConv(WIDTH, OUT, heads=2, dropout=0.5), "x"),
    "gat backwards": (lambda: GATConv(WIDTH, OUT, heads=2, flow="target_to_source"), "x"),
    "gat max": (lambda: GATConv(WIDTH, OUT, heads=2, aggr="max"), "x"),
    "gatv2": (lambda: GATv2Conv(WIDTH, OUT, heads=3), "x"),
    "gatv2 shared": (lambda: GATv2Conv(WIDTH, OUT, heads=2, share_weights=True, concat=False), "x"),
    "gatv2 residual": (lambda: GATv2Conv(WIDTH, OUT, heads=2, residual=True, bias=False), "x"),
    "gatv2 edge_dim": (lambda: GATv2Conv(WIDTH, OUT, heads=2, edge_dim=EDGE), "x attr"),
    "gatv2 pair": (lambda: GATv2Conv((WIDTH, WIDTH), OUT, heads=2, add_self_loops=False), "pair"),
    "gatv2 dropout": (lambda: GATv2Conv(WIDTH, OUT, heads=2, dropout=0.3), "x"),
    "custom": (lambda: Sigmoid(), "x weight"),
    "custom max": (lambda: Sigmoid(aggr="max"), "x weight"),
    "everything": (lambda: Everything(), "x"),
    "everything mean, backwards": (lambda: Everything(aggr="mean", flow="target_to_source"), "x"),
    "appnp": (lambda: APPNP(3, 0.1), "x weight"),
    "cheb": (lambda: ChebConv(WIDTH, OUT, K=3), "x"),
    "edge": (lambda: EdgeConv(mlp(2 * WIDTH)), "pair"),
    "gcn2": (lambda: GCN2Conv(WIDTH, 0.1), "twice weight"),
    "le": (lambda: LEConv(WIDTH, OUT), "x weight"),
    "lightgcn": (lambda: LGConv(), "x weight"),
    "gated": (lambda: ResGatedGraphConv(WIDTH, OUT), "pair"),
    "sgc": (lambda: SGConv(WIDTH, OUT, K=2), "x weight"),
    "tag": (lambda: TAGConv(WIDTH, OUT, K=2), "x weight"),
    "transformer": (lambda: TransformerConv(WIDTH, OUT, heads=2, edge_dim=EDGE, beta=True), "x attr"),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_equal_on_50_graphs(name: str, dtype: torch.dtype, same_on_50_graphs: Any) -> None:
    same_on_50_graphs(*CASES[name], dtype)


# a product of messages is left to PyG; the gradient of what is before it is not
BACKWARD_ONLY = {"sage mul"}


@pytest.mark.parametrize("name", CASES)
def test_the_kernel_ran(name: str, kernel_calls: list[int], call_on_a_graph: Any) -> None:
    make, takes = CASES[name]
    layer = gnnkit.accelerate(make())
    assert isinstance(layer, FastLayer)
    out = call_on_a_graph(layer, takes)
    assert bool(kernel_calls) == (name not in BACKWARD_ONLY)
    out.sum().backward()
    assert kernel_calls


def test_recipes_serve_their_layers_and_plain_subclasses() -> None:
    class Renamed(GCNConv):
        """Changes nothing that counts."""

    class Other(GCNConv):
        """Says something else."""

        def message(self, x_j: Tensor, edge_weight: Tensor | None) -> Tensor:
            return 2 * x_j

    assert isinstance(gnnkit.accelerate(GCNConv(2, 2)), FastGCN)
    assert isinstance(gnnkit.accelerate(Renamed(2, 2)), FastGCN)
    assert isinstance(gnnkit.accelerate(GATConv(2, 2)), FastGAT)
    assert isinstance(gnnkit.accelerate(GATv2Conv(2, 2)), FastGATv2)
    other = Other(3, 2)
    fast = gnnkit.accelerate(copy.deepcopy(other))
    assert isinstance(fast, FastLayer)
    assert not isinstance(fast, FastGCN)
    x, edge_index = torch.randn(4, 3), torch.tensor([[0, 1, 2, 3], [1, 1, 0, 2]])
    torch.testing.assert_close(fast(x, edge_index), other(x, edge_index))


def test_a_step_of_training_is_the_same() -> None:
    torch.manual_seed(0)
    plain = nn.ModuleList([GCNConv(5, 8), GATConv(8, 4, heads=2, dropout=0.6), SAGEConv(8, 3)]).double()
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    x, edge_index, y = torch.randn(30, 5, dtype=torch.float64), torch.randint(30, (2, 120)), torch.randint(3, (30,))
    for network in (plain, fast):
        torch.manual_seed(1)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        for _ in range(10):
            hidden = x
            for layer in network:
                hidden = nn.functional.dropout(layer(hidden, edge_index).relu(), 0.5, training=True)
            optimizer.zero_grad()
            nn.functional.cross_entropy(hidden, y).backward()
            optimizer.step()
    for a, b in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_gradients_of_gradients() -> None:
    torch.manual_seed(0)
    edge_index = torch.randint(5, (2, 12))
    for make, takes in (CASES["graph"], CASES["gat"], CASES["gatv2"], CASES["everything"]):
        layer = gnnkit.accelerate(make().double())
        x = torch.randn(5, WIDTH, dtype=torch.float64, requires_grad=True)
        weight = (torch.rand(12, dtype=torch.float64, requires_grad=True),) if "weight" in takes else ()

        def call(x: Tensor, *weight: Tensor, layer: nn.Module = layer) -> Tensor:
            return layer(x, edge_index, *weight)

        assert torch.autograd.gradcheck(call, (x, *weight))
        assert torch.autograd.gradgradcheck(call, (x, *weight))
