"""NodeLoader and NeighborLoader: PyG's loaders with threads, and PyG's own loader on our sampler."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch
import torch_geometric.loader as pyg
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch_geometric.data import Data
from torch_geometric.nn import SAGEConv

from gnnkit import Adjacency
from gnnkit.data import InMemory, NeighborLoader, NeighborSampler, NodeLoader, as_pyg
from gnnkit.datasets.synthetic import power_law

NUM_NODES = 300


def graph() -> Data:
    draw = torch.Generator().manual_seed(0)
    edge_index = power_law(NUM_NODES, 3000)
    return Data(
        x=torch.randn(NUM_NODES, 40, generator=draw),
        y=torch.arange(NUM_NODES) % 4,
        edge_index=edge_index,
        edge_attr=torch.arange(edge_index.shape[1]).float(),
        train_mask=torch.arange(NUM_NODES) % 3 == 0,
    )


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Compile the loops before threads do: an iterator does not wait for ever for one that compiles."""
    for options in ({}, {"disjoint": True}):
        list(NeighborLoader(graph(), [2], batch_size=300, prefetch=0, **options))


def tensors(batch: Any) -> dict[str, Tensor]:
    return {name: value for name, value in batch.to_dict().items() if isinstance(value, Tensor)}


def assert_same(one: Any, other: Any) -> None:
    assert tensors(one).keys() == tensors(other).keys()
    for name, value in tensors(one).items():
        assert torch.equal(value, tensors(other)[name]), name


def assert_of(batch: Any, data: Data) -> None:
    """The batch's rows and edges are the graph's."""
    assert torch.equal(batch.x, data.x[batch.n_id])
    assert torch.equal(batch.y, data.y[batch.n_id])
    assert torch.equal(batch.edge_attr, data.edge_attr[batch.e_id])
    assert torch.equal(batch.n_id[batch.edge_index], data.edge_index[:, batch.e_id])
    assert torch.equal(batch.input_id, batch.n_id[: batch.batch_size])


# ------------------------------------------------------------------ PyG's loader on our sampler, ours in its place


def test_pygs_own_loader_runs_on_the_sampler() -> None:
    data = graph()
    sampler = NeighborSampler(data, [5, 3])
    seen = []
    for batch in pyg.NodeLoader(data, sampler, input_nodes=data.train_mask, batch_size=32):
        assert_of(batch, data)
        seen.append(batch.n_id[: batch.batch_size])
    assert torch.equal(torch.cat(seen), data.train_mask.nonzero().view(-1))


@pytest.mark.parametrize("options", [{}, {"disjoint": True}, {"replace": True}, {"subgraph_type": "induced"}], ids=str)
def test_ours_gives_what_pygs_gives(options: dict[str, Any]) -> None:
    data = graph()
    sampler = NeighborSampler(data, [5, 3], **options)
    ours = NodeLoader(data, sampler, data.train_mask, batch_size=32, shuffle=True)
    theirs = pyg.NodeLoader(data, sampler, data.train_mask, batch_size=32, shuffle=True)
    assert isinstance(ours, pyg.NodeLoader)
    assert len(ours) == len(theirs) == 4
    assert_of(next(iter(ours)), data)
    # the same attributes; the draws differ, since ours have a key a batch
    assert set(next(iter(ours)).keys()) == set(next(iter(theirs)).keys())
    torch.manual_seed(3)
    mine = ours([4, 2, 0])
    torch.manual_seed(3)
    assert_same(mine, theirs([4, 2, 0]))


def test_pygs_example_with_one_import_changed() -> None:
    """GraphSAGE on batches, then inference layer by layer over all neighbours, as PyG's example for Reddit does it."""
    torch.manual_seed(0)
    data = graph()
    kwargs = {"batch_size": 64, "num_workers": 3, "persistent_workers": True}
    train_loader = NeighborLoader(data, input_nodes=data.train_mask, num_neighbors=[25, 10], shuffle=True, **kwargs)
    subgraph_loader = NeighborLoader(copy.copy(data), input_nodes=None, num_neighbors=[-1], shuffle=False, **kwargs)
    del subgraph_loader.data.x, subgraph_loader.data.y
    subgraph_loader.data.num_nodes = data.num_nodes
    subgraph_loader.data.n_id = torch.arange(data.num_nodes)

    convs = torch.nn.ModuleList([SAGEConv(40, 16), SAGEConv(16, 4)])
    optimizer = torch.optim.Adam(convs.parameters(), lr=0.01)
    losses = []
    for _ in range(8):
        total = 0.0
        for batch in train_loader:
            optimizer.zero_grad()
            hidden = convs[1](convs[0](batch.x, batch.edge_index).relu(), batch.edge_index)
            loss = cross_entropy(hidden[: batch.batch_size], batch.y[: batch.batch_size])
            loss.backward()
            optimizer.step()
            total += loss.item() * batch.batch_size
        losses.append(total)
    assert losses[-1] < 0.8 * losses[0]

    with torch.no_grad():
        x_all = data.x
        for k, conv in enumerate(convs):
            rows = []
            for batch in subgraph_loader:
                out = conv(x_all[batch.n_id], batch.edge_index)[: batch.batch_size]
                rows.append(out.relu() if k == 0 else out)
            x_all = torch.cat(rows)
        full = convs[1](convs[0](data.x, data.edge_index).relu(), data.edge_index)
    torch.testing.assert_close(x_all, full, rtol=1e-4, atol=1e-5)
    assert not [thread for thread in threading.enumerate() if thread.name == "gnnkit-loader"]


# ------------------------------------------------------------------ seeds, threads, prefetch


@pytest.mark.parametrize("options", [{}, {"disjoint": True}], ids=str)
def test_batches_depend_on_the_seed_alone(options: dict[str, Any]) -> None:
    data = graph()

    def batches(num_workers: int, prefetch: int, seed: int = 7) -> list[Any]:
        loader = NeighborLoader(
            data, [4, 2], batch_size=50, shuffle=True, seed=seed, num_workers=num_workers, prefetch=prefetch, **options
        )
        return [*loader, *loader]  # two epochs

    expected = batches(0, 0)
    assert len(expected) == 12
    for num_workers in (0, 1, 3):
        for prefetch in (0, 1, 4):
            for one, other in zip(batches(num_workers, prefetch), expected, strict=True):
                assert_same(one, other)
    first, again = expected[0].n_id, expected[6].n_id
    assert not torch.equal(first[:50], again[:50])  # another epoch is another order
    assert not torch.equal(batches(0, 0, seed=8)[0].n_id[:50], first[:50])


def test_an_epoch_can_be_repeated() -> None:
    data = graph()
    loader = NeighborLoader(data, [4], batch_size=100, shuffle=True, seed=1)
    epochs = [list(loader) for _ in range(3)]
    loader.epoch = 1
    for one, other in zip(loader, epochs[1], strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("num_workers", [0, 3])
def test_without_seed_batches_follow_the_default_generator(num_workers: int) -> None:
    loader = NeighborLoader(graph(), [4], batch_size=100, shuffle=True, num_workers=num_workers)

    def run() -> list[Any]:
        torch.manual_seed(5)
        batches = []
        for batch in loader:
            batches.append(batch)
            torch.rand(3)  # what a model draws between batches
        return batches

    for one, other in zip(run(), run(), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("filter_per_worker", [None, True, False])
def test_where_a_batch_is_read_and_transformed(filter_per_worker: bool | None) -> None:
    names = set()

    def note(batch: Any) -> Any:
        names.add(threading.current_thread().name)
        return batch

    data = graph()
    for batch in NeighborLoader(data, [3], batch_size=100, transform=note, filter_per_worker=filter_per_worker):
        assert_of(batch, data)
    assert names == ({"MainThread"} if filter_per_worker is False else {"gnnkit-loader"})


def test_transforms_are_applied() -> None:
    def mark(out: Any) -> Any:
        out.metadata = (out.metadata[0] + 1000, *out.metadata[1:])
        return out

    loader = NeighborLoader(
        graph(), [3], batch_size=100, transform=lambda batch: (batch, "made"), transform_sampler_output=mark
    )
    batch, word = next(iter(loader))
    assert word == "made"
    assert batch.input_id[0] == 1000
    assert loader([1])[0].input_id.tolist() == [1001]


# ------------------------------------------------------------------ sources of features


def test_rows_come_from_stores() -> None:
    data = graph()
    bare = Data(edge_index=data.edge_index, num_nodes=NUM_NODES, y=data.y, edge_attr=data.edge_attr)
    pair = as_pyg({"x": InMemory(data.x), "y": data.y}, Adjacency.from_edge_index(data.edge_index, NUM_NODES))
    expected = list(NeighborLoader(data, [3, 2], batch_size=100, seed=2))
    for batch, other in zip(
        NeighborLoader(bare, [3, 2], batch_size=100, seed=2, features={"x": InMemory(data.x)}), expected, strict=True
    ):
        assert_of(batch, data)
        assert torch.equal(batch.x, other.x)
    nodes = torch.arange(NUM_NODES)
    for batch, other in zip(NeighborLoader(pair, [3, 2], nodes, batch_size=100, seed=2), expected, strict=True):
        assert torch.equal(batch.n_id, other.n_id)
        assert torch.equal(batch.x, other.x)
        assert torch.equal(batch.y, other.y)
        assert torch.equal(batch.edge_index, other.edge_index)
    for batch in pyg.NodeLoader(pair, NeighborSampler(pair, [3, 2]), nodes, batch_size=100):
        assert torch.equal(batch.x, data.x[batch.n_id])


def test_what_is_kept_of_a_batch_is_never_written_over() -> None:
    data = graph()
    data.x = torch.randn(NUM_NODES, 64)
    loader = NeighborLoader(data, [3, 2], batch_size=60, seed=2, num_workers=2)
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    weight = torch.ones(64, requires_grad=True)
    for batch in loader:
        loss = (batch.x * weight).sum()  # autograd holds batch.x, and nobody else
        kept.append((batch.x[3:, 5].t(), batch.n_id, loss))
        del batch
    for view, ids, loss in kept:
        assert torch.equal(view, data.x[ids][3:, 5])
        weight.grad = None
        loss.backward()
        torch.testing.assert_close(weight.grad, data.x[ids].sum(0))
    del kept, view, loss
    for _ in range(10):
        for batch in loader:
            del batch
    pieces = sum(map(len, loader._fetcher.buffers.pieces.values()))
    assert pieces <= 24  # of 100 takes: what was let go is used again


def test_attributes_that_are_no_plain_tables() -> None:
    data = graph()
    data.x = torch.randn(40, NUM_NODES).t()  # rows lie apart
    data.embedding = torch.randn(NUM_NODES, 3, requires_grad=True)
    data.name = "a graph"
    batch = next(iter(NeighborLoader(data, [3], batch_size=10)))
    assert_of(batch, data)
    assert batch.name == "a graph"
    batch.embedding.sum().backward()
    assert int((data.embedding.grad != 0).any(1).sum()) == len(batch.n_id)
