"""What loaders are asked to make batches of: in all forms, of all of PyG's kinds of graphs, and refused where wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.testing import MyFeatureStore, MyGraphStore

from gnnkit import Adjacency
from gnnkit.data import LinkNeighborLoader, NeighborLoader, as_pyg
from gnnkit.data._inputs import nodes_as_pyg

NUM_NODES, NUM_EDGES = 12, 40
LINKS = torch.tensor([[1, 2], [3, 4]])


def graph() -> Data:
    draw = torch.Generator().manual_seed(0)
    edge_index = torch.randint(NUM_NODES, (2, NUM_EDGES), generator=draw)
    return Data(x=torch.ones(NUM_NODES, 2), edge_index=edge_index, time=torch.arange(NUM_NODES))


def typed() -> HeteroData:
    draw, data = torch.Generator().manual_seed(0), HeteroData()
    data["a"].x, data["b"].x = torch.ones(10, 2), torch.ones(8, 2)
    data["a", "to", "b"].edge_index = torch.stack([torch.randint(n, (30,), generator=draw) for n in (10, 8)])
    return data


def pair(data: Any) -> Any:
    if isinstance(data, Data):
        return as_pyg(data.x, Adjacency.from_edge_index(data.edge_index, NUM_NODES))
    adj = {("a", "to", "b"): Adjacency.from_edge_index(data["to"].edge_index, (10, 8))}
    return as_pyg({"a": data["a"].x, "b": data["b"].x}, adj)


def nodes_of(data: Any, nodes: Any) -> list[int]:
    node_type = nodes if isinstance(nodes, str) else nodes[0] if isinstance(nodes, tuple) else None
    batches = NeighborLoader(data, [2], nodes, batch_size=4)
    stores = [batch if node_type is None else batch[node_type] for batch in batches]
    return [node for store in stores for node in store.n_id[: store.batch_size].tolist()]


@pytest.mark.parametrize("form", [lambda data: data, pair])
@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (None, list(range(NUM_NODES))),
        (torch.tensor([5, 1]), [5, 1]),
        ([5, 1], [5, 1]),
        (torch.arange(NUM_NODES) > 9, [10, 11]),
        ("b", list(range(8))),
        (("b", None), list(range(8))),
        (("b", [5, 1]), [5, 1]),
    ],
    ids=str,
)
def test_forms_of_nodes(form: Any, nodes: Any, expected: list[int]) -> None:
    data = typed() if isinstance(nodes, str | tuple) else graph()
    assert nodes_of(form(data), nodes) == expected


@pytest.mark.parametrize("form", [lambda data: data, pair])
@pytest.mark.parametrize("links", [None, LINKS, ("a", "to", "b"), (("a", "to", "b"), None), (("a", "to", "b"), LINKS)])
def test_forms_of_links(form: Any, links: Any) -> None:
    kind = ("a", "to", "b") if isinstance(links, tuple) else None
    data = graph() if kind is None else typed()
    expected = LINKS if links is LINKS or (kind and links[-1] is LINKS) else (data[kind] if kind else data).edge_index
    found = []
    for batch in LinkNeighborLoader(form(data), [2], links, batch_size=7):
        ends = (batch["a"], batch["b"]) if kind else (batch, batch)
        places = (batch[kind] if kind else batch).edge_label_index
        found.append(torch.stack([end.n_id[place] for end, place in zip(ends, places, strict=True)]))
    assert torch.equal(torch.cat(found, 1), expected)


def test_all_nodes_of_another_graph_store() -> None:
    features, stored = MyFeatureStore(), MyGraphStore()
    stored.put_edge_index(graph().edge_index, edge_type=None, layout="coo", size=(NUM_NODES, NUM_NODES))
    features.put_tensor(torch.ones(NUM_NODES, 2), group_name=None, attr_name="x", index=None)
    assert nodes_of((features, stored), None) == list(range(NUM_NODES))


@pytest.mark.parametrize("form", [lambda data: data, pair])
@pytest.mark.parametrize("nodes", [None, "q", ("q", None), ("a",), torch.tensor([1])], ids=str)
def test_a_type_of_nodes_that_is_not_there(form: Any, nodes: Any) -> None:
    data = typed()
    with pytest.raises(ValueError, match=r"input_nodes: expected one of the types 'a', 'b', .*\(got .*\)"):
        NeighborLoader(form(data), [2], nodes)
    assert data.node_types == ["a", "b"]  # PyG would add the type asked for
    with pytest.raises(ValueError, match=r"input_nodes: expected ids .*\(got 'q'\)"):
        NeighborLoader(pair(graph()), [2], "q")


@pytest.mark.parametrize("form", [lambda data: data, pair])
@pytest.mark.parametrize("links", [None, ("a", "no", "b"), (("a", "no", "b"), None), LINKS], ids=str)
def test_a_type_of_links_that_is_not_there(form: Any, links: Any) -> None:
    with pytest.raises(ValueError, match=r"edge_label_index: expected one of the types .*to.*\(got [^$]*\)"):
        LinkNeighborLoader(form(typed()), [2], links)


@pytest.mark.parametrize("wrong", [torch.ones(3, 2, dtype=torch.int64), torch.ones(2, dtype=torch.int64)], ids=str)
def test_links_of_another_shape(wrong: Tensor) -> None:
    for data, links in ((graph(), wrong), (pair(graph()), wrong), (typed(), (("a", "to", "b"), wrong))):
        with pytest.raises(ValueError, match=r"edge_label_index: expected links of shape \[2, P\] \(got int64"):
            LinkNeighborLoader(data, [2], links)


def test_what_goes_with_inputs_has_a_row_for_each() -> None:
    """Times of all nodes beside a mask of some would give times of others."""
    data, mask = graph(), torch.arange(NUM_NODES) > 9
    with pytest.raises(ValueError, match=r"input_time: expected 2 rows, one an input \(got int64 tensor of shape \[12"):
        NeighborLoader(data, [2], mask, data.time, time_attr="time")
    list(NeighborLoader(data, [2], mask, data.time[mask], time_attr="time"))
    for name in ("edge_label", "input_id"):
        with pytest.raises(ValueError, match=rf"{name}: expected 40 rows, one an input \(got int64"):
            LinkNeighborLoader(data, [2], **{name: torch.arange(NUM_EDGES + 1)})
    with pytest.raises(ValueError, match=r"edge_label_time: expected 2 rows, one an input \(got int64"):
        LinkNeighborLoader(data, [2], LINKS, edge_label_time=torch.arange(5), time_attr="time")


def test_all_nodes_of_a_store_that_does_not_know_how_many() -> None:
    stored = MyGraphStore()
    stored.put_edge_index(graph().edge_index, edge_type=None, layout="coo")
    with pytest.raises(ValueError, match=r"input_nodes: expected ids, .*\(got None\)"):
        nodes_as_pyg((MyFeatureStore(), stored), None)
