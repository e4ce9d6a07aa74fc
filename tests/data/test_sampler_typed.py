"""NeighborSampler and NeighborLoader on typed graphs, and in time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch_geometric.loader as pyg
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch_geometric.data import Data, HeteroData
from torch_geometric.nn import SAGEConv, to_hetero
from torch_geometric.sampler import NodeSamplerInput

from gnnkit import Adjacency
from gnnkit.data import InMemory, NeighborLoader, NeighborSampler, as_pyg

SIZES = {"paper": 60, "author": 40, "field": 7}
TYPES = [
    ("paper", "cites", "paper"),
    ("author", "writes", "paper"),
    ("paper", "rev_writes", "author"),
    ("paper", "about", "field"),
]


def typed_graph() -> HeteroData:
    draw = torch.Generator().manual_seed(0)
    data = HeteroData()
    for node_type, size in SIZES.items():
        data[node_type].x = torch.randn(size, 8, generator=draw)
    data["paper"].y = torch.arange(60) % 3
    for k, (src, rel, dst) in enumerate(TYPES):
        ends = [torch.randint(SIZES[end], (150,), generator=draw) for end in (src, dst)]
        data[src, rel, dst].edge_index = torch.stack(ends)
        data[src, rel, dst].edge_attr = torch.arange(150) + 1000 * k
    return data


def assert_of(batch: HeteroData, data: HeteroData) -> None:
    for node_type in data.node_types:
        assert torch.equal(batch[node_type].x, data[node_type].x[batch[node_type].n_id])
    for edge_type in data.edge_types:
        src, _, dst = edge_type
        row, col = batch[edge_type].edge_index
        ends = torch.stack([batch[src].n_id[row], batch[dst].n_id[col]])
        assert torch.equal(ends, data[edge_type].edge_index[:, batch[edge_type].e_id])
        assert torch.equal(batch[edge_type].edge_attr, data[edge_type].edge_attr[batch[edge_type].e_id])


@pytest.mark.parametrize("options", [{}, {"disjoint": True}, {"replace": True}, {"subgraph_type": "induced"}], ids=str)
def test_typed_batches(options: dict[str, Any]) -> None:
    data = typed_graph()
    num_neighbors = {edge_type: [3, 2] if edge_type[1] != "cites" else [4, 0] for edge_type in TYPES}
    sampler = NeighborSampler(data, num_neighbors, **options)
    for loader in (
        pyg.NodeLoader(data, sampler, "paper", batch_size=16),
        NeighborLoader(data, num_neighbors, "paper", batch_size=16, num_workers=2, **options),
    ):
        for batch in loader:
            assert_of(batch, data)
            assert torch.equal(batch["paper"].n_id[: batch["paper"].batch_size], batch["paper"].input_id)
            if "disjoint" in options:
                for (src, _, dst), store in zip(batch.edge_types, batch.edge_stores, strict=True):
                    row, col = store.edge_index
                    assert torch.equal(batch[src].batch[row], batch[dst].batch[col])
            if "subgraph_type" not in options:
                assert_fan_outs(batch, data, num_neighbors, bool(options.get("replace")))


def assert_fan_outs(batch: HeteroData, data: HeteroData, num_neighbors: Any, replace: bool) -> None:
    begin = dict.fromkeys(data.node_types, 0)
    for hop in range(2):
        for edge_type, fanouts in num_neighbors.items():
            dst, store = edge_type[2], batch[edge_type]
            nodes = torch.arange(begin[dst], begin[dst] + batch[dst].num_sampled_nodes[hop])
            degree = torch.bincount(data[edge_type].edge_index[1], minlength=SIZES[dst])[batch[dst].n_id[nodes]]
            expected = (degree > 0) * fanouts[hop] if replace else degree.clamp(max=fanouts[hop])
            col = store.edge_index[1].split(store.num_sampled_edges)[hop]
            assert torch.equal(torch.bincount(col, minlength=len(batch[dst].n_id))[nodes], expected)
        begin = {kind: begin[kind] + batch[kind].num_sampled_nodes[hop] for kind in begin}


def test_one_type_is_the_graph_without_types() -> None:
    edge_index = typed_graph()["paper", "cites", "paper"].edge_index
    data, typed = Data(edge_index=edge_index, num_nodes=60), HeteroData()
    typed["paper"].num_nodes = 60
    typed["paper", "cites", "paper"].edge_index = edge_index
    seeds = torch.tensor([3, 1, 3, 59])
    for fanouts in ([-1, -1], [4, 4]):
        one = NeighborSampler(data, fanouts).sample_from_nodes(NodeSamplerInput(None, seeds), key=0)
        two = NeighborSampler(typed, fanouts).sample_from_nodes(NodeSamplerInput(None, seeds, None, "paper"), key=0)
        if fanouts[0] == -1:
            assert torch.equal(one.node, two.node["paper"])
            assert torch.equal(one.edge, two.edge["paper", "cites", "paper"])
        assert one.num_sampled_edges[0] == two.num_sampled_edges["paper", "cites", "paper"][0]


def test_stores_of_typed_graphs() -> None:
    data = typed_graph()
    sizes = {edge_type: (SIZES[edge_type[0]], SIZES[edge_type[2]]) for edge_type in TYPES}
    adj = {t: Adjacency.from_edge_index(data[t].edge_index, size) for t, size in sizes.items()}
    stores: dict[Any, Any] = {kind: {"x": InMemory(data[kind].x)} for kind in SIZES}
    stores["paper", "cites", "paper"] = {"edge_attr": data["paper", "cites", "paper"].edge_attr}
    pair = as_pyg(stores, adj)
    expected = NeighborLoader(data, [3, 2], "paper", batch_size=20, seed=1)
    for one, other in zip(NeighborLoader(pair, [3, 2], "paper", batch_size=20, seed=1), expected, strict=True):
        for kind in SIZES:
            assert torch.equal(one[kind].x, other[kind].x)
        for edge_type in TYPES:
            assert torch.equal(one[edge_type].edge_index, other[edge_type].edge_index)
        assert torch.equal(one["cites"].edge_attr, other["cites"].edge_attr)
    bare = typed_graph()
    del bare["author"].x
    bare["author"].num_nodes = 40
    features = {"author": InMemory(data["author"].x)}
    for batch in NeighborLoader(bare, [3, 2], "paper", batch_size=20, features=features):
        assert torch.equal(batch["author"].x, data["author"].x[batch["author"].n_id])


def test_pygs_typed_example_with_one_import_changed() -> None:
    """PyG's example for ogbn-mag: a GraphSAGE made typed, trained on batches of papers."""
    torch.manual_seed(0)
    data = typed_graph()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = SAGEConv((-1, -1), 16), SAGEConv((-1, -1), 3)

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return self.two(self.one(x, edge_index).relu(), edge_index)  # type: ignore[no-any-return]

    data["author", "in", "author"].edge_index = torch.stack([torch.arange(40), torch.arange(40).roll(1)])
    data["field", "rev_about", "paper"].edge_index = data["about"].edge_index.flip(0)
    model = to_hetero(Net(), data.metadata())
    mask = torch.arange(60) < 40
    loader = NeighborLoader(data, [10, 10], ("paper", mask), batch_size=16, shuffle=True, num_workers=2)
    with torch.no_grad():
        batch = next(iter(loader))
        model(batch.x_dict, batch.edge_index_dict)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(10):
        for batch in loader:
            optimizer.zero_grad()
            size = batch["paper"].batch_size
            out = model(batch.x_dict, batch.edge_index_dict)["paper"][:size]
            loss = cross_entropy(out, batch["paper"].y[:size])
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_bidirectional_typed_edges_have_their_reverses() -> None:
    data = typed_graph()
    del data["paper", "about", "field"]
    sampler = NeighborSampler(data, [3, 2], subgraph_type="bidirectional")
    out = sampler.sample_from_nodes(NodeSamplerInput(None, torch.tensor([1, 2]), None, "paper"), key=0)
    writes, back = TYPES[1:3]
    one = set(zip(out.row[writes].tolist(), out.col[writes].tolist(), strict=True))
    assert one == set(zip(out.col[back].tolist(), out.row[back].tolist(), strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_neighbors": {TYPES[0]: [2]}}, "Missing number of neighbors"),
        ({"num_neighbors": {t: [2] * (1 + (t == TYPES[0])) for t in TYPES}}, "Number of hops must be the same"),
        ({"time_attr": "x"}, r"time_attr: expected a tensor of 60 numbers"),
        ({"time_attr": "edge_attr", "weight_attr": "x"}, r"weight_attr: .*\(got no such attribute\)"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeighborSampler(**{"data": typed_graph(), "num_neighbors": [2], **options})
    sampler = NeighborSampler(typed_graph(), [2])
    with pytest.raises(ValueError, match=r"input_type: .*\(got 'venue'\)"):
        sampler.sample_from_nodes(NodeSamplerInput(None, torch.tensor([1]), None, "venue"))
