"""Calls of relational layers that are left to PyG, errors included."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric
from torch import nn
from torch.testing import assert_close
from torch_geometric.nn import FastRGCNConv, HGTConv, RGATConv, RGCNConv
from typed_inputs import HGT, NODES, OUT, RELATIONS, WIDTH, N, R, layers, served, typed_graph

import gnnkit

X, EDGES, TYPES = (layers()["rgcn"][1][k] for k in range(3))
HALF_TYPES = TYPES[: len(TYPES) // 2]
REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...]]] = {
    "no types": (lambda: RGCNConv(WIDTH, OUT, R), (X, EDGES)),
    "a type too large": (lambda: RGCNConv(WIDTH, OUT, R), (X, EDGES, TYPES + 2)),
    "a type too large for blocks": (lambda: RGCNConv(WIDTH, OUT, R, num_blocks=2), (X, EDGES, TYPES + 2)),
    "a negative type": (lambda: FastRGCNConv(WIDTH, OUT, R, aggr="sum"), (X, EDGES, TYPES - 1)),
    "too few types": (lambda: RGCNConv(WIDTH, OUT, R), (X, EDGES, HALF_TYPES)),
    "types in 32 bits": (lambda: RGCNConv(WIDTH, OUT, R), (X, EDGES, TYPES.int())),
    "types of floats": (lambda: RGATConv(WIDTH, OUT, R), (X, EDGES, TYPES.float())),
    "edges in 32 bits": (lambda: RGCNConv(WIDTH, OUT, R), (X, EDGES.int(), TYPES)),
    "a node too large": (lambda: RGCNConv(WIDTH, OUT, R), (X, EDGES + 2, TYPES)),
    "a negative node": (lambda: RGATConv(WIDTH, OUT, R), (X, EDGES - 1, TYPES)),
    "an id too large": (lambda: RGCNConv(N - 1, OUT, R), (torch.arange(N), EDGES, TYPES)),
    "a node too large for ids": (lambda: RGCNConv(N, OUT, R), (None, EDGES + 2, TYPES)),
    "a node beyond the ids": (lambda: FastRGCNConv(2, OUT, R, root_weight=False), (torch.arange(N), EDGES, TYPES)),
    "ids for blocks": (lambda: RGCNConv(WIDTH, OUT, R, num_blocks=2), (torch.arange(WIDTH), EDGES, TYPES)),
    "ids for attention": (lambda: RGATConv(WIDTH, OUT, R), (torch.arange(N), EDGES, TYPES)),
    "ids, max": (lambda: RGCNConv(N, OUT, R, aggr="max"), (None, EDGES, TYPES)),
    "another width": (lambda: RGCNConv(WIDTH, OUT, R), (X[:, 1:], EDGES, TYPES)),
    "another dtype": (lambda: RGATConv(WIDTH, OUT, R), (X.double(), EDGES, TYPES)),
    "half precision": (lambda: RGCNConv(WIDTH, OUT, R).bfloat16(), (X.bfloat16(), EDGES, TYPES)),
    "three dimensions": (lambda: RGCNConv(WIDTH, OUT, R), (X.expand(2, N, WIDTH), EDGES, TYPES)),
    "a tuple of one": (lambda: RGCNConv(WIDTH, OUT, R), ((X,), EDGES, TYPES)),
    "backwards": (lambda: RGCNConv(WIDTH, OUT, R, flow="target_to_source"), (X, EDGES, TYPES)),
    "backwards attention": (lambda: RGATConv(WIDTH, OUT, R, flow="target_to_source"), (X, EDGES, TYPES)),
    "fast, max": (lambda: FastRGCNConv(WIDTH, OUT, R, aggr="max"), (X, EDGES, TYPES)),
    "attention, mean": (lambda: RGATConv(WIDTH, OUT, R, aggr="mean"), (X, EDGES, TYPES)),
    "attributes without edge_dim": (lambda: RGATConv(WIDTH, OUT, R), (X, EDGES, TYPES, torch.ones(len(TYPES), 2))),
    "attributes of another width": (
        lambda: RGATConv(WIDTH, OUT, R, edge_dim=3),
        (X, EDGES, TYPES, torch.ones(len(TYPES), 2)),
    ),
    "a size": (lambda: RGATConv(WIDTH, OUT, R), (X, EDGES, TYPES, None, (N, N))),
    "weights returned": (lambda: RGATConv(WIDTH, OUT, R), (X, EDGES, TYPES, None, None, True)),
}


def raised(layer: nn.Module, args: tuple[Any, ...]) -> Any:
    try:
        return layer(*args)
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("name", REFUSED)
def test_what_pyg_does_with_other_calls(name: str, typed_calls: dict[str, int]) -> None:
    make, args = REFUSED[name]
    torch.manual_seed(0)
    plain = make()
    expected = raised(plain, args)
    typed_calls.update(spmm=0)
    actual = raised(gnnkit.accelerate(copy.deepcopy(plain)), args)
    assert not served(typed_calls)
    if isinstance(expected, tuple) and isinstance(expected[0], type):
        assert actual == expected
    else:
        tolerance = {"rtol": 0.02, "atol": 0.02} if name == "half precision" else {}
        assert_close(actual, expected, **tolerance)


def test_zeros_of_another_default_dtype(typed_calls: dict[str, int]) -> None:
    plain, args = layers()["rgcn"]
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    torch.set_default_dtype(torch.float64)
    try:
        assert_close(fast(*args), plain(*args))
    finally:
        torch.set_default_dtype(torch.float32)
    assert not served(typed_calls)


def test_pyg_libs_mean_is_another_function(monkeypatch: pytest.MonkeyPatch, typed_calls: dict[str, int]) -> None:
    monkeypatch.setattr(torch_geometric.typing, "WITH_SEGMM", True)
    monkeypatch.setattr(torch_geometric.backend, "use_segment_matmul", False)
    _, args = layers()["rgcn"]
    for aggr, ours in (("sum", True), ("mean", False)):
        gnnkit.accelerate(RGCNConv(WIDTH, OUT, R, aggr=aggr))(*args)
        assert served(typed_calls) == ours
    gnnkit.accelerate(RGCNConv(WIDTH, OUT, R, num_bases=2))(*args)
    assert served(typed_calls)


@pytest.mark.parametrize("name", ["rgcn", "rgat", "hgt"])
def test_hooks_and_replaced_methods(name: str, typed_calls: dict[str, int]) -> None:
    plain, args = layers()[name]
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    for layer in (plain, fast):
        layer.register_message_forward_hook(lambda module, inputs, out: 2 * out)
    assert_close(fast(*args), plain(*args))
    assert not served(typed_calls)


def wrong_hgt() -> dict[str, tuple[HGTConv, tuple[Any, Any]]]:
    torch.manual_seed(0)
    layer = HGT["hgt"]()
    x, edges = typed_graph(1, torch.float32, dict.fromkeys(NODES, OUT))
    only = {key: x[key] for key in ("a", "b")}
    return {
        "another order": (layer, (x, dict(reversed(list(edges.items()))))),
        "an unknown relation": (layer, (x, {**edges, ("a", "x", "a"): edges[RELATIONS[0]]})),
        "no relations": (layer, (x, {})),
        "a type without rows": (layer, (only, edges)),
        "a node of the next type": (layer, (x, {**edges, RELATIONS[0]: torch.tensor([[0, 5], [1, 1]])})),
        "a node too large": (layer, (x, {**edges, RELATIONS[0]: torch.tensor([[0, 99], [1, 1]])})),
        "edges in 32 bits": (layer, (x, {**edges, RELATIONS[0]: edges[RELATIONS[0]].int()})),
        "one of another dtype": (layer, ({**x, "a": x["a"].double()}, edges)),
        "another width": (layer, ({**x, "a": x["a"][:, 1:]}, edges)),
        "half precision": (copy.deepcopy(layer).bfloat16(), ({k: v.bfloat16() for k, v in x.items()}, edges)),
    }


@pytest.mark.parametrize("name", wrong_hgt())
def test_what_pyg_does_with_other_typed_graphs(name: str, typed_calls: dict[str, int]) -> None:
    plain, args = wrong_hgt()[name]
    expected = raised(plain, args)
    typed_calls.update(spmm=0)
    actual = raised(gnnkit.accelerate(copy.deepcopy(plain)), args)
    assert not served(typed_calls)
    if isinstance(expected, tuple):
        assert actual == expected
    elif name == "another order":  # PyG takes matrices from memory that nobody wrote: nothing to compare
        assert actual.keys() == expected.keys()
    else:
        tolerance = {"rtol": 0.02, "atol": 0.02} if name == "half precision" else {}
        assert_close(actual, expected, **tolerance)


def test_a_hook_on_the_matrices_of_relations() -> None:
    plain, args = layers()["hgt"]
    fast: Any = gnnkit.accelerate(copy.deepcopy(plain))
    for layer in (plain, fast):
        layer.k_rel.register_forward_hook(lambda module, inputs, out: 2 * out)
    assert_close(fast(*args), plain(*args))


def test_an_input_written_before_the_backward() -> None:
    _, (x, edge_index, relation) = layers()["rgcn"]
    for aggr in ("mean", "max"):
        plain = RGCNConv(WIDTH, WIDTH, R, aggr=aggr, root_weight=False)
        results = []
        for layer in (plain, gnnkit.accelerate(copy.deepcopy(plain))):
            leaf = x.clone().requires_grad_()
            hidden = 1 * leaf
            hidden += layer(hidden, edge_index, relation)
            hidden.square().sum().backward()
            results.append(leaf.grad)
        assert_close(results[1], results[0])
