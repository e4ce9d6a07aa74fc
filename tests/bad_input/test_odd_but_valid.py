"""The opposite of bad input: what is odd but valid equals a plain oracle."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from _adjacency_surfaces import HAS_DGL
from _all_surfaces import SURFACES
from _surface import BACKENDS, REDUCES
from _tried import EVERY_TIME_THE_SAME
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torch_geometric.data import Data

from gnnkit import Adjacency
from gnnkit.kernels import gather_rows, sddmm, segment_reduce, segment_softmax, spmm

ODD = {
    "no nodes": ([], 0, 0),
    "no edges": ([], 4, 3),
    "no sources": ([], 0, 3),
    "no destinations": ([], 3, 0),
    "one loop": ([(0, 0)], 1, 1),
    "isolated": ([(4, 1), (1, 4)], 6, 6),
    "loops": ([(0, 0), (1, 1), (1, 0), (1, 1)], 3, 3),
    "parallel": ([(0, 1)] * 5 + [(1, 1)] * 2, 2, 2),
    "bipartite": ([(0, 1), (4, 0), (4, 1), (2, 1)], 5, 2),
    "all to one": ([(k % 3, 2) for k in range(40)], 3, 4),
    "shuffled": ([(3, 0), (0, 3), (2, 2), (0, 3), (1, 0), (0, 1), (3, 3)], 4, 4),
}


def transposed(t: Tensor) -> Tensor:
    return t.movedim(0, -1).contiguous().movedim(-1, 0)


def every_second(t: Tensor) -> Tensor:
    return torch.stack([t, t + 1], dim=1).flatten(0, 1)[::2]


def one_column_of_two(t: Tensor) -> Tensor:
    return torch.stack([t, t + 1], dim=-1)[..., 0]


def from_the_middle(t: Tensor) -> Tensor:
    return torch.cat([t[:1] + 1, t, t[:1] + 1])[min(len(t), 1) :][: len(t)]


def negated_view(t: Tensor) -> Tensor:
    # PyTorch's negative bit: the memory holds -t
    return torch.complex(torch.zeros_like(t), -t).conj().imag if t.is_floating_point() else t


VIEWS = {
    "contiguous": lambda t: t,
    "transposed": transposed,
    "every second row": every_second,
    "one column of two": one_column_of_two,
    "from the middle": from_the_middle,
    "one row repeated": lambda t: t[:1].expand_as(t) if t.is_floating_point() else t,
    "negated view": negated_view,
    "parameter": lambda t: torch.nn.Parameter(t) if t.is_floating_point() else t,
}


def oracle(edges: list[tuple[int, int]], num_dst: int, x: Tensor, values: Tensor, reduce: str) -> Tensor:
    """Aggregate with a Python loop."""
    rows = []
    for i in range(num_dst):
        messages = [x[src] * values[e] for e, (src, dst) in enumerate(edges) if dst == i]  # [D] each
        if not messages:
            rows.append(torch.zeros(x.shape[1:], dtype=x.dtype))
            continue
        stacked = torch.stack(messages)
        rows.append({"sum": stacked.sum, "mean": stacked.mean, "max": stacked.amax, "min": stacked.amin}[reduce](0))
    return torch.stack(rows) if rows else torch.zeros(0, *x.shape[1:], dtype=x.dtype)


@pytest.fixture(params=BACKENDS)
def on_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each backend in turn."""
    monkeypatch.setenv("GNNKIT_BACKEND", request.param)
    return


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", ODD)
def test_an_odd_graph_in_odd_memory_equals_the_oracle(kind: str, view: str, on_backend: None) -> None:
    edges, num_src, num_dst = ODD[kind]
    odd = VIEWS[view]
    generator = torch.Generator().manual_seed(1)
    x = odd(torch.randn(num_src, 3, generator=generator, dtype=torch.float64))
    weight = odd(torch.randn(len(edges), generator=generator, dtype=torch.float64))
    edge_index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t()
    edge_index = torch.stack([odd(row) for row in edge_index]) if view != "transposed" else edge_index
    adj = Adjacency.from_edge_index(edge_index, (num_src, num_dst))
    assert adj.to_edge_index().t().tolist() == [list(edge) for edge in edges]
    for reduce in REDUCES:
        assert_close(adj.spmm(x, weight, reduce), oracle(edges, num_dst, x, weight, reduce))
    sums = torch.zeros(num_dst, dtype=torch.float64).index_add(0, edge_index[1], weight.exp())
    assert_close(adj.softmax(weight), weight.exp() / sums[edge_index[1]])

    # the same graph as the kernels take it
    indptr, indices, values = odd(adj.indptr), odd(adj.indices), odd(weight.detach()[adj.edge_ids])
    order = adj.edge_ids.tolist()
    in_order = [edges[e] for e in order]
    heads = odd(torch.randn(num_src, 2, 3, generator=generator, dtype=torch.float64))
    per_head = odd(torch.randn(len(edges), 2, generator=generator, dtype=torch.float64))
    expected = torch.stack(
        [oracle(in_order, num_dst, heads[:, h], per_head[:, h], "sum") for h in range(2)], dim=1
    )  # [N_dst, H, D]
    assert_close(spmm(indptr, indices, heads, per_head), expected)
    a = odd(torch.randn(num_dst, 3, generator=generator, dtype=torch.float64))
    src, dst = (torch.tensor([edge[k] for edge in in_order], dtype=torch.int64) for k in (0, 1))
    assert_close(sddmm(indptr, indices, a, x), (a[dst] * x[src]).sum(dim=1))
    ones = torch.ones(len(edges), 1, dtype=torch.float64)
    loops = [(e, dst) for e, (_, dst) in enumerate(in_order)]
    for reduce in REDUCES:
        by_loop = oracle(loops, num_dst, values[:, None], ones, reduce).squeeze(1)
        assert_close(segment_reduce(values, indptr, reduce), by_loop)
    assert_close(segment_softmax(values, indptr), values.exp() / sums_of(values, dst, num_dst)[dst])


def sums_of(values: Tensor, dst: Tensor, num_dst: int) -> Tensor:
    return torch.zeros(num_dst, dtype=values.dtype).index_add(0, dst, values.exp())


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_graph_survives_every_constructor(kind: str, on_backend: None) -> None:
    edges, num_src, num_dst = ODD[kind]
    adj = Adjacency.from_edge_index(torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t(), (num_src, num_dst))
    expected = adj.to_edge_index()
    for again in (
        Adjacency.from_scipy(adj.to_scipy()),
        Adjacency.from_torch_sparse(adj.to_torch_sparse()),
        *([Adjacency.from_dgl(adj.to_dgl())] if HAS_DGL else []),
    ):
        assert torch.equal(again.to_edge_index(), expected)
        assert (again.num_src, again.num_dst) == (num_src, num_dst)
    csr = Adjacency.from_csr(adj.indptr, adj.indices, num_src)
    assert torch.equal(csr.to_edge_index(), expected[:, adj.edge_ids])
    if num_src == num_dst:
        assert torch.equal(Adjacency.from_pyg(adj.to_pyg()).to_edge_index(), expected)
        assert sorted(Adjacency.from_networkx(adj.to_networkx()).to_edge_index().t().tolist()) == sorted(
            expected.t().tolist()
        )


DTYPES = ["bool", "uint8", "int16", "int64", "float16", "bfloat16", "float64", "complex64"]


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 0), (5, 2, 2), (1, 7)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_any_dtype_and_shape_are_gathered(dtype: str, shape: tuple[int, ...], on_backend: None) -> None:
    table = torch.arange(math.prod(shape)).reshape(shape).to(getattr(torch, dtype))
    for ids in (torch.tensor([0, 0]), torch.arange(shape[0]).flip(0), torch.zeros(0, dtype=torch.int32)):
        expected = table[ids.long()]
        assert torch.equal(gather_rows(table, ids), expected)
        out = torch.empty_like(expected)
        assert gather_rows(transposed(table), one_column_of_two(ids), out=out) is out
        assert torch.equal(out, expected)


def test_a_table_without_rows_gives_no_rows(on_backend: None) -> None:
    ids = torch.zeros(0, dtype=torch.int64)
    assert gather_rows(torch.zeros(0, 3), ids).shape == (0, 3)


@pytest.mark.parametrize("num_nodes", [np.int64(4), np.int32(4), (np.int64(4), np.int64(4))], ids=repr)
def test_a_whole_number_of_numpy_is_a_number_of_nodes(num_nodes: Any) -> None:
    edge_index = torch.tensor([[0, 1], [1, 2]])
    assert Adjacency.from_edge_index(edge_index, num_nodes).num_nodes == 4


def test_data_that_says_no_number_of_nodes_has_the_largest_id_plus_one() -> None:
    # PyG warns that it guesses; what PyG's own loaders give must not need a filter for warnings
    assert Adjacency.from_pyg(Data(edge_index=torch.tensor([[0, 1], [1, 2]]))).num_nodes == 3


@given(st.data())
@settings(EVERY_TIME_THE_SAME, max_examples=30)
def test_the_two_backends_agree_on_valid_cases(data: Any) -> None:
    for surface, it in SURFACES.items():
        if it.kind != "kernels":
            continue
        args = it.make(data.draw)
        results = []
        for backend in BACKENDS:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("GNNKIT_BACKEND", backend)
                results.append(it.call(**args))
        assert_close(*results, msg=lambda text, surface=surface: f"{surface}: {text}")
