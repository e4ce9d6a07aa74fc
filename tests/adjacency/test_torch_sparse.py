"""From sparse matrices of torch and back: an entry is an edge from row to column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from adjacency_inputs import BETA, adjacency_of

from gnnkit import Adjacency


@BETA
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc], ids=str)
def test_an_entry_of_a_torch_matrix_is_an_edge_from_row_to_column(graph: Any, layout: torch.layout) -> None:
    shape = (graph.num_src, graph.num_dst)
    coalesced = torch.sparse_coo_tensor(
        torch.stack([graph.src, graph.dst]), torch.ones(graph.num_edges), shape, check_invariants=True
    ).coalesce()
    matrix = coalesced.to_sparse(layout=layout)
    adj = Adjacency.from_torch_sparse(matrix)
    assert (adj.num_src, adj.num_dst) == shape
    dense = torch.zeros(shape).index_put_(tuple(adj.to_edge_index()), torch.ones(adj.num_edges))
    assert torch.equal(dense, (coalesced.to_dense() > 0).float())
    # an edge's position is that of its value in the matrix
    values = coalesced.values() if layout == torch.sparse_coo else matrix.values()
    back = adj.to_torch_sparse(values)
    assert back.layout == torch.sparse_coo
    assert torch.equal(back.to_dense(), coalesced.to_dense())


def test_coo_round_trip_keeps_order_and_parallel_edges(graph: Any) -> None:
    adj, edge_index = adjacency_of(graph)
    weight = torch.arange(1.0, graph.num_edges + 1)
    matrix = adj.to_torch_sparse(weight)
    assert matrix.shape == (graph.num_src, graph.num_dst)
    assert torch.equal(matrix._indices(), edge_index)
    assert torch.equal(matrix._values(), weight)
    assert adj.to_torch_sparse()._values().tolist() == [1.0] * graph.num_edges
    again = Adjacency.from_torch_sparse(matrix)
    assert torch.equal(again.to_edge_index(), edge_index)
    assert (again.num_src, again.num_dst) == (graph.num_src, graph.num_dst)


@BETA
def test_int32_csr_matrices_are_read() -> None:
    indptr, columns = torch.tensor([0, 2, 3], dtype=torch.int32), torch.tensor([0, 2, 1], dtype=torch.int32)
    matrix = torch.sparse_csr_tensor(indptr, columns, torch.ones(3), (2, 3), check_invariants=True)
    assert Adjacency.from_torch_sparse(matrix).to_edge_index().tolist() == [[0, 0, 1], [0, 2, 1]]


@pytest.mark.parametrize(
    "matrix",
    [torch.eye(3), np.eye(3), None, torch.ones(2, 2, 2).to_sparse(), torch.ones(3).to_sparse()],
    ids=["dense", "numpy", "None", "3-D", "1-D"],
)
def test_what_is_no_sparse_matrix_is_a_value_error(matrix: Any) -> None:
    with pytest.raises(ValueError, match=r"^matrix: expected a 2-D COO, CSR or CSC tensor \(got .*\)$"):
        Adjacency.from_torch_sparse(matrix)
