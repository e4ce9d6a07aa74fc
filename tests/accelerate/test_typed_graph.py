"""Compact rows are the distinct pairs of node and relation, and are found once a graph."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from typed_inputs import CASES, HGT, NODES, OUT, RELATIONS, arguments, typed_graph

import gnnkit
from gnnkit._accelerate._cache import CACHE
from gnnkit._accelerate._typed_graph import Pairs
from gnnkit._accelerate._typed_sum import TypedSum


def test_rows_are_distinct_pairs_of_the_end_that_has_fewer() -> None:
    # relation 0: one source, many destinations; relation 1: many sources, one destination; relation 2: none
    edge_index = torch.tensor([[0, 0, 0, 0, 1, 2, 3, 3], [1, 2, 3, 3, 0, 0, 0, 0]])
    relation = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    made = TypedSum(tuple(edge_index), relation, (4, 4), 3, "mean", torch.float64)
    assert made.ptr.tolist() == [0, 1, 2, 2]
    late = TypedSum(tuple(edge_index), relation, (4, 4), 3, "max", torch.float64)
    assert late.ptr.tolist() == [0, 3, 4, 4]  # an extreme comes before the product: pairs of destinations only


def test_pairs_are_sorted_by_relation_and_node() -> None:
    pairs = Pairs.of(torch.tensor([3, 1, 3, 0, 3]), torch.tensor([1, 0, 1, 1, 0]), 4, 2)
    assert pairs.relation.tolist() == [0, 0, 1, 1]
    assert pairs.node.tolist() == [1, 3, 0, 3]
    assert pairs.of_edge.tolist() == [3, 0, 3, 2, 1]


@pytest.mark.parametrize("name", ["rgcn", "rgcn ids", "rgat", "hgt"])
def test_a_graph_is_built_once_and_known_by_its_content(name: str) -> None:
    if name == "hgt":
        layer = gnnkit.accelerate(HGT[name]())
        x, edges = typed_graph(1, torch.float32, dict.fromkeys(NODES, OUT))
        run, written = (lambda: layer(x, edges)["b"]), edges[RELATIONS[1]]
        plain: Any = gnnkit.accelerate(copy.deepcopy(layer), undo=True)
        again = lambda: plain(x, edges)["b"]  # noqa: E731
    else:
        make, takes, more = CASES[name]
        layer = gnnkit.accelerate(make())
        args, _ = arguments(takes, more, 3, torch.float32)
        run, written = (lambda: layer(*args)), args[2]
        plain = gnnkit.accelerate(copy.deepcopy(layer), undo=True)
        again = lambda: plain(*args)  # noqa: E731
    for _ in range(3):
        run()
    assert (CACHE.misses, CACHE.hits) == (1, 2)
    assert CACHE.nbytes > 0
    written.numpy()[..., :] = written.numpy()[..., ::-1].copy()  # nothing counts this write
    assert_close(run(), again())
    assert CACHE.misses == 2


@pytest.mark.parametrize("name", ["rgcn", "rgcn max", "rgcn ids", "fast rgcn", "rgat within", "hgt"])
def test_first_seen_in_inference_then_trained(name: str) -> None:
    if name == "hgt":
        plain: Any = HGT[name]()
        args: Any = typed_graph(1, torch.float32, dict.fromkeys(NODES, OUT))
    else:
        make, takes, more = CASES[name]
        plain, (args, _) = make(), arguments(takes, more, 3, torch.float32)
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    with torch.inference_mode():
        fast(*(arg.clone() if isinstance(arg, Tensor) else arg for arg in args))
    for layer in (plain, fast):
        out = layer(*args)
        (out["b"] if name == "hgt" else out).square().sum().backward()
    for a, b in zip(plain.parameters(), fast.parameters(), strict=True):
        assert_close(a.grad, b.grad)
