"""Transport when a peer is silent or dead: an error in time, with its name."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import torch
import torch.distributed as dist
from processes import run_ranks

from gnnkit.pipeline import PeerError, Transport
from gnnkit.pipeline._handle import Handle, Patience

SECONDS = 0.6


def say(rank: int) -> str:
    return f"stage {rank}, way 0"


def attempt(act: Callable[[], object]) -> tuple[str, float, float]:
    """Give the error's words, and seconds of the clock and of the processor until it."""
    start, used = time.monotonic(), time.process_time()
    with pytest.raises(PeerError) as caught:
        act()
    return str(caught.value), time.monotonic() - start, time.process_time() - used


SILENT: dict[str, Callable[[Transport], object]] = {
    "receive": lambda t: t.receive(torch.empty(3), 1, "chunk 4 of epoch 7", "activations").wait(),
    "exchange": lambda t: t.exchange([(1, torch.zeros(3))], [(1, torch.empty(3))], "chunk 2", "boundary").wait(),
    "sum": lambda t: t.all_reduce([torch.zeros(3)], range(t.world_size), "parameters"),
    "barrier": lambda t: t.barrier(),
    "broadcast": lambda t: t.broadcast_object("x", 1),
}


def beside_a_silent_one(rank: int, world_size: int) -> dict[str, Any]:
    """Rank 1 lives, and does nothing but make the next transport and, once, send what does not fit."""
    found: dict[str, Any] = {}
    for number, (name, act) in enumerate(SILENT.items()):
        transport = Transport(timeout_seconds=SECONDS, describe=say)
        if rank != 1:
            found[name] = attempt(lambda act=act, transport=transport: act(transport))
            start = time.monotonic()
            transport.close()
            assert time.monotonic() - start < SECONDS / 2  # it does not wait for the others
        _meet(f"done {number}", world_size)
    transport = Transport(timeout_seconds=SECONDS, describe=say)
    rows = torch.zeros([2, 3, 4][rank])  # the middle one sends less to one, and more to the other
    if rank == 1:
        for other in (0, 2):
            transport.send(rows, other, "rows", "boundary")
    else:
        found["size"] = attempt(transport.receive(rows, 1, "rows", "boundary").wait)
        assert not rows.any()
        found["making"] = attempt(lambda: Transport(timeout_seconds=SECONDS, describe=say))
    _meet("done", world_size)
    return found


def _meet(name: str, world_size: int) -> None:
    """Wait for all in the store: their connections may be closed."""
    store = dist.distributed_c10d._get_default_store()
    store.add(name, 1)
    while store.add(name, 0) < world_size:
        time.sleep(0.01)


@pytest.mark.slow
def test_a_silent_peer_is_named_in_time_and_without_work() -> None:
    first, none, third = run_ranks(3, beside_a_silent_one)
    assert none == {}
    late = f" within {SECONDS:g} s, and its connection is open"
    for found in (first, third):
        assert found["receive"][0].startswith(
            f"rank 1 (stage 1, way 0) did not send chunk 4 of epoch 7 (activations){late}"
        )
        assert found["exchange"][0].startswith(f"rank 1 (stage 1, way 0) did not take chunk 2 (boundary){late}")
        assert found["sum"][0].startswith("rank 1 (stage 1, way 0) did not come to the sum of parameters")
        assert found["barrier"][0].startswith("rank 1 (stage 1, way 0) did not come to the barrier")
        assert found["broadcast"][0].startswith(
            "rank 1 (stage 1, way 0) did not come to the broadcast of rank 1 (stage 1, way 0)"
        )
        assert found["making"][0].startswith("rank 1 (stage 1, way 0) did not come to the making of groups")
        assert found["size"][0].startswith(f"rank 1 (stage 1, way 0) did not send rows (boundary){late}")
        for name, (_, seconds, used) in found.items():
            assert used < 0.5 * SECONDS, (name, used)
            assert seconds < 30, (name, seconds)


def beside_a_dying_one(rank: int, world_size: int, port: int) -> Any:
    """Rank 0, which holds the store, is killed while the others wait for rows of it, and for all."""
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world_size, timeout=timedelta(seconds=60)
    )
    transport = Transport(timeout_seconds=60, describe=say)
    if rank == 0:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)
    if rank == 1:
        rows = attempt(transport.receive(torch.empty(3), 0, "chunk 1", "activations").wait)
        again = attempt(lambda: transport.send(torch.empty(3), 0, "chunk 2", "gradients").wait())
        return rows, again
    return attempt(transport.barrier)


@pytest.mark.slow
def test_a_dead_peer_is_named_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    none, (rows, again), together = run_ranks(3, beside_a_dying_one, port, dying=[0], group=False)
    assert none is None
    assert re.match(r"rank 0 \(stage 0, way 0\) did not send chunk 1 \(activations\): a connection was lost", rows[0])
    assert re.match(r"rank 0 \(stage 0, way 0\) did not take chunk 2 \(gradients\): ", again[0])
    assert re.match(r"one of rank 0 \(stage 0, way 0\), rank 1 .* and the process with the store is gone", together[0])
    assert max(seconds for _, seconds, _ in (rows, again, together)) < 30


class Slow:
    """A work of NCCL's kind: its `wait` returns at once."""

    def __init__(self, polls: int) -> None:
        self.polls, self.waited = polls, False

    def is_completed(self) -> bool:
        self.polls -= 1
        return self.polls < 0

    def wait(self, timeout: timedelta) -> None:
        assert self.polls < 0
        self.waited = True


def test_works_that_do_not_block_are_polled() -> None:
    work = Slow(3)
    Patience(60).wait(work, True, lambda how: how)
    assert work.waited
    work, patience = Slow(10**9), Patience(0.01)
    with pytest.raises(PeerError, match=r"^rank 1 did not send rows within 0.01 s"):
        patience.wait(work, True, lambda how: f"rank 1 did not send rows{how}")
    assert patience.over
    assert not work.waited


@pytest.mark.parametrize("error", [PeerError, KeyboardInterrupt])
def test_a_failed_wait_fails_again(error: type[BaseException]) -> None:
    calls = []

    def fail() -> None:
        calls.append(1)
        raise error("gone")

    handle = Handle(fail)
    for _ in range(2):
        with pytest.raises(error, match="gone"):
            handle.wait()
    assert calls == [1]
