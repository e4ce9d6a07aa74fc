"""common_neighbors: exactly Python's sets and SciPy's products, on every backend."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pair_sets import NAMES, Graph, agrees, draw_pairs, make
from torch import Tensor

from gnnkit.kernels import PairSets, _loops_pairs, _numba_pairs, common_neighbors, pair_blocks

scipy_sparse = pytest.importorskip("scipy.sparse")


def same(found: PairSets, expected: PairSets) -> None:
    for name in NAMES:
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert (ours is None) == (theirs is None)
        for actual, right in zip(ours or (), theirs or (), strict=True):
            assert (actual is right is None) or torch.equal(actual, right)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_200_random_graphs_give_pythons_sets(backend: str, masked: bool, dtype: torch.dtype) -> None:
    for seed in range(50):
        graph = make(4 * seed + 2 * masked + (dtype == torch.int32), dtype=dtype)
        pairs = draw_pairs(seed, len(graph.indptr) - 1)
        agrees(
            common_neighbors(*graph.csr, pairs, keep=graph.keep if masked else None), graph, graph, pairs, masked=masked
        )


def test_200_random_graphs_give_scipys_products(backend: str) -> None:
    for seed in range(200):
        graph = make(seed)
        size = len(graph.indptr) - 1
        pairs = draw_pairs(seed, size)
        a = scipy_sparse.csr_array((np.ones(len(graph.indices), int), graph.indices, graph.indptr), (size, size))
        i, j = a[pairs[0].numpy()], a[pairs[1].numpy()]
        both = i.multiply(j).tocsr()
        found = common_neighbors(*graph.csr, pairs)
        for sets, product in zip(found, (both, i - both, j - both), strict=True):
            product.eliminate_zeros()
            product.sort_indices()
            assert sets is not None
            assert np.array_equal(sets.indptr, product.indptr)
            assert np.array_equal(sets.indices, product.indices)


@pytest.mark.parametrize("masks", [(False, False), (True, False), (False, True), (True, True)])
def test_the_rows_of_j_may_be_of_another_graph(backend: str, masks: tuple[bool, bool]) -> None:
    for seed in range(20):
        graph = make(seed, num_nodes=25)
        other = make(seed + 1, num_nodes=40)
        pairs = torch.stack([draw_pairs(seed, 25)[0], draw_pairs(seed, 40)[1]])
        keep = tuple(g.keep if mask else None for g, mask in zip((graph, other), masks, strict=True))
        found = common_neighbors(*graph.csr, pairs, other=other.csr, keep=keep)  # type: ignore[arg-type]
        whole = [
            Graph(g.indptr, g.indices, g.keep if mask else torch.ones_like(g.keep))
            for g, mask in zip((graph, other), masks, strict=True)
        ]
        agrees(found, *whole, pairs, masked=True)


def test_pairs_walked_hub_by_hub_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_numba_pairs, "LONG", -1)
    for seed in range(60):
        graph, other = make(seed), make(seed + 1, num_nodes=30, dtype=torch.int64)
        pairs = draw_pairs(seed, len(graph.indptr) - 1)
        agrees(common_neighbors(*graph.csr, pairs, keep=graph.keep), graph, graph, pairs, masked=True)
        pairs = torch.stack([pairs[0], draw_pairs(seed, 30)[1]])
        found = common_neighbors(*graph.csr, pairs, other=other.csr, keep=(graph.keep, other.keep))
        agrees(found, graph, other, pairs, masked=True)


def test_no_pairs_no_nodes_no_edges(backend: str) -> None:
    for indptr in ([0], [0, 0, 0], [0, 1, 2]):
        indices = torch.arange(indptr[-1], dtype=torch.int32)
        found = common_neighbors(torch.tensor(indptr), indices, torch.empty(2, 0, dtype=torch.int64), max_bytes=1)
        for sets in found:
            assert sets is not None
            assert (sets.indptr.tolist(), len(sets.indices), len(sets.entries)) == ([0], 0, 0)
    found = common_neighbors(torch.tensor([0, 0, 0]), torch.tensor([]).int(), torch.tensor([[0, 1], [1, 1]]))
    assert all(sets is not None and sets.indptr.tolist() == [0, 0, 0] for sets in found)


def test_a_pair_of_neighbours_and_a_pair_of_one_node(backend: str) -> None:
    indptr, indices = torch.tensor([0, 2, 4, 6]), torch.tensor([1, 2, 0, 2, 0, 1])  # a triangle
    found = common_neighbors(indptr, indices, torch.tensor([[0, 2], [1, 2]]))
    members = [[part.tolist() for part in sets.indices.split(sets.indptr.diff().tolist())] for sets in found if sets]
    assert members == [[[2], [0, 1]], [[1], []], [[0], []]]


def hub_graph(num_nodes: int) -> tuple[Tensor, Tensor]:
    """Node 0 is everybody's neighbour but its own; the others have three besides."""
    nodes = torch.arange(1, num_nodes)
    other = 1 + (nodes[:, None] * torch.tensor([3, 5, 11]) + torch.tensor([1, 2, 3])) % (num_nodes - 1)
    edges = torch.zeros(num_nodes, num_nodes, dtype=torch.bool)
    edges[nodes[:, None], other] = True
    edges |= edges.t().clone()
    edges[0], edges[:, 0] = True, True
    edges.fill_diagonal_(False)
    row, col = edges.nonzero().unbind(1)
    return torch.cat([row.new_zeros(1), row.bincount(minlength=num_nodes).cumsum(0)]), col


@pytest.mark.parametrize("order", ["hub first", "hub second", "alternating", "one pair"])
def test_hubs_on_either_side_in_any_order(
    order: str, monkeypatch: pytest.MonkeyPatch, set_threads: Callable[[int], None]
) -> None:
    indptr, indices = hub_graph(600)
    leaves = torch.randint(1, 600, (3000,), generator=torch.Generator().manual_seed(0))
    hub = torch.zeros_like(leaves)
    pairs = torch.stack([hub, leaves])
    if order == "hub second":
        pairs = pairs.flip(0)
    elif order == "alternating":
        pairs = torch.stack([leaves, leaves.flip(0)])
        pairs[0, ::2] = 0
    elif order == "one pair":
        pairs = pairs[:, :1]
    keep = torch.rand(len(indices), generator=torch.Generator().manual_seed(1)) < 0.8
    monkeypatch.setenv("GNNKIT_BACKEND", "torch")
    expected = [common_neighbors(indptr, indices, pairs, keep=mask) for mask in (None, keep)]
    monkeypatch.setenv("GNNKIT_BACKEND", "numba")
    for threads in (1, 2, 5):
        set_threads(threads)
        for mask, right in zip((None, keep), expected, strict=True):
            same(common_neighbors(indptr, indices, pairs, keep=mask), right)


def test_each_way_to_where_rows_meet_finds_it_alone() -> None:
    for seed in range(30):
        graph = make(seed, num_nodes=30)
        columns, keep = graph.indices.numpy(), graph.keep.numpy()
        table = np.zeros(30, int)
        for i, j in draw_pairs(seed, 30, 10).t().tolist():
            spans = [slice(int(graph.indptr[node]), int(graph.indptr[node + 1])) for node in (i, j)]
            (hub, hub_mask), (row, mask) = ((columns[span], keep[span] if seed % 2 else None) for span in spans)
            a, b = (graph.row(node, masked=bool(seed % 2)) for node in (i, j))
            expected = [(a[node], b[node]) for node in sorted(a.keys() & b.keys())]
            hits, number = np.zeros((2, 31), int), 1 + spans[0].start
            assert _loops_pairs.lay_out.py_func(hub, hub_mask, number, table) == 0
            for way, given in (("look_up", (number, len(hub), table)), ("seek", (hub, hub_mask))):
                used = getattr(_loops_pairs, way).py_func(*given, row, mask, *(span.start for span in spans), *hits)
                found = hits[:, :used]
                assert list(zip(*found.tolist(), strict=True)) == expected
                hits[:] = 0


@pytest.mark.parametrize("wanted", [["both"], ("only_j",), {"only_i", "both"}], ids=str)
def test_what_is_not_asked_for_is_none(backend: str, wanted: list[str]) -> None:
    graph = make(8)
    pairs = draw_pairs(8, len(graph.indptr) - 1)
    whole = common_neighbors(*graph.csr, pairs, keep=graph.keep)
    some = PairSets(*(sets if name in wanted else None for name, sets in zip(NAMES, whole, strict=True)))
    same(common_neighbors(*graph.csr, pairs, keep=graph.keep, sets=wanted), some)


@pytest.mark.parametrize("max_bytes", [1, 500, 5000, 10**9])
def test_blocks_change_nothing_and_keep_to_the_bound(backend: str, max_bytes: int) -> None:
    graph = make(11, num_nodes=30)
    pairs = draw_pairs(11, 30)
    whole = common_neighbors(*graph.csr, pairs)
    same(common_neighbors(*graph.csr, pairs, max_bytes=max_bytes), whole)
    blocks = pair_blocks(graph.indptr, pairs, max_bytes)
    assert [0, *(part.stop for part in blocks)] == [*(part.start for part in blocks), pairs.shape[1]]
    for part in blocks:
        found = common_neighbors(*graph.csr, pairs[:, part])
        size = sum(t.nbytes for sets in found if sets for t in sets if t is not None) - 3 * 8
        assert size <= max_bytes or part.stop == part.start + 1


def test_blocks_know_the_other_graphs_degrees() -> None:
    few, many = torch.tensor([0, 1, 2]), torch.tensor([0, 100, 200])
    pairs = torch.tensor([[0, 1], [1, 0]])
    assert pair_blocks(few, pairs, 24 * 2 + 16 * 4) == [slice(0, 2)]
    assert pair_blocks(few, pairs, 24 * 2 + 16 * 4, other=many) == [slice(0, 1), slice(1, 2)]
    assert pair_blocks(few, pairs[:, :0], 1) == []


def test_arguments_may_have_strides_and_are_left_alone(backend: str) -> None:
    graph = make(14, dtype=torch.int32)
    pairs = draw_pairs(14, len(graph.indptr) - 1)
    wide = torch.stack([graph.indices, graph.indices], 1)[:, 0]
    found = common_neighbors(graph.indptr.int(), wide, pairs.t().contiguous().t().int())
    agrees(found, graph, graph, pairs, masked=False)
    assert torch.equal(pairs, draw_pairs(14, len(graph.indptr) - 1))


def test_entries_beyond_31_bits_have_a_table_of_their_own() -> None:
    graph = make(5, num_nodes=30)
    rows = graph.indices.numpy(), None, graph.indptr[:-1].numpy(), graph.indptr[1:].numpy()
    for kind in (np.int32, np.int64):
        hits, (begins, counts) = np.zeros((2, len(graph.indices) + 31), kind), np.zeros((2, 30), np.int64)
        nodes, room = np.arange(30), graph.indptr.numpy()
        args = *rows, *rows, 1, np.zeros(30, kind), room, *hits, begins, counts
        assert _loops_pairs.meet(0, 30, nodes, nodes, *args) == 0
        assert hits[:, : len(graph.indices)].tolist() == [[*range(len(graph.indices))]] * 2
        assert counts.tolist() == graph.indptr.diff().tolist()
        assert begins.tolist() == graph.indptr[:-1].tolist()
