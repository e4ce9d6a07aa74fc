"""A slowed link: when messages are through, by the model and between processes."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from processes import run_ranks

from gnnkit.pipeline import Transport
from gnnkit.pipeline import _link as link
from gnnkit.pipeline import _message as message


class Clock:
    """The `time` module of a test: it goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def test_messages_pass_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(link, "time", clock)
    slow = link.Link(1000.0)
    assert [slow.through(500), slow.through(250), slow.through(0)] == [100.5, 100.75, 100.75]
    assert slow.free == 100.75
    link.sleep_until(100.25)
    assert clock.now == 100.25
    assert slow.through(500) == 101.25  # handed over while the one before was on its way
    link.sleep_until(200)
    link.sleep_until(150)  # over already
    assert slow.free == 200
    assert slow.through(500) == 200.5
    assert slow.through(500, begin=300) == 300.5  # with others, who begin later


def what_is_refused(rank: int) -> None:
    """Links of one speed, and ranks of one clock."""
    with pytest.raises(ValueError, match=r"bytes_per_second: expected the same on every rank \(got 1000000.0, None\)"):
        Transport(bytes_per_second=None if rank else 1e6)
    link.platform.node = lambda: f"host{rank}"
    Transport()  # hosts do not matter
    with pytest.raises(ValueError, match=r"bytes_per_second: expected all ranks on one host \(got host0, host1\)"):
        Transport(bytes_per_second=1e6)


def slowed(rank: int, world_size: int) -> dict[str, Any]:
    """Give moments of the clock that the ranks of one host share."""
    transport, slept = Transport(bytes_per_second=10e6), []
    message.sleep_until = lambda moment: (slept.append(moment), link.sleep_until(moment))
    rows, outs = torch.ones(250_000), torch.zeros(3, 250_000)  # 1 MB
    transport.barrier()
    found: dict[str, Any] = {"start": time.monotonic()}
    if rank == 0:
        handles = [transport.send(rows, 1, "rows", "boundary") for _ in range(3)]
    else:
        handles = [transport.receive(out, 0, "rows", "boundary") for out in outs]
    assert slept == []
    found["through"] = [(handle.wait(), time.monotonic())[1] for handle in handles]
    assert len(slept) == 3
    if rank == 1:
        assert outs.min() == 1
        transport.send(rows, 0, "rows", "gradients").wait()
    else:
        transport.receive(outs[0], 1, "rows", "gradients").wait()
    transport.barrier()
    found["begin"] = time.monotonic()
    transport.all_reduce([rows], range(2), "parameters")
    found["end"] = time.monotonic()
    assert rows.unique().tolist() == [2]
    transport.close()
    what_is_refused(rank)
    return found


@pytest.mark.slow
def test_rows_take_the_time_of_the_link_and_nobody_sleeps_before_that() -> None:
    """1 MB at 10 MB/s takes 0.1 s; how much more it takes is a question of the machine."""
    ranks = run_ranks(2, slowed)
    start = ranks[0]["start"]
    for found in ranks:
        assert [moment >= start + 0.1 * (place + 1) for place, moment in enumerate(found["through"])] == [True] * 3
    # a sum over two ranks is half of it twice, from when both have come
    assert min(found["end"] for found in ranks) >= max(found["begin"] for found in ranks) + 0.1
