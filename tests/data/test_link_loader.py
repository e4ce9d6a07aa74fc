"""LinkLoader, LinkNeighborLoader and negative_edges."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
import torch_geometric.loader as pyg
from scipy.stats import chisquare
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch_geometric.data import Data, HeteroData
from torch_geometric.nn import SAGEConv
from torch_geometric.sampler import EdgeSamplerInput, NegativeSampling

from gnnkit import Adjacency
from gnnkit.data import LinkLoader, LinkNeighborLoader, NeighborSampler, negative_edges

NUM_NODES, NUM_EDGES = 80, 600


def graph() -> Data:
    draw = torch.Generator().manual_seed(0)
    edge_index = torch.randint(NUM_NODES, (2, NUM_EDGES // 2), generator=draw)
    return Data(
        x=torch.randn(NUM_NODES, 8, generator=draw),
        edge_index=torch.cat([edge_index, edge_index.flip(0)], 1),
        edge_time=torch.randint(20, (NUM_EDGES,), generator=draw),
        node_time=torch.randint(20, (NUM_NODES,), generator=draw),
    )


def typed() -> HeteroData:
    draw, data = torch.Generator().manual_seed(0), HeteroData()
    data["user"].x, data["item"].x = torch.randn(30, 4, generator=draw), torch.randn(20, 4, generator=draw)
    data["user", "buys", "item"].edge_index = torch.stack([torch.randint(n, (200,), generator=draw) for n in (30, 20)])
    data["item", "rev_buys", "user"].edge_index = data["buys"].edge_index.flip(0)
    return data


OPTIONS: list[dict[str, Any]] = [
    {},
    {"neg_sampling": "binary"},
    {"neg_sampling": NegativeSampling("binary", 0.5)},
    {"neg_sampling": "triplet"},
    {"neg_sampling": NegativeSampling("triplet", 3)},
]


@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_links_of_a_batch(options: dict[str, Any], disjoint: bool) -> None:
    data = graph()
    sampler = NeighborSampler(data, [4, 2], disjoint=disjoint)
    ours = LinkLoader(data, sampler, batch_size=70, seed=0, num_workers=2, **options)
    theirs = pyg.LinkLoader(data, sampler, batch_size=70, **options)
    assert isinstance(ours, pyg.LinkLoader)
    for batch, other in zip(ours, theirs, strict=True):
        assert sorted(batch.keys()) == sorted(other.keys())
        for one in (batch, other):
            assert torch.equal(one.n_id[one.edge_index], data.edge_index[:, one.e_id])
            src, dst = data.edge_index[:, one.input_id]
            if "triplet" in str(options):
                assert torch.equal(one.n_id[one.src_index], src)
                assert torch.equal(one.n_id[one.dst_pos_index], dst)
                amount = 3 if "3" in str(options) else 1
                assert one.dst_neg_index.shape == ((len(src), 3) if amount == 3 else (len(src),))
                if disjoint:  # the ends of a link and their negatives have one number
                    assert torch.equal(one.batch[one.src_index], one.batch[one.dst_pos_index])
                    negative = one.batch[one.dst_neg_index.view(len(src), -1)]
                    assert torch.equal(negative, torch.arange(len(src)).view(-1, 1).expand_as(negative))
            else:
                assert torch.equal(one.n_id[one.edge_label_index[:, : len(src)]], torch.stack([src, dst]))
                num = one.edge_label_index.shape[1]
                assert num == len(src) * (2 if options == OPTIONS[1] else 1) + (options == OPTIONS[2]) * -(
                    -len(src) // 2
                )
                if options:
                    assert one.edge_label.tolist() == [1.0] * len(src) + [0.0] * (num - len(src))
                if disjoint:
                    expected = torch.arange(num) % len(src)
                    assert torch.equal(one.batch[one.edge_label_index], expected.expand(2, -1))


@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_links_of_typed_edges(options: dict[str, Any], disjoint: bool) -> None:
    data = typed()
    edge_type = "user", "buys", "item"
    loader = LinkNeighborLoader(data, [3, 2], edge_type, disjoint=disjoint, batch_size=30, **options)
    for batch in loader:
        src, dst = data[edge_type].edge_index[:, batch[edge_type].input_id]
        users, items = batch["user"], batch["item"]
        if "triplet" in str(options):
            assert torch.equal(users.n_id[users.src_index], src)
            assert torch.equal(items.n_id[items.dst_pos_index], dst)
            assert "edge_label_index" not in batch[edge_type]
        else:
            row, col = batch[edge_type].edge_label_index[:, : len(src)]
            assert torch.equal(users.n_id[row], src)
            assert torch.equal(items.n_id[col], dst)
            if disjoint:
                assert torch.equal(users.batch[row], items.batch[col])


def test_pygs_link_example_with_one_import_changed() -> None:
    torch.manual_seed(0)
    data = graph()
    loader = LinkNeighborLoader(
        data,
        num_neighbors=[10, 5],
        edge_label_index=data.edge_index,
        neg_sampling_ratio=1.0,
        batch_size=64,
        shuffle=True,
        num_workers=2,
        exclude_edges=True,
    )
    convs = torch.nn.ModuleList([SAGEConv(8, 16), SAGEConv(16, 16)])
    optimizer = torch.optim.Adam(convs.parameters(), lr=0.01)
    losses = []
    for _ in range(6):
        for batch in loader:
            optimizer.zero_grad()
            hidden = convs[1](convs[0](batch.x, batch.edge_index).relu(), batch.edge_index)
            src, dst = hidden[batch.edge_label_index]
            loss = binary_cross_entropy_with_logits((src * dst).sum(-1), batch.edge_label)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_labels_of_links_are_kept() -> None:
    data, label = graph(), torch.arange(NUM_EDGES) % 3
    for batch in LinkNeighborLoader(data, [2], edge_label=label, batch_size=100, neg_sampling="binary"):
        assert torch.equal(batch.edge_label[: len(batch.input_id)], label[batch.input_id] + 1)  # 0 is for negatives
        assert bool((batch.edge_label[len(batch.input_id) :] == 0).all())


def test_batches_depend_on_the_seed_alone() -> None:
    def batches(num_workers: int, prefetch: int) -> list[Any]:
        options = {"neg_sampling": "triplet", "shuffle": True, "seed": 3}
        return list(
            LinkNeighborLoader(graph(), [3], batch_size=150, num_workers=num_workers, prefetch=prefetch, **options)
        )

    expected = batches(0, 0)
    for num_workers, prefetch in ((1, 1), (3, 4)):
        for one, other in zip(batches(num_workers, prefetch), expected, strict=True):
            for name in ("n_id", "e_id", "edge_index", "src_index", "dst_neg_index", "input_id"):
                assert torch.equal(one[name], other[name]), name


# ------------------------------------------------------------------ exclusion


@pytest.mark.parametrize("options", [{}, {"disjoint": True}, {"subgraph_type": "induced"}], ids=str)
def test_links_of_a_batch_are_left_out_of_its_edges(options: dict[str, Any]) -> None:
    data, left = graph(), 0
    for batch in LinkNeighborLoader(data, [-1, -1], batch_size=20, exclude_edges=True, seed=0, **options):
        targets = data.edge_index[:, batch.input_id]
        out = {*zip(*targets.tolist(), strict=True), *zip(*targets.flip(0).tolist(), strict=True)}
        sampled = set(zip(*batch.n_id[batch.edge_index].tolist(), strict=True))
        assert not out & sampled
        left += len(sampled)
        if "num_sampled_edges" in batch:
            assert sum(batch.num_sampled_edges) == batch.edge_index.shape[1]
            assert min(batch.num_sampled_edges) >= 0
    assert left > 1000
    full = next(iter(LinkNeighborLoader(data, [-1, -1], batch_size=20, seed=0, **options)))
    assert set(zip(*data.edge_index[:, full.input_id].tolist(), strict=True)) <= set(
        zip(*full.n_id[full.edge_index].tolist(), strict=True)
    )


def test_reverses_of_typed_links_are_left_out() -> None:
    data = typed()
    buys, back = ("user", "buys", "item"), ("item", "rev_buys", "user")
    for of in (buys, back):
        for batch in LinkNeighborLoader(data, [-1, -1], of, batch_size=20, exclude_edges=True):
            targets = pairs_of(data[of].edge_index[:, batch[of].input_id])
            for other in (buys, back):
                ends = [batch[kind].n_id[row] for kind, row in zip(other[::2], batch[other].edge_index, strict=True)]
                assert not targets & pairs_of(torch.stack(ends if other == of else ends[::-1]))


# ------------------------------------------------------------------ time


def test_negatives_and_edges_are_not_later_than_their_links() -> None:
    data = graph()
    time = torch.randint(5, 20, (NUM_EDGES,), generator=torch.Generator().manual_seed(1))
    for neg_sampling in (None, "binary", NegativeSampling("triplet", 2)):
        loader = LinkNeighborLoader(
            data, [4], edge_label_time=time, time_attr="node_time", neg_sampling=neg_sampling, batch_size=64
        )
        for batch in loader:
            link_time = time[batch.input_id]
            source = batch.n_id[batch.edge_index[0]]
            tree = batch.batch[batch.edge_index[1]]
            assert bool((data.node_time[source] <= link_time[tree]).all())
            if neg_sampling == "binary":
                negative = batch.edge_label_index[:, len(link_time) :]
            elif neg_sampling is not None:
                negative = batch.dst_neg_index.t()
            else:
                continue
            assert bool((data.node_time[batch.n_id[negative]] <= link_time[batch.batch[negative]]).all())


def test_weights_of_negatives() -> None:
    data = graph()
    weight = torch.zeros(NUM_NODES)
    weight[[3, 5]] = torch.tensor([1.0, 3.0])
    sampler = NeighborSampler(data, [1])
    inputs = EdgeSamplerInput(None, *data.edge_index)
    out = sampler.sample_from_edges(inputs, NegativeSampling("triplet", 2, dst_weight=weight), key=0)
    drawn = Counter(out.node[out.metadata[3]].view(-1).tolist())
    assert set(drawn) == {3, 5}
    assert chisquare([drawn[3], drawn[5]], [NUM_EDGES / 2, NUM_EDGES * 1.5]).pvalue > 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"edge_label_time": torch.ones(NUM_EDGES)}, r"\(got edge_label_time alone\)"),
        ({"time_attr": "edge_time"}, r"\(got time_attr alone\)"),
        ({"neg_sampling": NegativeSampling("binary", 1, torch.ones(3))}, r"expected 80 weights"),
        ({"neg_sampling": NegativeSampling("binary", 1, torch.full((80,), -1.0))}, r"expected finite weights >= 0"),
        ({"edge_label_index": torch.tensor([[0], [80]])}, r"destinations.*\(got 80\)"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, RuntimeError), match=message):
        next(iter(LinkNeighborLoader(graph(), [2], **options)))
    with pytest.raises(ValueError, match=r"exclude_edges: expected a NeighborSampler \(got object\)"):
        LinkLoader(graph(), object(), exclude_edges=True)


# ------------------------------------------------------------------ negative_edges


def pairs_of(edge_index: Tensor) -> set[tuple[int, int]]:
    return set(map(tuple, edge_index.t().tolist()))


@pytest.mark.parametrize("method", ["uniform", "degree"])
def test_a_negative_edge_is_no_edge(method: str) -> None:
    draw = torch.Generator().manual_seed(0)
    edge_index = torch.randint(20, (2, 300), generator=draw)  # half of all pairs
    adj = Adjacency.from_edge_index(edge_index, 20)
    edges = pairs_of(edge_index)
    found = pairs_of(negative_edges(adj, 5000, method, seed=1))
    assert not found & edges
    assert all(src != dst for src, dst in found)
    assert method == "degree" or found == {(s, d) for s in range(20) for d in range(20) if s != d} - edges
    found = pairs_of(negative_edges(adj, 5000, method, seed=1, undirected=True, self_loops=True))
    assert not found & (edges | {(dst, src) for src, dst in edges})


def test_uniform_negatives_are_uniform_and_those_by_degree_go_to_hubs() -> None:
    edge_index = torch.stack([torch.arange(1, 30) % 12, torch.tensor([0] * 8 + [5] * 12 + [7] * 9)])
    adj = Adjacency.from_edge_index(edge_index, 12)
    found = Counter(map(tuple, negative_edges(adj, 20_000, seed=0).t().tolist()))
    assert len(found) == 12 * 12 - len(pairs_of(edge_index) | {(k, k) for k in range(12)})
    assert chisquare(list(found.values())).pvalue > 1e-4
    _, dst = negative_edges(adj, 1000, "degree", seed=0)
    assert set(dst.tolist()) <= {0, 5, 7}


def test_negatives_of_a_bipartite_graph_and_of_seeds() -> None:
    adj = Adjacency.from_edge_index(torch.tensor([[0, 1], [0, 3]]), (2, 4))
    first = negative_edges(adj, 50, seed=3)
    assert pairs_of(first) == {(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)}
    assert torch.equal(first, negative_edges(adj, 50, seed=3))
    assert negative_edges(adj, 0).shape == (2, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num": -1}, r"num: .*\(got -1\)"),
        ({"method": "rank"}, r"method: .*\(got 'rank'\)"),
        ({"seed": "a"}, r"seed: .*\(got 'a'\)"),
        ({"adj": Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]))}, r"\(got a complete one\)"),
        ({"adj": Adjacency.from_edge_index(torch.tensor([[0], [1]]), (1, 2)), "undirected": True}, r"undirected: "),
        (
            {"adj": Adjacency.from_edge_index(torch.tensor([[0], [1]]), 3), "method": "degree"},
            r"\(got only edges in \d+ draws\)",
        ),
    ],
)
def test_what_is_wrong_with_negative_edges_is_said(options: dict[str, Any], message: str) -> None:
    adj = Adjacency.from_edge_index(torch.tensor([[0], [1]]), 3)
    with pytest.raises(ValueError, match=message):
        negative_edges(**{"adj": adj, "num": 4, **options})
