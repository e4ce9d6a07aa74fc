"""Claim for a GPU: our CUDA kernels against PyG's scatter, torch CSR (cuSPARSE) and the memory's bandwidth.

Part of ``make gpu``, which wants a machine with a CUDA device. Every contender gets its graph in the form that it likes
best, built beforehand; outputs are made anew; a sample is several calls and one wait for the device.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch_geometric.utils import scatter, softmax

from gnnkit import Adjacency
from gnnkit.datasets.synthetic import power_law
from gnnkit.kernels import backend_name, gatv2_attention, spmm

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _gpu_data import MIN_SHARE_OF_COPY, MIN_VS_CPU, data_layer
from _harness import floor_seconds, interleave, row_error
from _rows import RESULTS, Claim, write

MIN_SUM_VS_CUSPARSE, MIN_EXTREME_VS_PYG, MIN_ATTENTION_VS_PYG = 1.0, 2.6, 2.0
TOLERANCE = 1e-4  # float32, relative to the largest number of a row
HEADS, DEPTH, SLOPE = 8, 16, 0.2
Call = Callable[[], Any]


@dataclass(frozen=True)
class Problem:
    """A graph in CSR order, and the device that it lies on."""

    adj: Adjacency
    dst: Tensor  # [E]
    calls: int  # of a sample
    repeats: int

    @property
    def device(self) -> torch.device:
        return self.adj.indptr.device

    def draw(self, *shape: int, seed: int = 0) -> Tensor:
        """Draw normal numbers."""
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(self.device)

    def milliseconds(self, cases: dict[str, Call]) -> dict[str, float]:
        """Time cases, interleaved, a call each."""

        def sample(call: Call) -> Call:
            def run() -> None:
                for _ in range(self.calls):
                    call()
                self.wait()

            return run

        timings = interleave({name: sample(call) for name, call in cases.items()}, self.repeats)
        return {name: timing.median_seconds / self.calls * 1e3 for name, timing in timings.items()}

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def aggregation(problem: Problem, width: int, reduce: str, weighted: bool, bandwidth: float) -> dict[str, Any]:
    """Time the forward pass of one case and check it against float64."""
    adj, num_nodes = problem.adj, problem.adj.num_dst
    x = problem.draw(num_nodes, width)
    weight = problem.draw(len(adj.indices), seed=1) if weighted else None
    index = adj.indices.long()

    def ours() -> Tensor:
        return spmm(adj.indptr, adj.indices, x, weight, reduce)

    def pyg(x: Tensor = x, weight: Tensor | None = weight) -> Tensor:
        message = x.index_select(0, index)
        message = message if weight is None else message * weight.unsqueeze(-1)
        out: Tensor = scatter(message, problem.dst, 0, num_nodes, reduce)
        return out

    cases: dict[str, Call] = {"ours": ours, "pyg": pyg}
    if reduce in ("sum", "mean"):
        values = torch.ones(len(index), device=problem.device) if weight is None else weight
        values = values / adj.indptr.diff()[problem.dst] if reduce == "mean" else values
        for kind in (torch.int32, torch.int64):
            size = (num_nodes, num_nodes)
            csr = torch.sparse_csr_tensor(
                adj.indptr.to(kind), adj.indices.to(kind), values, size, check_invariants=True
            )
            cases[f"csr {str(kind).removeprefix('torch.')}"] = lambda csr=csr: csr @ x
    expected = pyg(x.double(), None if weight is None else weight.double())
    floor = floor_seconds(len(index), num_nodes, width, bandwidth) * 1e3
    times = problem.milliseconds(cases)
    csr_ms = min((ms for name, ms in times.items() if name.startswith("csr")), default=None)
    row = {
        "case": f"{'weighted ' if weighted else ''}{reduce}",
        "width": width,
        "ours_ms": times["ours"],
        "pyg_ms": times["pyg"],
        "csr_ms": csr_ms,
        "floor_ms": floor,
        "vs_pyg": times["pyg"] / times["ours"],
        "vs_csr": None if csr_ms is None else csr_ms / times["ours"],
        "error": row_error(ours().double(), expected),
    }
    wants_csr = reduce == "sum" and row["vs_csr"] < MIN_SUM_VS_CUSPARSE
    wants_pyg = reduce in ("max", "min") and row["vs_pyg"] < MIN_EXTREME_VS_PYG
    return {**row, "holds": not wants_csr and not wants_pyg and row["error"] <= TOLERANCE}


def attention(problem: Problem) -> dict[str, Any]:
    """Time GATv2's attention, forward and backward, against what PyG's GATv2Conv does between its linear layers."""
    adj, num_nodes = problem.adj, problem.adj.num_dst
    index, grad = adj.indices.long(), problem.draw(num_nodes, HEADS, DEPTH, seed=3)
    inputs = [problem.draw(num_nodes, HEADS, DEPTH, seed=seed) for seed in (0, 1)] + [
        problem.draw(HEADS, DEPTH, seed=2)
    ]

    def pyg(x: Tensor, x_dst: Tensor, att: Tensor) -> Tensor:
        x_j = x.index_select(0, index)
        mixed = torch.nn.functional.leaky_relu(x_j + x_dst.index_select(0, problem.dst), SLOPE)
        alpha = softmax((mixed * att).sum(-1), problem.dst, num_nodes=num_nodes)
        out: Tensor = scatter(x_j * alpha.unsqueeze(-1), problem.dst, 0, num_nodes, "sum")
        return out

    def step(forward: Callable[..., Tensor], dtype: torch.dtype = torch.float32) -> Call:
        leaves = [t.to(dtype).requires_grad_() for t in inputs]
        return lambda: torch.autograd.grad(forward(*leaves), leaves, grad.to(dtype))

    def ours(*leaves: Tensor) -> Tensor:
        return gatv2_attention(adj.indptr, adj.indices, *leaves, negative_slope=SLOPE, transpose=transpose)

    transpose = adj.transpose  # built beforehand
    times = problem.milliseconds({"ours": step(ours), "pyg": step(pyg)})
    pairs = zip(step(ours)(), step(pyg, torch.float64)(), strict=True)
    error = max(float((a.double() - b).abs().max() / b.abs().max()) for a, b in pairs)
    ratio = times["pyg"] / times["ours"]
    return {
        "case": f"GATv2 {HEADS} × {DEPTH}, forward and backward",
        "width": HEADS * DEPTH,
        "ours_ms": times["ours"],
        "pyg_ms": times["pyg"],
        "vs_pyg": ratio,
        "error": error,
        "holds": ratio >= MIN_ATTENTION_VS_PYG and error <= TOLERANCE,
    }


def control(problem: Problem) -> bool:
    """Whether a graph without its last edge is seen as a wrong result."""
    adj, x = problem.adj, problem.draw(problem.adj.num_dst, 64)
    indptr = adj.indptr.clamp(max=len(adj.indices) - 1)
    right, wrong = spmm(adj.indptr, adj.indices, x), spmm(indptr, adj.indices[:-1], x)
    return row_error(wrong.double(), right.double()) > TOLERANCE


def bandwidth(problem: Problem, num_bytes: int) -> float:
    """Bytes a second of a copy on the device, read and write counted."""
    source = torch.ones(num_bytes, dtype=torch.uint8, device=problem.device)
    target = torch.empty_like(source)
    return 2 * num_bytes / (problem.milliseconds({"copy": lambda: target.copy_(source)})["copy"] / 1e3)


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the result, and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cuda", help="cpu: a rehearsal of the script, whose figures mean nothing")
    parser.add_argument("--nodes", type=int, default=170_000)
    parser.add_argument("--edges", type=int, default=2_300_000)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--gather-widths", type=int, nargs="+", default=[100, 128, 300, 602, 1024])
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("FAIL gpu: expected a CUDA device (got none)")
        return 1

    edges = power_law(options.nodes, options.edges)
    edges = edges[:, (edges[1] * options.nodes + edges[0]).argsort()]  # sorted within rows too, as torch CSR demands
    adj = Adjacency.from_edge_index(edges, num_nodes=options.nodes).to(options.device)
    dst = adj.to_edge_index()[1][adj.edge_ids]
    problem = Problem(adj, dst, options.calls, options.repeats)
    bytes_per_second = bandwidth(problem, 2**30 if options.device == "cuda" else 2**20)
    name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    cases = [("sum", False), ("sum", True), ("mean", False), ("max", False), ("min", False)]
    rows = [aggregation(problem, width, *case, bytes_per_second) for width in options.widths for case in cases]
    rows.append(attention(problem))
    rows.extend(data_layer(problem, options.gather_widths, 2**30 if options.device == "cuda" else 2**16))
    rows = [
        {
            **row,
            "device": name,
            "cuda": torch.version.cuda or "none",
            "backend": backend_name(dst),
            "copy_GB_s": bytes_per_second / 1e9,
        }
        for row in rows
    ]
    seen = control(problem)
    met = sum(row["holds"] for row in rows)
    claim = Claim(
        name="gpu",
        statement=f"CUDA kernels on a power-law graph, {options.nodes:,} nodes, {options.edges:,} edges, float32: "
        f"sum at least {MIN_SUM_VS_CUSPARSE:g} × torch CSR, max and min {MIN_EXTREME_VS_PYG:g} × PyG's scatter, "
        f"GATv2's attention {MIN_ATTENTION_VS_PYG:g} × PyG; rows from pinned memory at {MIN_SHARE_OF_COPY:.0%} of its "
        f"copy and {MIN_VS_CPU:g} × a gather on the CPU; samples as on the CPU, bit for bit",
        command="make gpu",
        result=f"{met} of {len(rows)} cases hold on {name}",
        rows=rows,
        passed=met == len(rows) and seen,
        control="a graph without its last edge " + ("is seen to be wrong" if seen else "PASSED AS RIGHT"),
    )
    write(claim, options.results)
    return int(not claim.passed)


if __name__ == "__main__":
    sys.exit(main())
