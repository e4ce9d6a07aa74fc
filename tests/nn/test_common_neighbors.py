"""CommonNeighbors: dense products on random graphs, gradients, blocks, and the graphs that it refuses."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from gnnkit import Adjacency
from gnnkit.nn import CommonNeighbors
from gnnkit.nn._simple_graph import _SIMPLE


def random_graph(seed: int) -> tuple[Adjacency, Tensor]:
    """A simple graph and its matrix."""
    draw = torch.Generator().manual_seed(seed)
    size = int(torch.randint(3, 20, (1,), generator=draw))
    upper = (torch.rand(size, size, generator=draw) < torch.rand(1, generator=draw)).triu(1)
    dense = (upper | upper.T).double()
    adj = Adjacency.from_edge_index(dense.nonzero().T.flip(0), num_nodes=size)
    return adj, dense


def all_pairs(size: int) -> Tensor:
    """[2, P]: every ordered pair of different nodes."""
    pairs = torch.cartesian_prod(torch.arange(size), torch.arange(size)).T
    return pairs[:, pairs[0] != pairs[1]]


def test_sums_equal_a_dense_product_on_50_graphs_with_and_without_a_mask() -> None:
    layer = CommonNeighbors()
    for seed in range(50):
        adj, A = random_graph(seed)
        x = torch.rand(len(A), 3, dtype=torch.float64)
        i, j = pairs = all_pairs(len(A))
        assert_close(layer(x, adj, pairs), (A[i] * A[j]) @ x)
        keep = torch.rand(adj.num_edges) < 0.7
        masked = A.clone()
        masked[adj.entries[0].long(), adj.indices.long()] *= keep
        assert_close(layer(x, adj, pairs, keep=keep), (masked[i] * masked[j]) @ x)


def test_blocks_of_pairs_give_the_same_bits() -> None:
    adj, A = random_graph(7)
    x, pairs = torch.rand(len(A), 3), all_pairs(len(A))
    assert torch.equal(CommonNeighbors(max_bytes=500)(x, adj, pairs), CommonNeighbors()(x, adj, pairs))
    assert CommonNeighbors(max_bytes=500)(x, adj, pairs[:, :0]).shape == (0, 3)


def test_gradients_are_those_of_finite_differences() -> None:
    adj, A = random_graph(1)
    x = torch.rand(len(A), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: CommonNeighbors()(x, adj, all_pairs(len(A))[:, ::3]), x)


def test_nodes_without_neighbours_have_none_in_common() -> None:
    adj = Adjacency.from_csr(torch.zeros(4, dtype=torch.int64), torch.empty(0, dtype=torch.int64))
    assert CommonNeighbors()(torch.ones(3, 2), adj, torch.tensor([[0, 1], [1, 2]])).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("indptr", "indices", "num_src", "got"),
    [
        ([0, 1, 1], [1], None, "an edge without its reverse"),
        ([0, 2, 3], [0, 1, 0], None, "a self-loop at node 0"),
        ([0, 2, 4], [1, 1, 0, 0], None, "neighbour 1 of node 0 twice"),
        ([0, 2, 3, 4], [2, 1, 0, 0], None, "neighbour 1 of node 0 out of order"),
        ([0, 1, 2], [1, 2], 3, "3 sources and 2 destinations"),
    ],
)
def test_a_graph_that_is_not_simple_is_refused(
    indptr: list[int], indices: list[int], num_src: int | None, got: str
) -> None:
    adj = Adjacency.from_csr(torch.tensor(indptr), torch.tensor(indices), num_src)
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"^adj: expected a simple undirected graph, .* \(got {got}\)$"):
            CommonNeighbors()(torch.ones(adj.num_dst, 1), adj, torch.tensor([[0], [1]]))


def test_the_same_indices_under_other_pointers_are_another_graph() -> None:
    indices, pairs = torch.tensor([1, 2, 0, 0], dtype=torch.int32), torch.tensor([[1], [2]])
    star = Adjacency.from_csr(torch.tensor([0, 2, 3, 4]), indices)
    assert CommonNeighbors()(torch.ones(3, 1), star, pairs).tolist() == [[1]]
    with pytest.raises(ValueError, match=r"^adj: expected a simple undirected graph"):
        CommonNeighbors()(torch.ones(3, 1), Adjacency.from_csr(torch.tensor([0, 1, 3, 4]), indices), pairs)


def test_wrong_input_is_refused() -> None:
    adj, A = random_graph(1)
    x, pairs = torch.rand(len(A), 2), torch.tensor([[0], [1]])
    layer = CommonNeighbors()
    with pytest.raises(ValueError, match=r"^adj: expected a gnnkit\.Adjacency \(got int64 tensor of shape \[2, 1\]\)$"):
        layer(x, pairs, pairs)
    with pytest.raises(ValueError, match=r"^x: expected shape \[\d+, 2\] \(got \[\d+, 2\]\)$"):
        layer(x[1:], adj, pairs)
    with pytest.raises(ValueError, match=r"^pairs: expected two different nodes \(got node 1 twice\)$"):
        layer(x, adj, torch.tensor([[0, 1], [1, 1]]))
    with pytest.raises(ValueError, match=r"^pairs: expected an int32 or int64 tensor of shape \[2, P\] \(got float32"):
        layer(x, adj, pairs.float())
    with pytest.raises(ValueError, match=r"^keep: expected a bool tensor of shape"):
        layer(x, adj, pairs, keep=torch.ones(2).bool())


def test_a_graph_is_checked_once_and_then_forgotten_with_it() -> None:
    adj, A = random_graph(3)
    gc.collect()
    before = len(_SIMPLE)
    for _ in range(2):
        CommonNeighbors()(torch.rand(len(A), 1), adj, torch.tensor([[0], [1]]))
    assert len(_SIMPLE) == before + 1
    del adj
    gc.collect()
    assert len(_SIMPLE) == before
