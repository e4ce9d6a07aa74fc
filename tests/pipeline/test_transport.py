"""Transport: what arrives, what is counted, what is refused."""

from __future__ import annotations

import gc
import re
import time
from typing import Any

import pytest
import torch
import torch.distributed as dist
from processes import run_ranks

from gnnkit.pipeline import Transport
from gnnkit.pipeline import _mail as mail


def any_rows(rank: int, world_size: int) -> dict[str, int]:
    """Each to the next rank, several messages at once, of every dtype and shape, received in slices of a table."""
    transport = Transport()
    to, source = (rank + 1) % world_size, (rank - 1) % world_size
    table, handles = torch.zeros(9, 3), []
    for number, rows in enumerate((4, 0, 5)):
        sent = torch.full((rows, 3), 10.0 * rank + number, requires_grad=True)
        handles.append(transport.send(sent, to, f"chunk {number}", "activations"))
    for number, (low, high) in enumerate(((0, 4), (4, 4), (4, 9))):
        handles.append(transport.receive(table[low:high], source, f"chunk {number}", "activations"))
    for handle in reversed(handles):
        handle.wait()
        handle.wait()
    assert table[:, 0].tolist() == [10.0 * source] * 4 + [10.0 * source + 2] * 5
    for dtype in (torch.float64, torch.bfloat16, torch.int64):
        rows = torch.arange(12).view(3, 4).to(dtype).t() + rank  # not contiguous
        out = torch.empty(4, 3, dtype=dtype)
        arrival, handle = transport.receive(out, source, "rows", "gradients"), transport.send(rows, to, "", "gradients")
        assert arrival.wait() is out
        assert handle.wait() is None
        assert torch.equal(out, rows - rank + source)
    for wrong in (torch.empty(3, 4).t(), torch.empty(3, requires_grad=True)):
        with pytest.raises(ValueError, match="out: expected a contiguous tensor that requires no gradient"):
            transport.receive(wrong, source, "rows", "gradients")
    while_nobody_waits(transport, to, source)
    staged_in_host_memory(transport, to, source)
    counted = dict(transport.sent_bytes)
    transport.close()
    return counted


def while_nobody_waits(transport: Transport, to: int, source: int) -> None:
    """Rows arrive during other work on both sides, and from memory that nobody else refers to."""
    out = torch.zeros(1_000_000)
    transport.receive(out, source, "rows", "boundary")
    transport.send(torch.arange(1_000_000.0) + 1, to, "rows", "boundary")
    gc.collect()
    end, work = time.monotonic() + 90, torch.ones(1000)
    while out[-1] == 0 or out[0] == 0:
        assert time.monotonic() < end
        work = (work * work).sqrt()  # no wait: only gloo's own thread can move the rows
    transport.close()  # waits for what nobody waited for
    assert torch.equal(out, torch.arange(1_000_000.0) + 1)


def staged_in_host_memory(transport: Transport, to: int, source: int) -> None:
    """The way of a GPU's tensors over gloo, with tensors of the CPU."""
    transport, kept = Transport(), mail.host_staged
    mail.host_staged = lambda device, backends: True
    try:
        out, rows = torch.zeros(4, 2), torch.arange(8.0).view(4, 2)
        arrival, handle = transport.receive(out, source, "rows", "boundary"), transport.send(rows, to, "", "boundary")
        rows.zero_()  # a copy travels
        arrival.wait()
        handle.wait()
        assert torch.equal(out, torch.arange(8.0).view(4, 2))
    finally:
        mail.host_staged = kept


@pytest.mark.slow
def test_rows_arrive_and_bytes_are_counted() -> None:
    for sent in run_ranks(3, any_rows):
        assert sent.pop("activations") == 9 * 3 * 4
        assert sent.pop("gradients") == 12 * (8 + 2 + 8)
        assert sent.pop("boundary") == 1_000_000 * 4
        assert set(sent.values()) == {0}


def all_together(rank: int, world_size: int) -> dict[str, int]:
    transport = Transport()
    others = [other for other in range(world_size) if other != rank]
    outs = [torch.zeros(other, 2) for other in others]  # rank 0 has nothing to send
    transport.exchange(
        [(other, torch.full((rank, 2), float(rank))) for other in others],
        list(zip(others, outs, strict=True)),
        "chunk 3",
        "boundary",
    ).wait()
    for other, out in zip(others, outs, strict=True):
        assert torch.equal(out, torch.full((other, 2), float(other)))
    pairs = [[0, 1], [2, 3]]
    transport.groups([*pairs, [0], [1], [2], [3]])
    a, b = torch.full((2, 3), float(rank)), torch.full((5,), float(rank), requires_grad=True)
    c = torch.full((2,), rank, dtype=torch.float64)
    d = torch.full((3,), rank, dtype=torch.bfloat16)
    transport.all_reduce([a.t(), b, c, d], pairs[rank // 2], "parameters")
    for tensor in (a, b, c, d):
        assert torch.equal(tensor, torch.full_like(tensor, sum(pairs[rank // 2])))
    transport.all_reduce([c], [rank], "parameters")
    transport.all_reduce([c], range(world_size), "control")
    assert c.tolist() == [12, 12]
    with pytest.raises(ValueError, match=re.escape("expected a group that was made by groups() (got [0, 1, 2, 3, 3])")):
        transport.all_reduce([c], [0, 1, 2, 3, 3], "control")
    assert transport.broadcast_object({"rank": rank}, 2) == {"rank": 2}
    transport.barrier()
    transport.close()
    return transport.sent_bytes


@pytest.mark.slow
def test_exchange_sum_and_broadcast() -> None:
    for rank, sent in enumerate(run_ranks(4, all_together)):
        assert sent["boundary"] == 3 * rank * 2 * 4
        assert sent["parameters"] == (6 + 5) * 4 + 2 * 8 + 3 * 2
        assert (sent["control"] > 2 * 8) == (rank == 2)


def test_one_process_needs_no_group() -> None:
    transport = Transport()
    rows: Any = torch.ones(3)
    transport.groups([[0]])
    transport.all_reduce([rows], [0], "parameters")
    transport.barrier()
    transport.exchange([], [], "rows", "boundary").wait()
    transport.close()
    assert not dist.is_initialized()
    assert (transport.rank, transport.world_size) == (0, 1)
    assert transport.broadcast_object("x", 0) == "x"
    assert rows.tolist() == [1, 1, 1]
    assert set(transport.sent_bytes.values()) == {0}


def test_what_is_refused() -> None:
    transport, rows = Transport(), torch.ones(3)
    for rank in (0, 1, -1):
        with pytest.raises(ValueError, match=rf"rank: expected another of 1 ranks than 0 \(got {rank}\)"):
            transport.send(rows, rank, "rows", "activations")
        with pytest.raises(ValueError, match=rf"rank: expected another of 1 ranks than 0 \(got {rank}\)"):
            transport.receive(rows, rank, "rows", "activations")
    with pytest.raises(ValueError, match=r"kind: expected one of activations, .*control \(got 'activation'\)"):
        transport.exchange([], [], "rows", "activation")
    for ranks in ([0, 1], [1], []):
        with pytest.raises(
            ValueError, match=rf"ranks: expected some of 1, 0 among them \(got {re.escape(str(ranks))}\)"
        ):
            transport.all_reduce([rows], ranks, "parameters")
    for name in ("timeout_seconds", "bytes_per_second"):
        with pytest.raises(ValueError, match=rf"{name}: expected a positive number \(got 0\)"):
            Transport(**{name: 0})
