"""as_pyg: PyG's own NodeLoader reads stores and topology through the pair; nothing can be changed through it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.loader import NodeLoader
from torch_geometric.loader.utils import get_edge_label_index, get_input_nodes
from torch_geometric.sampler import BaseSampler, HeteroSamplerOutput, NodeSamplerInput, SamplerOutput

from gnnkit import Adjacency
from gnnkit.data import InMemory, as_pyg

EDGE_INDEX = torch.tensor([[4, 0, 1, 2, 3, 3, 1], [1, 1, 0, 4, 4, 1, 4]])
WRITES = ("author", "writes", "paper")
CITES = ("paper", "cites", "paper")


class OneHop(BaseSampler):  # type: ignore[misc]
    """All edges into the seeds, in the way PyG's own sampler reads a remote graph: by its CSC."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.row, self.colptr, self.edge_permutation_ = graph.csc()

    @property
    def edge_permutation(self) -> Any:
        return self.edge_permutation_

    def sample_from_edges(self, *args: Any) -> Any:
        raise NotImplementedError

    def sample_from_nodes(self, index: NodeSamplerInput) -> Any:
        seeds, metadata = index.node, (index.input_id, index.time)
        if isinstance(self.row, Tensor):
            node, row, col, edge = hop(self.row, self.colptr, seeds, seeds)
            return SamplerOutput(node, row, col, edge, metadata=metadata)
        nodes = {index.input_type: seeds}
        rows, cols, edges = {}, {}, {}
        for edge_type in self.row:
            src, _, dst = edge_type
            if dst == index.input_type:
                known = nodes.get(src, seeds[:0])
                nodes[src], rows[edge_type], cols[edge_type], edges[edge_type] = hop(
                    self.row[edge_type], self.colptr[edge_type], seeds, known
                )
        return HeteroSamplerOutput(nodes, rows, cols, edges, metadata=metadata)


def hop(row: Tensor, colptr: Tensor, seeds: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Entries of the seeds; sources get local numbers, the known ones first."""
    entries = torch.cat([torch.arange(int(colptr[s]), int(colptr[s + 1])) for s in seeds])
    node = list(known.tolist())
    for source in row[entries].tolist():
        if source not in node:
            node.append(source)
    local = torch.tensor([node.index(source) for source in row[entries].tolist()], dtype=torch.int64)
    col = torch.arange(len(seeds)).repeat_interleave(colptr[seeds + 1] - colptr[seeds])
    return torch.tensor(node), local, col, entries


def typed() -> tuple[dict[Any, Any], dict[Any, Adjacency]]:
    """Three authors, five papers; both features, one label, one row an edge."""
    draw = torch.Generator().manual_seed(0)
    writes = torch.stack([torch.randint(3, (8,), generator=draw), torch.randint(5, (8,), generator=draw)])
    adj = {
        WRITES: Adjacency.from_edge_index(writes, (3, 5)),
        CITES: Adjacency.from_edge_index(EDGE_INDEX, 5),
    }
    stores = {
        "author": InMemory(torch.rand(3, 4, generator=draw)),
        "paper": {"x": torch.rand(5, 2, generator=draw), "y": torch.arange(5)},
        WRITES: {"edge_attr": torch.arange(8.0)},
    }
    return stores, adj


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # on a machine with one core
@pytest.mark.parametrize("workers", [0, 2])
def test_pygs_node_loader_reads_a_graph(workers: int) -> None:
    x, y = torch.rand(5, 3), torch.arange(5)
    pair = as_pyg({"x": InMemory(x), "y": y}, Adjacency.from_edge_index(EDGE_INDEX, 5))
    loader = NodeLoader(
        pair, OneHop(pair[1]), torch.arange(5), batch_size=2, num_workers=workers, filter_per_worker=workers > 0
    )
    edges = []
    for batch in loader:
        assert torch.equal(batch.x, x[batch.n_id])
        assert torch.equal(batch.y, y[batch.n_id])
        assert torch.equal(EDGE_INDEX[:, batch.e_id], batch.n_id[batch.edge_index])
        edges += batch.e_id.tolist()
    assert sorted(edges) == list(range(7))


def test_pygs_node_loader_reads_typed_nodes() -> None:
    stores, adj = typed()
    pair = as_pyg(stores, adj)
    seen = []
    for batch in NodeLoader(pair, OneHop(pair[1]), "paper", batch_size=2):
        assert torch.equal(batch["author"].x, stores["author"].read(batch["author"].n_id))
        for name, rows in stores["paper"].items():
            assert torch.equal(batch["paper"][name], rows[batch["paper"].n_id])
        for (src, _, dst), one in adj.items():
            part = batch[src, dst]
            ends = torch.stack([batch[src].n_id[part.edge_index[0]], batch[dst].n_id[part.edge_index[1]]])
            assert torch.equal(one.to_edge_index()[:, part.e_id], ends)
        seen += batch[WRITES].e_id.tolist()
    assert sorted(seen) == list(range(8))


def test_a_store_alone_is_x() -> None:
    features, _ = as_pyg(torch.eye(5), Adjacency.from_edge_index(EDGE_INDEX, 5))
    assert [(attr.group_name, attr.attr_name) for attr in features.get_all_tensor_attrs()] == [(None, "x")]
    assert features.get_tensor_size(None, "x") == (5, 5)


def test_attributes_are_given_anew_each_time() -> None:
    """PyG's loaders write the batch's ids into them."""
    features, _ = as_pyg(torch.eye(5), Adjacency.from_edge_index(EDGE_INDEX, 5))
    features.get_all_tensor_attrs()[0].index = torch.tensor([1])
    assert not features.get_all_tensor_attrs()[0].is_set("index")


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (torch.tensor([3, 1]), [3, 1]),
        (torch.tensor([3, 1], dtype=torch.int32), [3, 1]),
        (torch.tensor([False, True, False, False, True]), [1, 4]),
        (slice(1, None, 2), [1, 3]),
        (slice(None), [0, 1, 2, 3, 4]),
        (None, [0, 1, 2, 3, 4]),
        ([2], [2]),
        ([], []),
        (2, 2),
        (-1, 4),
    ],
    ids=repr,
)
def test_every_index_of_pyg_is_understood(index: Any, expected: Any) -> None:
    y = torch.arange(5)
    features, _ = as_pyg({"y": y}, Adjacency.from_edge_index(EDGE_INDEX, 5))
    assert features.get_tensor(None, "y", index).tolist() == expected


@pytest.mark.parametrize("length", [1, 4, 6])
def test_a_mask_of_another_length_is_refused(length: int) -> None:
    features, _ = as_pyg({"y": torch.arange(5)}, Adjacency.from_edge_index(EDGE_INDEX, 5))
    with pytest.raises(ValueError, match=rf"index: expected a mask of 5 rows \(got shape \[{length}\]\)"):
        features.get_tensor(None, "y", torch.arange(length) < 1)


def test_every_layout_names_the_original_edges() -> None:
    adj = Adjacency.from_edge_index(EDGE_INDEX, 5)
    _, graph = as_pyg(torch.eye(5), adj)
    assert torch.equal(torch.stack(graph.coo()[:2]), EDGE_INDEX)
    assert graph.coo()[2] is None
    row, colptr, perm = graph.csc()
    assert torch.equal(EDGE_INDEX[0, perm], row)
    assert torch.equal(EDGE_INDEX[1, perm], torch.arange(5).repeat_interleave(colptr.diff()))
    rowptr, col, perm = graph.csr()
    assert torch.equal(EDGE_INDEX[1, perm], col)
    assert torch.equal(EDGE_INDEX[0, perm], torch.arange(5).repeat_interleave(rowptr.diff()))
    for layout, whole in (("coo", graph.coo()), ("csc", graph.csc()), ("csr", graph.csr())):
        got = graph.get_edge_index(None, layout)
        assert all(torch.equal(one, other) for one, other in zip(got, whole[:2], strict=True))
    assert {tensor.dtype for tensor in (*graph.csc(), *graph.csr())} == {torch.int64}


def test_pyg_finds_sizes_and_edges_of_types() -> None:
    pair = as_pyg(*typed())
    assert get_input_nodes(pair, "author")[1].tolist() == [0, 1, 2]
    edge_type, edges = get_edge_label_index(pair, (CITES, None))
    assert edge_type == CITES
    assert torch.equal(edges, EDGE_INDEX)
    assert set(pair[1].csc([CITES])[0]) == {CITES}
    with pytest.raises(KeyError, match="not found"):
        pair[1].get_edge_index(("paper", "likes", "paper"), "csc")


def test_the_pair_survives_pickling() -> None:
    features, graph = pickle.loads(pickle.dumps(as_pyg(*typed())))
    assert features.get_tensor("paper", "y", None).tolist() == [0, 1, 2, 3, 4]
    assert set(graph.csr()[0]) == {WRITES, CITES}
    assert "paper" in repr(features)
    assert "writes" in repr(graph)


CHANGES: list[Callable[[Any, Any], Any]] = [
    lambda features, graph: features.put_tensor(torch.eye(5), None, "x", None),
    lambda features, graph: features.update_tensor(torch.eye(5), None, "x", None),
    lambda features, graph: features.remove_tensor(None, "x", None),
    lambda features, graph: features.__delitem__((None, "x", None)),
    lambda features, graph: features.__setitem__((None, "x", None), torch.eye(5)),
    lambda features, graph: graph.put_edge_index((EDGE_INDEX[0], EDGE_INDEX[1]), None, "coo"),
    lambda features, graph: graph.remove_edge_index(None, "csc"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_refused(change: Callable[[Any, Any], Any]) -> None:
    pair = as_pyg(torch.eye(5), Adjacency.from_edge_index(EDGE_INDEX, 5))
    with pytest.raises(ValueError, match=r"expected no change of a \w+ behind as_pyg \(got (put|remove)_"):
        change(*pair)


@pytest.mark.parametrize("attribute", [(None, "z"), ("paper", "x")])
def test_an_unknown_attribute_is_refused(attribute: tuple[Any, str]) -> None:
    features, _ = as_pyg(torch.eye(5), Adjacency.from_edge_index(EDGE_INDEX, 5))
    with pytest.raises(ValueError, match=r"attribute: expected one of \(None, 'x'\) \(got "):
        features.get_tensor(*attribute, torch.tensor([0]))


SQUARE = Adjacency.from_edge_index(EDGE_INDEX, 5)
BIPARTITE = Adjacency.from_edge_index(EDGE_INDEX, (5, 6))
X = torch.eye(5)


@pytest.mark.parametrize(
    ("stores", "adj", "message"),
    [
        (X, BIPARTITE, "adj: expected a dict of edge types for a bipartite graph"),
        (X, EDGE_INDEX, "adj: expected an Adjacency or a dict of edge types to them .got Tensor"),
        (X, {}, "adj: expected an Adjacency or a dict"),
        (X, {"cites": SQUARE}, "adj: expected an Adjacency or a dict"),
        ({"paper": X}, {CITES: EDGE_INDEX}, "adj: expected an Adjacency or a dict"),
        (X, {CITES: SQUARE}, "stores: expected a dict of node types for typed edges .got Tensor"),
        ({"author": X}, {CITES: SQUARE}, "stores: expected types among .*paper .got 'author'"),
        ({"x": np.eye(5)}, SQUARE, "stores: expected a store or a tensor as x .got ndarray"),
        ({3: X}, SQUARE, "stores: expected a store or a tensor as 3 .got Tensor"),
        (torch.eye(4), SQUARE, "stores: expected 5 rows as x .got 4"),
        ({"paper": {"y": torch.ones(6)}}, {CITES: SQUARE}, "stores: expected 5 rows as paper y .got 6"),
        (
            {"paper": X},
            {CITES: SQUARE, WRITES: BIPARTITE},
            "adj: expected one number of paper nodes .got 5 and 6",
        ),
    ],
)
def test_what_does_not_fit_is_refused(stores: Any, adj: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_pyg(stores, adj)
