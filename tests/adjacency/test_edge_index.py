"""From ``edge_index`` and back: every edge and its order are kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from adjacency_inputs import EDGES, adjacency_of, shuffled

from gnnkit import Adjacency


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_edge_index_round_trip_restores_the_order(graph: Any, dtype: torch.dtype) -> None:
    edge_index = shuffled(graph).to(dtype)
    before = edge_index.clone()
    adj = Adjacency.from_edge_index(edge_index, (graph.num_src, graph.num_dst))
    assert torch.equal(adj.to_edge_index(), edge_index.long())
    assert torch.equal(edge_index, before)
    assert (adj.num_src, adj.num_dst, adj.num_edges) == (graph.num_src, graph.num_dst, graph.num_edges)


def test_entries_are_sorted_by_destination_and_stable(graph: Any) -> None:
    adj, edge_index = adjacency_of(graph)
    assert adj.edge_ids.tolist() == sorted(range(graph.num_edges), key=edge_index[1].tolist().__getitem__)
    assert torch.equal(adj.indices.long(), edge_index[0, adj.edge_ids])
    assert torch.equal(adj.indptr, graph.indptr)
    assert torch.equal(adj.in_degree(), torch.bincount(graph.dst, minlength=graph.num_dst))
    assert (adj.indptr.dtype, adj.indices.dtype, adj.edge_ids.dtype) == (
        torch.int64,
        torch.int32,
        torch.int64,
    )


def test_edge_index_may_have_strides() -> None:
    columns = EDGES.t().contiguous().t()
    assert not columns.is_contiguous()
    assert torch.equal(Adjacency.from_edge_index(columns).to_edge_index(), EDGES)


@pytest.mark.parametrize(
    ("num_nodes", "expected"),
    [
        (None, (4, 4)),
        (4, (4, 4)),
        (9, (9, 9)),
        ((7, 5), (7, 5)),
        ((None, 5), (4, 5)),
        ((5, None), (5, 4)),
    ],
    ids=str,
)
def test_number_of_nodes_is_given_or_the_largest_id_plus_one(num_nodes: Any, expected: Any) -> None:
    adj = Adjacency.from_edge_index(EDGES, num_nodes)
    assert (adj.num_src, adj.num_dst) == expected
    assert adj.indptr.shape == (expected[1] + 1,)


def test_a_graph_without_edges_has_the_nodes_it_is_told() -> None:
    none = torch.empty(2, 0, dtype=torch.int64)
    for num_nodes, expected in [(None, 0), (0, 0), (3, 3)]:
        adj = Adjacency.from_edge_index(none, num_nodes)
        assert adj.num_nodes == expected
        assert adj.to_edge_index().shape == (2, 0)
        assert adj.spmm(torch.ones(expected, 2)).tolist() == [[0.0, 0.0]] * expected
        assert adj.softmax(torch.empty(0)).shape == (0,)
        assert adj.transpose[0].tolist() == [0] * (expected + 1)


@pytest.mark.parametrize(
    ("edge_index", "num_nodes", "message"),
    [
        (EDGES, 3, r"edge_index: .*sources in \[0, 3\) \(got 3\)"),
        (EDGES, (4, 3), r"edge_index: .*destinations in \[0, 3\) \(got 3\)"),
        (-EDGES, None, r"edge_index: .*sources in .*\(got -3\)"),
        (torch.tensor([[0], [-1]]), 5, r"edge_index: .*destinations in \[0, 5\) \(got -1\)"),
        (EDGES.float(), None, "edge_index: .*float32"),
        (EDGES.t(), None, r"edge_index: .*\[6, 2\]"),
        (EDGES[0], None, r"edge_index: .*\[6\]"),
        (EDGES.tolist(), None, "edge_index: .*list"),
        (EDGES.double().to_sparse(), None, "edge_index: .*float64"),
        (EDGES, -1, "num_nodes: .*-1"),
        (EDGES, 4.0, r"num_nodes: .*4\.0"),
        (EDGES, True, "num_nodes: .*True"),
        (EDGES, (4, -1), r"num_nodes: .*\(4, -1\)"),
        (EDGES, (4,), r"num_nodes: .*\(4,\)"),
        (EDGES, "4", "num_nodes: .*'4'"),
    ],
)
def test_what_is_no_edge_index_is_a_value_error(edge_index: Any, num_nodes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}"):
        Adjacency.from_edge_index(edge_index, num_nodes)


def test_there_is_no_constructor_without_a_name() -> None:
    with pytest.raises(TypeError, match=r"from_edge_index \(got Adjacency\(\)\)$"):
        Adjacency()


def test_repr_tells_the_sizes() -> None:
    adj = Adjacency.from_edge_index(EDGES, (7, 5))
    assert repr(adj) == "Adjacency(num_src=7, num_dst=5, num_edges=6)"


def test_a_stray_id_is_an_error_and_not_an_allocation() -> None:
    with pytest.raises(ValueError, match=r"at most 2\^40 sources \(got "):
        Adjacency.from_edge_index(torch.tensor([[2**62], [0]]))
