"""From NetworkX's graphs and back: parallel edges and isolated nodes are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx
import pytest
import torch
from adjacency_inputs import EDGES, NUM_NODES
from torch_geometric.utils import from_networkx as pyg_from_networkx

from gnnkit import Adjacency


@pytest.mark.parametrize(
    "kind",
    [networkx.Graph, networkx.DiGraph, networkx.MultiGraph, networkx.MultiDiGraph],
    ids=lambda kind: kind.__name__,
)
def test_a_networkx_graph_gives_what_pyg_reads_from_it(kind: Callable[[], Any]) -> None:
    graph = kind()
    graph.add_nodes_from(["d", "a", "c", "b", "alone"])  # numbered in this order
    graph.add_edges_from([("a", "b"), ("b", "a"), ("c", "c"), ("a", "b"), ("d", "b")], note="ignored attribute")
    adj = Adjacency.from_networkx(graph)
    theirs = pyg_from_networkx(graph)
    assert adj.num_nodes == 5
    assert torch.equal(adj.to_edge_index(), theirs.edge_index)


def test_networkx_round_trip_keeps_parallel_edges_and_isolated_nodes() -> None:
    adj = Adjacency.from_edge_index(EDGES, NUM_NODES)
    graph = adj.to_networkx()
    assert isinstance(graph, networkx.MultiDiGraph)
    assert list(graph.nodes) == list(range(NUM_NODES))
    assert sorted(graph.edges()) == sorted(map(tuple, EDGES.t().tolist()))
    again = Adjacency.from_networkx(graph)
    assert again.num_nodes == NUM_NODES
    assert sorted(again.to_edge_index().t().tolist()) == sorted(EDGES.t().tolist())


@pytest.mark.parametrize("kind", [networkx.Graph, networkx.MultiDiGraph], ids=lambda kind: kind.__name__)
def test_a_networkx_graph_without_edges_or_nodes_is_read(kind: Callable[[], Any]) -> None:
    graph = kind()
    assert Adjacency.from_networkx(graph).num_nodes == 0
    graph.add_nodes_from([3, 1])
    adj = Adjacency.from_networkx(graph)
    assert (adj.num_nodes, adj.num_edges) == (2, 0)


def test_what_is_not_of_networkx_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^graph: expected a NetworkX graph \(got dict\)$"):
        Adjacency.from_networkx({})
