"""A CSR is taken as it is, with indices of 32 bits while they suffice."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gnnkit import Adjacency


def test_a_csr_is_taken_as_it_is(graph: Any) -> None:
    adj = Adjacency.from_csr(graph.indptr.int(), graph.src, graph.num_src)
    assert torch.equal(adj.indptr, graph.indptr)
    assert adj.edge_ids.tolist() == list(range(graph.num_edges))
    assert torch.equal(adj.to_edge_index(), torch.stack([graph.src, graph.dst]))


@pytest.mark.parametrize(("num_src", "dtype"), [(2**31 - 1, torch.int32), (2**31, torch.int64), (2**40, torch.int64)])
def test_indices_are_int32_while_every_node_id_fits(num_src: int, dtype: torch.dtype) -> None:
    last = num_src - 1
    adj = Adjacency.from_csr(torch.tensor([0, 2, 3]), torch.tensor([last, 0, last]), num_src)
    assert adj.indices.dtype == dtype
    assert adj.to_edge_index().tolist() == [[last, 0, last], [0, 0, 1]]
    edges = Adjacency.from_edge_index(torch.tensor([[last, 0], [1, 0]]), (num_src, 2))
    assert edges.indices.dtype == dtype
    assert edges.to_edge_index().tolist() == [[last, 0], [1, 0]]


def test_a_table_of_more_than_two_to_the_31_rows_is_aggregated(backend: str) -> None:
    """A table as large as that, in 0 bytes: its rows have no columns."""
    num_src = 2**31
    adj = Adjacency.from_csr(torch.tensor([0, 1]), torch.tensor([num_src - 1]), num_src)
    with torch.no_grad():
        assert adj.spmm(torch.empty(num_src, 0)).shape == (1, 0)


@pytest.mark.parametrize(
    ("pointers", "indices", "num_src", "message"),
    [
        ([0, 2], [0], None, "indptr: .*0 to the 1 edges"),
        ([0, 2, 1, 3], [0, 0, 0], None, "indptr: .*non-decreasing"),
        ([0, 1], [1], None, r"indices: .*\[0, 1\) \(got 1\)"),
        ([0, 1], [-1], 5, r"indices: .*\[0, 5\) \(got -1\)"),
        ([0, 1], [0], -1, "num_src: .*-1"),
        ([0, 1], [0], 1.0, r"num_src: .*1\.0"),
        ([], [], None, "indptr: .*at least 1"),
    ],
)
def test_what_is_no_csr_is_a_value_error(pointers: Any, indices: Any, num_src: Any, message: str) -> None:
    long = torch.int64
    with pytest.raises(ValueError, match=rf"^{message}"):
        Adjacency.from_csr(torch.tensor(pointers, dtype=long), torch.tensor(indices, dtype=long), num_src)
