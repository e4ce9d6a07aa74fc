"""Layers whose message is a function of both ends of an edge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from served_layers import EDGE, OUT, PAIR, RELATIONS, WIDTH, assert_twice_differentiable
from torch import Tensor, nn
from torch_geometric.nn import (
    AGNNConv,
    CGConv,
    EdgeConv,
    FiLMConv,
    GATConv,
    GATv2Conv,
    GeneralConv,
    MessagePassing,
    ResGatedGraphConv,
    SuperGATConv,
    TransformerConv,
)
from torch_geometric.utils import scatter, softmax


def mlp(width: int, out: int = OUT) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, out))


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
    "cgc": (lambda: CGConv(WIDTH, dim=EDGE, aggr="mean", batch_norm=False), "x attr", "spmm"),
    "edge max": (lambda: EdgeConv(mlp(2 * WIDTH), aggr="max"), "x", "spmm"),
    "edge mean, pair": (lambda: EdgeConv(mlp(2 * WIDTH), aggr="mean"), "pair", "spmm"),
    "film": (lambda: FiLMConv(WIDTH, OUT, num_relations=RELATIONS, aggr="max"), "x type", "spmm"),
    "film one, pair": (lambda: FiLMConv(PAIR, OUT, act=None), "pair", "spmm"),
    "gat edge_dim": (
        lambda: GATConv(PAIR, OUT, heads=2, edge_dim=EDGE, add_self_loops=False, dropout=0.2),
        "pair attr",
        "segment_softmax spmm",
    ),
    "gatv2 edge_dim": (lambda: GATv2Conv(WIDTH, OUT, heads=2, edge_dim=EDGE), "x attr", "segment_softmax spmm"),
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
    "gated": (lambda: ResGatedGraphConv(PAIR, OUT, act=nn.Tanh(), root_weight=False), "pair", "spmm"),
    "gated edge_dim": (lambda: ResGatedGraphConv(WIDTH, OUT, edge_dim=EDGE, bias=False, aggr="max"), "x attr", "spmm"),
    "supergat": (lambda: SuperGATConv(WIDTH, OUT, heads=2, concat=False), "x", "segment_softmax sddmm spmm"),
    "supergat scaled": (
        lambda: SuperGATConv(WIDTH, OUT, heads=2, attention_type="SD", dropout=0.3, add_self_loops=False),
        "x",
        "segment_softmax sddmm spmm",
    ),
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
    "scores": (lambda: Scores(), "x", "sddmm segment_softmax spmm"),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_equal_on_50_graphs(name: str, dtype: torch.dtype, same_on_50_graphs: Any) -> None:
    make, takes, _ = CASES[name]
    same_on_50_graphs(make, takes, dtype)


@pytest.mark.parametrize("name", CASES)
def test_the_kernels_ran(name: str, assert_kernels_ran: Callable[..., None]) -> None:
    assert_kernels_ran(*CASES[name])


@pytest.mark.parametrize("name", ["agnn", "transformer pair", "scores", "edge mean, pair"])
def test_gradients_of_gradients(name: str) -> None:
    make, takes, _ = CASES[name]
    assert_twice_differentiable(make, takes)
