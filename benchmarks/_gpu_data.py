"""The data layer on a GPU, part of `gpu.py`: rows read from pinned host memory, and neighbourhoods sampled.

Zero copy is held against what the bus can do, a plain copy of pinned memory of the same size, and against the usual
way: a gather on the CPU into one of two pinned buffers, which is sent while the other is filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gnnkit.data._hops import sample_hops
from gnnkit.kernels._backend import backend

if TYPE_CHECKING:
    from gpu import Problem

MIN_SHARE_OF_COPY, MIN_VS_CPU = 0.85, 1.65
FANOUTS, NUM_SEEDS = (15, 10, 5), 1024
IDS = ("random", "power law")


def data_layer(problem: Problem, widths: Sequence[int], table_bytes: int) -> list[dict[str, Any]]:
    """Measure every case; tables take so much memory."""
    rows = [gather(problem, width, kind, table_bytes) for width in widths for kind in IDS]
    return [*rows, *(sampling(problem, where) for where in ("device", "pinned"))]


def pinned(tensor: Tensor, device: torch.device) -> Tensor:
    """Give host memory that the device can read."""
    return tensor.pin_memory() if device.type == "cuda" else tensor


class CpuGather:
    """Gather on the CPU and send, the two overlapped."""

    def __init__(self, table: Tensor, ids: Tensor, out: Tensor) -> None:
        self.table, self.ids, self.out = table, ids, out
        on_gpu = out.device.type == "cuda"
        self.buffers = [pinned(torch.empty(out.shape), out.device) for _ in range(2)]
        self.sent = [torch.cuda.Event() if on_gpu else None for _ in range(2)]

    def __call__(self) -> None:
        buffer, sent = self.buffers[0], self.sent[0]
        if sent is not None:
            sent.synchronize()
        torch.index_select(self.table, 0, self.ids, out=buffer)
        self.out.copy_(buffer, non_blocking=True)
        if sent is not None:
            sent.record()
        self.buffers.reverse()
        self.sent.reverse()


def gather(problem: Problem, width: int, kind: str, table_bytes: int) -> dict[str, Any]:
    """Time the rows of an eighth as many ids as the table has, sorting included."""
    num_rows = max(8, table_bytes // (4 * width))
    draw = torch.Generator().manual_seed(0)
    table = pinned(torch.rand(num_rows, width, generator=draw), problem.device)
    if kind == "random":
        host_ids = torch.randperm(num_rows, generator=draw)[: num_rows // 8]
    else:
        sources = problem.adj.indices.cpu().long()
        host_ids = sources[torch.randint(len(sources), (num_rows // 8,), generator=draw)] % num_rows
    ids, out = host_ids.to(problem.device), torch.empty(len(host_ids), width, device=problem.device)
    block, cpu = pinned(torch.rand(out.shape), problem.device), CpuGather(table, host_ids, out)

    def ours() -> None:
        backend(ids).gather_rows(table, ids, out, ids.argsort())

    times = problem.milliseconds({"ours": ours, "cpu": cpu, "copy": lambda: out.copy_(block, non_blocking=True)})
    out.zero_()
    ours()
    right = torch.equal(out.cpu(), table[host_ids])
    speed = {name: out.numel() * 4 / milliseconds / 1e6 for name, milliseconds in times.items()}  # GB a second
    share, ratio = speed["ours"] / speed["copy"], speed["ours"] / speed["cpu"]
    return {
        "case": f"rows from pinned memory, {kind} ids",
        "width": width,
        "ours_ms": times["ours"],
        "zero_copy_GB_s": speed["ours"],
        "pinned_copy_GB_s": speed["copy"],
        "cpu_gather_then_copy_GB_s": speed["cpu"],
        "of_pinned_copy": share,
        "vs_cpu_gather": ratio,
        "error": 0.0 if right else float("inf"),
        "holds": right and share >= MIN_SHARE_OF_COPY and ratio >= MIN_VS_CPU,
    }


def sampling(problem: Problem, where: str) -> dict[str, Any]:
    """Time batches whose graph lies on the device, or whose indices stay in pinned memory, and on the CPU."""
    host = problem.adj.to("cpu")
    indices = problem.adj.indices if where == "device" else pinned(host.indices, problem.device)
    draw = torch.Generator().manual_seed(0)
    host_seeds = torch.randperm(host.num_dst, generator=draw)[:NUM_SEEDS]
    seeds, keys = host_seeds.to(problem.device), count()
    tables = [torch.full((host.num_dst,), -1, dtype=torch.int32, device=d) for d in (problem.device, "cpu")]

    def ours(key: int) -> tuple[Tensor, ...]:
        return sample_hops(problem.adj.indptr, indices, seeds, FANOUTS, key, local=tables[0])[:4]

    def cpu(key: int) -> tuple[Tensor, ...]:
        return sample_hops(host.indptr, host.indices, host_seeds, FANOUTS, key, local=tables[1])[:4]

    right = all(torch.equal(a.cpu(), b) for a, b in zip(ours(-1), cpu(-1), strict=True))
    times = problem.milliseconds({"ours": lambda: ours(next(keys)), "cpu": lambda: cpu(next(keys))})
    num_edges = len(cpu(0)[1])
    return {
        "case": f"sampling {'-'.join(map(str, FANOUTS))}, {len(seeds)} seeds, indices in {where} memory",
        "ours_ms": times["ours"],
        "cpu_ms": times["cpu"],
        "edges": num_edges,
        "million_edges_s": num_edges / times["ours"] / 1e3,
        "error": 0.0 if right else float("inf"),
        "holds": right,
    }
