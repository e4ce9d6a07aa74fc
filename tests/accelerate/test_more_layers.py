"""Layers whose message is a function of both ends, or whose graph is normalised, or that aggregate in several ways."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import (
    APPNP,
    AGNNConv,
    ARMAConv,
    CGConv,
    ChebConv,
    ClusterGCNConv,
    EdgeConv,
    EGConv,
    FAConv,
    FiLMConv,
    GATConv,
    GATv2Conv,
    GCN2Conv,
    GCNConv,
    GENConv,
    GeneralConv,
    LGConv,
    MessagePassing,
    MixHopConv,
    PDNConv,
    PNAConv,
    ResGatedGraphConv,
    SAGEConv,
    SGConv,
    SSGConv,
    SuperGATConv,
    TAGConv,
    TransformerConv,
)
from torch_geometric.nn.aggr import MultiAggregation, PowerMeanAggregation, SoftmaxAggregation, VarAggregation
from torch_geometric.utils import add_self_loops, degree, scatter, softmax

import gnnkit
from gnnkit._accelerate._cache import CACHE
from gnnkit._accelerate._layer import FastLayer
from gnnkit.kernels import _numba

WIDTH, OUT, EDGE, RELATIONS = 6, 4, 3, 3  # as in conftest.py
DEGREES = torch.tensor([1, 2, 3, 2, 1])
PAIR = (WIDTH, WIDTH)


def mlp(width: int, out: int = OUT) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, out))


class Tutorial(MessagePassing):
    """GCN as PyG's documentation writes it: what it normalises by is its own."""

    def __init__(self) -> None:
        super().__init__(aggr="add")
        self.lin = nn.Linear(WIDTH, OUT, bias=False)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        edge_index, _ = add_self_loops(edge_index, num_nodes=x.size(0))
        x = self.lin(x)
        row, col = edge_index
        deg = degree(col, x.size(0), dtype=x.dtype).pow(-0.5)
        norm = deg[row] * deg[col]
        edge_index[0, 0] = edge_index[0, 0]  # it is the layer's to write
        return self.propagate(edge_index, x=x, norm=norm)

    def message(self, x_j: Tensor, norm: Tensor) -> Tensor:
        return norm.view(-1, 1) * x_j


class Scores(MessagePassing):
    """Attention as users write it: a dot product of slices, a softmax, an aggregation of their own."""

    def __init__(self) -> None:
        super().__init__(node_dim=0)
        self.lin, self.scale = nn.Linear(WIDTH, 4), nn.Parameter(torch.randn(2, 2))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.propagate(edge_index, x=x)

    def message(self, x_i: Tensor, x_j: Tensor, index: Tensor, size_i: int | None) -> Tensor:
        query, key = (self.lin(end).view(-1, 2, 2) for end in (x_i, x_j))
        scores = (query * key).sum(-1) + (key * self.scale).sum(dim=-1)
        alpha = softmax(scores / 2, index, num_nodes=size_i)
        return alpha.unsqueeze(-1) * key.relu()

    def aggregate(self, inputs: Tensor, index: Tensor, dim_size: int | None = None) -> Tensor:
        top = scatter(inputs, index, dim=0, dim_size=dim_size, reduce="max")
        return scatter(inputs, index, 0, dim_size, "mean") + top


# name -> (layer, what its forward takes, the kernels that its forward runs on)
CASES: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "agnn": (lambda: AGNNConv(), "x", "sddmm segment_softmax spmm"),
    "appnp": (lambda: APPNP(3, 0.1, dropout=0.4), "x weight", "spmm"),
    "appnp cached": (lambda: APPNP(2, 0.1, cached=True, add_self_loops=False), "x", "spmm"),
    "arma": (
        lambda: ARMAConv(WIDTH, OUT, num_stacks=2, num_layers=2, shared_weights=True, dropout=0.3),
        "x weight",
        "spmm",
    ),
    "cgc": (lambda: CGConv(WIDTH, dim=EDGE, aggr="mean", batch_norm=False), "x attr", "spmm"),
    "cheb rw": (lambda: ChebConv(WIDTH, OUT, K=3, normalization="rw", bias=False), "x weight", "spmm"),
    "cheb unnormalised": (lambda: ChebConv(WIDTH, OUT, K=2, normalization=None), "x weight", "spmm"),
    "cluster": (lambda: ClusterGCNConv(WIDTH, OUT, diag_lambda=0.3), "x", "spmm"),
    "edge max": (lambda: EdgeConv(mlp(2 * WIDTH), aggr="max"), "x", "spmm"),
    "edge mean, pair": (lambda: EdgeConv(mlp(2 * WIDTH), aggr="mean"), "pair", "spmm"),
    "egc": (lambda: EGConv(WIDTH, OUT, ["symnorm", "mean", "std", "max"], num_heads=2), "x", "spmm"),
    "fa": (lambda: FAConv(WIDTH, eps=0.2, dropout=0.3), "twice", "spmm"),
    "film": (lambda: FiLMConv(WIDTH, OUT, num_relations=RELATIONS, aggr="max"), "x type", "spmm"),
    "film one, pair": (lambda: FiLMConv(PAIR, OUT, act=None), "pair", "spmm"),
    "gat edge_dim": (
        lambda: GATConv(PAIR, OUT, heads=2, edge_dim=EDGE, add_self_loops=False, dropout=0.2),
        "pair attr",
        "segment_softmax spmm",
    ),
    "gatv2 edge_dim": (lambda: GATv2Conv(WIDTH, OUT, heads=2, edge_dim=EDGE), "x attr", "segment_softmax spmm"),
    "gcn mean": (lambda: GCNConv(WIDTH, OUT, aggr="mean", improved=True), "x weight", "spmm"),
    "gcn2": (
        lambda: GCN2Conv(WIDTH, 0.2, theta=0.5, layer=2, shared_weights=False, add_self_loops=False),
        "twice weight",
        "spmm",
    ),
    "gen": (
        lambda: GENConv(WIDTH, OUT, t=0.5, learn_t=True, msg_norm=True, edge_dim=EDGE, norm="layer"),
        "x attr",
        "segment_softmax spmm",
    ),
    "gen on nodes": (lambda: GENConv(WIDTH, OUT, t=2.0, learn_t=True, norm="layer"), "x", "spmm"),
    "gen power": (
        lambda: GENConv(PAIR, OUT, aggr="power", p=2.0, learn_p=True, norm="layer", num_layers=1),
        "pair",
        "spmm",
    ),
    "gen several": (lambda: GENConv(WIDTH, OUT, aggr=["softmax", "std", "add"], norm="layer"), "x", "spmm"),
    "gen semi-gradient": (lambda: GENConv(WIDTH, OUT, aggr="softmax_sg", norm="layer"), "x", "segment_softmax spmm"),
    "general": (
        lambda: GeneralConv(WIDTH, OUT, EDGE, attention=True, heads=2, attention_type="dot_product"),
        "x attr",
        "segment_softmax spmm",
    ),
    "general directed": (
        lambda: GeneralConv(WIDTH, OUT, attention=True, heads=2, directed_msg=True, l2_normalize=True),
        "x",
        "segment_softmax spmm",
    ),
    "lightgcn": (lambda: LGConv(normalize=False), "x weight", "spmm"),
    "mixhop": (lambda: MixHopConv(WIDTH, OUT, powers=[0, 2], add_self_loops=False), "x weight", "spmm"),
    "pdn": (lambda: PDNConv(WIDTH, OUT, EDGE, 5, bias=False), "x attr", "spmm"),
    "pna": (
        lambda: PNAConv(
            WIDTH, OUT, ["sum", "mean", "min", "max", "std", "var"], ["identity", "linear"], DEGREES, towers=2
        ),
        "x",
        "spmm",
    ),
    "pna trained norm": (
        lambda: PNAConv(
            WIDTH,
            OUT,
            ["mean", "max"],
            ["amplification", "attenuation", "inverse_linear"],
            DEGREES,
            edge_dim=EDGE,
            towers=2,
            pre_layers=2,
            post_layers=2,
            divide_input=True,
            train_norm=True,
        ),
        "x attr",
        "spmm",
    ),
    "gated": (lambda: ResGatedGraphConv(PAIR, OUT, act=nn.Tanh(), root_weight=False), "pair", "spmm"),
    "gated edge_dim": (lambda: ResGatedGraphConv(WIDTH, OUT, edge_dim=EDGE, bias=False, aggr="max"), "x attr", "spmm"),
    "sage several": (lambda: SAGEConv(WIDTH, OUT, aggr=["mean", "min", "max", "std", "var"]), "x", "spmm"),
    "sage var": (lambda: SAGEConv(PAIR, OUT, aggr=VarAggregation(semi_grad=True)), "pair", "spmm"),
    "sage power": (lambda: SAGEConv(WIDTH, OUT, aggr=PowerMeanAggregation(2.0, learn=True)), "x", "spmm"),
    "sage softmax by channel": (
        lambda: SAGEConv(WIDTH, OUT, aggr=SoftmaxAggregation(learn=True, channels=WIDTH)),
        "x",
        "spmm",
    ),
    "sage combined": (
        lambda: SAGEConv(
            WIDTH,
            OUT,
            aggr=MultiAggregation(
                ["mean", "max"], mode="proj", mode_kwargs={"in_channels": WIDTH, "out_channels": WIDTH}
            ),
        ),
        "x",
        "spmm",
    ),
    "sage attended": (
        lambda: SAGEConv(
            WIDTH,
            OUT,
            aggr=MultiAggregation(
                ["sum", "std"], mode="attn", mode_kwargs={"in_channels": WIDTH, "out_channels": WIDTH, "num_heads": 2}
            ),
        ),
        "x",
        "spmm",
    ),
    "sage median and mean": (lambda: SAGEConv(WIDTH, OUT, aggr=["median", "mean"]), "x", ""),
    "sgc": (lambda: SGConv(WIDTH, OUT, K=3, add_self_loops=False, bias=False), "x weight", "spmm"),
    "sgc backwards": (lambda: SGConv(WIDTH, OUT, K=2, flow="target_to_source"), "x weight", "spmm"),
    "ssgc": (lambda: SSGConv(WIDTH, OUT, 0.3, K=3), "x weight", "spmm"),
    "supergat": (lambda: SuperGATConv(WIDTH, OUT, heads=2, concat=False), "x", "segment_softmax sddmm spmm"),
    "supergat scaled": (
        lambda: SuperGATConv(WIDTH, OUT, heads=2, attention_type="SD", dropout=0.3, add_self_loops=False),
        "x",
        "segment_softmax sddmm spmm",
    ),
    "tag": (lambda: TAGConv(WIDTH, OUT, K=3, normalize=False, bias=False), "x weight", "spmm"),
    "transformer": (
        lambda: TransformerConv(WIDTH, OUT, heads=3, concat=False, beta=True, dropout=0.3),
        "x",
        "sddmm segment_softmax spmm",
    ),
    "transformer pair": (
        lambda: TransformerConv(PAIR, OUT, heads=2, root_weight=False, bias=False),
        "pair",
        "sddmm segment_softmax spmm",
    ),
    "transformer edge_dim": (
        lambda: TransformerConv(PAIR, OUT, heads=2, edge_dim=EDGE, dropout=0.3),
        "pair attr",
        "segment_softmax spmm",
    ),
    "tutorial": (lambda: Tutorial(), "x", "spmm"),
    "scores": (lambda: Scores(), "x", "sddmm segment_softmax spmm"),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_equal_on_50_graphs(name: str, dtype: torch.dtype, same_on_50_graphs: Any) -> None:
    make, takes, _ = CASES[name]
    same_on_50_graphs(make, takes, dtype)


@pytest.fixture
def kernel_calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each kernel ran."""
    counted: Counter[str] = Counter()

    def count(name: str) -> None:
        original = getattr(_numba, name)
        monkeypatch.setattr(_numba, name, lambda *args: counted.update([name]) or original(*args))

    for name in ("spmm", "sddmm", "segment_softmax"):
        count(name)
    return counted


@pytest.mark.parametrize("name", CASES)
def test_the_kernels_ran(name: str, kernel_calls: Counter[str], call_on_a_graph: Any) -> None:
    make, takes, kernels = CASES[name]
    layer = gnnkit.accelerate(make())
    assert isinstance(layer, FastLayer)
    for _ in range(2):
        kernel_calls.clear()
        out = call_on_a_graph(layer, takes)
        assert set(kernels.split()) <= set(kernel_calls)
        out.sum().backward() if out.requires_grad else None
        assert kernel_calls["spmm"]
    assert not type(layer).why_gathered


# ------------------------------------------------------------------ graphs that are normalised once


HOPS = {
    "sgc": (lambda: SGConv(WIDTH, OUT, K=3), 3),
    "ssgc": (lambda: SSGConv(WIDTH, OUT, 0.1, K=2), 2),
    "tag": (lambda: TAGConv(WIDTH, OUT, K=2), 2),
    "appnp": (lambda: APPNP(4, 0.1), 4),
    "lightgcn": (lambda: LGConv(), 1),
    "cheb": (lambda: ChebConv(WIDTH, OUT, K=3), 2),
    "arma": (lambda: ARMAConv(WIDTH, OUT, num_stacks=2, num_layers=2), 2),
    "mixhop": (lambda: MixHopConv(WIDTH, OUT), 2),
}


@pytest.mark.parametrize("name", HOPS)
def test_each_hop_is_one_product_with_constants(name: str, kernel_calls: Counter[str]) -> None:
    make, hops = HOPS[name]
    layer = gnnkit.accelerate(make())
    x, edge_index = torch.randn(9, WIDTH, requires_grad=True), torch.randint(9, (2, 30))
    expected = layer(x, edge_index)
    expected.sum().backward()
    # the graph is known by now, with its weights in the order of the CSR and of its transpose
    entries, misses = len(CACHE), CACHE.misses
    kernel_calls.clear()
    out = layer(x, edge_index.clone())
    assert kernel_calls == {"spmm": hops}
    out.sum().backward()
    assert kernel_calls == {"spmm": 2 * hops}
    assert (len(CACHE), CACHE.misses) == (entries, misses)
    torch.testing.assert_close(out, expected, rtol=0, atol=0)


def test_a_softmax_whose_weights_would_underflow(kernel_calls: Counter[str]) -> None:
    plain = SAGEConv(WIDTH, OUT, aggr=SoftmaxAggregation(t=10.0)).double()
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    edge_index = torch.randint(9, (2, 30))
    for scale, kernel in ((1.0, False), (100.0, True)):
        kernel_calls.clear()
        x = scale * torch.randn(9, WIDTH, dtype=torch.float64)
        torch.testing.assert_close(fast(x, edge_index), plain(x, edge_index))
        assert bool(kernel_calls["segment_softmax"]) == kernel


@pytest.mark.parametrize(
    "name", ["agnn", "gen on nodes", "transformer pair", "scores", "egc", "edge mean, pair", "gen", "pdn"]
)
def test_gradients_of_gradients(name: str) -> None:
    torch.manual_seed(0)
    make, takes, _ = CASES[name]
    layer = gnnkit.accelerate(make().double())
    edge_index = torch.randint(5, (2, 12))
    x = torch.randn(5, WIDTH, dtype=torch.float64, requires_grad=True)
    attr = [torch.randn(12, EDGE, dtype=torch.float64, requires_grad=True)] if "attr" in takes else []

    def call(x: Tensor, *attr: Tensor) -> Tensor:
        out: Tensor = layer((x, x) if "pair" in takes else x, edge_index, *attr)
        return out

    assert torch.autograd.gradcheck(call, (x, *attr))
    assert torch.autograd.gradgradcheck(call, (x, *attr))
