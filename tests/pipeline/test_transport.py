"""Transport: what arrives, what is counted, what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from processes import run_ranks

from gnnkit.pipeline._transport import Transport


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
    for handle in handles:
        handle.wait()
    assert table[:, 0].tolist() == [10.0 * source] * 4 + [10.0 * source + 2] * 5
    for dtype in (torch.float64, torch.bfloat16, torch.int64):
        rows = torch.arange(12).view(3, 4).to(dtype).t() + rank  # not contiguous
        out = torch.empty(4, 3, dtype=dtype)
        handle = transport.send(rows, to, "rows", "gradients")
        assert transport.receive(out, source, "rows", "gradients").wait() is out
        assert handle.wait() is None
        assert torch.equal(out, rows - rank + source)
    transport.close()
    return transport.sent_bytes


@pytest.mark.parametrize("world_size", [2, 3])
def test_rows_arrive_and_bytes_are_counted(world_size: int) -> None:
    for sent in run_ranks(world_size, any_rows):
        assert sent.pop("activations") == 9 * 3 * 4
        assert sent.pop("gradients") == 12 * (8 + 2 + 8)
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
    transport.all_reduce([a.t(), b, c], pairs[rank // 2], "parameters")
    for tensor in (a, b, c):
        assert torch.equal(tensor, torch.full_like(tensor, sum(pairs[rank // 2])))
    transport.all_reduce([c], [rank], "parameters")
    assert transport.broadcast_object({"rank": rank}, 2) == {"rank": 2}
    transport.barrier()
    return transport.sent_bytes


def test_exchange_sum_and_broadcast() -> None:
    for rank, sent in enumerate(run_ranks(4, all_together)):
        assert sent["boundary"] == 3 * rank * 2 * 4
        assert sent["parameters"] == (6 + 5) * 4 + 2 * 8
        assert (sent["control"] > 0) == (rank == 2)


def test_one_process_needs_no_group() -> None:
    transport = Transport()
    rows: Any = torch.ones(3)
    transport.groups([[0]])
    transport.all_reduce([rows], [0], "parameters")
    transport.barrier()
    transport.exchange([], [], "rows", "boundary").wait()
    transport.close()
    assert (transport.rank, transport.world_size) == (0, 1)
    assert transport.broadcast_object("x", 0) == "x"
    assert rows.tolist() == [1, 1, 1]
    assert math.fsum(transport.sent_bytes.values()) == 0
    with pytest.raises(ValueError, match=r"expected another of 1 ranks than 0 \(got 0\)"):
        transport.send(rows, 0, "rows", "activations")
