"""Adjacency.reorder: the same graph and the same results under other numbers, and a report that tells the truth."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor

from gnnkit import Adjacency, _reorder
from gnnkit._locality import Locality, Reordering

METHODS = ("degree", "rcm", "cluster")


def ring(num_nodes: int) -> Tensor:
    """A ring, each node joined to the next, both ways."""
    ids = torch.arange(num_nodes)
    return torch.cat([torch.stack([ids, ids.roll(-1)]), torch.stack([ids.roll(-1), ids])], 1)


def grid(side: int) -> Tensor:
    """A square grid, both ways."""
    ids = torch.arange(side * side).reshape(side, side)
    pairs = [torch.stack([a.flatten(), b.flatten()]) for a, b in ((ids[:, 1:], ids[:, :-1]), (ids[1:], ids[:-1]))]
    return torch.cat([*pairs, *(pair.flip(0) for pair in pairs)], 1)


def planted(groups: int, size: int, inside: int = 8, outside: int = 2) -> Tensor:
    """Groups of consecutive nodes, each with ``inside`` edges to its own group and ``outside`` to anybody."""
    draw, num_nodes = torch.Generator().manual_seed(1), groups * size
    src = torch.arange(num_nodes)
    own = (src // size * size).repeat_interleave(inside)
    within = own + torch.randint(size, (len(own),), generator=draw)
    across = torch.randint(num_nodes, (num_nodes * outside,), generator=draw)
    ends = [torch.stack([src.repeat_interleave(n), dst]) for n, dst in ((inside, within), (outside, across))]
    return torch.cat(ends, 1)


def shuffled(edge_index: Tensor, num_nodes: int, seed: int = 2) -> Adjacency:
    """A graph under random numbers."""
    ids = torch.randperm(num_nodes, generator=torch.Generator().manual_seed(seed))
    return Adjacency.from_edge_index(ids[edge_index], num_nodes)


# several components, an isolated node 0, a loop, parallel edges, one direction only
AWKWARD = torch.tensor([[3, 1, 1, 5, 5, 7, 8, 2, 9, 9], [1, 3, 3, 6, 5, 8, 7, 9, 2, 4]])
GRAPHS: dict[str, tuple[Tensor, int]] = {
    "no nodes": (torch.empty(2, 0, dtype=torch.int64), 0),
    "one node": (torch.empty(2, 0, dtype=torch.int64), 1),
    "one loop": (torch.tensor([[0], [0]]), 1),
    "no edges": (torch.empty(2, 0, dtype=torch.int64), 5),
    "awkward": (AWKWARD, 11),
    "star": (torch.stack([torch.arange(1, 40), torch.zeros(39, dtype=torch.int64)]), 40),
    "complete": (torch.cartesian_prod(torch.arange(12), torch.arange(12)).t(), 12),
    "grid": (grid(9), 81),
    "planted": (planted(6, 20), 120),
}


@pytest.fixture(params=GRAPHS)
def any_graph(request: pytest.FixtureRequest) -> Adjacency:
    """Every kind of graph in turn, under random numbers."""
    return shuffled(*GRAPHS[request.param])


# ------------------------------------------------------------------ the same graph


@pytest.mark.parametrize("method", METHODS)
def test_it_is_the_same_graph_under_other_numbers(any_graph: Adjacency, method: str) -> None:
    found, num_nodes = any_graph.reorder(method), any_graph.num_nodes
    ids = torch.arange(num_nodes)
    assert found.method == method
    assert found.permutation.dtype == found.inverse.dtype == torch.int64
    assert torch.equal(found.permutation.sort().values, ids)
    assert torch.equal(found.inverse[found.permutation], ids)
    assert found.adjacency.num_nodes == num_nodes
    assert torch.equal(found.permutation[found.adjacency.to_edge_index()], any_graph.to_edge_index())


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
@pytest.mark.parametrize("method", METHODS)
def test_results_that_came_back_are_the_same_bits(backend: str, any_graph: Adjacency, method: str, reduce: str) -> None:
    torch.manual_seed(3)
    found = any_graph.reorder(method)
    x, weight = torch.randn(any_graph.num_nodes, 5), torch.randn(any_graph.num_edges)
    out = found.to_old(found.adjacency.spmm(found.to_new(x), weight, reduce))
    assert torch.equal(out, any_graph.spmm(x, weight, reduce))


@pytest.mark.parametrize("method", METHODS)
def test_gradients_come_back_too(any_graph: Adjacency, method: str) -> None:
    torch.manual_seed(4)
    found = any_graph.reorder(method)
    x = torch.randn(any_graph.num_nodes, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(any_graph.num_edges, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(any_graph.num_nodes, 3, dtype=torch.float64)
    ours = torch.autograd.grad(found.to_old(found.adjacency.spmm(found.to_new(x), weight)), (x, weight), grad)
    want = torch.autograd.grad(any_graph.spmm(x, weight), (x, weight), grad)
    torch.testing.assert_close(ours, want)


def test_rows_of_any_kind_go_there_and_back() -> None:
    found = shuffled(*GRAPHS["grid"]).reorder("rcm")
    for rows in (torch.arange(81), torch.arange(81) % 2 == 0, torch.rand(81, 2, 3)):
        assert torch.equal(found.to_new(rows)[found.inverse], rows)
        assert torch.equal(found.to_old(found.to_new(rows)), rows)


@pytest.mark.parametrize("method", METHODS)
def test_the_graph_it_was_made_of_is_untouched(any_graph: Adjacency, method: str) -> None:
    names = ("indptr", "indices", "edge_ids", "_transpose", "_ends", "_inverse", "_entries")
    held = {name: getattr(any_graph, name) for name in names}
    before = {name: value.clone() for name, value in held.items() if isinstance(value, Tensor)}
    any_graph.reorder(method)
    assert all(getattr(any_graph, name) is value for name, value in held.items())
    assert all(torch.equal(held[name], value) for name, value in before.items())


@pytest.mark.parametrize("method", METHODS)
def test_it_is_the_same_order_every_time(any_graph: Adjacency, method: str) -> None:
    first = any_graph.reorder(method).permutation
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 the global state is the point
    shuffle = torch.randperm(any_graph.num_edges)
    again = Adjacency.from_edge_index(any_graph.to_edge_index()[:, shuffle], any_graph.num_nodes)
    assert torch.equal(again.reorder(method).permutation, first)


# ------------------------------------------------------------------ the orders


def test_degree_is_by_falling_in_degree_and_stable(any_graph: Adjacency) -> None:
    degree = any_graph.in_degree().tolist()
    expected = sorted(range(any_graph.num_nodes), key=lambda node: -degree[node])
    assert any_graph.reorder("degree").permutation.tolist() == expected


@pytest.mark.parametrize(
    ("edge_index", "num_nodes", "bound"), [(ring(200), 200, 2), (grid(20), 400, 20)], ids=["ring", "grid"]
)
def test_rcm_finds_the_small_bandwidth_that_a_shuffle_hid(edge_index: Tensor, num_nodes: int, bound: int) -> None:
    found = shuffled(edge_index, num_nodes).reorder("rcm")
    assert found.before.bandwidth > 0.9 * num_nodes
    assert found.after.bandwidth <= bound


def test_rcm_walks_edges_of_one_direction_both_ways() -> None:
    one_way = ring(200)[:, :200]
    assert shuffled(one_way, 200).reorder("rcm").after.bandwidth <= 2


def test_cluster_puts_the_groups_that_a_shuffle_hid_side_by_side() -> None:
    groups, size = 50, 40
    edge_index, num_nodes = planted(groups, size), groups * size
    ids = torch.randperm(num_nodes, generator=torch.Generator().manual_seed(2))
    adj = Adjacency.from_edge_index(ids[edge_index], num_nodes)
    planned = Locality.of(Adjacency.from_edge_index(edge_index, num_nodes), window=100)
    found = adj.reorder("cluster", row_bytes=1, cache_bytes=100)
    assert found.after.mean_gap < 1.1 * planned.mean_gap < 0.5 * found.before.mean_gap
    assert found.after.reused > 0.9 * planned.reused > 5 * found.before.reused
    group = torch.empty(num_nodes, dtype=torch.int64)
    group[ids] = torch.arange(num_nodes) // size
    changes = int((found.to_new(group).diff() != 0).sum())
    assert changes < 1.5 * groups  # groups - 1 if every group were found whole


def test_another_shuffle_improves_nothing() -> None:
    """The control: what the test above measures does not rise by itself."""
    edge_index, num_nodes = planted(50, 40), 2000
    one, two = (Locality.of(shuffled(edge_index, num_nodes, seed), window=100) for seed in (2, 3))
    assert one.mean_gap == pytest.approx(two.mean_gap, rel=0.05)
    assert one.reused == pytest.approx(two.reused, rel=0.1)


def test_cluster_prefers_the_community_with_the_larger_rise_of_modularity() -> None:
    """Two triangles and a bridge: each node's best choice, from the definition of modularity."""
    pairs = [(0, 1), (1, 2), (0, 2), (3, 4), (4, 5), (3, 5), (2, 3)]
    src, dst = np.array(pairs).T
    label = _reorder._communities(_reorder._both_ways(src, dst, 6))
    assert label[:3].tolist() == [label[0]] * 3
    assert label[3:].tolist() == [label[3]] * 3
    assert label[0] != label[3]


@pytest.mark.parametrize(("own", "best"), [(1, 1), (0, 0), (2, 0)])
def test_a_node_stays_where_no_other_community_is_better(own: int, best: int) -> None:
    near = scipy.sparse.csr_array(np.array([[1.0, 1.0, 0.0]]))  # as many edges to community 0 as to 1
    share, volume, degrees = np.array([0.2]), np.array([2.0, 2.0, 2.0]), np.array([2.0])
    volume[own] += degrees[0]
    assert _reorder._best(near, np.array([own]), share, volume, degrees).tolist() == [best]


def test_communities_are_about_as_good_as_those_of_networkx() -> None:
    networkx = pytest.importorskip("networkx")
    graph = networkx.karate_club_graph()
    src, dst = np.array(list(graph.edges())).T
    order = _reorder.cluster(src, dst, len(graph))
    assert sorted(order.tolist()) == list(range(34))
    adjacency, label = _reorder._both_ways(src, dst, len(graph)), np.arange(34)
    while True:  # the levels, as `cluster` goes through them
        found = _reorder._communities(adjacency)
        label = found[label]
        if len(found) == found.max() + 1:
            break
        members = _reorder._membership(found, int(found.max()) + 1)
        adjacency = (members.T @ adjacency @ members).tocsr()
    communities = [set(np.flatnonzero(label == one).tolist()) for one in np.unique(label)]
    ours = networkx.community.modularity(graph, communities, weight=None)
    theirs = networkx.community.louvain_communities(graph, weight=None, seed=0)
    assert ours > 0.93 * networkx.community.modularity(graph, theirs, weight=None)


# ------------------------------------------------------------------ the report


def by_hand(adj: Adjacency, window: int) -> Locality:
    """What `Locality` says, an edge at a time."""
    reads = adj.indices.tolist()
    gaps = [abs(src - dst) for src, dst in adj.to_edge_index().t().tolist()]
    hits = sum(row in reads[max(0, k - window) : k] for k, row in enumerate(reads))
    if not reads:
        return Locality(0, 0.0, 0.0)
    return Locality(max(gaps), sum(gaps) / len(gaps), hits / len(reads))


@pytest.mark.parametrize("cache_bytes", [1, 8, 56, 10**6])
def test_the_report_is_what_counting_gives(any_graph: Adjacency, cache_bytes: int) -> None:
    found = any_graph.reorder("rcm", row_bytes=8, cache_bytes=cache_bytes)
    for reported, adj in ((found.before, any_graph), (found.after, found.adjacency)):
        counted = by_hand(adj, cache_bytes // 8)
        assert (reported.bandwidth, reported.reused) == (counted.bandwidth, counted.reused)
        assert reported.mean_gap == pytest.approx(counted.mean_gap)


def test_str_shows_the_report() -> None:
    found = shuffled(ring(2000), 2000).reorder("rcm", row_bytes=100, cache_bytes=10_000)
    lines = str(found).splitlines()
    assert lines[0] == "rcm: 2,000 nodes, 4,000 edges"
    assert re.fullmatch(r"bandwidth +1,9\d\d +2", lines[2])
    assert re.fullmatch(r"mean gap +6\d\d\.\d +2\.0", lines[3])
    assert re.fullmatch(r"rows reused +\d+\.\d% +50\.0%", lines[4])  # each row is read twice: the second time
    assert lines[5] == "reused: among the last 100 rows read, 10,000 bytes of 100 each"


def test_the_example_of_the_documentation_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).resolve().parent.parent / "docs" / "reorder.md"
    (block,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    exec(block, {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"^# (.*)$", block, re.MULTILINE)


# ------------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"method": "metis"}, r"method: expected degree, rcm, cluster \(got 'metis'\)"),
        ({"method": None}, r"method: expected degree, rcm, cluster \(got None\)"),
        ({"method": ["rcm"]}, r"method: expected degree, rcm, cluster \(got \['rcm'\]\)"),
        ({"method": "rcm", "row_bytes": 0}, r"row_bytes: expected a number of bytes >= 1 \(got 0\)"),
        ({"method": "rcm", "cache_bytes": 1.5}, r"cache_bytes: expected a number of bytes >= 1 \(got 1\.5\)"),
        ({"method": "rcm", "cache_bytes": True}, r"cache_bytes: expected a number of bytes >= 1 \(got True\)"),
    ],
)
def test_wrong_arguments_are_value_errors(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}$"):
        Adjacency.from_edge_index(ring(5)).reorder(**args)


def test_a_bipartite_graph_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^reorder: expected one set of nodes \(got 7 sources, 5 destinations\)$"):
        Adjacency.from_edge_index(ring(5), (7, 5)).reorder("degree")


@pytest.mark.parametrize("way", ["to_new", "to_old"])
@pytest.mark.parametrize(
    ("rows", "got"),
    [(torch.ones(4, 2), r"\[4, 2\] on cpu"), (torch.ones(5, device="meta"), r"\[5\] on meta"), ([1.0] * 5, "list")],
    ids=["rows", "device", "list"],
)
def test_rows_that_are_not_the_nodes_are_refused(way: str, rows: Any, got: str) -> None:
    found: Reordering[Adjacency] = Adjacency.from_edge_index(ring(5)).reorder("rcm")
    with pytest.raises(ValueError, match=rf"^expected one row for each of the 5 nodes on cpu \(got {got}\)$"):
        getattr(found, way)(rows)


def test_more_edges_than_scipy_counts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"fewer than 2\^31 nodes .*\(got 2147483648 nodes, 0 edges\)$"):
        _reorder.rcm(np.empty(0, np.int64), np.empty(0, np.int64), 2**31)


@pytest.mark.cuda
@pytest.mark.parametrize("method", METHODS)
def test_a_graph_on_a_gpu_gets_the_order_it_gets_on_the_cpu(method: str) -> None:
    adj = shuffled(*GRAPHS["planted"])
    found, moved = adj.reorder(method), adj.to("cuda").reorder(method)
    assert torch.equal(moved.permutation.cpu(), found.permutation)
    assert (moved.before, moved.after) == (found.before, found.after)
    x = torch.rand(120, 4, device="cuda")
    torch.testing.assert_close(moved.to_old(moved.adjacency.spmm(moved.to_new(x))).cpu(), adj.spmm(x.cpu()))
