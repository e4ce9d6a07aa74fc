"""Layers that aggregate in several ways, or by a softmax, a power or a deviation of the messages."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from served_layers import EDGE, OUT, PAIR, WIDTH, assert_twice_differentiable
from torch import nn
from torch_geometric.nn import EGConv, GENConv, PNAConv, SAGEConv
from torch_geometric.nn.aggr import MultiAggregation, PowerMeanAggregation, SoftmaxAggregation, VarAggregation

import gnnkit

DEGREES = torch.tensor([1, 2, 3, 2, 1])

# name -> (layer, what its forward takes, the kernels that its forward runs on)
CASES: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "egc": (lambda: EGConv(WIDTH, OUT, ["symnorm", "mean", "std", "max"], num_heads=2), "x", "spmm"),
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
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_equal_on_50_graphs(name: str, dtype: torch.dtype, same_on_50_graphs: Any) -> None:
    make, takes, _ = CASES[name]
    same_on_50_graphs(make, takes, dtype)


@pytest.mark.parametrize("name", CASES)
def test_the_kernels_ran(name: str, assert_kernels_ran: Callable[..., None]) -> None:
    assert_kernels_ran(*CASES[name])


@pytest.mark.parametrize("name", ["gen on nodes", "egc", "gen"])
def test_gradients_of_gradients(name: str) -> None:
    make, takes, _ = CASES[name]
    assert_twice_differentiable(make, takes)


def test_a_softmax_whose_weights_would_underflow(kernel_counts: Counter[str]) -> None:
    plain = SAGEConv(WIDTH, OUT, aggr=SoftmaxAggregation(t=10.0)).double()
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    edge_index = torch.randint(9, (2, 30))
    for scale, kernel in ((1.0, False), (100.0, True)):
        kernel_counts.clear()
        x = scale * torch.randn(9, WIDTH, dtype=torch.float64)
        torch.testing.assert_close(fast(x, edge_index), plain(x, edge_index))
        assert bool(kernel_counts["segment_softmax"]) == kernel
