"""PyG's models, and what PyG wraps around layers or makes of them, work on accelerated ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg_nn
from torch import Tensor, nn
from torch_geometric.data import HeteroData

import gnnkit
from gnnkit._accelerate._layer import FastLayer

RNG = torch.Generator().manual_seed(0)
X = torch.randn(12, 4, dtype=torch.float64, generator=RNG)
EDGES = torch.randint(12, (2, 40), generator=RNG)
ATTR = torch.randn(40, 3, dtype=torch.float64, generator=RNG)
BATCH = torch.arange(12) // 4
DEGREES = torch.tensor([1, 2, 3, 4])


class Virtual(nn.Module):
    """A network as PyG's examples build it: blocks around layers."""

    def __init__(self) -> None:
        super().__init__()
        conv = pyg_nn.GENConv(4, 4, aggr="softmax", learn_t=True, norm="layer")
        self.block = pyg_nn.DeepGCNLayer(conv, pyg_nn.LayerNorm(4), nn.ReLU(), block="res+", dropout=0.1)
        self.gps = pyg_nn.GPSConv(4, pyg_nn.ResGatedGraphConv(4, 4), heads=2, attn_type="performer")
        self.still = pyg_nn.AntiSymmetricConv(4, pyg_nn.TransformerConv(4, 4), num_iters=2)
        self.both = pyg_nn.DirGNNConv(pyg_nn.SAGEConv(4, 4, aggr=["mean", "std"]))
        self.pool = pyg_nn.SAGPooling(4, GNN=pyg_nn.GraphConv)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = self.both(self.still(self.gps(self.block(x, edge_index), edge_index, BATCH), edge_index), edge_index)
        out: Tensor = self.pool(x, edge_index, batch=BATCH)[0]
        return out


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...]]] = {
    "GCN": (lambda: pyg_nn.GCN(4, 8, 3, 2, jk="cat", norm="layer"), (X, EDGES)),
    "GraphSAGE": (lambda: pyg_nn.GraphSAGE(4, 8, 3, 2, jk="lstm", dropout=0.2), (X, EDGES)),
    "GIN": (lambda: pyg_nn.GIN(4, 8, 3, 2, jk="max", norm="batch"), (X, EDGES)),
    "GAT": (lambda: pyg_nn.GAT(4, 8, 2, 2, heads=2, dropout=0.2, act="elu"), (X, EDGES)),
    "GAT v2": (lambda: pyg_nn.GAT(4, 8, 2, 2, v2=True, edge_dim=3, jk="last"), (X, EDGES, None, ATTR)),
    "PNA": (
        lambda: pyg_nn.PNA(4, 8, 2, 2, aggregators=["mean", "std"], scalers=["identity", "linear"], deg=DEGREES),
        (X, EDGES),
    ),
    "EdgeCNN": (lambda: pyg_nn.EdgeCNN(4, 8, 2, 2), (X, EDGES)),
    "AttentiveFP": (lambda: pyg_nn.AttentiveFP(4, 8, 2, 3, num_layers=2, num_timesteps=2), (X, EDGES, ATTR, BATCH)),
    "GraphUNet": (lambda: pyg_nn.GraphUNet(4, 8, 2, depth=2), (X, EDGES, BATCH)),
    "PMLP": (lambda: pyg_nn.PMLP(4, 8, 2, 2).eval(), (X, EDGES)),
    "LightGCN": (lambda: pyg_nn.LightGCN(12, 4, 3), (EDGES,)),
    "LabelPropagation": (lambda: pyg_nn.LabelPropagation(3, 0.9), (torch.arange(12) % 3, EDGES)),
    "blocks": (Virtual, (X, EDGES)),
}


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("name", MODELS)
def test_models(name: str, kernel_calls: list[int]) -> None:
    make, inputs = MODELS[name]
    torch.manual_seed(0)
    plain = make().double()
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    results = []
    for model in (plain, fast):
        torch.manual_seed(1)
        kernel_calls.clear()
        out = model(*inputs)
        parameters = [p for p in model.parameters() if p.requires_grad]
        grads: tuple[Tensor, ...] = ()
        if out.requires_grad:
            grads = torch.autograd.grad(out.square().sum(), parameters, allow_unused=True, materialize_grads=True)
        results.append((out.detach(), *grads))
        assert bool(kernel_calls) == (model is fast)
    exact = results[0][0].dtype is torch.float64  # labels are spread in float32
    torch.testing.assert_close(results[1], results[0], rtol=1e-9 if exact else 1e-5, atol=1e-10 if exact else 1e-6)


@pytest.mark.parametrize("first", ["accelerate", "to_hetero"])
def test_to_hetero(first: str, kernel_calls: list[int]) -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = pyg_nn.TransformerConv((-1, -1), 4, heads=2)
            self.second = pyg_nn.ResGatedGraphConv((-1, -1), 4)
            self.third = pyg_nn.SAGEConv((-1, -1), 3, aggr=["mean", "std"])

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            x = self.second(self.first(x, edge_index).relu(), edge_index)
            out: Tensor = self.third(x, edge_index)
            return out

    data = HeteroData()
    data["paper"].x, data["author"].x = torch.randn(7, 3), torch.randn(5, 2)
    data["paper", "cites", "paper"].edge_index = torch.randint(7, (2, 15))
    data["author", "writes", "paper"].edge_index = torch.stack([torch.randint(5, (9,)), torch.randint(7, (9,))])
    data["paper", "by", "author"].edge_index = data["author", "writes", "paper"].edge_index.flip(0)
    network = Pair()
    if first == "accelerate":
        network = gnnkit.accelerate(network)
    network = pyg_nn.to_hetero(network, data.metadata())
    if first == "to_hetero":
        gnnkit.accelerate(network)
    with torch.no_grad():
        network(data.x_dict, data.edge_index_dict)  # lazy sizes
    assert sum(isinstance(layer, FastLayer) for layer in network.modules()) == 9
    kernel_calls.clear()
    out = network(data.x_dict, data.edge_index_dict)
    assert kernel_calls
    expected = gnnkit.accelerate(network, undo=True)(data.x_dict, data.edge_index_dict)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("name", ["GCN", "GAT", "GIN", "PNA"])
def test_models_compile_into_one_graph(name: str) -> None:
    """GCN, GAT and GIN by operations of ours, PNA as PyG's (`test_compiled.py` looks at the graphs)."""
    make, inputs = MODELS[name]
    torch.manual_seed(0)
    plain = make().double().eval()
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    fast(*inputs)  # what eager calls left behind is no hindrance
    compiled = torch.compile(fast, fullgraph=True, dynamic=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), plain(*inputs))
    grads = []
    for model in (plain, compiled):
        grads.append(torch.autograd.grad(model(*inputs).square().sum(), list(model.parameters())))
    torch.testing.assert_close(grads[1], grads[0])
