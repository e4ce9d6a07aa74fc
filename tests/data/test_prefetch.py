"""Batches: threads end, errors name their batch, order is kept, whatever is thrown at them."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from gnnkit.data import Cached, InMemory, NeighborLoader, NeighborSampler, NodeLoader
from gnnkit.data._buffers import Buffers

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


# ------------------------------------------------------------------ stores that take announcements


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
    second = iter(loader)  # one at a time: the first ends
    for batch in second:
        assert torch.equal(batch.x, data.x[batch.n_id])
    with pytest.raises(StopIteration):
        next(first)
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


# ------------------------------------------------------------------ processes

SCRIPT = """
import os, time, torch
from torch_geometric.data import Data
from gnnkit.data import NeighborLoader
torch.manual_seed(0)
data = Data(x=torch.randn(500, 16), edge_index=torch.randint(500, (2, 5000)))
def make(num_workers, prefetch):
    return NeighborLoader(data, [3, 2], batch_size=5, num_workers=num_workers, prefetch=prefetch)
"""


def child(body: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT + body]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_control_c_interrupts_a_loop_and_ends_a_process() -> None:
    body = """
def loop(loader):
    while True:
        for batch in loader:
            print("batch", flush=True)
            time.sleep(0.01)
try:
    loop(make(0, 0))
except KeyboardInterrupt:
    print("interrupted", flush=True)
loop(make(2, 2))
"""
    with child(body) as process:
        assert process.stdout is not None
        for ended in (False, True):
            while process.stdout.readline() != "batch\n":
                assert process.poll() is None
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            if not ended:
                while process.stdout.readline() != "interrupted\n":
                    assert process.poll() is None
        _, errors = process.communicate(timeout=60)
        assert time.monotonic() - begin < 30
    assert process.returncode in (-signal.SIGINT, 130)
    assert errors.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.slow
def test_a_process_ends_with_an_iterator_open_and_a_fork_makes_its_own() -> None:
    body = """
loader = make(2, 2)
iterator = iter(loader)
next(iterator)
pid = os.fork()
if pid == 0:
    try:
        next(iterator)
    except RuntimeError as error:
        print(str(error).split(",")[0], flush=True)
    print(len(list(loader)), flush=True)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
next(iterator)
print("end", flush=True)
"""
    with child(body) as process:
        out, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    refused = "a loader's iterator: expected to be used by the process that made it"
    assert out.splitlines() == [refused, "100", "end"]


# ------------------------------------------------------------------ memory


def test_buffers_are_used_again_when_nothing_refers_to_them() -> None:
    buffers = Buffers(keep=2)
    first = buffers.take((1000, 4), torch.float32)
    place, view = first.data_ptr(), first[3:, 1]
    assert place % 128 == 0
    del first
    assert buffers.take((1000, 4), torch.float32).data_ptr() != place  # the view is alive
    del view
    assert buffers.take((900, 4), torch.float32).data_ptr() == place
    for dtype in (torch.bool, torch.bfloat16, torch.int64):
        assert buffers.take((0, 3), dtype).shape == (0, 3)
        assert buffers.take((5000, 1), dtype).dtype == dtype
    held = [buffers.take((size,), torch.uint8) for size in range(40_000, 60_000, 1000)]
    assert len(buffers.pieces[2**16]) == len(held) == 20
    del held
    assert len(buffers.take((70_000,), torch.uint8)) == 70_000
    assert len(buffers.pieces[2**16]) == 2  # when sizes change, no more than that are kept free
