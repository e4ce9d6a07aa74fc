"""Nothing that is given to be read is changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
import torch
from adjacency_inputs import BETA, EDGES
from torch_geometric import EdgeIndex

from gnnkit import Adjacency


@BETA
def test_conversions_leave_what_they_read_alone() -> None:
    sorted_edges = EDGES[:, EDGES[1].argsort(stable=True)]
    csr = torch.sparse_coo_tensor(EDGES, torch.ones(6), (6, 6), check_invariants=True).to_sparse_csr()
    scipy_matrix = scipy.sparse.csr_array(np.eye(3))
    given: list[tuple[Callable[[], Adjacency], Callable[[], list[Any]]]] = [
        (lambda: Adjacency.from_edge_index(EDGES), lambda: [EDGES]),
        (
            lambda: Adjacency.from_edge_index(EdgeIndex(sorted_edges, sort_order="col")),
            lambda: [sorted_edges],
        ),
        (
            lambda: Adjacency.from_torch_sparse(csr),
            lambda: [csr.crow_indices(), csr.col_indices(), csr.values()],
        ),
        (
            lambda: Adjacency.from_scipy(scipy_matrix),
            lambda: [scipy_matrix.indptr, scipy_matrix.indices, scipy_matrix.data],
        ),
    ]
    for build, read in given:
        before = copy.deepcopy(read())
        adj = build()
        adj.spmm(torch.ones(adj.num_src, 1, requires_grad=True)).sum().backward()
        adj.softmax(torch.ones(adj.num_edges))
        assert all((old == new).all() for old, new in zip(before, read(), strict=True))
