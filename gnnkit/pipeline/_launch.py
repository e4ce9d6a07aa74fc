"""What torchrun has started: this process's place, its device, its threads, and whose error is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous


@dataclass(frozen=True)
class Launch:
    """This process among those that torchrun started; one alone without it.

    Attributes:
        rank: Of this process.
        processes: How many there are.
        device: Where this one computes.
        backend: What carries messages: ``"gloo"``, ``"nccl"``, or ``"none"`` for one process.
    """

    rank: int
    processes: int
    device: torch.device
    backend: str


def torchrun_processes() -> int:
    """Return how many processes torchrun started: 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def launched(device: torch.device, *, threads: int | None = None, timeout_seconds: float = 600.0) -> Iterator[Launch]:
    """Join the processes that torchrun started, and leave them at the end.

    On CUDA each process takes the GPU of its local rank and messages go by NCCL; where a host has more processes than
    GPUs they share them, which NCCL cannot, and messages go through host memory by gloo.

    An error inside ends the process. Only the first that fails raises it: what the others meet then (a lost connection,
    a time-out) follows from it, and they end with ``SystemExit(1)``, so that torchrun restarts all.

    Args:
        device: ``cpu`` or ``cuda``.
        threads: Of torch on the CPU; None for OMP_NUM_THREADS where it is set (torchrun sets it to 1 unless the user
            does), else the cores shared among the host's processes.
        timeout_seconds: After which torch.distributed gives a peer up.

    Yields:
        This process's place.
    """
    here, local = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    _set_threads(threads, here)
    processes = torchrun_processes()
    shared = False
    if device.type == "cuda":
        count = torch.cuda.device_count() if device.index is None else 1
        shared = here > count
        device = torch.device("cuda", local % count if device.index is None else device.index)
        torch.cuda.set_device(device)
    if processes == 1:
        yield Launch(0, 1, device, "none")
        return
    backend = "nccl" if device.type == "cuda" and not shared else "gloo"
    timeout = timedelta(seconds=timeout_seconds)
    store, rank, _ = next(rendezvous("env://", timeout=timeout))
    store = PrefixStore(_attempt(), store)
    carried_by = "cpu:gloo,cuda:nccl" if backend == "nccl" else "gloo"  # also with NCCL, objects travel by gloo
    dist.init_process_group(carried_by, store=store, rank=rank, world_size=processes, timeout=timeout)
    try:
        yield Launch(rank, processes, device, backend)
    except Exception as error:
        if not _first_to_fail(store):
            raise SystemExit(1) from error
        raise
    dist.destroy_process_group()


def all_gather(value: Any) -> list[Any]:
    """Give every process the value of each; pickled."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def _attempt() -> str:
    """Name the attempt: torchrun on one host has one store for all, in which addresses of dead processes remain.

    Several hosts count restarts apart; there ``--rdzv-backend c10d`` makes a new store for each.
    """
    alone = os.environ.get("GROUP_WORLD_SIZE", "1") == "1"
    return "attempt " + (os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if alone else "0")


def _first_to_fail(store: Any) -> bool:
    try:
        count: int = store.add("gnnkit/failed", 1)
    except RuntimeError:  # the store's process is gone too: better told twice than not at all
        return True
    return count == 1


def _set_threads(threads: int | None, here: int) -> None:
    if threads is None and "OMP_NUM_THREADS" not in os.environ:
        threads = max(torch.get_num_threads() // here, 1)
    if threads is not None:
        torch.set_num_threads(threads)
