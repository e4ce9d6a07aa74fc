"""The transpose is that of the kernels, built once, at first use."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from adjacency_inputs import EDGES, NUM_NODES, adjacency_of

from gnnkit import Adjacency
from gnnkit.kernels import transpose_csr


def test_the_transpose_is_that_of_the_kernels_built_once(graph: Any) -> None:
    adj, _ = adjacency_of(graph)
    for got, want in zip(adj.transpose, transpose_csr(adj.indptr, adj.indices, adj.num_src), strict=True):
        assert torch.equal(got, want)
        assert got.dtype == want.dtype
    assert adj.transpose is adj.transpose


def test_the_transpose_is_built_at_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []

    def counting(*args: Any) -> Any:
        built.append(1)
        return transpose_csr(*args)

    monkeypatch.setattr("gnnkit._csr.transpose_csr", counting)
    adj = Adjacency.from_edge_index(EDGES, NUM_NODES)
    with torch.no_grad():
        adj.spmm(torch.ones(NUM_NODES, 1))
    adj.spmm(torch.ones(NUM_NODES, 1), torch.ones(6))
    assert built == []  # no backward pass will come
    for _ in range(2):
        adj.spmm(torch.ones(NUM_NODES, 1, requires_grad=True)).sum().backward()
    assert built == [1]
