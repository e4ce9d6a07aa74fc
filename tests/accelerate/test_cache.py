"""A topology is never stale and never too much: the cache goes by content."""

from __future__ import annotations

import copy
import gc
import threading

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, SAGEConv

import gnnkit
from gnnkit._accelerate import _cache
from gnnkit._accelerate._cache import CACHE, ContentCache
from gnnkit._csr import Csr

LAYERS = [lambda: GCNConv(3, 4), lambda: SAGEConv(3, 4), lambda: GATConv(3, 4)]


@pytest.fixture(params=LAYERS, ids=["gcn", "sage", "gat"])
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module]:
    """A plain layer and the accelerated one."""
    torch.manual_seed(0)
    plain = request.param()
    return plain, gnnkit.accelerate(copy.deepcopy(plain))


def edges(seed: int = 0, num_nodes: int = 12, num_edges: int = 40) -> Tensor:
    return torch.randint(num_nodes, (2, num_edges), generator=torch.Generator().manual_seed(seed))


X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))


def test_the_same_content_is_built_once(pair: tuple[nn.Module, nn.Module]) -> None:
    _, fast = pair
    fast(X, edges())
    built = CACHE.misses
    for _ in range(2):
        fast(X, edges())  # another tensor with the same edges
    assert CACHE.misses == built > 0
    assert CACHE.hits == 2


def test_written_through_torch(pair: tuple[nn.Module, nn.Module]) -> None:
    plain, fast = pair
    edge_index = edges()
    for step in range(5):
        torch.testing.assert_close(fast(X, edge_index), plain(X, edge_index))
        edge_index[0, step] = (edge_index[0, step] + 1) % 12
        edge_index.data[1, step] = (edge_index[1, step] + 3) % 12  # counts no version


def test_written_through_numpy(pair: tuple[nn.Module, nn.Module]) -> None:
    plain, fast = pair
    array = edges().numpy().copy()
    edge_index = torch.from_numpy(array)
    for step in range(5):
        torch.testing.assert_close(fast(X, edge_index), plain(X, edge_index))
        array[:, step] = (array[:, step] + 1) % 12


def test_written_in_inference_mode(pair: tuple[nn.Module, nn.Module]) -> None:
    plain, fast = pair
    with torch.inference_mode():
        edge_index = edges()
        for step in range(5):
            torch.testing.assert_close(fast(X, edge_index), plain(X, edge_index))
            edge_index[:, step] = (edge_index[:, step] + 1) % 12


def test_what_inference_mode_built_serves_training(pair: tuple[nn.Module, nn.Module]) -> None:
    plain, fast = pair
    with torch.inference_mode():
        fast(X.clone(), edges().clone())
    for layer in (plain, fast):
        layer(X, edges()).square().sum().backward()
    for a, b in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_weights_written_in_place() -> None:
    plain = GCNConv(3, 4)
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    array = np.ones(40, dtype=np.float32)
    for step in range(4):
        weight = torch.from_numpy(array)
        torch.testing.assert_close(fast(X, edges(), weight), plain(X, edges(), weight))
        array[step] += 1


def test_freed_and_reused_memory(pair: tuple[nn.Module, nn.Module]) -> None:
    plain, fast = pair
    addresses = set()
    for seed in range(200):
        edge_index = edges(seed)
        addresses.add(edge_index.data_ptr())
        torch.testing.assert_close(fast(X, edge_index), plain(X, edge_index))
        del edge_index
        gc.collect(0)
    assert len(addresses) < 200  # the allocator did hand out the same memory again


def test_the_same_edges_between_other_numbers_of_nodes() -> None:
    layer = gnnkit.accelerate(SAGEConv((3, 3), 4))
    edge_index = torch.tensor([[0, 1], [1, 0]])
    assert layer((torch.ones(2, 3), torch.ones(2, 3)), edge_index).shape == (2, 4)
    assert layer((torch.ones(5, 3), torch.ones(7, 3)), edge_index).shape == (7, 4)
    assert CACHE.misses == 2


def test_dtypes_of_edges_do_not_mix() -> None:
    layer = gnnkit.accelerate(SAGEConv(3, 4))
    wide = torch.tensor([[1, 0], [2, 0]])
    narrow = torch.tensor([[1, 2], [0, 0]], dtype=torch.int32)
    plain = gnnkit.accelerate(copy.deepcopy(layer), undo=True)
    torch.testing.assert_close(layer(X, wide), plain(X, wide))
    torch.testing.assert_close(layer(X, narrow), plain(X, narrow.long()))


def test_10_000_graphs_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CACHE, "limit_bytes", 1_000_000)
    plain = SAGEConv(3, 4)
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    graphs = torch.randint(12, (10_000, 2, 40), generator=torch.Generator().manual_seed(0))
    biggest = 0
    with torch.no_grad():
        for k, edge_index in enumerate(graphs):
            out = fast(X, edge_index)
            if k % 100 == 0:
                torch.testing.assert_close(out, plain(X, edge_index))
            biggest = max(biggest, CACHE.nbytes)
    assert CACHE.misses == 10_000
    assert 900_000 < biggest <= 1_000_000
    assert len(CACHE) < 400


def test_least_recently_used_goes_first_and_the_newest_stays() -> None:
    cache = ContentCache(limit_bytes=10)
    for key, size in (("a", 4), ("b", 4)):
        cache.get(key, lambda size=size: (size, size))
    cache.get("a", lambda: pytest.fail("a was there"))
    cache.get("c", lambda: (4, 4))
    cache.get("a", lambda: pytest.fail("a was used after b"))
    cache.get("b", lambda: ("again", 4))
    assert cache.nbytes == 8
    cache.get("huge", lambda: ("huge", 1000))
    assert len(cache) == 1
    assert cache.get("huge", lambda: pytest.fail("the newest stays")) == "huge"


def test_a_failure_leaves_nothing() -> None:
    cache = ContentCache(limit_bytes=10)

    def fails() -> tuple[object, int]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.get("a", fails)
    assert cache.get("a", lambda: (1, 1)) == 1


def test_the_size_that_is_counted_is_the_size_that_is_held() -> None:
    adj = gnnkit.Adjacency.from_edge_index(edges(num_nodes=5, num_edges=100), num_nodes=12)
    x = torch.ones(12, 2, requires_grad=True)
    adj.spmm(x)
    adj.softmax(torch.ones(100, requires_grad=True))
    adj.gather(x)
    adj.aggregate(torch.ones(100, 2))
    held: dict[int, int] = {}
    pending: list[object] = [getattr(adj, name) for name in (*Csr.__slots__, "entries")]
    while pending:
        item = pending.pop()
        if isinstance(item, tuple):
            pending.extend(item)
        elif isinstance(item, Tensor):
            held[item.data_ptr()] = item.numel() * item.element_size()
    assert 0.9 * _cache.nbytes(adj) <= sum(held.values()) <= _cache.nbytes(adj) * 1.02


def test_threads_share_it() -> None:
    plain = SAGEConv(3, 4)
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    expected = [plain(X, edges(seed)) for seed in range(20)]
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for seed in range(20):
                torch.testing.assert_close(fast(X, edges(seed)), expected[seed])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
