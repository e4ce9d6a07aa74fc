"""Pinned: memory is registered once, unregistered once, and never without saying what is missing.

Without a CUDA device a fake of the runtime records the calls; what the GPU reads is tested by the emulator
(``tests/emulator/test_gather.py``) and, with a device, below.
"""

from __future__ import annotations

import gc
import multiprocessing
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from gnnkit.data import FeatureStore, Pinned
from gnnkit.data import _pinned as module


class FakeRuntime:
    """What `Pinned` uses of the CUDA runtime; refuses what it refuses."""

    def __init__(self) -> None:
        self.ranges: dict[int, int] = {}
        self.calls: list[str] = []
        self.status = 0

    def cudaHostRegister(self, address: int, nbytes: int, flags: int) -> int:  # noqa: N802
        overlaps = any(address < begin + size and begin < address + nbytes for begin, size in self.ranges.items())
        if nbytes == 0 or overlaps or self.status:
            return self.status or 712
        assert flags == 1
        self.ranges[address] = nbytes
        self.calls.append("register")
        return 0

    def cudaHostUnregister(self, address: int) -> int:  # noqa: N802
        self.calls.append("unregister")
        return 0 if self.ranges.pop(address, None) else 713

    def is_pinned(self, tensor: Tensor) -> bool:
        return any(begin <= tensor.data_ptr() < begin + size for begin, size in self.ranges.items())


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRuntime]:
    """A machine with CUDA, as far as `Pinned` looks; everything is given back at the end."""
    runtime = FakeRuntime()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "cudart", lambda: runtime)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: runtime.calls.append(f"wait for {device}"))
    monkeypatch.setattr(Tensor, "is_pinned", lambda tensor: runtime.is_pinned(tensor))
    yield runtime
    gc.collect()  # stores that a failed test left behind, while the fake is in place


def test_rows_are_read_on_the_cpu_by_ids_on_the_cpu(cuda: FakeRuntime) -> None:
    x = torch.rand(5, 3)
    with Pinned(x) as store:
        assert isinstance(store, FeatureStore)
        assert (store.shape, store.dtype) == (x.shape, x.dtype)
        assert store.tensor.data_ptr() == x.data_ptr()
        out = torch.empty(2, 3)
        assert store.read(torch.tensor([4, 0], dtype=torch.int32), out) is out
        assert torch.equal(out, x[[4, 0]])
        with pytest.raises(ValueError, match=r"ids: expected ids in \[0, 5\) \(got 5\)"):
            store.read(torch.tensor([5]))
        assert repr(store) == "Pinned(float32 tensor of shape [5, 3])"


def test_memory_is_pinned_while_a_store_is_open(cuda: FakeRuntime) -> None:
    x = torch.rand(5, 3)
    store = Pinned(x)
    assert cuda.ranges == {x.data_ptr(): 60}
    store.close()
    store.close()
    assert cuda.calls == ["register", "unregister"]
    with pytest.raises(RuntimeError, match=r"expected an open store \(got a closed one\)"):
        store.read(torch.tensor([0]))


def test_memory_is_given_back_when_a_store_is_dropped_or_raises(cuda: FakeRuntime) -> None:
    Pinned(torch.rand(5, 3))
    gc.collect()
    with pytest.raises(KeyError), Pinned(torch.rand(5, 3)):
        raise KeyError
    assert cuda.calls == ["register", "unregister"] * 2
    assert cuda.ranges == {}


def test_memory_is_given_back_at_exit() -> None:
    script = """
import torch
torch.cuda.is_available = lambda: True
torch.cuda.cudart = lambda: Runtime
class Runtime:
    cudaHostRegister = lambda address, nbytes, flags: print("register", nbytes) or 0
    cudaHostUnregister = lambda address: print("unregister") or 0
from gnnkit.data import Pinned
store = Pinned(torch.rand(5, 3))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["register", "60", "unregister"]


def test_stores_of_one_storage_pin_it_once(cuda: FakeRuntime) -> None:
    x = torch.rand(6, 3)
    stores = [Pinned(x), Pinned(x), Pinned(x[3:])]
    assert stores[2].read(torch.tensor([0])).tolist() == x[3:4].tolist()
    for store in stores:
        assert cuda.calls == ["register"]
        store.close()
    assert cuda.calls == ["register", "unregister"]
    assert not module._registrations


def test_memory_that_is_pinned_already_is_left_alone(cuda: FakeRuntime) -> None:
    x = torch.rand(6, 3)
    cuda.ranges[x.data_ptr()] = 72
    Pinned(x).close()
    assert cuda.calls == []
    assert cuda.ranges


@pytest.mark.parametrize("shape", [(0, 3), (4, 0)])
def test_a_table_without_bytes_is_fine(cuda: FakeRuntime, shape: tuple[int, int]) -> None:
    with Pinned(torch.empty(shape)) as store:
        ids = torch.arange(shape[0])
        assert store.read(ids).shape == shape
    assert cuda.calls == []


def test_closing_waits_for_the_devices_that_read(cuda: FakeRuntime) -> None:
    store = Pinned(torch.rand(5, 3))
    assert store._registration is not None
    store._registration.devices.add(torch.device("cuda", 1))
    store.close()
    assert cuda.calls == ["register", "wait for cuda:1", "unregister"]


def test_a_refusal_of_cuda_is_an_error_that_says_so(cuda: FakeRuntime) -> None:
    cuda.status = 2
    with pytest.raises(RuntimeError, match=r"expected CUDA to allow pinning 60 bytes \(got 2\)"):
        Pinned(torch.rand(5, 3))
    assert not module._registrations


def test_without_a_device_it_says_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=r"expected a CUDA device, without which InMemory .* \(got none\)"):
        Pinned(torch.rand(5, 3))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (None, "tensor: expected a dense tensor with rows .got NoneType"),
        (torch.tensor(1.0), "tensor: expected a dense tensor with rows"),
        (torch.rand(2, 3).t(), r"tensor: expected contiguous host memory .got strides \(1, 3\) on cpu"),
        (torch.rand(2, 3, device="meta"), r"tensor: expected contiguous host memory .got strides \(3, 1\) on meta"),
    ],
)
def test_what_is_no_host_table_is_refused(cuda: FakeRuntime, bad: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pinned(bad)


def in_child(call: Any) -> str:
    """Return what a call raises in a forked child."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def tell() -> None:
        try:
            call()
            theirs.send("nothing")
        except Exception as error:
            theirs.send(f"{type(error).__name__}: {error}")

    child = context.Process(target=tell)
    child.start()
    message: str = ours.recv()
    child.join()
    return message


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_is_refused_and_leaves_the_memory_alone(cuda: FakeRuntime) -> None:
    store = Pinned(torch.rand(5, 3))

    def count_the_calls() -> None:
        store.close()
        raise KeyError(len(cuda.calls))

    assert in_child(count_the_calls) == "KeyError: 1"
    message = in_child(lambda: store.read(torch.tensor([0])))
    assert re.fullmatch(
        r"RuntimeError: Pinned: expected the process .*spawned one \(got process \d+, forked from \d+\)", message
    )
    assert store.read(torch.tensor([0])).shape == (1, 3)


def test_making_one_in_a_child_forked_after_cuda_was_used_is_refused(
    cuda: FakeRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    with pytest.raises(RuntimeError, match=r"such as a spawned one \(got one forked after CUDA was used\)"):
        Pinned(torch.rand(5, 3))


def test_only_shared_memory_is_sent_to_another_process(cuda: FakeRuntime) -> None:
    with pytest.raises(ValueError, match="in shared memory before it was pinned"):
        pickle.dumps(Pinned(torch.rand(5, 3)))
    cuda.calls.clear()
    x = torch.rand(5, 3).share_memory_()
    kept = Pinned(x)
    sent: Pinned = pickle.loads(pickle.dumps(kept))
    assert torch.equal(sent.read(torch.tensor([3])), x[3:4])
    assert cuda.calls == ["register", "register"]  # the other process pins it too


# ------------------------------------------------------------------ with a device


@pytest.mark.cuda
@pytest.mark.parametrize("width", [1, 7, 64, 100, 602])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64], ids=str)
def test_a_gpu_reads_the_rows(width: int, dtype: torch.dtype) -> None:
    x = torch.randint(0, 100, (1000, width)).to(dtype)
    ids = torch.randint(1000, (5000,))
    with Pinned(x) as store:
        assert x.is_pinned()
        got = store.read(ids.cuda())
        assert torch.equal(got.cpu(), x[ids])
        assert torch.equal(store.read(ids.cuda().int()).cpu(), x[ids])
        out = torch.empty_like(got)
        assert store.read(ids.cuda(), out) is out
        assert torch.equal(out.cpu(), x[ids])
    assert not x.is_pinned()


@pytest.mark.cuda
def test_a_side_stream_reads_beside_the_current_one() -> None:
    x, ids = torch.rand(100_000, 100), torch.randint(100_000, (50_000,))
    side = torch.cuda.Stream()
    with Pinned(x) as store:
        there = ids.cuda()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            got = store.read(there)
        torch.cuda.current_stream().wait_stream(side)
        got.record_stream(torch.cuda.current_stream())
        assert torch.equal(got.cpu(), x[ids])


@pytest.mark.cuda
def test_memory_is_kept_until_it_has_been_read() -> None:
    ids = torch.randint(20_000, (100_000,), device="cuda")
    for _ in range(5):
        out = Pinned(torch.arange(20_000.0).expand(256, -1).t().contiguous()).read(ids)
        assert torch.equal(out[:, 0], ids.float())
