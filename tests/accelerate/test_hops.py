"""Layers whose graph is normalised once and walked hop by hop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from served_layers import EDGE, OUT, WIDTH, assert_twice_differentiable
from torch import Tensor, nn
from torch_geometric.nn import (
    APPNP,
    ARMAConv,
    ChebConv,
    ClusterGCNConv,
    FAConv,
    GCN2Conv,
    GCNConv,
    LGConv,
    MessagePassing,
    MixHopConv,
    PDNConv,
    SGConv,
    SSGConv,
    TAGConv,
)
from torch_geometric.utils import add_self_loops, degree

import gnnkit
from gnnkit._accelerate._cache import CACHE


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


# name -> (layer, what its forward takes, the kernels that its forward runs on)
CASES: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "appnp": (lambda: APPNP(3, 0.1, dropout=0.4), "x weight", "spmm"),
    "appnp cached": (lambda: APPNP(2, 0.1, cached=True, add_self_loops=False), "x", "spmm"),
    "arma": (
        lambda: ARMAConv(WIDTH, OUT, num_stacks=2, num_layers=2, shared_weights=True, dropout=0.3),
        "x weight",
        "spmm",
    ),
    "cheb rw": (lambda: ChebConv(WIDTH, OUT, K=3, normalization="rw", bias=False), "x weight", "spmm"),
    "cheb unnormalised": (lambda: ChebConv(WIDTH, OUT, K=2, normalization=None), "x weight", "spmm"),
    "cluster": (lambda: ClusterGCNConv(WIDTH, OUT, diag_lambda=0.3), "x", "spmm"),
    "fa": (lambda: FAConv(WIDTH, eps=0.2, dropout=0.3), "twice", "spmm"),
    "gcn mean": (lambda: GCNConv(WIDTH, OUT, aggr="mean", improved=True), "x weight", "spmm"),
    "gcn2": (
        lambda: GCN2Conv(WIDTH, 0.2, theta=0.5, layer=2, shared_weights=False, add_self_loops=False),
        "twice weight",
        "spmm",
    ),
    "lightgcn": (lambda: LGConv(normalize=False), "x weight", "spmm"),
    "mixhop": (lambda: MixHopConv(WIDTH, OUT, powers=[0, 2], add_self_loops=False), "x weight", "spmm"),
    "pdn": (lambda: PDNConv(WIDTH, OUT, EDGE, 5, bias=False), "x attr", "spmm"),
    "sgc": (lambda: SGConv(WIDTH, OUT, K=3, add_self_loops=False, bias=False), "x weight", "spmm"),
    "sgc backwards": (lambda: SGConv(WIDTH, OUT, K=2, flow="target_to_source"), "x weight", "spmm"),
    "ssgc": (lambda: SSGConv(WIDTH, OUT, 0.3, K=3), "x weight", "spmm"),
    "tag": (lambda: TAGConv(WIDTH, OUT, K=3, normalize=False, bias=False), "x weight", "spmm"),
    "tutorial": (lambda: Tutorial(), "x", "spmm"),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_equal_on_50_graphs(name: str, dtype: torch.dtype, same_on_50_graphs: Any) -> None:
    make, takes, _ = CASES[name]
    same_on_50_graphs(make, takes, dtype)


@pytest.mark.parametrize("name", CASES)
def test_the_kernels_ran(name: str, assert_kernels_ran: Callable[..., None]) -> None:
    assert_kernels_ran(*CASES[name])


@pytest.mark.parametrize("name", ["pdn"])
def test_gradients_of_gradients(name: str) -> None:
    make, takes, _ = CASES[name]
    assert_twice_differentiable(make, takes)


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
def test_each_hop_is_one_product_with_constants(name: str, kernel_counts: Counter[str]) -> None:
    make, hops = HOPS[name]
    layer = gnnkit.accelerate(make())
    x, edge_index = torch.randn(9, WIDTH, requires_grad=True), torch.randint(9, (2, 30))
    expected = layer(x, edge_index)
    expected.sum().backward()
    # the graph is known by now, with its weights in the order of the CSR and of its transpose
    entries, misses = len(CACHE), CACHE.misses
    kernel_counts.clear()
    out = layer(x, edge_index.clone())
    assert kernel_counts == {"spmm": hops}
    out.sum().backward()
    assert kernel_counts == {"spmm": 2 * hops}
    assert (len(CACHE), CACHE.misses) == (entries, misses)
    torch.testing.assert_close(out, expected, rtol=0, atol=0)
