"""Time spmm on graphs whose nodes were reordered, and print the tables of docs/reorder.md; needs a quiet machine.

python benchmarks/reorder.py [--root DIR]
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from functools import partial

import torch
from _harness import interleave
from _rows import commit, hardware
from torch import Tensor

from gnnkit import Adjacency
from gnnkit._locality import Locality
from gnnkit.datasets import load, synthetic

METHODS = ("degree", "rcm", "cluster")
WINDOW = 2**20 // 512
_HEADER = "| order | mean gap | rows reused | spmm | times faster | made in |\n|---|---:|---:|---:|---:|---:|"


def main(arguments: list[str] | None = None) -> int:
    """Measure three graphs; the exit status is 1 if a result that came back differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--root", help="where raw data lie; default as for gnnkit")
    root = parser.parse_args(arguments).root
    physics = load("physics", root=root)
    graphs = {
        "physics": (physics.edge_index, physics.num_nodes, (128, 512)),
        "communities": (planted(1000, 100, inside=8, outside=4), 100_000, (128,)),
        "power law": (synthetic.power_law(170_000, 2_300_000), 170_000, (128,)),
    }
    gc.freeze()  # what imports left behind is not searched again before every repetition
    print(f"{hardware()}; {torch.get_num_threads()} threads; commit {commit()}")
    same = [measure(name, *graph) for name, graph in graphs.items()]
    return int(not all(same))


def planted(groups: int, size: int, inside: int, outside: int) -> Tensor:
    """Draw ``inside`` edges of every node into its group and ``outside`` to any node, under random numbers."""
    draw = torch.Generator().manual_seed(0)
    num_nodes = groups * size
    src = torch.arange(num_nodes).repeat_interleave(inside + outside)
    near = src // size * size + torch.randint(size, src.shape, generator=draw)
    far = torch.randint(num_nodes, src.shape, generator=draw)
    within = torch.arange(len(src)) % (inside + outside) < inside
    ids = torch.randperm(num_nodes, generator=draw)
    return ids[torch.stack([src, torch.where(within, near, far)])]


def measure(name: str, edge_index: Tensor, num_nodes: int, widths: tuple[int, ...]) -> bool:
    """Print a table for one graph and every width; whether all results that came back are the same bits."""
    adj = Adjacency.from_edge_index(edge_index, num_nodes)
    drawn = torch.randperm(num_nodes, generator=torch.Generator().manual_seed(0))
    orders = {"as it came": (adj, Locality.of(adj, WINDOW), "–")}
    adj_random = Adjacency.from_edge_index(drawn[edge_index], num_nodes)
    orders["random"] = adj_random, Locality.of(adj_random, WINDOW), "–"
    same = True
    for method in METHODS:
        start = time.perf_counter()
        found = adj.reorder(method)
        orders[method] = found.adjacency, found.after, f"{time.perf_counter() - start:.2f} s"
        x, weight = torch.rand(num_nodes, 16), torch.rand(adj.num_edges)
        back = found.to_old(found.adjacency.spmm(found.to_new(x), weight))
        same = same and torch.equal(back, adj.spmm(x, weight))
    for width in widths:
        x = torch.rand(num_nodes, width)
        timings = interleave({order: partial(one.spmm, x) for order, (one, _, _) in orders.items()}, repeats=21)
        print(f"\n{name}: {num_nodes:,} nodes, {adj.num_edges:,} edges, D = {width}, x {x.nbytes / 2**20:.0f} MiB\n")
        print(_HEADER)
        base = timings["as it came"].median_seconds
        for order, (_, locality, made) in orders.items():
            seconds = timings[order].median_seconds
            figures = (
                f"{locality.mean_gap:,.0f} | {locality.reused:.0%} | {1000 * seconds:.1f} ms | {base / seconds:.2f}"
            )
            print(f"| {order} | {figures} | {made} |")
    if not same:
        print(f"{name}: a result that came back differs", file=sys.stderr)
    return same


if __name__ == "__main__":
    sys.exit(main())
