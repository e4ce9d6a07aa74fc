"""Claim: an accelerated GAT or GATv2 layer is at least four times as fast as PyG's, in a quarter of its memory.

A layer of 8 heads of 16 channels, forward and backward (gradients of the input and of all parameters), on a power-law
graph of ogbn-arxiv's size with a self-loop added to every node. The peer is the plain layer with its edges sorted by
destination. The memory is the peak of a fresh process that does it once, above what the process held before.

The control runs the same layer on the kernels' PyTorch reference: it has to miss both thresholds.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GATv2Conv

import gnnkit
from gnnkit.datasets.synthetic import power_law

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _harness import interleave, peak_rss_anon_bytes, row_error
from _rows import Claim, show, write

DEFAULTS = {"nodes": 170_000, "edges": 2_300_000, "repeats": 5}
WIDTH, HEADS = 128, 8
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "GAT": lambda: GATConv(WIDTH, WIDTH // HEADS, heads=HEADS),
    "GATv2": lambda: GATv2Conv(WIDTH, WIDTH // HEADS, heads=HEADS),
}
MIN_VS_PYG, MAX_MEMORY = 4.0, 0.25
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}

Step = Callable[[], list[Tensor]]


def inputs(num_nodes: int, num_edges: int) -> tuple[Tensor, Tensor]:
    """Rows, and edges sorted by destination."""
    edge_index = power_law(num_nodes, num_edges)
    edge_index = edge_index[:, (edge_index[1] * num_nodes + edge_index[0]).argsort()].contiguous()
    return torch.randn(num_nodes, WIDTH, generator=torch.Generator().manual_seed(0)), edge_index


def layer(name: str, fast: bool) -> nn.Module:
    """The same parameters every time."""
    torch.manual_seed(0)
    made = LAYERS[name]()
    return gnnkit.accelerate(made) if fast else made


def step(module: nn.Module, x: Tensor, edge_index: Tensor) -> Step:
    """Forward and backward: the output, then the gradients of the input and of the parameters."""
    x = x.detach().clone().requires_grad_()
    grad = torch.randn(len(x), WIDTH, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    wrt = [x, *module.parameters()]

    def run() -> list[Tensor]:
        out = module(x, edge_index)
        return [out.detach(), *torch.autograd.grad(out, wrt, grad)]

    return run


def error(name: str, dtype: torch.dtype, x: Tensor, edge_index: Tensor) -> float:
    """The largest error of the accelerated layer's output and gradients."""
    plain, fast = (layer(name, is_fast).to(dtype) for is_fast in (False, True))
    expected, actual = (step(module, x.to(dtype), edge_index)() for module in (plain, fast))
    pairs = zip(actual, expected, strict=True)
    found = max(row_error(a.reshape(len(a), -1), e.reshape(len(e), -1)) for a, e in list(pairs)[:2])
    for a, e in zip(actual[2:], expected[2:], strict=True):
        found = max(found, float((a - e).abs().max() / e.abs().max()))
    if not found <= TOLERANCE[dtype]:
        raise SystemExit(f"{name}: expected an error of at most {TOLERANCE[dtype]:g} in {dtype} (got {found:.2g})")
    return found


def once(name: str, kind: str, num_nodes: int, num_edges: int) -> None:
    """What a child does: one step; ``kind`` is pyg, ours or control."""
    if kind == "control":
        os.environ["GNNKIT_BACKEND"] = "torch"
    step(layer(name, kind != "pyg"), *inputs(num_nodes, num_edges))()


def nothing(name: str, kind: str, num_nodes: int, num_edges: int) -> None:
    """The same without the layer: making the graph takes memory too, but is over before."""
    inputs(num_nodes, num_edges)


def measure(name: str, nodes: int, edges: int, repeats: int) -> dict[str, Any]:
    """Correct first, then time and memory."""
    small = inputs(20_000, 300_000)
    x, edge_index = inputs(nodes, edges)
    row: dict[str, Any] = {"layer": name, "error_float64": error(name, torch.float64, *small)}
    row["error_float32"] = max(error(name, torch.float32, *small), error(name, torch.float32, x, edge_index))
    cases = {kind: step(layer(name, kind == "ours"), x, edge_index) for kind in ("pyg", "ours")}
    timings = interleave(cases, repeats, warmup=1)
    with patch.dict(os.environ, GNNKIT_BACKEND="torch"):
        timings |= interleave({"control": copy.copy(cases["ours"])}, 1, warmup=0)
    row |= {f"{kind}_ms": timing.median_seconds * 1e3 for kind, timing in timings.items()}
    for kind in timings:
        row[f"{kind}_bytes"] = peak_rss_anon_bytes(once, name, kind, nodes, edges)
    row["making_bytes"] = peak_rss_anon_bytes(nothing, name, "", nodes, edges)
    for kind in ("ours", "control"):
        row[f"{kind}_vs_pyg"] = row["pyg_ms"] / row[f"{kind}_ms"]
        row[f"{kind}_memory"] = row[f"{kind}_bytes"] / row["pyg_bytes"]
    return row


def holds(row: dict[str, Any], kind: str) -> bool:
    """The claim's two thresholds."""
    return bool(row[f"{kind}_vs_pyg"] >= MIN_VS_PYG and row[f"{kind}_memory"] <= MAX_MEMORY)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name, default in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = vars(parser.parse_args())
    rows = [measure(name, **options) for name in LAYERS]
    missed = all(row["control_vs_pyg"] < MIN_VS_PYG and row["control_memory"] > MAX_MEMORY for row in rows)
    claim = Claim(
        name="attention",
        statement=(
            f"A GAT and a GATv2 layer, {HEADS} heads of {WIDTH // HEADS}, forward + backward, float32, power-law graph "
            f"with {options['nodes']:,} nodes, {options['edges']:,} edges and self-loops: at least "
            f"{MIN_VS_PYG:g}× PyG, peak memory at most {MAX_MEMORY:.0%} of PyG's"
        ),
        command="python benchmarks/claims/attention.py",
        result="; ".join(
            f"{row['layer']} {row['ours_vs_pyg']:.1f}× PyG in {row['ours_memory']:.0%} of its memory" for row in rows
        ),
        rows=rows,
        passed=missed and all(holds(row, "ours") for row in rows),
        control=f"on the kernels' PyTorch reference both layers miss both thresholds: {'yes' if missed else 'NO'}",
    )
    (write if options == DEFAULTS else show)(claim)
    return int(not claim.passed)


if __name__ == "__main__":
    sys.exit(main())
