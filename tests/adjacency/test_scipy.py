"""From SciPy's matrices and back: an entry is an edge, and its data the weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from adjacency_inputs import EDGES, NUM_NODES, adjacency_of

from gnnkit import Adjacency


@pytest.mark.parametrize("kind", ["coo", "csr", "csc"])
@pytest.mark.parametrize("family", ["array", "matrix"])
def test_an_entry_of_a_scipy_matrix_is_an_edge_and_its_data_the_weights(kind: str, family: str) -> None:
    dense = np.array([[0, 2.0, 0], [3.0, 0, 4.0]])
    matrix = getattr(scipy.sparse, f"{kind}_{family}")(dense)
    adj = Adjacency.from_scipy(matrix)
    assert (adj.num_src, adj.num_dst) == (2, 3)
    back = adj.to_scipy(torch.from_numpy(matrix.tocoo().data))
    assert isinstance(back, scipy.sparse.coo_array)
    assert (back.toarray() == dense).all()
    x = torch.tensor([[1.0], [10.0]], dtype=torch.float64)
    out = adj.spmm(x, torch.from_numpy(matrix.tocoo().data))
    assert out.flatten().tolist() == (dense.T @ x.numpy()).flatten().tolist()


def test_scipy_round_trip_keeps_order_parallel_edges_and_empty_graphs(graph: Any) -> None:
    adj, edge_index = adjacency_of(graph)
    matrix = adj.to_scipy()
    assert matrix.shape == (graph.num_src, graph.num_dst)
    assert (matrix.data == 1).all()
    again = Adjacency.from_scipy(matrix)
    assert torch.equal(again.to_edge_index(), edge_index)
    assert (again.num_src, again.num_dst) == (graph.num_src, graph.num_dst)


def test_a_stored_zero_of_scipy_is_an_edge() -> None:
    matrix = scipy.sparse.coo_array(([0.0, 1.0], ([0, 1], [1, 0])), shape=(2, 2))
    assert Adjacency.from_scipy(matrix).num_edges == 2


def test_a_weight_that_asks_for_gradients_is_written_to_scipy_without() -> None:
    adj = Adjacency.from_edge_index(EDGES, NUM_NODES)
    assert adj.to_scipy(torch.ones(6, requires_grad=True)).data.tolist() == [1.0] * 6


@pytest.mark.parametrize("kind", ["csr", "csc"])
@pytest.mark.parametrize(("part", "value"), [("indices", 9), ("indices", -1), ("indptr", 9)])
def test_a_corrupt_scipy_matrix_is_a_value_error(kind: str, part: str, value: int) -> None:
    matrix = getattr(scipy.sparse, f"{kind}_array")(np.eye(3))
    getattr(matrix, part)[1] = value
    with pytest.raises(ValueError, match=r"^matrix: expected a valid .*\(got "):
        Adjacency.from_scipy(matrix)


@pytest.mark.parametrize("matrix", [np.eye(2), [[1]], torch.eye(2)], ids=["numpy", "list", "torch"])
def test_what_is_not_of_scipy_is_a_value_error(matrix: Any) -> None:
    with pytest.raises(ValueError, match=rf"^matrix: .*SciPy.*\(got {type(matrix).__name__}\)$"):
        Adjacency.from_scipy(matrix)
