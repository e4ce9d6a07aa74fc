"""Claim: the CPU kernels give the same bits in every run and for every number of threads, forward and backward.

Every operation, with the gradients of all its float inputs, and a training step of accelerated models (output,
gradients of the rows and of the parameters) run 20 times on one thread and 20 times on two, and every bit is compared
with the first run's. The graph follows a power law, and all nodes have an edge to and from one hub: a row of the CSR
and one of its transpose are cut into pieces, and the other rows are spread over the threads. The script stops where
they are not.

Three controls go through the same comparison and have to be caught: sums of a whole tensor by PyTorch, which depend
on the number of threads; ``spmm`` with long rows cut by the number of threads; ``spmm`` that adds in another order in
every run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch_geometric.nn import GAT, GCN, GraphSAGE, HGTConv, RGCNConv

import gnnkit
from gnnkit import Adjacency, kernels
from gnnkit.datasets.synthetic import power_law
from gnnkit.kernels import _numba
from gnnkit.kernels._threads import edge_bounds

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _rows import Claim, show, write

DEFAULTS = {"nodes": 40_000, "edges": 200_000, "runs": 20}
THREADS = 1, 2
WIDTH, RELATIONS = 32, 3
REDUCES = "sum", "mean", "max", "min"

Run = Callable[[], list[Tensor]]  # what it gives is compared bit by bit
Case = tuple[str, torch.dtype, Run]


def hub_graph(num_nodes: int, num_edges: int) -> Tensor:
    """A power-law graph, and edges from every node to node 7 and back, in random order."""
    every, hub = torch.arange(num_nodes), torch.full((num_nodes,), 7)
    edge_index = torch.cat([power_law(num_nodes, num_edges), torch.stack([every, hub]), torch.stack([hub, every])], 1)
    return edge_index[:, torch.randperm(edge_index.shape[1], generator=torch.Generator().manual_seed(0))].contiguous()


def num_parts(adj: Adjacency) -> int:
    """How many parts the rows are spread over on two threads; ends the script where nothing is at stake."""
    if any(
        _numba._pieces(indptr, indices) is None for indptr, indices, *_ in ((adj.indptr, adj.indices), adj.transpose)
    ):
        raise SystemExit("expected a row that is cut into pieces, and one in the transpose (got none): more nodes")
    torch.set_num_threads(max(THREADS))
    parts = len(edge_bounds(adj.indptr.numpy(), adj.num_edges, 8)) - 1
    if parts < 2:
        raise SystemExit(f"expected rows that are spread over several parts (got {parts}): more edges")
    return parts


def step(function: Callable[..., Tensor], *inputs: Tensor, parameters: Iterable[Tensor] = ()) -> Run:
    """The result, and the gradients of the inputs and of parameters, pulled by fixed random numbers."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    wrt = [*leaves, *parameters]

    def run() -> list[Tensor]:
        out = function(*leaves)
        pull = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
        return [out.detach(), *(g for g in torch.autograd.grad(out, wrt, pull, allow_unused=True) if g is not None)]

    return run


def operations(adj: Adjacency, dtype: torch.dtype) -> Iterator[Case]:
    """Every operation that takes rows of a dtype."""
    indptr, indices, n, e = adj.indptr, adj.indices, adj.num_nodes, adj.num_edges
    rng = torch.Generator().manual_seed(0)
    csr: dict[str, Any] = {"indptr": indptr, "indices": indices, "transpose": adj.transpose}

    def case(name: str, function: Callable[..., Tensor], *shapes: tuple[int, ...]) -> Case:
        return name, dtype, step(function, *(torch.randn(shape, generator=rng).to(dtype) for shape in shapes))

    for reduce in REDUCES:

        def spmm(x: Tensor, values: Tensor | None = None, reduce: str = reduce) -> Tensor:
            return kernels.spmm(x=x, values=values, reduce=reduce, **csr)

        yield case(f"spmm {reduce}", spmm, (n, 33))
        yield case(f"spmm {reduce}, weighted", spmm, (n, 33), (e,))
        yield case(f"spmm {reduce}, 4 heads", spmm, (n, 4, 16), (e, 4))
        yield case(f"segment_reduce {reduce}", partial(kernels.segment_reduce, indptr=indptr, reduce=reduce), (e, 8))

    def scaled(x: Tensor, src_scale: Tensor, dst_scale: Tensor, values: Tensor) -> Tensor:
        return kernels.spmm_scaled(x=x, src_scale=src_scale, dst_scale=dst_scale, values=values, **csr)

    yield case("spmm_scaled", scaled, (n, 33), (n,), (n,), (e,))
    yield case("sddmm", lambda a, b: kernels.sddmm(a=a, b=b, **csr), (n, 4, 9), (n, 4, 9))
    yield case("segment_softmax", lambda logits: kernels.segment_softmax(logits, indptr), (e, 4))

    def gat(x: Tensor, a_src: Tensor, a_dst: Tensor, a_edge: Tensor) -> Tensor:
        return kernels.gat_attention(x=x, a_src=a_src, a_dst=a_dst, a_edge=a_edge, **csr)

    def gatv2(x_src: Tensor, x_dst: Tensor, att: Tensor) -> Tensor:
        return kernels.gatv2_attention(x_src=x_src, x_dst=x_dst, att=att, **csr)

    yield case("gat_attention", gat, (n, 4, 16), (n, 4), (n, 4), (e, 4))
    yield case("gatv2_attention", gatv2, (n, 4, 16), (n, 4, 16), (4, 16))
    yield case("gather_rows", lambda table: kernels.gather_rows(table, indices), (n, 33))
    if dtype == torch.bfloat16:
        return
    ptr = torch.cat([torch.arange(0, n // 2, 5), torch.tensor([n // 2, n])])  # many small groups and a large one
    yield case("segment_matmul", lambda x, w: kernels.segment_matmul(x, ptr, w), (n, 33), (len(ptr) - 1, 33, 17))
    yield case("Adjacency.softmax", adj.softmax, (e, 4))
    yield case("Adjacency.gather", adj.gather, (n, 9))
    yield case("Adjacency.aggregate", adj.aggregate, (e, 9))


def integers(adj: Adjacency, edge_index: Tensor) -> Iterator[Case]:
    """Operations on ids."""
    yield "transpose_csr", torch.int64, lambda: list(kernels.transpose_csr(adj.indptr, adj.indices, adj.num_nodes))
    yield "content_hash", torch.int64, lambda: [_halves(kernels.content_hash(edge_index))]


def _halves(number: int) -> Tensor:
    return torch.tensor([(number >> shift) % 2**32 for shift in (0, 32, 64, 96)])


def models(adj: Adjacency, edge_index: Tensor) -> Iterator[Case]:
    """A training step of accelerated models of two layers, and of one layer of HGT."""
    n, types = adj.num_nodes, torch.arange(adj.num_edges) % RELATIONS
    x = torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(0))

    def case(name: str, make: Callable[[], nn.Module], call: Callable[[Any, Tensor], Tensor]) -> Case:
        torch.manual_seed(0)
        model = gnnkit.accelerate(make())
        return name, x.dtype, step(partial(call, model), x, parameters=model.parameters())

    def plain(model: Any, x: Tensor) -> Tensor:
        out: Tensor = model(x, edge_index)
        return out

    yield case("GCN", lambda: GCN(WIDTH, WIDTH, 2), plain)
    yield case("GraphSAGE, max", lambda: GraphSAGE(WIDTH, WIDTH, 2, aggr="max"), plain)
    yield case("GAT", lambda: GAT(WIDTH, WIDTH, 2, heads=4), plain)
    yield case("GATv2", lambda: GAT(WIDTH, WIDTH, 2, heads=4, v2=True), plain)

    def rgcn(layers: Any, x: Tensor) -> Tensor:
        for layer in layers:
            x = layer(x, edge_index, types).relu()
        return x

    yield case("RGCN", lambda: nn.ModuleList(RGCNConv(WIDTH, WIDTH, RELATIONS) for _ in range(2)), rgcn)
    edges = {("a", "to", "b"): edge_index, ("b", "back", "a"): edge_index.flip(0), ("a", "at", "a"): edge_index}

    def hgt(layer: Any, x: Tensor) -> Tensor:
        out = layer({"a": x, "b": x + 1}, edges)
        return torch.cat([out["a"], out["b"]])

    yield case("HGT", lambda: HGTConv(WIDTH, WIDTH, (["a", "b"], list(edges)), heads=4), hgt)


def controls(adj: Adjacency) -> Iterator[Case]:
    """What has to be caught."""
    x = torch.randn(adj.num_nodes, WIDTH, generator=torch.Generator().manual_seed(0))

    def by_threads() -> list[Tensor]:
        with patch.object(_numba, "LONG_ROW", _numba.LONG_ROW // torch.get_num_threads()):
            return [adj.spmm(x)]

    def by_run() -> list[Tensor]:
        keys = torch.rand(adj.num_edges, dtype=torch.float64) + adj.entries[0]  # rows stay in order, their edges do not
        return [kernels.spmm(adj.indptr, adj.indices[keys.argsort()], x)]

    # several sums: one may come out alike by chance
    yield "control: PyTorch's sums of all of x", x.dtype, lambda: [(k * x).sum() for k in range(1, 17)]
    yield "control: long rows cut by the number of threads", x.dtype, by_threads
    yield "control: another order in every run", x.dtype, by_run


def compare(case: Case, runs: int) -> dict[str, Any]:
    """Run on every number of threads; count the runs whose bits are not the first run's."""
    name, dtype, run = case
    first: list[Tensor] | None = None
    row: dict[str, Any] = {"case": name, "dtype": str(dtype).removeprefix("torch."), "runs": runs * len(THREADS)}
    for threads in THREADS:
        torch.set_num_threads(threads)
        differ = 0
        for _ in range(runs):
            found = run()
            first = found if first is None else first
            differ += not all(same_bits(a, b) for a, b in zip(found, first, strict=True))
        row[f"differ_on_{threads}_threads"] = differ
    assert first is not None
    return row | {"tensors": len(first), "equal": "no" if differing(row) else "yes"}


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same bits: 0.0 is not -0.0, and a NaN is itself."""
    return torch.equal(*(t.contiguous().view(-1).view(torch.uint8) for t in (a, b)))


def differing(row: dict[str, Any]) -> int:
    """How many runs of a case were not the first one's."""
    return sum(row[f"differ_on_{threads}_threads"] for threads in THREADS)


def main(arguments: list[str] | None = None) -> int:
    """Run every case, judge, write the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name, default in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = vars(parser.parse_args(arguments))
    before = torch.get_num_threads()
    edge_index = hub_graph(options["nodes"], options["edges"])
    adj = Adjacency.from_edge_index(edge_index, options["nodes"])
    parts = num_parts(adj)
    cases = [partial(operations, adj, dtype) for dtype in (torch.float32, torch.float64, torch.bfloat16)]
    cases += [partial(integers, adj, edge_index), partial(models, adj, edge_index)]
    rows = [compare(case, options["runs"]) for make in cases for case in make()]
    caught = [compare(case, options["runs"]) for case in controls(adj)]
    torch.set_num_threads(before)
    equal, seen = sum(not differing(row) for row in rows), sum(map(bool, map(differing, caught)))
    claim = Claim(
        name="determinism",
        statement=(
            f"Results and gradients of {len(rows)} operations and models over {options['runs']} runs on each of "
            f"{' and '.join(map(str, THREADS))} threads, compared bit by bit; power-law graph with a hub, "
            f"{adj.num_nodes:,} nodes, {adj.num_edges:,} edges, rows in {parts} parts, the hub's row cut into pieces"
        ),
        command="python benchmarks/claims/determinism.py",
        result=f"{equal} of {len(rows)} equal bit for bit",
        rows=rows + caught,
        passed=equal == len(rows) and seen == len(caught),
        control=f"{seen} of {len(caught)} sums that depend on the run or the number of threads are caught",
    )
    (write if options == DEFAULTS else show)(claim)
    return int(not claim.passed)


if __name__ == "__main__":
    sys.exit(main())
