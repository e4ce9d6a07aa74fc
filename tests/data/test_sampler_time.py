"""Sampling in time: nothing later than the seed is seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.sampler import NodeSamplerInput

from gnnkit.data import NeighborLoader, NeighborSampler

NUM_NODES, NUM_EDGES = 50, 500


def graph() -> Data:
    draw = torch.Generator().manual_seed(0)
    return Data(
        edge_index=torch.randint(NUM_NODES, (2, NUM_EDGES), generator=draw),
        num_nodes=NUM_NODES,
        node_time=torch.randint(20, (NUM_NODES,), generator=draw),
        edge_time=torch.randint(20, (NUM_EDGES,), generator=draw),
        weight=torch.rand(NUM_EDGES, generator=draw),
        later=torch.randint(20, (NUM_NODES,), generator=draw),
    )


def allowed(data: Data, name: str) -> Any:
    """When each edge may first be drawn."""
    return data.edge_time if name == "edge_time" else data.node_time[data.edge_index[0]]


@pytest.mark.parametrize("name", ["node_time", "edge_time"])
@pytest.mark.parametrize(
    "options",
    [{}, {"replace": True}, {"temporal_strategy": "last"}, {"weight_attr": "weight"}, {"subgraph_type": "induced"}],
    ids=str,
)
def test_no_edge_is_later_than_its_seed(name: str, options: dict[str, Any]) -> None:
    data = graph()
    loader = NeighborLoader(data, [4, 3], None, data.later, time_attr=name, batch_size=20, seed=0, **options)
    drawn = 0
    for batch in loader:
        assert torch.equal(batch.seed_time, data.later[batch.input_id])
        assert torch.equal(batch.n_id[batch.edge_index], data.edge_index[:, batch.e_id])
        tree = batch.batch[batch.edge_index[1]]
        assert torch.equal(tree, batch.batch[batch.edge_index[0]])
        assert bool((allowed(data, name)[batch.e_id] <= batch.seed_time[tree]).all())
        drawn += len(tree)
    assert drawn > 300


@pytest.mark.parametrize("name", ["node_time", "edge_time"])
def test_all_edges_up_to_the_time_are_found(name: str) -> None:
    data = graph()
    sampler = NeighborSampler(data, [-1], time_attr=name)
    seeds = torch.arange(NUM_NODES)
    out = sampler.sample_from_nodes(NodeSamplerInput(None, seeds, data.later), key=0)
    expected = allowed(data, name) <= data.later[data.edge_index[1]]
    assert sorted(out.edge.tolist()) == expected.nonzero().view(-1).tolist()


def test_last_takes_the_latest() -> None:
    data = graph()
    sampler = NeighborSampler(data, [3], time_attr="edge_time", temporal_strategy="last")
    out = sampler.sample_from_nodes(NodeSamplerInput(None, torch.arange(NUM_NODES), data.later), key=0)
    for node in range(NUM_NODES):
        into = (data.edge_index[1] == node) & (data.edge_time <= data.later[node])
        latest = data.edge_time[into].sort().values[-3:]
        assert sorted(data.edge_time[out.edge[out.col == node]].tolist()) == latest.tolist()


def test_times_of_seeds_default_to_those_of_their_nodes() -> None:
    data = graph()
    sampler = NeighborSampler(data, [5, 5], time_attr="node_time")
    one = sampler.sample_from_nodes(NodeSamplerInput(None, torch.arange(9)), key=0)
    two = sampler.sample_from_nodes(NodeSamplerInput(None, torch.arange(9), data.node_time[:9]), key=0)
    assert torch.equal(one.edge, two.edge)
    assert bool((data.node_time[one.node] <= data.node_time[one.batch]).all())


def test_a_graph_already_in_order_is_taken_as_it_is() -> None:
    data = graph()
    order = (data.edge_index[1] * 100 + data.edge_time).argsort(stable=True)
    ordered = Data(edge_index=data.edge_index[:, order], num_nodes=NUM_NODES, edge_time=data.edge_time[order])
    inputs = NodeSamplerInput(None, torch.arange(9), data.later[:9])
    one = NeighborSampler(data, [3, 3], time_attr="edge_time").sample_from_nodes(inputs, key=0)
    two = NeighborSampler(ordered, [3, 3], time_attr="edge_time", is_sorted=True).sample_from_nodes(inputs, key=0)
    assert torch.equal(one.node, two.node)
    assert torch.equal(one.edge, order[two.edge])
    ordered.edge_time = ordered.edge_time.flip(0)
    with pytest.raises(ValueError, match=r"is_sorted: .*\(got a fall\)"):
        NeighborSampler(ordered, [3], time_attr="edge_time", is_sorted=True)


def test_types_without_times_are_there_at_all_times() -> None:
    data = HeteroData()
    data["a"].time, data["a"].num_nodes, data["b"].num_nodes = torch.tensor([0, 5, 9]), 3, 3
    data["a", "to", "a"].edge_index = torch.tensor([[0, 1, 2], [1, 1, 1]])
    data["b", "to", "a"].edge_index = torch.tensor([[0, 1, 2], [1, 1, 1]])
    sampler = NeighborSampler(data, [-1], time_attr="time")
    out = sampler.sample_from_nodes(NodeSamplerInput(None, torch.tensor([1]), torch.tensor([6]), "a"))
    assert out.edge["a", "to", "a"].tolist() == [0, 1]
    assert out.edge["b", "to", "a"].tolist() == [0, 1, 2]


def test_what_is_wrong_is_said() -> None:
    data = graph()
    sampler = NeighborSampler(data, [2], time_attr="edge_time")
    with pytest.raises(ValueError, match=r"time: expected times of the input, since nodes have none"):
        sampler.sample_from_nodes(NodeSamplerInput(None, torch.tensor([1])))
    with pytest.raises(ValueError, match=r"time: expected 1 times"):
        sampler.sample_from_nodes(NodeSamplerInput(None, torch.tensor([1]), torch.tensor([1, 2])))
    data.node_time = torch.full((NUM_NODES,), torch.nan)
    with pytest.raises(ValueError, match=r"time_attr: expected numbers \(got NaN\)"):
        NeighborSampler(data, [2], time_attr="node_time")
    with pytest.raises(ValueError, match="no weights for draws with replacement of the last"):
        NeighborSampler(
            graph(), [2], time_attr="edge_time", weight_attr="weight", replace=True, temporal_strategy="last"
        )
