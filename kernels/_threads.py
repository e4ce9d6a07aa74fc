"""Threads for the loops: one pool a process, as many threads as ``torch.get_num_threads()``, and one a depth of reads.

The loops release the GIL and share nothing, so plain threads serve. Numba's own parallel layers do
not: its omp layer kills a forked DataLoader worker once the parent ran a parallel kernel, and its
workqueue layer aborts when two threads call at once.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import pairwise

import numpy as np
import torch

GRAIN = 1 << 16  # scalar operations below which a second thread costs more than it brings

_pools: dict[int, ThreadPoolExecutor] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)  # the parent's threads do not exist in the child


def even_bounds(num_rows: int, width: int) -> list[int]:
    """Cut ``num_rows`` equal rows of ``width`` operations into parts."""
    parts = _num_parts(num_rows * width, num_rows)
    return [num_rows * part // parts for part in range(parts + 1)]


def edge_bounds(indptr: np.ndarray, num_edges: int, width: int, parts: int | None = None) -> list[int]:
    """Cut CSR rows into parts of about equal numbers of edges plus rows (degrees follow a power law).

    As many as serve the threads, or ``parts``.
    """
    num_rows = len(indptr) - 1
    total = num_edges + num_rows
    parts = _num_parts(total * width, num_rows) if parts is None else parts
    bounds = [0]
    for part in range(1, parts):
        cut = bisect_left(range(num_rows), total * part // parts, key=lambda row: int(indptr[row]) + row)
        bounds.append(max(cut, bounds[-1]))  # a corrupt indptr must still give every row to one part
    return [*bounds, num_rows]


def run(loop: Callable[..., int], bounds: list[int], *args: object, threads: int | None = None) -> int:
    """Call ``loop(low, high, *args)`` for each pair of neighbouring bounds; return the largest status.

    On as many threads as torch uses, or ``threads``: more than cores where they wait, for a disk say.
    """
    threads = threads or torch.get_num_threads()
    parts = deque((low, high) for low, high in pairwise(bounds) if low < high)

    def drain() -> int:
        status = 0
        while True:
            try:
                low, high = parts.popleft()
            except IndexError:
                return status
            status = max(status, loop(low, high, *args))

    helpers = min(threads, len(parts)) - 1
    futures: list[Future[int]] = []
    try:
        futures.extend(_pool(threads).submit(drain) for _ in range(helpers))
        status = drain()
    finally:
        parts.clear()  # after an error or Ctrl-C nobody begins another part,
        # and what helpers still write into is not let go of; one that has not started by now has nothing to do
        begun = [future for future in futures if not future.cancel()]
        wait(begun)
    return max([status, *(future.result() for future in begun)])


def _num_parts(operations: int, num_rows: int) -> int:
    threads = torch.get_num_threads()
    if threads == 1 or operations < 2 * GRAIN:
        return 1
    return max(1, min(8 * threads, operations // GRAIN, num_rows))


def _pool(threads: int) -> ThreadPoolExecutor:
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="gnnkit-kernels")
    return _pools[threads]
