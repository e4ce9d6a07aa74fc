"""NeighborSampler on graphs of one type: what is drawn exists, is counted rightly, and depends on the key alone."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import pytest
import torch
from torch_geometric import EdgeIndex
from torch_geometric.data import Data
from torch_geometric.sampler import NodeSamplerInput
from torch_geometric.testing import MyFeatureStore, MyGraphStore
from torch_geometric.utils import k_hop_subgraph, subgraph

from gnnkit import Adjacency
from gnnkit.data import NeighborSampler, as_pyg

NUM_NODES, NUM_EDGES = 60, 400
KINDS: list[dict[str, Any]] = [
    {},
    {"replace": True},
    {"disjoint": True},
    {"disjoint": True, "replace": True},
    {"subgraph_type": "induced"},
    {"subgraph_type": "induced", "disjoint": True},
]


def graph(seed: int = 0) -> Data:
    """A random graph with parallel edges, self-loops and nodes without edges."""
    draw = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(NUM_NODES - 3, (2, NUM_EDGES), generator=draw)
    return Data(edge_index=edge_index, num_nodes=NUM_NODES, time=torch.randint(9, (NUM_NODES,), generator=draw))


def sample(sampler: NeighborSampler, seeds: list[int], key: int | None = 0) -> Any:
    return sampler.sample_from_nodes(NodeSamplerInput(None, torch.tensor(seeds)), key=key)


def same(a: Any, b: Any) -> bool:
    parts = [(getattr(a, name), getattr(b, name)) for name in ("node", "row", "col", "edge")]
    return all(torch.equal(x, y) for x, y in parts)


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_every_sampled_edge_is_an_edge_of_the_graph(options: dict[str, Any]) -> None:
    data = graph()
    out = sample(NeighborSampler(data, [4, 3, 2], **options), [5, 9, 59, 30])
    assert torch.equal(torch.stack([out.node[out.row], out.node[out.col]]), data.edge_index[:, out.edge])
    assert out.node[:4].tolist() == [5, 9, 59, 30]
    if "disjoint" in options:  # edges stay within a tree, and a tree has a node once
        assert torch.equal(out.batch[out.row], out.batch[out.col])
        assert out.batch[:4].tolist() == [0, 1, 2, 3]
        pairs = list(zip(out.batch.tolist(), out.node.tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)
    else:
        assert out.batch is None
        assert len(out.node.unique()) == len(out.node)


@pytest.mark.parametrize("options", KINDS[:4], ids=str)
def test_fan_outs_and_counts(options: dict[str, Any]) -> None:
    data, fanouts = graph(), [4, 3, 2]
    degree = torch.bincount(data.edge_index[1], minlength=NUM_NODES)
    out = sample(NeighborSampler(data, fanouts, **options), [5, 9, 59, 30])
    assert sum(out.num_sampled_nodes) == len(out.node)
    assert sum(out.num_sampled_edges) == len(out.row)
    begin, cols = 0, out.col.split(out.num_sampled_edges)
    for fanout, found, col in zip(fanouts, out.num_sampled_nodes, cols, strict=False):
        nodes = torch.arange(begin, begin + found)
        expected = degree[out.node[nodes]]
        expected = (expected > 0) * fanout if options.get("replace") else expected.clamp(max=fanout)
        assert torch.equal(torch.bincount(col, minlength=len(out.node))[nodes], expected)
        begin += found
    if not options.get("replace"):  # an edge once for each time that its end was a frontier node
        drawn = list(zip(out.edge.tolist(), out.col.tolist(), strict=True))
        assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("disjoint", [False, True])
def test_all_neighbours_are_the_k_hop_subgraph(disjoint: bool) -> None:
    data = graph()
    for seed in range(0, NUM_NODES, 7):
        out = sample(NeighborSampler(data, [-1, -1], disjoint=disjoint), [seed])
        nodes, *_ = k_hop_subgraph(seed, 2, data.edge_index, num_nodes=NUM_NODES)
        assert sorted(out.node.tolist()) == nodes.tolist()
        one_hop, *_ = k_hop_subgraph(seed, 1, data.edge_index, num_nodes=NUM_NODES)
        into = torch.isin(data.edge_index[1], one_hop).nonzero().view(-1)  # what two hops read
        assert sorted(out.edge.tolist()) == into.tolist()


def test_induced_gives_all_edges_between_the_sampled_nodes() -> None:
    data = graph()
    out = sample(NeighborSampler(data, [3, 3], subgraph_type="induced"), [1, 2, 3])
    _, ids = subgraph(out.node, data.edge_index, torch.arange(NUM_EDGES), num_nodes=NUM_NODES)
    assert sorted(out.edge.tolist()) == sorted(ids.tolist())
    assert out.num_sampled_edges is None


def test_bidirectional_adds_the_reverses() -> None:
    data = graph()
    both = sample(NeighborSampler(data, [3, 3], subgraph_type="bidirectional"), [1, 2, 3])
    one = sample(NeighborSampler(data, [3, 3]), [1, 2, 3])
    pairs = set(zip(one.row.tolist(), one.col.tolist(), strict=True))
    expected = pairs | {(col, row) for row, col in pairs}
    got = list(zip(both.row.tolist(), both.col.tolist(), strict=True))
    assert set(got) == expected
    assert len(got) == len(expected)
    ends = data.edge_index[:, both.edge]
    given = torch.stack([both.node[both.row], both.node[both.col]])
    assert bool(((ends == given).all(0) | (ends == given.flip(0)).all(0)).all())


def test_hop_of_fan_out_zero_ends_there() -> None:
    out = sample(NeighborSampler(graph(), [2, 0, 3]), [1, 2])
    assert out.num_sampled_edges[1:] == [0, 0]
    assert out.num_sampled_nodes[2:] == [0, 0]


@pytest.mark.parametrize("options", [{}, {"subgraph_type": "induced"}], ids=str)
def test_a_seed_that_comes_twice_stays_twice(options: dict[str, Any]) -> None:
    data = graph()
    out = sample(NeighborSampler(data, [2, 2], **options), [7, 3, 7])
    assert out.node[:3].tolist() == [7, 3, 7]
    assert torch.equal(torch.stack([out.node[out.row], out.node[out.col]]), data.edge_index[:, out.edge])
    assert int((out.col == 2).sum()) == int((out.col == 0).sum()) >= 2
    assert int((out.row == 2).sum()) == 0  # an edge from it comes from the first


# ------------------------------------------------------------------ keys and threads


def test_same_key_same_batch_other_key_another() -> None:
    sampler = NeighborSampler(graph(), [3, 3])
    assert same(sample(sampler, [1, 2, 3], 5), sample(sampler, [1, 2, 3], 5))
    assert not same(sample(sampler, [1, 2, 3], 5), sample(sampler, [1, 2, 3], 6))


def test_without_key_it_follows_the_default_generator() -> None:
    sampler = NeighborSampler(graph(), [3, 3])
    torch.manual_seed(1)
    first, second = (sample(sampler, [1, 2, 3], None) for _ in range(2))
    assert not same(first, second)
    torch.manual_seed(1)
    assert same(first, sample(sampler, [1, 2, 3], None))


@pytest.mark.parametrize("disjoint", [False, True])
def test_several_threads_sample_at_once(disjoint: bool) -> None:
    sampler = NeighborSampler(graph(), [3, 3], disjoint=disjoint)
    expected = [sample(sampler, [key, key + 1], key) for key in range(40)]
    wrong: list[int] = []

    def work() -> None:
        wrong.extend(key for key in range(40) if not same(sample(sampler, [key, key + 1], key), expected[key]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_copies_sample_the_same() -> None:
    sampler = NeighborSampler(graph(), [3, 3])
    expected = sample(sampler, [1, 2, 3])
    for other in (copy.copy(sampler), copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
        assert same(sample(other, [1, 2, 3]), expected)


def test_an_error_leaves_the_next_batch_right() -> None:
    sampler = NeighborSampler(graph(), [3, 3])
    expected = sample(sampler, [1, 2, 3])
    with pytest.raises(ValueError, match=r"expected .* \(got 60\)"):
        sample(sampler, [1, 60])
    assert same(sample(sampler, [1, 2, 3]), expected)


# ------------------------------------------------------------------ forms of a graph


def test_forms_of_one_graph_give_one_batch() -> None:
    data = graph()
    order = data.edge_index[1].argsort(stable=True)
    by_dst = Data(edge_index=data.edge_index[:, order], num_nodes=NUM_NODES)
    edge_index = EdgeIndex(by_dst.edge_index, sparse_size=(NUM_NODES, NUM_NODES), sort_order="col")
    adj = Adjacency.from_edge_index(data.edge_index, NUM_NODES)
    expected = sample(NeighborSampler(data, [3, 3]), [1, 2, 3])
    forms: list[tuple[Any, dict[str, Any]]] = [
        (by_dst, {"is_sorted": True}),
        (Data(edge_index=edge_index, num_nodes=NUM_NODES), {}),
        (Data(edge_index=edge_index, num_nodes=NUM_NODES), {"is_sorted": True}),
    ]
    for form, options in forms:
        out = sample(NeighborSampler(form, [3, 3], **options), [1, 2, 3])
        assert torch.equal(out.node, expected.node)
        assert torch.equal(order[out.edge], expected.edge)
    pair = NeighborSampler(as_pyg(torch.ones(NUM_NODES, 2), adj), [3, 3])
    assert same(sample(pair, [1, 2, 3]), expected)
    assert pair.graph.edges["", "", ""].indices is adj.indices  # not built anew
    features, stored = MyFeatureStore(), MyGraphStore()  # other people's, in PyG's layouts
    stored.put_edge_index(data.edge_index, edge_type=None, layout="coo", size=(NUM_NODES, NUM_NODES))
    features.put_tensor(torch.ones(NUM_NODES, 2), group_name=None, attr_name="x", index=None)
    out = sample(NeighborSampler((features, stored), [3, 3]), [1, 2, 3])  # PyG's sort keeps no order within a row
    assert torch.equal(torch.stack([out.node[out.row], out.node[out.col]]), data.edge_index[:, out.edge])


def test_no_edges_and_no_seeds() -> None:
    out = sample(NeighborSampler(Data(num_nodes=3), [2, 2]), [0, 2])
    assert out.node.tolist() == [0, 2]
    assert out.row.numel() == 0
    out = NeighborSampler(graph(), [2]).sample_from_nodes(NodeSamplerInput(None, torch.empty(0, dtype=torch.long)))
    assert out.node.numel() == 0


# ------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_neighbors": []}, r"num_neighbors: .*\(got \[\]\)"),
        ({"num_neighbors": [-2]}, r"num_neighbors: .*\(got \[-2\]\)"),
        ({"num_neighbors": [1.5]}, r"num_neighbors: .*\(got \[1.5\]\)"),
        ({"num_neighbors": {("a", "b", "c"): [1]}}, r"num_neighbors: .*\(got a dict\)"),
        ({"subgraph_type": "some"}, r"subgraph_type: .*\(got 'some'\)"),
        ({"temporal_strategy": "first"}, r"temporal_strategy: .*\(got 'first'\)"),
        ({"weight_attr": "nothing"}, r"weight_attr: .*\(got no such attribute\)"),
        ({"weight_attr": "negative"}, r"weight_attr: .*\(got a negative one, NaN or infinity\)"),
        ({"weight_attr": "nan"}, r"weight_attr: .*\(got NaN\)"),
        ({"time_attr": "nothing"}, r"time_attr: .*\(got neither\)"),
        ({"is_sorted": True}, r"is_sorted: .*\(got a smaller one after a larger\)"),
        ({"data": 3}, r"data: .*\(got int\)"),
        ({"data": Data(edge_index=torch.ones(2, 3), num_nodes=2), "is_sorted": True}, r"edge_index: .*float32"),
        (
            {"data": Data(edge_index=torch.tensor([[0], [5]]), num_nodes=2), "is_sorted": True},
            r"destinations.*\(got 5\)",
        ),
        ({"data": Data(edge_index=torch.tensor([[0], [5]]), num_nodes=2)}, r"edge_index: .*\(got 5\)"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], message: str) -> None:
    data = graph()
    data.negative, data.nan = torch.full((NUM_EDGES,), -1.0), torch.full((NUM_EDGES,), torch.nan)
    with pytest.raises(ValueError, match=message):
        NeighborSampler(**{"data": data, "num_neighbors": [2], **options})


def test_times_without_time_attr_are_refused() -> None:
    with pytest.raises(ValueError, match=r"time: expected none without time_attr"):
        NeighborSampler(graph(), [2]).sample_from_nodes(NodeSamplerInput(None, torch.tensor([1]), torch.tensor([3])))
