"""What torchrun has started: this process's place, its device, its threads, and whose error is told."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

_SECONDS_TO_SPEAK = 60.0


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


def torchrun_place() -> tuple[int, int]:
    """Return this process's rank and how many processes torchrun started: 0 and 1 without it.

    It is there where RANK and WORLD_SIZE both are; schedulers of clusters set one of them for themselves.

    Raises:
        ValueError: They are no numbers, or do not fit each other.
    """
    if not {"RANK", "WORLD_SIZE"} <= os.environ.keys():
        return 0, 1
    processes = _number("WORLD_SIZE", 1, 10**9)
    return _number("RANK", 0, processes - 1), processes


def let_rank_0_speak() -> None:
    """Give rank 0 the time to say what every rank would say; whoever is not ended meanwhile says it too.

    The first process that ends makes torchrun end the others: ended in silence, it would take the words from rank 0.
    """
    if os.environ.get("RANK", "0") != "0" and torchrun_place()[1] > 1:
        time.sleep(_SECONDS_TO_SPEAK)


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

    Raises:
        ValueError: The numbers that torchrun sets are none.
    """
    _, processes = torchrun_place()
    here, local = 1, 0
    if processes > 1:
        here = _number("LOCAL_WORLD_SIZE", 1, processes, "1")
        local = _number("LOCAL_RANK", 0, here - 1, "0")
    _set_threads(threads, here)
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


def _number(name: str, low: int, high: int, absent: str = "") -> int:
    text = os.environ.get(name, absent)
    if not text.isdecimal() or not low <= int(text) <= high:
        raise ValueError(f"{name}: expected a whole number from {low} to {high}, as torchrun sets it (got {text!r})")
    return int(text)


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
