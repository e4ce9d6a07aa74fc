"""LinkGraph: a simple symmetric CSR whatever pairs come in, and edges that leave in both directions."""

from __future__ import annotations

from typing import Any

import networkx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnnkit.links import LinkGraph


def pairs(*each: tuple[int, int]) -> Tensor:
    """Pairs as ``[2, P]``."""
    return torch.tensor(each, dtype=torch.int64).reshape(-1, 2).t()


@st.composite
def multigraphs(draw: Any) -> tuple[int, list[tuple[int, int]]]:
    """Pairs with loops, copies and reversed copies, over up to 9 nodes."""
    num_nodes = draw(st.integers(1, 9))
    ends = st.integers(0, num_nodes - 1)
    return num_nodes, draw(st.lists(st.tuples(ends, ends), max_size=25))


def directed(graph: LinkGraph) -> list[tuple[int, int]]:
    """The (row, index) of every entry of the CSR, in order."""
    rows = torch.arange(graph.num_nodes).repeat_interleave(graph.adj.indptr.diff())
    return list(zip(rows.tolist(), graph.adj.indices.tolist(), strict=True))


@given(multigraphs())
def test_the_csr_is_the_simple_graph_of_the_pairs_in_both_directions(case: tuple[int, list[tuple[int, int]]]) -> None:
    num_nodes, given_pairs = case
    graph = LinkGraph.from_edges(pairs(*given_pairs), num_nodes)
    plain = networkx.Graph([(u, v) for u, v in given_pairs if u != v])
    edges = sorted((min(edge), max(edge)) for edge in plain.edges)
    assert list(map(tuple, graph.edges.t().tolist())) == edges
    assert directed(graph) == sorted(edges + [(v, u) for u, v in edges])
    assert graph.num_nodes == num_nodes
    assert graph.num_edges == len(edges)
    assert torch.equal(graph.adj.edge_ids, torch.arange(2 * len(edges)))
    assert graph.num_self_loops == sum(u == v for u, v in given_pairs)
    assert graph.num_duplicates == len(given_pairs) - graph.num_self_loops - len(edges)
    assert torch.equal(graph.degree(), graph.adj.in_degree())


@given(multigraphs())
def test_entries_are_where_the_csr_holds_each_edge(case: tuple[int, list[tuple[int, int]]]) -> None:
    graph = LinkGraph.from_edges(pairs(*case[1]), case[0])
    listed = directed(graph)
    for (low, high), (first, second) in zip(graph.edges.t().tolist(), graph.entries.t().tolist(), strict=True):
        assert listed[first] == (low, high)
        assert listed[second] == (high, low)


@given(multigraphs())
def test_numbers_find_every_edge_in_both_directions_and_nothing_else(case: tuple[int, list[tuple[int, int]]]) -> None:
    num_nodes, given_pairs = case
    graph = LinkGraph.from_edges(pairs(*given_pairs), num_nodes)
    every = [(u, v) for u in range(num_nodes) for v in range(num_nodes)]
    number = {edge: m for m, edge in enumerate(map(tuple, graph.edges.t().tolist()))}
    expected = [number.get((min(pair), max(pair)), -1) for pair in every]
    assert graph.numbers(pairs(*every)).tolist() == expected


@given(multigraphs(), st.data())
def test_removed_edges_leave_in_both_directions_and_no_other(
    case: tuple[int, list[tuple[int, int]]], data: st.DataObject
) -> None:
    graph = LinkGraph.from_edges(pairs(*case[1]), case[0])
    removed = data.draw(st.lists(st.integers(0, graph.num_edges - 1), max_size=8)) if graph.num_edges else []
    gone = {tuple(graph.edges[:, m].tolist()) for m in removed}
    expected = [(min(entry), max(entry)) not in gone for entry in directed(graph)]
    assert graph.keep(torch.tensor(removed, dtype=torch.int64)).tolist() == expected


def test_an_edge_index_with_both_directions_is_the_graph_of_one_direction() -> None:
    once = pairs((0, 1), (3, 1))
    both = LinkGraph.from_edges(torch.cat([once, once.flip(0)], dim=1).int(), 5)
    assert torch.equal(both.edges, LinkGraph.from_edges(once, 5).edges)
    assert both.num_duplicates == 2


@pytest.mark.parametrize("num_nodes", [0, 3])
def test_a_graph_without_edges(num_nodes: int) -> None:
    graph = LinkGraph.from_edges(pairs(), num_nodes)
    assert (graph.num_nodes, graph.num_edges) == (num_nodes, 0)
    assert graph.numbers(pairs()).tolist() == []
    assert graph.keep(torch.empty(0, dtype=torch.int64)).tolist() == []
    if num_nodes:
        assert graph.numbers(pairs((0, 1))).tolist() == [-1]


def test_moved_to_a_device_it_is_the_same_graph() -> None:
    graph = LinkGraph.from_edges(pairs((0, 1), (1, 1), (1, 0)), 2)
    moved = graph.to("cpu")
    assert (moved.num_duplicates, moved.num_self_loops) == (1, 1)
    assert torch.equal(moved.edges, graph.edges)


@pytest.mark.parametrize(
    ("edges", "num_nodes", "message"),
    [
        (pairs((0, 3)), 3, r"^edges: expected ids in \[0, 3\) \(got 3\)$"),
        (pairs((-1, 2)), 3, r"^edges: expected ids in \[0, 3\) \(got -1\)$"),
        (
            pairs((0, 1)).t(),
            3,
            r"^edges: expected an int32 or int64 tensor of shape \[2, P\] \(got int64 .*\[1, 2\]\)$",
        ),
        (pairs((0, 1)).double(), 3, r"^edges: expected an int32 or int64 tensor .*\(got float64 .*\)$"),
        ([[0], [1]], 3, r"^edges: expected .*\(got list\)$"),
        (pairs((0, 1)), -1, r"^num_nodes: expected a whole number >= 0 \(got -1\)$"),
        (pairs((0, 1)), 2**31 + 1, r"^num_nodes: expected at most 2\^31 nodes \(got 2147483649\)$"),
    ],
)
def test_pairs_that_are_no_edges_of_the_nodes_are_refused(edges: Any, num_nodes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinkGraph.from_edges(edges, num_nodes)


def test_numbers_that_no_edge_has_are_refused() -> None:
    graph = LinkGraph.from_edges(pairs((0, 1)), 3)
    with pytest.raises(ValueError, match=r"^removed: expected ids in \[0, 1\) \(got -1\)$"):
        graph.keep(graph.numbers(pairs((0, 2))))
    with pytest.raises(ValueError, match=r"^removed: expected a 1-D int32 or int64 tensor \(got bool .*\)$"):
        graph.keep(torch.tensor([True]))
    with pytest.raises(ValueError, match=r"^pairs: expected ids in \[0, 3\) \(got 3\)$"):
        graph.numbers(pairs((0, 3)))
