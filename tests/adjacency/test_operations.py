"""Operations take and give per-edge tensors in the original edge order, and equal PyG."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from adjacency_inputs import EDGES, NUM_NODES, adjacency_of, shuffled
from torch.testing import assert_close
from torch_geometric.utils import scatter, softmax

from gnnkit import Adjacency


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
@pytest.mark.parametrize(
    ("row", "value"),
    [((3,), None), ((3,), ()), ((2, 3), ()), ((2, 3), (2,))],
    ids=["[N,D]", "[N,D] [E]", "[N,H,D] [E]", "[N,H,D] [E,H]"],
)
def test_spmm_takes_weights_in_edge_order_and_equals_pyg(
    backend: str, graph: Any, row: tuple[int, ...], value: tuple[int, ...] | None, reduce: str
) -> None:
    adj, (src, dst) = adjacency_of(graph)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(graph.num_src, *row, generator=generator, dtype=torch.float64).requires_grad_()
    inputs, messages, weight = [x], x[src], None
    if value is not None:
        weight = torch.randn(graph.num_edges, *value, generator=generator, dtype=torch.float64)
        inputs.append(weight.requires_grad_())
        messages = messages * weight.reshape(*weight.shape, *[1] * (x.dim() - weight.dim()))
    ours = adj.spmm(x, weight, reduce)
    theirs = scatter(messages, dst, 0, graph.num_dst, reduce)
    assert_close(ours, theirs)
    grad = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    assert_close(torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(theirs, inputs, grad))


@pytest.mark.parametrize("row", [(), (3,)], ids=["[E]", "[E,H]"])
def test_softmax_takes_and_gives_edge_order_and_equals_pyg(backend: str, graph: Any, row: tuple[int, ...]) -> None:
    adj, (_, dst) = adjacency_of(graph)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(graph.num_edges, *row, generator=generator, dtype=torch.float64).requires_grad_()
    theirs = softmax(logits, dst, num_nodes=graph.num_dst)
    grad = torch.randn(logits.shape, generator=generator, dtype=torch.float64)
    for _ in range(2):  # the inverse order is kept between calls
        ours = adj.softmax(logits)
        assert_close(ours, theirs)
        assert_close(
            torch.autograd.grad(ours, logits, grad),
            torch.autograd.grad(theirs, logits, grad, retain_graph=True),
        )


def test_operations_commute_with_a_shuffle_of_the_edges(random_graph: Any) -> None:
    edge_index = shuffled(random_graph)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(1))
    first = Adjacency.from_edge_index(edge_index, 20)
    second = Adjacency.from_edge_index(edge_index[:, order], 20)
    logits = torch.randn(80, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert_close(second.softmax(logits[order]), first.softmax(logits)[order])
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert_close(second.spmm(x, logits[order]), first.spmm(x, logits))


@pytest.mark.parametrize("operation", ["softmax", "transpose", "construction"])
def test_what_inference_mode_left_behind_can_be_trained_with(operation: str) -> None:
    """A sanity check under ``inference_mode`` before training, as Lightning makes it."""
    adj = Adjacency.from_edge_index(EDGES, NUM_NODES)
    with torch.inference_mode():
        if operation == "construction":
            adj = Adjacency.from_edge_index(EDGES, NUM_NODES)
        elif operation == "softmax":
            adj.softmax(torch.ones(6))
        else:
            assert len(adj.transpose) == 3
    logits = torch.zeros(6, requires_grad=True)
    x = torch.ones(NUM_NODES, 2, requires_grad=True)
    adj.spmm(x, adj.softmax(logits)).sum().backward()
    assert x.grad is not None
    assert x.grad[:, 0].tolist() == [2.0, 0.5, 1.0, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda adj: adj.spmm(torch.ones(5, 1)), r"x: expected 6 rows.*\(got \[?5"),
        (lambda adj: adj.spmm(torch.ones(6, 1), torch.ones(7)), r"one row for each of the 6 edges .*\[7\]"),
        (lambda adj: adj.spmm(torch.ones(6, 1), [1.0] * 6), "one row for each of the 6 edges .*list"),
        (lambda adj: adj.spmm(torch.ones(6, 1), torch.tensor(1.0)), "one row for each of the 6 edges"),
        (lambda adj: adj.spmm(torch.ones(6, 1), None, "prod"), "reduce: .*'prod'"),
        (lambda adj: adj.spmm([[1.0]]), "x: .*list"),
        (lambda adj: adj.softmax(torch.ones(5)), r"one row for each of the 6 edges .*\[5\]"),
        (lambda adj: adj.softmax(torch.ones(6, 1, 1)), "logits: .*"),
        (lambda adj: adj.to_scipy(torch.ones(5)), r"one row for each of the 6 edges .*\[5\]"),
        (lambda adj: adj.to_torch_sparse(torch.ones(5)), r"one row for each of the 6 edges .*\[5\]"),
    ],
)
def test_wrong_arguments_are_value_errors(call: Callable[[Adjacency], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(Adjacency.from_edge_index(EDGES, NUM_NODES))


@pytest.mark.parametrize(
    "call",
    [
        lambda adj: adj.num_nodes,
        lambda adj: adj.to_pyg(),
        lambda adj: adj.to_networkx(),
    ],
    ids=["num_nodes", "to_pyg", "to_networkx"],
)
def test_what_needs_one_set_of_nodes_refuses_a_bipartite_graph(call: Callable[[Adjacency], Any]) -> None:
    with pytest.raises(ValueError, match=r"one set of nodes \(got 7 sources, 5 destinations\)$"):
        call(Adjacency.from_edge_index(EDGES, (7, 5)))
