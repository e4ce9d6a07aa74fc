"""From PyG's Data and EdgeIndex: the same as from their plain tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from adjacency_inputs import EDGES, NUM_NODES, shuffled
from torch import Tensor
from torch.testing import assert_close
from torch_geometric import EdgeIndex
from torch_geometric.data import Data, HeteroData

from gnnkit import Adjacency


def test_data_round_trip_keeps_edges_and_isolated_nodes() -> None:
    data = Data(edge_index=EDGES, num_nodes=NUM_NODES)
    back = Adjacency.from_pyg(data).to_pyg()
    assert isinstance(back, Data)
    assert torch.equal(back.edge_index, EDGES)
    assert back.num_nodes == NUM_NODES
    assert Adjacency.from_pyg(Data(x=torch.ones(9, 1), edge_index=EDGES)).num_nodes == 9


@pytest.mark.parametrize("data", [Data(x=torch.ones(2, 1)), HeteroData(), None, EDGES], ids=repr)
def test_what_has_no_edge_index_is_a_value_error(data: Any) -> None:
    with pytest.raises(ValueError, match=rf"^data: .*\(got {type(data).__name__}\)$"):
        Adjacency.from_pyg(data)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("filled", [False, True], ids=["bare", "cached"])
@pytest.mark.parametrize("order", [None, "row", "col"])
def test_a_pyg_edge_index_gives_the_same_as_its_plain_tensor(
    graph: Any, order: str | None, filled: bool, dtype: torch.dtype
) -> None:
    plain = shuffled(graph).to(dtype)
    if order is not None:
        plain = plain[:, plain[0 if order == "row" else 1].argsort(stable=True)]
    labelled = EdgeIndex(plain, sparse_size=(graph.num_src, graph.num_dst), sort_order=order)
    if filled and order is not None:
        labelled.fill_cache_()
    ours = Adjacency.from_edge_index(labelled)
    expected = Adjacency.from_edge_index(plain, (graph.num_src, graph.num_dst))
    assert (ours.num_src, ours.num_dst) == (graph.num_src, graph.num_dst)
    assert torch.equal(ours.indptr, expected.indptr)
    assert torch.equal(ours.to_edge_index(), plain.long())
    for tensor in (ours.indptr, ours.indices, ours.edge_ids):
        assert type(tensor) is Tensor
    # within a destination PyG's order may be another; what counts is that per-edge tensors go along
    weight = torch.arange(1.0, graph.num_edges + 1)
    x = torch.arange(float(graph.num_src)).unsqueeze(-1)
    assert_close(ours.spmm(x, weight), expected.spmm(x, weight))


def test_an_undirected_pyg_edge_index_keeps_its_edge_order() -> None:
    both = torch.tensor([[0, 1, 1, 1, 2, 3], [1, 0, 2, 3, 1, 1]])
    for order, edges in [("row", both), ("col", both.flip(0))]:
        labelled = EdgeIndex(edges, sort_order=order, is_undirected=True).fill_cache_()
        adj = Adjacency.from_edge_index(labelled)
        assert torch.equal(adj.to_edge_index(), edges)
        assert torch.equal(adj.indices.long(), edges[0, adj.edge_ids])


@pytest.mark.parametrize("order", ["row", "col"])
def test_a_pyg_edge_index_that_lies_about_its_order_is_a_value_error(order: str) -> None:
    with pytest.raises(ValueError, match="not sorted"):
        Adjacency.from_edge_index(EdgeIndex(EDGES, sort_order=order), NUM_NODES)


@pytest.mark.parametrize("order", [None, "row", "col"])
@pytest.mark.parametrize("num_nodes", [5, (5, 7), 9], ids=str)
def test_a_given_number_of_nodes_beats_that_of_a_pyg_edge_index(order: str | None, num_nodes: Any) -> None:
    edges = torch.tensor([[0, 1, 2, 2], [0, 0, 1, 4]])  # sorted by row and by column
    adj = Adjacency.from_edge_index(EdgeIndex(edges, sparse_size=(7, 7), sort_order=order), num_nodes)
    assert (adj.num_src, adj.num_dst) == (num_nodes if isinstance(num_nodes, tuple) else (num_nodes,) * 2)
    assert adj.indptr.shape == (adj.num_dst + 1,)
    assert adj.in_degree()[:5].tolist() == [2, 1, 0, 0, 1]


@pytest.mark.parametrize("order", [None, "row", "col"])
def test_a_pyg_edge_index_with_an_id_beyond_its_size_is_a_value_error(order: str | None) -> None:
    edges = torch.tensor([[0, 1], [0, 5]])
    with pytest.raises(ValueError, match=r"\(got 5"):
        Adjacency.from_edge_index(EdgeIndex(edges, sparse_size=(6, 4), sort_order=order))
