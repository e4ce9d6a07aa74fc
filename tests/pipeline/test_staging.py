"""Tensors of a GPU over gloo: which ones go through host memory, and that they do."""

from __future__ import annotations

import pytest
import torch
from processes import run_ranks

from gnnkit.pipeline import Transport
from gnnkit.pipeline._message import incoming, outgoing
from gnnkit.pipeline._staging import host_staged, uses_nccl


@pytest.mark.parametrize(
    ("device", "backends", "staged"),
    [
        ("cpu", "cpu:gloo,cuda:gloo", False),
        ("cuda", "cpu:gloo,cuda:gloo", True),
        ("cuda", "cpu:gloo,cuda:nccl", False),
        ("cpu", "cpu:gloo,cuda:nccl", False),
        ("cuda", "cuda:nccl", False),
        ("cuda", "cpu:gloo", True),
    ],
)
def test_which_tensors_go_through_host_memory(device: str, backends: str, staged: bool) -> None:
    assert host_staged(torch.device(device), backends) is staged


def test_nccl_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpu in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        assert uses_nccl("cpu:gloo,cuda:nccl") is gpu
        assert not uses_nccl("cpu:gloo,cuda:gloo")


def test_tags_of_what_does_not_fit_differ() -> None:
    rows = torch.zeros(4, 2)
    sent = outgoing(rows, 1, "rows", "boundary", 3, False, None)
    [part] = sent.parts
    assert sent.rises(0)
    assert not sent.rises(2)
    fits = incoming(torch.ones(8), 0, "others", "boundary", 3, False, False)
    assert fits.tag(fits.parts[0]) == sent.tag(part)
    assert fits.rises(1)
    for out, kind, number in (
        (torch.zeros(4, 2), "boundary", 4),
        (torch.zeros(4, 2), "gradients", 3),
        (torch.zeros(4, 3), "boundary", 3),
        (torch.zeros(4, 2).double(), "boundary", 3),
        (torch.zeros(4).double(), "boundary", 3),
    ):
        other = incoming(out, 0, "rows", kind, number, False, False)
        assert other.tag(other.parts[0]) != sent.tag(part)


def between_stages(rank: int, world_size: int) -> None:
    """Two ranks on one GPU: a slice of a table, a strided tensor, sums; work that is still queued is waited for."""
    device = torch.device("cuda", 0)
    transport, other = Transport(), 1 - rank
    table = torch.zeros(6, 512, device=device)
    rows = torch.full((512, 4), float(rank + 1), device=device)
    big = torch.ones(4000, 4000, device=device)
    for _ in range(10):
        big = (big @ big) / 4000
    rows = rows * big[0, 0]
    arrival = transport.receive(table[1:5], other, "rows", "boundary")
    handle = transport.send(rows.t(), other, "rows", "boundary")
    assert (arrival.wait() == other + 1).all()
    handle.wait()
    assert not table[0].any()
    assert not table[5].any()
    transport.all_reduce([rows], [0, 1], "parameters")
    assert (rows == 3).all()
    assert transport.sent_bytes["boundary"] == 4 * 512 * 4
    transport.close()


@pytest.mark.cuda
@pytest.mark.slow
def test_two_ranks_on_one_gpu() -> None:
    run_ranks(2, between_stages)


def alone(rank: int, world_size: int) -> None:
    """NCCL in a world of one: what of it one GPU can show."""
    torch.cuda.set_device(0)
    torch.distributed.init_process_group("nccl", init_method="tcp://127.0.0.1:29577", rank=0, world_size=1)
    transport, rows = Transport(), torch.ones(3, device="cuda")
    transport.all_reduce([rows], [0], "parameters")
    transport.barrier()
    assert transport.broadcast_object("x", 0) == "x"
    assert rows.tolist() == [1, 1, 1]
    transport.close()
    torch.distributed.destroy_process_group()


@pytest.mark.cuda
@pytest.mark.slow
def test_nccl_alone() -> None:
    run_ranks(1, alone, group=False)
