"""Batches: threads end, errors name their batch, order is kept, whatever is thrown at them."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.data import NeighborLoader, NeighborSampler, NodeLoader

NUM_NODES = 200
SETTINGS = [(0, 0), (0, 2), (1, 1), (3, 4)]  # num_workers, prefetch


def graph() -> Data:
    draw = torch.Generator().manual_seed(0)
    edge_index = torch.randint(NUM_NODES, (2, 1000), generator=draw)
    return Data(x=torch.randn(NUM_NODES, 32, generator=draw), edge_index=edge_index)


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Compile the loops before threads do: an iterator does not wait for ever for one that compiles."""
    list(NeighborLoader(graph(), [3, 2], batch_size=200, prefetch=0))


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Every test leaves as many threads and open files as it found, without the garbage collector's help."""
    gc.disable()
    before = loader_threads(), open_files()
    yield
    after = loader_threads(), open_files()
    gc.enable()
    assert after == before


def loader_threads() -> int:
    return sum(thread.name == "gnnkit-loader" for thread in threading.enumerate())


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return sum(1 for _ in folder.iterdir()) if folder.exists() else 0


# ------------------------------------------------------------------ ends


@pytest.mark.parametrize(("num_workers", "prefetch"), SETTINGS)
def test_an_abandoned_iterator_ends_its_threads(num_workers: int, prefetch: int) -> None:
    loader = NeighborLoader(graph(), [3, 2], batch_size=20, num_workers=num_workers, prefetch=prefetch)
    for k in range(20):
        for step, _ in enumerate(loader):
            if step == k % 10:
                break
        assert loader_threads() == 0
    iterator = iter(loader)
    next(iterator)
    iterator = iter(loader)  # the first is dropped here
    iterator.close()
    iterator.close()
    with pytest.raises(StopIteration):
        next(iterator)
    assert len(iterator) == len(loader) == 10


def test_a_dropped_loader_frees_its_memory_at_once() -> None:
    data = graph()
    loader = NeighborLoader(data, [3], batch_size=20)
    parts = [weakref.ref(part) for part in (loader, loader.node_sampler, loader._fetcher.buffers)]
    list(loader)
    del loader
    assert [part() for part in parts] == [None] * 3


# ------------------------------------------------------------------ errors


def fail_at(number: int, what: BaseException) -> Any:
    """A transform that fails in a batch of the inputs from 20 * number on."""

    def fail(out: Any) -> Any:
        input_id = out.metadata[0] if hasattr(out, "metadata") else out.input_id
        if input_id[0] == 20 * number:
            raise what
        return out

    return fail


class FailingStore:
    """Rows, or an error where a certain node is asked for."""

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def read(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        if ids[0] == 60:
            raise OSError("disk on fire")
        return self.rows[ids]


class FailingSampler(NeighborSampler):
    def sample_from_nodes(self, inputs: Any, key: int | None = None) -> Any:
        if inputs.node[0] == 60:
            raise OSError("disk on fire")
        return super().sample_from_nodes(inputs, key=key)


@pytest.mark.parametrize(("num_workers", "prefetch"), SETTINGS)
@pytest.mark.parametrize("where", ["transform", "transform_sampler_output", "store", "sampler"])
def test_an_error_names_the_batch_and_ends_the_iterator(where: str, num_workers: int, prefetch: int) -> None:
    data, options = graph(), {"batch_size": 20, "num_workers": num_workers, "prefetch": prefetch}
    if where == "store":
        bare = Data(edge_index=data.edge_index, num_nodes=NUM_NODES)
        loader = NeighborLoader(bare, [3], features=FailingStore(data.x), **options)
    elif where == "sampler":
        loader = NodeLoader(data, FailingSampler(data, [3]), **options)
    else:
        loader = NeighborLoader(data, [3], **{where: fail_at(3, OSError("disk on fire"))}, **options)
    for _ in range(2):  # the loader itself is none the worse
        iterator, batches = iter(loader), []
        message = r"^batch 3, input nodes \[60, 61, 62, 63, 64, …\]: OSError: disk on fire$"
        with pytest.raises(RuntimeError, match=message) as caught:
            batches.extend(iterator)
        assert isinstance(caught.value.__cause__, OSError)
        assert [int(batch.input_id[0]) for batch in batches] == [0, 20, 40]
        assert loader_threads() == 0
        with pytest.raises(StopIteration):
            next(iterator)
        del iterator, batches, caught


@pytest.mark.parametrize(("num_workers", "prefetch"), SETTINGS)
def test_an_exit_in_a_batch_is_an_exit(num_workers: int, prefetch: int) -> None:
    options = {"num_workers": num_workers, "prefetch": prefetch, "transform": fail_at(1, SystemExit(3))}
    with pytest.raises(SystemExit):
        list(NeighborLoader(graph(), [3], batch_size=20, **options))


def test_an_error_of_the_order_of_inputs_is_the_callers() -> None:
    def order() -> Iterator[list[int]]:
        yield [1, 2]
        yield [3, 4]
        raise OSError("no more")

    class Sampler:
        def __iter__(self) -> Iterator[list[int]]:
            return order()

        def __len__(self) -> int:
            return 3

    with pytest.raises(OSError, match="no more"):
        list(NeighborLoader(graph(), [3], batch_sampler=Sampler(), prefetch=1))


def test_a_batch_that_takes_too_long() -> None:
    go = threading.Event()

    def slow(batch: Any) -> Any:
        go.wait(10)
        return batch

    iterator = iter(NeighborLoader(graph(), [3], batch_size=20, transform=slow, timeout=0.1))
    threading.Timer(0.3, go.set).start()
    with pytest.raises(RuntimeError, match=r"^batch 0: expected within 0.1 s \(got none\)$"):
        next(iterator)


def test_who_waits_for_a_batch_is_told_of_the_end() -> None:
    go = threading.Event()

    def slow(batch: Any) -> Any:
        go.wait(10)
        return batch

    iterator = iter(NeighborLoader(graph(), [3], batch_size=20, transform=slow))
    closing = threading.Thread(target=iterator.close)
    starting = threading.Timer(0.1, closing.start)
    starting.start()
    with pytest.raises(StopIteration):
        next(iterator)
    go.set()
    starting.join()
    closing.join()
