"""Claim: one line, ``gnnkit.accelerate(model)``, brings PyG models on CPU close to what is left without aggregation.

A step is forward, loss, backward and Adam on a network of three layers of width 128 and a graph of the size of
ogbn-arxiv made undirected. Peers: the same network plain, with ``edge_index`` (sorted by destination, PyG's best
order) and with torch CSR as PyG takes it (``adj_t``, built beforehand), GCN also with ``cached=True``. The
ceiling is the plain network with the aggregation replaced by the identity. The speed-up over ``edge_index`` has to
reach 75 % of the ceiling's; GIN can pass it, because the accelerated layer also adds the root's term in place.

A second table gives every step another graph, as mini-batches do, so that nothing remembered helps.

The control runs the same acceleration on the kernels' PyTorch reference: it has to miss.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv, GINConv, MessagePassing, SAGEConv
from torch_geometric.utils import to_torch_csr_tensor

import gnnkit
from gnnkit._accelerate._cache import CACHE
from gnnkit.datasets.synthetic import power_law
from gnnkit.kernels import content_hash

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _harness import interleave, row_error
from _rows import Claim, show, write

DEFAULTS = {"nodes": 170_000, "edges": 2_300_000, "repeats": 5}
WIDTH, DEPTH, HEADS = 128, 3, 8
SHARE = 0.75  # of the ceiling
MIN_VS_CSR = {"GCN": 1.5, "GCN cached": 1.5, "SAGE": 1.3, "GIN": 1.1}
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
# nodes and edges of a mini-batch: 32 molecules, a sampled neighbourhood, a big one
BATCHES = {"32 molecules": (800, 1_700), "sampled, small": (6_000, 20_000), "sampled, large": (40_000, 200_000)}
NEVER_SLOWER = 0.97  # of the plain step's speed: medians of one and the same step differ by about 3 %


def gin(width: int) -> GINConv:
    """A GIN layer as its authors use it: two dense layers with batch normalisation."""
    return GINConv(nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, width)))


LAYERS: dict[str, Callable[[], MessagePassing]] = {
    "GCN": lambda: GCNConv(WIDTH, WIDTH),
    "GCN cached": lambda: GCNConv(WIDTH, WIDTH, cached=True),
    "SAGE": lambda: SAGEConv(WIDTH, WIDTH),
    "GIN": lambda: gin(WIDTH),
    "GAT": lambda: GATConv(WIDTH, WIDTH // HEADS, heads=HEADS),
}


class Network(nn.Module):
    """Layers of one kind with an activation between them."""

    def __init__(self, name: str, activation: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.activation = activation
        self.layers = nn.ModuleList(LAYERS[name]() for _ in range(DEPTH))

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        """Class scores of all nodes."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x, edges))
        out: Tensor = self.layers[-1](x, edges)
        return out


def without_aggregation(network: Network) -> Network:
    """The ceiling: every node keeps its own row. GAT's scores and their softmax stay, they are no aggregation."""

    def own_row(edges: Tensor, x: Any, **_: Any) -> Tensor:
        rows: Tensor = x if isinstance(x, Tensor) else x[0]
        return rows

    network = copy.deepcopy(network)
    for layer in network.layers:
        if isinstance(layer, GCNConv):
            layer.normalize = False  # done once and for all, if at all
        layer.propagate = own_row
    return network


class Step:
    """One training step of a network on a graph, or on the next of several."""

    def __init__(self, network: nn.Module, x: Tensor, y: Tensor, graphs: list[Tensor]) -> None:
        self.network, self.x, self.y, self.graphs = network, x, y, itertools.cycle(graphs)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def __call__(self) -> Tensor:
        self.optimizer.zero_grad()
        out: Tensor = self.network(self.x, next(self.graphs))
        loss = F.cross_entropy(out, self.y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def results(network: nn.Module, x: Tensor, y: Tensor, edges: Tensor) -> list[Tensor]:
    """The output of a network, and the gradients of its loss with respect to its input and all parameters."""
    x = x.detach().clone().requires_grad_()
    out = network(x, edges)
    wrt = [x, *network.parameters()]
    return [out.detach(), *torch.autograd.grad(F.cross_entropy(out, y), wrt)]


def error(actual: list[Tensor], expected: list[Tensor]) -> float:
    """The largest error of the output and the gradients, each relative to its own size (see ``row_error``)."""
    flat = ((a.reshape(len(a), -1), e.reshape(len(e), -1)) for a, e in zip(actual, expected, strict=True))
    # a gradient that is 0 in exact arithmetic (the bias before a batch normalisation) has no size of its own
    scale = max(float(e.abs().max()) for e in expected[1:])
    worst = [row_error(*next(flat))]
    worst += [float((a - e).abs().max()) / max(float(e.abs().max()), 1e-3 * scale) for a, e in flat]
    return max(worst)


def graph(num_nodes: int, num_edges: int, seed: int = 0) -> Tensor:
    """A power-law graph, edges sorted by destination."""
    edge_index = power_law(num_nodes, num_edges, seed=seed)
    return edge_index[:, (edge_index[1] * num_nodes + edge_index[0]).argsort()].contiguous()


def inputs(num_nodes: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Features and classes."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(num_nodes, WIDTH, generator=rng, dtype=dtype)
    return x, torch.randint(WIDTH, (num_nodes,), generator=rng)


def check(name: str, edge_index: Tensor, dtype: torch.dtype) -> float:
    """The error of the accelerated network's output and gradients; raises when it is too large.

    Among millions of numbers a few lie so close to 0 that rounding decides the slope of a kink, and a gradient
    jumps: gradients are compared with tanh for ReLU, and on a graph that is not the largest.
    """
    x, y = inputs(int(edge_index.max()) + 1, dtype)
    torch.manual_seed(0)
    plain = Network(name, torch.tanh).to(dtype)
    fast = gnnkit.accelerate(copy.deepcopy(plain))
    return within(name, dtype, error(results(fast, x, y, edge_index), results(plain, x, y, edge_index)))


def check_output(name: str, edge_index: Tensor) -> float:
    """The error of the accelerated network's output in float32, as it is timed."""
    x, _ = inputs(int(edge_index.max()) + 1)
    torch.manual_seed(0)
    plain = Network(name)
    with torch.no_grad():
        expected = plain(x, edge_index)
        return within(name, torch.float32, row_error(gnnkit.accelerate(plain)(x, edge_index), expected))


def within(name: str, dtype: torch.dtype, found: float) -> float:
    """An error, if it is within the tolerance."""
    if not found <= TOLERANCE[dtype]:
        raise SystemExit(f"{name}: expected an error of at most {TOLERANCE[dtype]:g} in {dtype} (got {found:.2g})")
    return found


def large(name: str, edge_index: Tensor, repeats: int) -> dict[str, Any]:
    """Time one network on the large graph beside its peers and its ceiling."""
    num_nodes = int(edge_index.max()) + 1
    x, y = inputs(num_nodes)
    torch.manual_seed(0)
    plain = Network(name)
    cases: dict[str, Step] = {"pyg": Step(copy.deepcopy(plain), x, y, [edge_index])}
    if name in MIN_VS_CSR:
        # rows are destinations: PyG's adj_t
        adj_t = to_torch_csr_tensor(edge_index.flip(0), size=(num_nodes, num_nodes))
        cases["csr"] = Step(copy.deepcopy(plain), x, y, [adj_t])
    cases["ours"] = Step(gnnkit.accelerate(copy.deepcopy(plain)), x, y, [edge_index])
    cases["ceiling"] = Step(without_aggregation(plain), x, y, [edge_index])
    misses = CACHE.misses
    timings = interleave(cases, repeats=repeats, warmup=1)
    built = CACHE.misses - misses
    # the share is a ratio near 1 of two short steps: it takes more repetitions than the peers can, each after another
    # step of the same network, as in training
    near = interleave({"ours": cases["ours"], "ceiling": cases["ceiling"]}, repeats=2 * repeats, warmup=0, lead=1)
    share = near["ceiling"].median_seconds / near["ours"].median_seconds
    with patch.dict(os.environ, GNNKIT_BACKEND="torch"):
        control = interleave({"control": cases["ours"]}, repeats=1, warmup=0)["control"].median_seconds
    ms = {case: timing.median_seconds * 1e3 for case, timing in timings.items()}
    hashes = interleave({"hash": lambda: content_hash(edge_index)}, repeats=9)["hash"].median_seconds * 1e3
    return {
        "network": name,
        **{f"{case}_ms": ms.get(case) for case in ("pyg", "csr", "ours", "ceiling")},
        "vs_pyg": ms["pyg"] / ms["ours"],
        "vs_csr": ms["csr"] / ms["ours"] if "csr" in ms else None,
        "ceiling_vs_pyg": ms["pyg"] / ms["ceiling"],
        "share_of_ceiling": share,
        "hash_ms": hashes,
        "graphs_built": built,
        "control_share": ms["ceiling"] / (control * 1e3),
    }


def batches(name: str, batch: str, repeats: int, steps: int = 8) -> dict[str, Any]:
    """Time a network on a graph that is another one at every step."""
    num_nodes, num_edges = BATCHES[batch]
    x, y = inputs(num_nodes)
    graphs = [graph(num_nodes, num_edges, seed) for seed in range(4 * steps)]
    torch.manual_seed(0)
    plain = Network(name)
    forgetful = gnnkit.accelerate(copy.deepcopy(plain))

    def epoch(step: Step, forget: bool) -> Callable[[], None]:
        def run() -> None:
            for _ in range(steps):
                if forget:
                    CACHE.clear()  # no graph comes twice in a real loader: none may be found here either
                step()

        return run

    cases = {
        "pyg": epoch(Step(copy.deepcopy(plain), x, y, graphs), False),
        "ours": epoch(Step(forgetful, x, y, graphs), True),
    }
    timings = interleave(cases, repeats=repeats, warmup=1)
    ms = {case: statistics.median(timing.samples) * 1e3 / steps for case, timing in timings.items()}
    return {
        "network": name,
        "batch": batch,
        "pyg_ms": ms["pyg"],
        "ours_ms": ms["ours"],
        "vs_pyg": ms["pyg"] / ms["ours"],
    }


def main() -> int:
    """Check, measure, judge, write the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--only", nargs="*", default=list(LAYERS), choices=list(LAYERS), help="not written then")
    parser.add_argument("--part", choices=("both", "large", "batches"), default="both", help="not written then")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    smaller = graph(30_000, 400_000)
    errors = {(name, dtype): check(name, smaller, dtype) for name in args.only for dtype in TOLERANCE}
    if args.part != "batches":
        edge_index = graph(args.nodes, args.edges)
        for name in args.only:
            print(f"timing {name}", file=sys.stderr)
            found = max(errors[name, torch.float32], check_output(name, edge_index))
            row = large(name, edge_index, args.repeats)
            rows.append({**row, "error_float64": errors[name, torch.float64], "error_float32": found})
            print({key: value for key, value in row.items() if value is not None}, file=sys.stderr)
            CACHE.clear()
    if args.part != "large":
        # a cached GCN keeps its first graph
        kinds = [name for name in args.only if name != "GCN cached"]
        rows += [batches(name, batch, args.repeats) for name in kinds for batch in BATCHES]
    full = [row for row in rows if "batch" not in row]
    checks = [row["share_of_ceiling"] >= SHARE for row in full]
    checks += [row["vs_csr"] >= MIN_VS_CSR[row["network"]] for row in full if row["vs_csr"] is not None]
    checks += [row["vs_pyg"] >= NEVER_SLOWER for row in rows if "batch" in row]
    missed = all(row["control_share"] < SHARE for row in full)
    claim = Claim(
        name="accelerate",
        statement="A training step of three PyG layers of width 128, accelerated, beside the plain one: medians in ms",
        command="python benchmarks/claims/accelerate.py",
        result="; ".join(
            f"{row['network']} {row['vs_pyg']:.1f}× PyG ({row['share_of_ceiling']:.0%} of the ceiling)" for row in full
        ),
        rows=rows,
        passed=all(checks) and missed,
        control=f"on the kernels' PyTorch reference every network misses its share: {'yes' if missed else 'NO'}",
    )
    default = all(getattr(args, name) == value for name, value in DEFAULTS.items())
    (write if default and args.only == list(LAYERS) and args.part == "both" else show)(claim)
    return 0 if claim.passed else 1


if __name__ == "__main__":
    sys.exit(main())
