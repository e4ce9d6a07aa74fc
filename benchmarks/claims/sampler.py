"""Claim: whole mini-batches, sampled and numbered, beside PyG's sampler on torch-sparse and DGL's.

Graphs: a power law of ogbn-arxiv's size, and one of a quarter of ogbn-products' nodes and edges. A batch is the
neighbourhood of 1024 nodes, 15, 10 and 5 edges a node hop by hop: nodes, edges by their numbers in the batch, and edge
ids. DGL's blocks draw anew, at every hop, for all nodes found so far, so its batches hold more edges: the thresholds
are for the time per edge, and the time per batch stands beside it.

At two threads ours and torch-sparse sample a batch a thread. Of DGL the fastest of its switches counts: ids of 32 or
64 bits, fused or not, two OpenMP threads a batch or a batch a thread, one sampler or a new one for every batch. Before
anything is timed every batch of ours is checked: its edges exist, none is drawn twice, and every node has as many as
its fan-out says. DGL's edges have to be the graph's too; switches that fail are left out and named: with ids of 32 bits
the fused sampler of DGL 2.1 is right in its first batch only. The peers are in the environment that ``make peers``
makes, which runs this script.

How two threads scale is compared with memcpy, which one thread all but stops by filling the bus, and with the same
sampling under one lock. What sha256 gains, which needs no memory, stands beside it: whether there were two cores.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from gnnkit import Adjacency
from gnnkit.data._hops import Hops, sample_hops
from gnnkit.datasets.synthetic import power_law
from gnnkit.interop import import_dgl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _harness import interleave
from _rows import Claim, show, write

GRAPHS = {"power law 170k / 2.3M": (170_000, 2_300_000), "power law 612k / 15.5M": (612_257, 15_460_000)}
FANOUTS = [15, 10, 5]
BATCH, BATCHES = 1024, 4  # nodes a batch; batches a repetition, which two threads share
MIN_VS = {"torch_sparse": 2.0, "dgl": 1.0}
MIN_SCALING = 0.85  # of memcpy's own
MIN_OVER_LOCKED = 1.1  # of that of sampling under one lock
COPY_BYTES = 64 * 2**20

Sample = Callable[[int, int], Any]  # thread, batch -> what a loader needs
Case = Callable[[], object]
POOL = ThreadPoolExecutor(2)


class Problem:
    """A graph, its batches, and who samples them."""

    def __init__(self, name: str) -> None:
        num_nodes, num_edges = GRAPHS[name]
        self.edge_index = power_law(num_nodes, num_edges)
        self.adj = Adjacency.from_edge_index(self.edge_index, num_nodes=num_nodes)
        rng = torch.Generator().manual_seed(0)
        self.seeds = [torch.randperm(num_nodes, generator=rng)[:BATCH] for _ in range(BATCHES)]

    def ours(self, replace: bool = False) -> Sample:
        adj = self.adj
        local = [torch.full((adj.num_nodes,), -1, dtype=torch.int32) for _ in range(2)]

        def sample(thread: int, batch: int) -> Hops:
            seeds = self.seeds[batch]
            return sample_hops(adj.indptr, adj.indices, seeds, FANOUTS, batch, replace=replace, local=local[thread])

        return sample

    def torch_sparse(self) -> Sample:
        """The call that PyG's NeighborSampler makes."""
        import_module("torch_sparse")
        indptr, indices = self.adj.indptr, self.adj.indices.long()  # it takes no others
        call = torch.ops.torch_sparse.neighbor_sample
        return lambda thread, batch: call(indptr, indices, self.seeds[batch], FANOUTS, False, True)

    @cached_property
    def dgl_graphs(self) -> dict[torch.dtype, Any]:
        graphs = {}
        for dtype in (torch.int32, torch.int64):
            ends = tuple(self.edge_index.to(dtype))
            graphs[dtype] = import_dgl().graph(ends, num_nodes=self.adj.num_nodes).formats(["csc"])
            graphs[dtype].create_formats_()
        return graphs

    def dgl(self, dtype: torch.dtype, fused: bool = False, omp: int = 1, anew: bool = False) -> Sample:
        module, graph, seeds = import_dgl(), self.dgl_graphs[dtype], [seeds.to(dtype) for seeds in self.seeds]

        def sampler() -> Any:
            return module.dataloading.NeighborSampler(FANOUTS[::-1], fused=fused)

        samplers = [sampler(), sampler()]  # one a thread: the fused form keeps a table between calls

        def sample(thread: int, batch: int) -> Any:
            module.utils.set_num_threads(omp)  # those of the calling thread
            return (sampler() if anew else samplers[thread]).sample_blocks(graph, seeds[batch])

        return sample

    def dgl_cases(self, threads: int) -> tuple[dict[str, Case], list[str]]:
        """DGL with every switch, and the switches left out because their batches are wrong.

        On one thread it samples unfused whatever it is told.
        """
        samples: dict[str, tuple[Sample, int]] = {}
        for dtype in (torch.int32, torch.int64):
            name = f"{torch.iinfo(dtype).bits} bits"
            samples[name] = self.dgl(dtype, omp=threads), 1
            if threads == 2:
                samples[f"{name}, a batch a thread"] = self.dgl(dtype), 2
                samples[f"{name}, fused"] = self.dgl(dtype, fused=True, omp=2), 1
                samples[f"{name}, fused, a sampler a batch"] = self.dgl(dtype, fused=True, omp=2, anew=True), 1
        right = {name: all(self.blocks_right(sample(0, batch)) for batch in range(BATCHES))
                 for name, (sample, _) in samples.items()}  # fmt: skip
        return {name: over(*samples[name]) for name in samples if right[name]}, [n for n in samples if not right[n]]

    def blocks_right(self, batch: Any) -> bool:
        """Whether DGL's blocks hold edges of the graph, each by the numbers of its ends and its id."""
        module, ends = import_dgl(), self.edge_index
        for block in batch[2]:
            row, col = (t.long() for t in block.edges())
            src, dst = block.srcdata[module.NID].long(), block.dstdata[module.NID].long()
            if int(row.max()) >= len(src) or int(col.max()) >= len(dst):
                return False
            if not torch.equal(torch.stack([src[row], dst[col]]), ends[:, block.edata[module.EID].long()]):
                return False
        return True

    def wrong(self, batch: int, hops: Hops) -> str:
        """What is wrong with a batch of ours, or nothing."""
        nodes, row, col, entries, num_nodes, _ = hops
        indptr, seeds = self.adj.indptr, self.seeds[batch]
        if not torch.equal(nodes[:BATCH], seeds) or len(nodes.unique()) != len(nodes):
            return "the nodes are not the seeds and others, each once"
        inside = (entries >= indptr[nodes[col]]) & (entries < indptr[nodes[col] + 1])
        if not bool(inside.all()) or not torch.equal(nodes[row], self.adj.indices[entries].long()):
            return "an edge is not the graph's"
        if len(entries.unique()) != len(entries):
            return "an edge is drawn twice"
        most = torch.tensor([*FANOUTS, 0]).repeat_interleave(torch.tensor(num_nodes))
        if not torch.equal(col.bincount(minlength=len(nodes)), torch.minimum(self.adj.in_degree()[nodes], most)):
            return "a node has not as many edges as its fan-out says"
        return ""


def over(sample: Sample, threads: int) -> Case:
    """Sample all batches on this thread, or a half of them on each of two others."""

    def half(thread: int) -> None:
        for batch in range(thread, BATCHES, 2):
            sample(thread, batch)

    def alone() -> None:
        for batch in range(BATCHES):
            sample(0, batch)

    return alone if threads == 1 else lambda: list(POOL.map(half, range(2)))


def copying() -> Sample:
    """Copy a buffer, of each thread its own, by memcpy."""
    memcpy = ctypes.CDLL(None).memcpy  # called without the GIL
    memcpy.argtypes, memcpy.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t], ctypes.c_void_p
    buffers = [[torch.ones(COPY_BYTES, dtype=torch.uint8) for _ in range(2)] for _ in range(2)]
    return lambda thread, batch: memcpy(*(buffer.data_ptr() for buffer in buffers[thread]), COPY_BYTES)


def hashing() -> Sample:
    """Compute without the GIL, and without the memory that memcpy fills."""
    block = bytes(2**18)

    def sample(thread: int, batch: int) -> None:
        for _ in range(32):
            hashlib.sha256(block).digest()

    return sample


def locked(sample: Sample) -> Sample:
    """The same, one thread at a time."""
    lock = threading.Lock()

    def one(thread: int, batch: int) -> Any:
        with lock:
            return sample(thread, batch)

    return one


def rows_of(name: str, repeats: int) -> Iterator[dict[str, Any]]:
    """Check our batches, then time everybody at one thread and at two, and how two threads scale."""
    problem = Problem(name)
    ours, torch_sparse = problem.ours(), problem.torch_sparse()
    for batch in range(BATCHES):
        if wrong := problem.wrong(batch, ours(0, batch)):
            raise SystemExit(f"{name}, batch {batch}: {wrong}")
    blocks = problem.dgl(torch.int32)
    edges = {
        "ours": [len(ours(0, batch).row) for batch in range(BATCHES)],
        "torch_sparse": [len(torch_sparse(0, batch)[1]) for batch in range(BATCHES)],
        "dgl": [sum(block.num_edges() for block in blocks(0, batch)[2]) for batch in range(BATCHES)],
    }
    contenders = {"ours": ours, "memcpy": copying(), "sha256": hashing(), "locked": locked(ours)}
    scaling = {f"{what} {threads}": over(run, threads)
               for what, run in contenders.items() for threads in (1, 2)}  # fmt: skip
    # quartiles: whoever else wants one of two cores takes half of what two threads can do, and nothing of one thread
    one_to_two = {case: timing.q1_seconds for case, timing in interleave(scaling, 8 * repeats).items()}
    for threads in (1, 2):
        print(f"timing {name}, {threads} threads", file=sys.stderr)
        switches, left_out = problem.dgl_cases(threads)
        cases = {"ours": over(ours, threads), "torch_sparse": over(torch_sparse, threads), **switches}
        seconds = {case: timing.median_seconds for case, timing in interleave(cases, repeats, warmup=1).items()}
        best = min(switches, key=seconds.__getitem__)
        row: dict[str, Any] = {"graph": name, "threads": threads, "dgl_switches": best}
        row["dgl_wrong"] = "; ".join(left_out) or "none"
        for who, case in (("ours", "ours"), ("torch_sparse", "torch_sparse"), ("dgl", best)):
            row |= {f"{who}_ms": seconds[case] * 1e3 / BATCHES, f"{who}_edges": sum(edges[who]) // BATCHES}
            row[f"{who}_ns_per_edge"] = seconds[case] * 1e9 / sum(edges[who])
        if threads == 2:
            row |= {f"{what}_scaling": one_to_two[f"{what} 1"] / one_to_two[f"{what} 2"] for what in contenders}
        yield row


def holds(row: dict[str, Any], ns_per_edge: float) -> bool:
    """The thresholds, for a time of ours."""
    fast = all(row[f"{peer}_ns_per_edge"] / ns_per_edge >= least for peer, least in MIN_VS.items())
    return fast and scales(row, "ours")


def scales(row: dict[str, Any], who: str) -> bool:
    """The thresholds for two threads: memcpy's scaling, and that of sampling under one lock."""
    scaling = row.get(f"{who}_scaling", 1.0)
    least = MIN_SCALING * row.get("memcpy_scaling", 0.0), MIN_OVER_LOCKED * row.get("locked_scaling", 0.0)
    return bool(scaling >= max(least))


def controls(rows: list[dict[str, Any]]) -> tuple[bool, str]:
    """A sampler that draws edges twice has to be noticed; the reference and sampling under a lock have to miss."""
    row, scaled = rows[0], [row for row in rows if row["threads"] == 2]
    problem = Problem(row["graph"])
    noticed = problem.wrong(0, problem.ours(replace=True)(0, 0))
    with patch.dict(os.environ, GNNKIT_BACKEND="torch"):
        timing = interleave({"reference": over(problem.ours(), 1)}, 3, warmup=1)["reference"]
    ns_per_edge = timing.median_seconds * 1e9 / (BATCHES * row["ours_edges"])
    slow = not holds(row, ns_per_edge)
    alone = not any(scales(each, "locked") for each in scaled)
    best = max(each["locked_scaling"] for each in scaled)
    return noticed != "" and slow and alone, (
        f"with replacement, the check says: {noticed or 'NOTHING'}; "
        f"the PyTorch reference misses the thresholds: {'yes' if slow else 'NO'} ({ns_per_edge:.0f} ns an edge); "
        f"so does sampling under one lock: {'yes' if alone else 'NO'} (scaling {best:.2f})"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--graphs", nargs="*", default=list(GRAPHS), choices=list(GRAPHS), help="not written then")
    options = parser.parse_args()
    torch.set_num_threads(1)  # threads are what samples, not what torch splits an operation over

    rows = [row for name in options.graphs for row in rows_of(name, options.repeats)]
    caught, control = controls(rows)
    least = {peer: min(row[f"{peer}_ns_per_edge"] / row["ours_ns_per_edge"] for row in rows) for peer in MIN_VS}
    two = [row for row in rows if row["threads"] == 2]
    memcpy = min(row["ours_scaling"] / row["memcpy_scaling"] for row in two)
    gains = {
        what: " and ".join(f"{row[f'{what}_scaling']:.2f}" for row in two) for what in ("ours", "sha256", "locked")
    }
    claim = Claim(
        name="sampler",
        statement=(
            f"Whole batches of {BATCH} nodes, fan-out 15-10-5, numbered, at 1 and at 2 threads; medians. Thresholds, "
            f"an edge: {MIN_VS['torch_sparse']:g}× torch-sparse (PyG), {MIN_VS['dgl']:g}× DGL; from 1 thread to 2, "
            f"by the fastest quarter, {MIN_SCALING:.0%} of what memcpy of {COPY_BYTES >> 20} MiB a thread gains "
            f"and {MIN_OVER_LOCKED:g} of what sampling under one lock does"
        ),
        command=".venv-peers/bin/python benchmarks/claims/sampler.py",
        result=(
            f"at least {least['torch_sparse']:.0f}× torch-sparse, {least['dgl']:.1f}× DGL; "
            f"two threads give {gains['ours']} times one, at least {memcpy:.0%} of memcpy's scaling "
            f"(under one lock {gains['locked']}, sha256 {gains['sha256']})"
        ),
        rows=rows,
        passed=all(holds(row, row["ours_ns_per_edge"]) for row in rows) and caught,
        control=control,
    )
    (write if options.graphs == list(GRAPHS) else show)(claim)
    return int(not claim.passed)


if __name__ == "__main__":
    sys.exit(main())
