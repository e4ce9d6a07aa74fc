"""Adjacency: every conversion keeps the edges and their order, and per-edge tensors come in that order."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import networkx
import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor
from torch.testing import assert_close
from torch_geometric import EdgeIndex
from torch_geometric.data import Data, HeteroData
from torch_geometric.utils import from_networkx as pyg_from_networkx
from torch_geometric.utils import scatter, softmax

from gnnkit import Adjacency
from gnnkit.kernels import transpose_csr

BETA = pytest.mark.filterwarnings("ignore:Sparse CS[RC] tensor support is in beta state:UserWarning")
# six edges, shuffled, with a loop (2, 2) and a parallel pair (0, 3); nodes 4 and 5 are isolated
EDGES = torch.tensor([[3, 0, 2, 0, 1, 0], [0, 3, 2, 3, 0, 1]])
NUM_NODES = 6


def shuffled(graph: Any) -> Tensor:
    """The ``edge_index`` of a graph of conftest, in random order."""
    order = torch.randperm(graph.num_edges, generator=torch.Generator().manual_seed(3))
    return torch.stack([graph.src, graph.dst])[:, order]


def adjacency_of(graph: Any) -> tuple[Adjacency, Tensor]:
    """Shuffle a graph's edges and build its Adjacency."""
    edge_index = shuffled(graph)
    return Adjacency.from_edge_index(edge_index, (graph.num_src, graph.num_dst)), edge_index


# ------------------------------------------------------------------ edge_index


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


# ------------------------------------------------------------------ CSR, int32 and int64


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


# ------------------------------------------------------------------ PyG


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


# ------------------------------------------------------------------ torch.sparse


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


# ------------------------------------------------------------------ SciPy


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


# ------------------------------------------------------------------ NetworkX


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


# ------------------------------------------------------------------ the transpose


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


# ------------------------------------------------------------------ operations in the original edge order


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
@pytest.mark.parametrize(
    ("row", "value"),
    [((3,), None), ((3,), ()), ((2, 3), ()), ((2, 3), (2,))],
    ids=["[N,D]", "[N,D] [E]", "[N,H,D] [E]", "[N,H,D] [E,H]"],
)
def test_spmm_takes_weights_in_edge_order_and_equals_pyg(
    backend: str, graph: Any, row: tuple[int, ...], value: tuple[int, ...] | None, reduce: str
) -> None:
    adj, (src, dst) = adjacency_of(graph)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(graph.num_src, *row, generator=generator, dtype=torch.float64).requires_grad_()
    inputs, messages, weight = [x], x[src], None
    if value is not None:
        weight = torch.randn(graph.num_edges, *value, generator=generator, dtype=torch.float64)
        inputs.append(weight.requires_grad_())
        messages = messages * weight.reshape(*weight.shape, *[1] * (x.dim() - weight.dim()))
    ours = adj.spmm(x, weight, reduce)
    theirs = scatter(messages, dst, 0, graph.num_dst, reduce)
    assert_close(ours, theirs)
    grad = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    assert_close(torch.autograd.grad(ours, inputs, grad), torch.autograd.grad(theirs, inputs, grad))


@pytest.mark.parametrize("row", [(), (3,)], ids=["[E]", "[E,H]"])
def test_softmax_takes_and_gives_edge_order_and_equals_pyg(backend: str, graph: Any, row: tuple[int, ...]) -> None:
    adj, (_, dst) = adjacency_of(graph)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(graph.num_edges, *row, generator=generator, dtype=torch.float64).requires_grad_()
    theirs = softmax(logits, dst, num_nodes=graph.num_dst)
    grad = torch.randn(logits.shape, generator=generator, dtype=torch.float64)
    for _ in range(2):  # the inverse order is kept between calls
        ours = adj.softmax(logits)
        assert_close(ours, theirs)
        assert_close(
            torch.autograd.grad(ours, logits, grad),
            torch.autograd.grad(theirs, logits, grad, retain_graph=True),
        )


def test_operations_commute_with_a_shuffle_of_the_edges(random_graph: Any) -> None:
    edge_index = shuffled(random_graph)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(1))
    first = Adjacency.from_edge_index(edge_index, 20)
    second = Adjacency.from_edge_index(edge_index[:, order], 20)
    logits = torch.randn(80, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert_close(second.softmax(logits[order]), first.softmax(logits)[order])
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert_close(second.spmm(x, logits[order]), first.spmm(x, logits))


@pytest.mark.parametrize("operation", ["softmax", "transpose", "construction"])
def test_what_inference_mode_left_behind_can_be_trained_with(operation: str) -> None:
    """A sanity check under ``inference_mode`` before training, as Lightning makes it."""
    adj = Adjacency.from_edge_index(EDGES, NUM_NODES)
    with torch.inference_mode():
        if operation == "construction":
            adj = Adjacency.from_edge_index(EDGES, NUM_NODES)
        elif operation == "softmax":
            adj.softmax(torch.ones(6))
        else:
            assert len(adj.transpose) == 3
    logits = torch.zeros(6, requires_grad=True)
    x = torch.ones(NUM_NODES, 2, requires_grad=True)
    adj.spmm(x, adj.softmax(logits)).sum().backward()
    assert x.grad is not None
    assert x.grad[:, 0].tolist() == [2.0, 0.5, 1.0, 0.5, 0.0, 0.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda adj: adj.spmm(torch.ones(5, 1)), r"x: expected 6 rows.*\(got \[?5"),
        (lambda adj: adj.spmm(torch.ones(6, 1), torch.ones(7)), r"one row for each of the 6 edges .*\[7\]"),
        (lambda adj: adj.spmm(torch.ones(6, 1), [1.0] * 6), "one row for each of the 6 edges .*list"),
        (lambda adj: adj.spmm(torch.ones(6, 1), torch.tensor(1.0)), "one row for each of the 6 edges"),
        (lambda adj: adj.spmm(torch.ones(6, 1), None, "prod"), "reduce: .*'prod'"),
        (lambda adj: adj.spmm([[1.0]]), "x: .*list"),
        (lambda adj: adj.softmax(torch.ones(5)), r"one row for each of the 6 edges .*\[5\]"),
        (lambda adj: adj.softmax(torch.ones(6, 1, 1)), "logits: .*"),
        (lambda adj: adj.to_scipy(torch.ones(5)), r"one row for each of the 6 edges .*\[5\]"),
        (lambda adj: adj.to_torch_sparse(torch.ones(5)), r"one row for each of the 6 edges .*\[5\]"),
    ],
)
def test_wrong_arguments_are_value_errors(call: Callable[[Adjacency], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(Adjacency.from_edge_index(EDGES, NUM_NODES))


@pytest.mark.parametrize(
    "call",
    [
        lambda adj: adj.num_nodes,
        lambda adj: adj.to_pyg(),
        lambda adj: adj.to_networkx(),
    ],
    ids=["num_nodes", "to_pyg", "to_networkx"],
)
def test_what_needs_one_set_of_nodes_refuses_a_bipartite_graph(call: Callable[[Adjacency], Any]) -> None:
    with pytest.raises(ValueError, match=r"one set of nodes \(got 7 sources, 5 destinations\)$"):
        call(Adjacency.from_edge_index(EDGES, (7, 5)))


# ------------------------------------------------------------------ copies


@pytest.mark.parametrize(
    "copied",
    [lambda adj: pickle.loads(pickle.dumps(adj)), copy.deepcopy, copy.copy],
    ids=["pickle", "deepcopy", "copy"],
)
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_a_copy_equals_its_original(copied: Callable[[Adjacency], Adjacency], used: bool) -> None:
    adj = Adjacency.from_edge_index(EDGES, (7, 5))
    x, logits = torch.arange(7.0).unsqueeze(-1), torch.arange(6.0)
    if used:
        adj.softmax(logits)
        adj.spmm(x)
    twin = copied(adj)
    assert twin is not adj
    assert repr(twin) == repr(adj)
    assert torch.equal(twin.to_edge_index(), EDGES)
    assert torch.equal(twin.spmm(x, logits), adj.spmm(x, logits))
    assert torch.equal(twin.softmax(logits), adj.softmax(logits))
    assert all(torch.equal(a, b) for a, b in zip(twin.transpose, adj.transpose, strict=True))


def test_moving_to_where_it_is_gives_itself() -> None:
    adj = Adjacency.from_edge_index(EDGES, NUM_NODES)
    assert adj.to("cpu") is adj
    assert adj.to(torch.device("cpu")) is adj
    assert adj.device == torch.device("cpu")


def test_moving_elsewhere_takes_a_built_transpose_along() -> None:
    adj = Adjacency.from_edge_index(EDGES, (7, 5))
    assert adj.to("meta")._transpose is None
    shapes = [t.shape for t in adj.transpose]
    moved = adj.to("meta")
    assert moved._transpose is not None
    assert (moved.num_src, moved.num_dst, moved.num_edges) == (7, 5, 6)
    assert [t.shape for t in moved.transpose] == shapes
    for tensor in (moved.indptr, moved.indices, moved.edge_ids, *moved.transpose):
        assert tensor.device.type == "meta"
    assert adj.device.type == "cpu"


@pytest.mark.cuda
def test_on_a_gpu_it_gives_what_it_gives_on_the_cpu() -> None:
    adj = Adjacency.from_edge_index(EDGES, NUM_NODES)
    moved = adj.to("cuda")
    x, logits = torch.arange(12.0).reshape(6, 2), torch.arange(6.0)
    for tensor in (x, logits):
        tensor.requires_grad_()
    expected = adj.spmm(x, adj.softmax(logits))
    ours = moved.spmm(x.cuda(), moved.softmax(logits.cuda()))
    assert_close(ours.cpu(), expected)
    want = torch.autograd.grad(expected.square().sum(), [x, logits])
    assert_close(torch.autograd.grad(ours.square().sum(), [x, logits]), want)
    assert torch.equal(moved.to("cpu").to_edge_index(), EDGES)


# ------------------------------------------------------------------ nothing given is changed


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


def test_a_stray_id_is_an_error_and_not_an_allocation() -> None:
    with pytest.raises(ValueError, match=r"at most 2\^40 sources \(got "):
        Adjacency.from_edge_index(torch.tensor([[2**62], [0]]))
