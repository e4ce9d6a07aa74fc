"""Claim: one weighted sum along the edges, forward, beside every peer that a user could take for it.

Graphs: a power law of ogbn-arxiv's size, two real ones where their raw files are there, and a power law of a quarter
of ogbn-products' size; widths 64, 128 and 256. The thresholds are for the first graph at width 128.

Every contender allocates its output anew, and all tensors of all contenders lie on huge pages
(``THP_MEM_ALLOC_ENABLE=1``, set below: gnnkit asks for them by itself, torch only when told). Peers whose messages
do not fit into the memory that is free are not run; their size is printed. torch-sparse and DGL's message passing
are measured where they can be imported: ``make peers`` makes that environment and runs this script in it.
"""

from __future__ import annotations

import os

os.environ["THP_MEM_ALLOC_ENABLE"] = "1"  # before torch is loaded

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.utils import scatter

from gnnkit import Adjacency
from gnnkit.datasets import load
from gnnkit.datasets.synthetic import power_law
from gnnkit.interop import import_dgl
from gnnkit.kernels import spmm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _harness import copy_bandwidth, floor_seconds, interleave, row_error
from _rows import Claim, show, write

LARGE = "power law 170k / 2.3M"
GRAPHS: dict[str, Callable[[], tuple[Tensor, int]]] = {
    LARGE: lambda: (power_law(170_000, 2_300_000), 170_000),
    "physics": lambda: _real("physics"),
    "computers": lambda: _real("computers"),
    "power law 612k / 31M": lambda: (power_law(612_000, 30_930_000, exponent=3.0), 612_000),
}
WIDTHS = (64, 128, 256)
MIN_VS = {"pyg": 15.0, "csr": 2.2}
MAX_FLOORS = 2.0
TOLERANCE = 1e-5
FREE_SHARE = 0.7  # of the free memory that a peer's messages may take

Product = Callable[[], Tensor]


class AbsentError(Exception):
    """A peer or a graph that is not here."""


def _real(name: str) -> tuple[Tensor, int]:
    root = os.environ.get("GNNKIT_DATA")
    if root is None:
        raise AbsentError("GNNKIT_DATA is not set")
    data = load(name, root)
    return data.edge_index, data.num_nodes


@dataclass(frozen=True)
class Problem:
    """A graph sorted by destination, then source, rows and weights."""

    adj: Adjacency
    edge_index: Tensor
    x: Tensor
    weight: Tensor

    @classmethod
    def draw(cls, edge_index: Tensor, num_nodes: int, width: int) -> Problem:
        """Draw rows and weights for a graph that is in order."""
        rng = torch.Generator().manual_seed(0)
        x = torch.randn(num_nodes, width, generator=rng)
        weight = torch.rand(edge_index.shape[1], generator=rng)
        return cls(Adjacency.from_edge_index(edge_index, num_nodes=num_nodes), edge_index, x, weight)


def ours(p: Problem) -> Product:
    adj = p.adj
    return lambda: spmm(adj.indptr, adj.indices, p.x, p.weight)


def unweighted(p: Problem) -> Product:
    adj = p.adj
    return lambda: spmm(adj.indptr, adj.indices, p.x)


def pyg(p: Problem) -> Product:
    source, destination = p.edge_index

    def run() -> Tensor:
        out: Tensor = scatter(p.x.index_select(0, source) * p.weight.unsqueeze(-1), destination, 0, len(p.x))
        return out

    return run


def csr(p: Problem) -> Product:
    size = len(p.x), len(p.x)
    parts = p.adj.indptr.int(), p.adj.indices.int(), p.weight  # int32: the faster of its index types
    matrix = torch.sparse_csr_tensor(*parts, size, check_invariants=True)
    return lambda: matrix @ p.x


def edge_index_matmul(p: Problem) -> Product:
    edges = EdgeIndex(p.edge_index.flip(0), sparse_size=(len(p.x), len(p.x)), sort_order="row")
    edges.get_csr()  # built beforehand, as for everybody
    return lambda: edges.matmul(p.x, p.weight)


def torch_sparse(p: Problem) -> Product:
    try:
        module = import_module("torch_sparse")
    except (ImportError, OSError) as error:
        raise AbsentError(f"cannot be imported ({type(error).__name__})") from error
    size = len(p.x), len(p.x)
    matrix = module.SparseTensor(rowptr=p.adj.indptr, col=p.adj.indices.long(), value=p.weight, sparse_sizes=size)
    return lambda: matrix @ p.x


def dgl(p: Problem, weighted: bool = True) -> Product:
    try:
        module = import_dgl()
    except ImportError as error:
        raise AbsentError(f"cannot be imported ({type(error).__name__})") from error
    graph = module.graph((p.edge_index[0], p.edge_index[1]), num_nodes=len(p.x))
    graph.create_formats_()
    operators = import_module("dgl.ops")
    if weighted:
        return lambda: operators.u_mul_e_sum(graph, p.x, p.weight.unsqueeze(-1))
    return lambda: operators.copy_u_sum(graph, p.x)


PEERS: dict[str, Callable[[Problem], Product]] = {
    "pyg": pyg,
    "csr": csr,
    "edge_index": edge_index_matmul,
    "torch_sparse": torch_sparse,
    "dgl": dgl,
}
MATERIALISE = {"pyg": 2}  # how often a peer holds a row for every edge


def free_bytes() -> int:
    """The memory that the system could give."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("expected a line MemAvailable in /proc/meminfo")


def measure(problem: Problem, repeats: int, bandwidth: float, build_ms: float) -> dict[str, Any]:
    """Compare with every peer that is here and fits, then time all of them in turn."""
    num_edges, (num_nodes, width) = problem.adj.num_edges, problem.x.shape
    expected = ours(problem)()
    cases: dict[str, Product] = {"ours": ours(problem), "unweighted": unweighted(problem)}
    row: dict[str, Any] = {"width": width, "build_ms": build_ms}
    for name, peer in PEERS.items():
        message_bytes = MATERIALISE.get(name, 0) * num_edges * width * 4
        if message_bytes > FREE_SHARE * free_bytes():
            row[f"{name}_ms"] = f"does not fit: {message_bytes / 2**30:.1f} GiB of messages"
            continue
        try:
            cases[name] = peer(problem)
        except AbsentError as error:
            row[f"{name}_ms"] = str(error)
            continue
        found = row_error(cases[name](), expected)
        row["error"] = max(row.get("error", 0.0), found)
        if not found <= TOLERANCE:
            raise SystemExit(f"{name}: expected an error of at most {TOLERANCE} (got {found})")
    try:
        cases["dgl_copy"] = dgl(problem, weighted=False)
    except AbsentError as error:
        row["dgl_copy_ms"] = str(error)
    del expected
    timings = interleave(cases, repeats, warmup=1)
    row |= {f"{name}_ms": timing.median_seconds * 1e3 for name, timing in timings.items()}
    row["floor_ms"] = floor_seconds(num_edges, num_nodes, width, bandwidth) * 1e3
    return row


def holds(row: dict[str, Any], milliseconds: float) -> bool:
    """The thresholds, for a time of ours."""
    return milliseconds <= MAX_FLOORS * row["floor_ms"] and all(
        row[f"{peer}_ms"] / milliseconds >= least for peer, least in MIN_VS.items()
    )


def rows_of(names: list[str], repeats: int) -> Iterator[dict[str, Any]]:
    """Measure graph by graph, width by width."""
    bandwidth = copy_bandwidth()
    for name in names:
        try:
            edge_index, num_nodes = GRAPHS[name]()
        except AbsentError as error:
            yield {"graph": name, "ours_ms": str(error)}
            continue
        edge_index = edge_index[:, (edge_index[1] * num_nodes + edge_index[0]).argsort()].contiguous()

        def build(edge_index: Tensor = edge_index, num_nodes: int = num_nodes) -> object:
            return Adjacency.from_edge_index(edge_index, num_nodes=num_nodes)

        build_ms = interleave({"build": build}, 3, warmup=1)["build"].median_seconds * 1e3
        for width in WIDTHS:
            print(f"timing {name}, {width}", file=sys.stderr)
            row = measure(Problem.draw(edge_index, num_nodes, width), repeats, bandwidth, build_ms)
            yield {"graph": name, **row}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--graphs", nargs="*", default=list(GRAPHS), choices=list(GRAPHS), help="not written then")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
    warnings.filterwarnings("ignore", "Sparse invariant checks are implicitly disabled", UserWarning)

    rows = list(rows_of(options.graphs, options.repeats))
    row = next(row for row in rows if row["graph"] == LARGE and row["width"] == 128)
    with patch.dict(os.environ, GNNKIT_BACKEND="torch"):
        problem = Problem.draw(*GRAPHS[LARGE](), width=128)
        control_ms = interleave({"control": ours(problem)}, 1, warmup=0)["control"].median_seconds * 1e3
    caught = not holds(row, control_ms)
    dgl_copy = row["dgl_copy_ms"]
    beside_dgl = isinstance(dgl_copy, str) or row["unweighted_ms"] <= dgl_copy
    peers = {peer: row[f"{peer}_ms"] for peer in PEERS}
    ratios = ", ".join(
        f"{time / row['ours_ms']:.1f}× {peer}" for peer, time in peers.items() if not isinstance(time, str)
    )
    claim = Claim(
        name="spmm_forward",
        statement=(
            "spmm forward, weighted sum, float32, fresh outputs on huge pages for everybody; medians in ms. Thresholds "
            f"at width 128 on the {LARGE}: {MIN_VS['pyg']:g}× PyG scatter, {MIN_VS['csr']:g}× torch CSR, at most "
            f"{MAX_FLOORS:g} floors of (E + N)·D·4 bytes at copy_ bandwidth; unweighted not slower than DGL's copy_u"
        ),
        command="python benchmarks/claims/spmm_forward.py",
        result=f"{ratios}; {row['ours_ms'] / row['floor_ms']:.2f} floors",
        rows=rows,
        passed=holds(row, row["ours_ms"]) and beside_dgl and caught,
        control=f"the PyTorch reference misses the thresholds: {'yes' if caught else 'NO'} ({control_ms:.0f} ms)",
    )
    (write if options.graphs == list(GRAPHS) else show)(claim)
    return int(not claim.passed)


if __name__ == "__main__":
    sys.exit(main())
