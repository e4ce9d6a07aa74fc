"""Stores that take announcements: what is announced is read, in that order, a window later."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.data import Cached, InMemory, NeighborLoader

NUM_NODES = 200
SETTINGS = [(0, 0), (0, 2), (1, 1), (3, 4)]  # num_workers, prefetch


def graph() -> Data:
    draw = torch.Generator().manual_seed(0)
    edge_index = torch.randint(NUM_NODES, (2, 1000), generator=draw)
    return Data(x=torch.randn(NUM_NODES, 32, generator=draw), edge_index=edge_index)


class Announced:
    """A store that notes what is announced and read, and checks the order."""

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype
        self.waiting: list[Tensor] = []
        self.ahead: list[int] = []
        self.forgotten = 0

    def announce(self, ids: Tensor) -> None:
        self.waiting.append(ids.clone())

    def read(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        if self.waiting:
            assert torch.equal(self.waiting.pop(0), ids)
        self.ahead.append(len(self.waiting))
        return self.rows[ids]

    def forget(self) -> None:
        self.forgotten += len(self.waiting)
        self.waiting.clear()


def test_a_store_that_is_told_must_be_able_to_forget() -> None:
    class Told(Announced):
        forget = property()

    data = graph()
    with pytest.raises(ValueError, match=r"features: expected forget beside announce in the store of x \(got a Told\)"):
        NeighborLoader(Data(edge_index=data.edge_index, num_nodes=NUM_NODES), [3], features=Told(data.x))


def test_a_read_that_failed_is_forgotten() -> None:
    class Failing(Announced):
        fails = True

        def read(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
            if self.fails:
                raise OSError("disk on fire")
            return super().read(ids, out)

    data = graph()
    store = Failing(data.x)
    loader = NeighborLoader(Data(edge_index=data.edge_index, num_nodes=NUM_NODES), [3], features=store, batch_size=200)
    with pytest.raises(RuntimeError, match="disk on fire"):
        list(loader)
    store.fails = False
    for batch in loader:
        assert torch.equal(batch.x, data.x[batch.n_id])


@pytest.mark.parametrize("filter_per_worker", [True, False])
@pytest.mark.parametrize("window", [0, 3, 50])
@pytest.mark.parametrize(("num_workers", "prefetch"), SETTINGS)
def test_batches_are_announced_and_read_in_order(
    num_workers: int, prefetch: int, window: int, filter_per_worker: bool
) -> None:
    data = graph()
    store = Announced(data.x)
    bare = Data(edge_index=data.edge_index, num_nodes=NUM_NODES)
    loader = NeighborLoader(
        bare,
        [3, 2],
        batch_size=20,
        shuffle=True,
        num_workers=num_workers,
        prefetch=prefetch,
        window=window,
        features=store,
        filter_per_worker=filter_per_worker,
    )
    for _ in range(2):
        store.ahead.clear()
        for batch in loader:
            assert torch.equal(batch.x, data.x[batch.n_id])
        assert not store.waiting
        # read k has the window behind it announced, as far as there are batches
        assert all(ahead >= min(window, 9 - k) for k, ahead in enumerate(store.ahead))
        for step, _ in enumerate(loader):
            if step == 4:
                break
        del _
        assert not store.waiting
    first = iter(loader)
    next(first)
    second = iter(loader)  # one at a time
    for batch in second:
        assert torch.equal(batch.x, data.x[batch.n_id])
    with pytest.raises(RuntimeError, match=r"expected to be the only one, .*\(got another iterator of the loader\)"):
        next(first)  # an end would look like that of the epoch
    with pytest.raises(StopIteration):
        next(second)
    last = iter(loader)
    for _ in range(len(loader)):
        next(last)
    iter(loader).close()
    with pytest.raises(StopIteration):  # it had given all
        next(last)
    assert store.forgotten or prefetch or not window  # threads may have read all that they had announced


@pytest.mark.parametrize(("num_workers", "prefetch"), SETTINGS)
@pytest.mark.parametrize("policy", ["lru", "lookahead", "hybrid"])
def test_a_cache_reads_what_it_was_told(policy: str, num_workers: int, prefetch: int) -> None:
    data = graph()
    options = {"scores": torch.rand(NUM_NODES)} if policy == "hybrid" else {}
    store = Cached(InMemory(data.x), policy, 20 * 128, **options)
    bare = Data(edge_index=data.edge_index, num_nodes=NUM_NODES)
    loader = NeighborLoader(bare, [3, 2], batch_size=20, features=store, num_workers=num_workers, prefetch=prefetch)
    for _ in range(2):
        for batch in loader:
            assert torch.equal(batch.x, data.x[batch.n_id])
        next(iter(loader))
