"""Relational layers on compact rows compute what the plain ones do."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from compare import TOLERANCE, distance
from torch import Tensor
from torch.testing import assert_close
from torch_geometric.nn import HGTConv
from typed_inputs import CASES, HGT, NODES, OUT, WIDTH, arguments, outcome, randomised, served, typed_graph

import gnnkit


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_equal_on_50_graphs(name: str, dtype: torch.dtype, typed_calls: dict[str, int]) -> None:
    make, takes, more = CASES[name]
    torch.manual_seed(0)
    plain = randomised(make(), dtype)
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    for seed in range(50):
        args, leaves = arguments(takes, more, seed, dtype)
        expected = outcome(plain, lambda layer, args=args: layer(*args), leaves, seed)
        actual = outcome(fast, lambda layer, args=args: layer(*args), leaves, seed)
        for a, e in zip(actual, expected, strict=True):
            assert distance(a, e) <= TOLERANCE[dtype], seed
        assert served(typed_calls)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", HGT)
def test_hgt_equal_on_50_graphs(name: str, dtype: torch.dtype, typed_calls: dict[str, int]) -> None:
    torch.manual_seed(0)
    plain = HGT[name]().to(dtype)
    widths = plain.in_channels if name == "hgt heads" else dict.fromkeys(NODES, OUT)
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    if name == "hgt lazy":
        for layer in (plain, fast):
            layer(*typed_graph(1, dtype, widths))
        served(typed_calls)
    fast.load_state_dict(randomised(plain, dtype).state_dict())
    for seed in range(50):
        x, edges = typed_graph(seed, dtype, widths)
        expected = outcome(plain, lambda layer, x=x, edges=edges: layer(x, edges), list(x.values()), seed)
        actual = outcome(fast, lambda layer, x=x, edges=edges: layer(x, edges), list(x.values()), seed)
        assert list(plain(x, edges)) == list(fast(x, edges))
        for a, e in zip(actual, expected, strict=True):
            assert distance(a, e) <= TOLERANCE[dtype], seed
        assert served(typed_calls)


@pytest.mark.parametrize("empty", ["a", "b", "both"])
def test_types_without_nodes(empty: str) -> None:
    nodes = {"a": 0 if empty in ("a", "both") else 3, "b": 0 if empty in ("b", "both") else 3}
    x = {key: torch.randn(count, 4) for key, count in nodes.items()}
    none = torch.empty(2, 0, dtype=torch.int64)
    plain = HGTConv(4, 4, (["a", "b"], [("a", "to", "b"), ("b", "to", "a")]), heads=2)
    edges = dict.fromkeys(plain.edge_types, none)
    assert_close(gnnkit.accelerate(copy.deepcopy(plain))(x, edges), plain(x, edges))


@pytest.mark.parametrize("name", ["rgcn", "rgcn max", "rgcn blocks, pair", "fast rgcn", "rgat", "rgat within"])
def test_graphs_without_nodes(name: str) -> None:
    make, takes, _ = CASES[name]
    plain = make()
    x = torch.empty(0, WIDTH)
    none = torch.empty(2, 0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    args = (x, torch.empty(0, 5)) if takes == "pair" else x, *none
    assert_close(gnnkit.accelerate(copy.deepcopy(plain))(*args), plain(*args))


def test_gradients_of_gradients() -> None:
    for name in ("rgcn", "rgcn blocks, pair", "rgcn max", "rgat bases, attributes, dropout", "rgat product"):
        make, takes, more = CASES[name]
        layer = gnnkit.accelerate(randomised(make(), torch.float64)).eval()
        args, leaves = arguments(takes, more, 13, torch.float64)

        def call(*leaves: Tensor, layer: Any = layer, args: list[Any] = args, takes: str = takes) -> Tensor:
            x = leaves[:2] if takes == "pair" else leaves[0]
            return layer(x, *args[1:3], *leaves[2 if takes == "pair" else 1 :])

        assert torch.autograd.gradcheck(call, tuple(leaves), fast_mode=True)
        assert torch.autograd.gradgradcheck(call, tuple(leaves), fast_mode=True)
    hgt = gnnkit.accelerate(HGT["hgt heads"]().double())
    x, edges = typed_graph(4, torch.float64, hgt.in_channels)
    run = lambda *rows: tuple(hgt(dict(zip(NODES, rows, strict=True)), edges).values())  # noqa: E731
    assert torch.autograd.gradgradcheck(run, tuple(x.values()), fast_mode=True)
