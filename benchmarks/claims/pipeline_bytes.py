"""Claim: an epoch of a pipeline sends the bytes that `communication_volume` says, to the byte, and the paper's formula.

Deep GCN and GCNII, 32 layers 256 wide, on three graphs in METIS parts, in 2, 4 and 8 processes (gloo): layers in
stages (pipeline), nodes in ways (graph), or both (hybrid). Each process counts what it hands to torch.distributed, kind
by kind; the sums over ranks are compared with the prediction, which is made before any process starts. Features do not
travel and are 64 random numbers a node; histories begin at zero, for the values of rows do not change their number.

Counted a second time by the kernel: what it saw acknowledged on the TCP connections of every process (TCP_INFO),
without the headers of TCP and IP. It has to be within 2 % of the bytes counted, where a sum of n ranks' parameters is a
ring's 2 (n - 1) / n of them. More than the bytes counted are gloo's headers, the loss and the barriers.

Reported beside the paper: what graph parallelism sends over what a pipeline does.

Controls: the prediction for parts of which one node, the busiest, is another way's; a transport that counts gradients
as activations; one that does not count the gradients of replicas, which the kernel has to see too.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gnnkit.datasets import load
from gnnkit.datasets.synthetic import power_law
from gnnkit.pipeline import (
    ChunkedGraph,
    Plan,
    communication_volume,
    inspect,
    plan,
    replicas,
    volume_formula,
)
from gnnkit.pipeline._edges import read_edges

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _counted_epoch import FEATURES, KINDS, Case, named, network_of, rank_main
from _rows import Claim, show, write

DEFAULTS = {"layers": 32, "hidden": 256, "processes": [2, 4, 8], "graphs": ["physics", "computers", "power law"]}
MODELS = ("gcn", "gcnii")
KERNEL_PERCENT = 2.0
PAPER = "the paper's 8.69x on average, up to 22.89x"


def cases_of(graphs: Sequence[str], processes: Sequence[int]) -> list[Case]:
    """Every graph and split, the hybrids of two ways; GCNII only in stages, for between ways it sends what GCN does."""
    splits = [(n, 1) for n in processes] + [(1, n) for n in processes] + [(n // 2, 2) for n in processes if n > 2]
    return [
        Case(graph, model, *split)
        for graph in graphs
        for split in splits
        for model in MODELS
        if model != "gcnii" or split[0] > 1
    ]


@cache
def edges_of(graph: str) -> tuple[Tensor, int]:
    """The edges of a graph and its number of nodes."""
    if graph == "power law":
        return power_law(20_000, 200_000), 20_000
    if graph == "tiny":
        return power_law(300, 1500), 300
    data = load(graph)
    return data.edge_index, data.num_nodes


def predict(case: Case, folder: Path, layers: int, hidden: int, moved: bool = False) -> dict[str, Any]:
    """Cut the graph, write a file for each way, and say what an epoch will send, or would with one node moved."""
    network = network_of(case.model, layers, hidden)
    edge_index, num_nodes = edges_of(case.graph)
    adj, weight = read_edges(edge_index, num_nodes, network.edges)
    file = folder / f"{named(case)}.plan"
    if file.exists():
        cut = torch.load(file, weights_only=False)
    else:
        cut = plan(adj, layers, stages=case.stages, ways=case.ways, partitioner="metis")
        torch.save(cut, file)
        graph = ChunkedGraph(adj, cut, edge_weight=weight, edges=network.edges)
        for way in range(cut.ways):
            torch.save(graph.part(way), folder / f"{named(case)}.{way}")
    if moved:
        way, node = cut.way.clone(), int(adj.in_degree().argmax())
        way[node] = (way[node] + 1) % cut.ways
        cut = Plan(cut.stages, way, cut.chunk)
    ends = sum(p.numel() for end in (network.first, network.last) if end is not None for p in end.parameters())
    shapes = inspect(network, FEATURES)
    about = {"first_channels": hidden, "shares": network.shares, "end_parameters": ends}
    volume = communication_volume(cut, adj, shapes, **about)
    copies = replicas(adj, cut.way, cut.ways)
    paper = volume_formula(num_nodes, copies, hidden, layers, cut.num_stages, shares=network.shares)
    return {
        "kinds": {kind: getattr(volume, kind) for kind in KINDS},
        "paper": 4 * paper,
        "chunks": cut.num_chunks,
        "replicas_a_node": copies / num_nodes,
    }


def row_of(case: Case, predicted: dict[str, Any], ranks: Sequence[dict[str, int]]) -> dict[str, Any]:
    """Compare what was predicted with what all ranks sent."""
    counted = {kind: sum(rank[kind] for rank in ranks) for kind in KINDS}
    wrong = [kind for kind in KINDS if counted[kind] != predicted["kinds"][kind]]
    rows = sum(counted.values()) - counted["parameters"]
    wire = rows + counted["parameters"] * 2 * (case.ways - 1) / case.ways
    return {
        "graph": case.graph,
        "model": case.model,
        "mode": case.mode,
        "processes": case.processes,
        "stages_ways": f"{case.stages} x {case.ways}",
        "chunks": predicted["chunks"],
        "replicas_a_node": round(predicted["replicas_a_node"], 4),
        "counted_bytes": rows,
        "predicted_bytes": sum(predicted["kinds"].values()) - predicted["kinds"]["parameters"],
        "paper_bytes": predicted["paper"],
        "parameters_bytes": counted["parameters"],
        "wrong_kinds": ", ".join(wrong) or "none",
        "kernel_over_counted_percent": round(100 * (sum(rank["kernel"] for rank in ranks) / wire - 1), 3),
    }


def exact(row: dict[str, Any]) -> bool:
    """Whether every kind is what was predicted, and all of them are what the paper says."""
    return row["wrong_kinds"] == "none" and row["counted_bytes"] == row["predicted_bytes"] == row["paper_bytes"]


def confirmed(row: dict[str, Any]) -> bool:
    """Whether the kernel saw as much."""
    return abs(row["kernel_over_counted_percent"]) <= KERNEL_PERCENT


def add_ratios(rows: Sequence[dict[str, Any]]) -> list[tuple[int, float]]:
    """Write into rows what graph mode sends over what they do; return the processes and ratios of the pipelines."""
    whole = {(row["graph"], row["processes"]): row["counted_bytes"] for row in rows if row["mode"] == "graph"}
    for row in rows:
        row["graph_over_this"] = round(whole[row["graph"], row["processes"]] / row["counted_bytes"], 3)
    return [(row["processes"], row["graph_over_this"]) for row in rows if row["mode"] == "pipeline"]


def measure(cases: Sequence[Case], layers: int, hidden: int) -> list[dict[str, Any]]:
    """Predict, start the ranks of 2, 4 and 8 processes one after the other, and compare."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        predicted = [predict(case, folder, layers, hidden) for case in cases]
        others = [case for case in cases if case.counts == "right" and case.ways > 1 and case.model == MODELS[0]]
        moved = {cases.index(case): predict(case, folder, layers, hidden, moved=True) for case in others}
        torch.save(list(cases), folder / "cases.pt")
        found: dict[int, list[dict[str, int]]] = {}
        for world_size in sorted({case.processes for case in cases}):
            for number, counts in launch(world_size, folder, layers, hidden).items():
                found[number] = counts
    rows = [row_of(case, predicted[n], found[n]) | {"counts": case.counts} for n, case in enumerate(cases)]
    return rows + [row_of(cases[n], other, found[n]) | {"counts": "one node moved"} for n, other in moved.items()]


def launch(world_size: int, folder: Path, layers: int, hidden: int) -> dict[int, list[dict[str, int]]]:
    """Run the ranks; give each case's counts, rank by rank."""
    options = ["--layers", str(layers), "--hidden", str(hidden), "--folder", str(folder), "--world", str(world_size)]
    command = [sys.executable, __file__, *options, "--rank"]
    ranks = [subprocess.Popen([*command, str(rank)]) for rank in range(world_size)]
    try:
        if sum(process.wait(1200) != 0 for process in ranks):
            raise SystemExit("a rank failed: its own error stands above")
    finally:
        for process in ranks:
            process.kill()
    results = [torch.load(folder / f"rank{world_size}.{rank}.pt") for rank in range(world_size)]
    return {number: [result[number] for result in results] for number in results[0]}


def main(arguments: list[str] | None = None) -> int:
    """Measure, judge, write the rows; with --rank, be one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--layers", type=int, default=DEFAULTS["layers"])
    parser.add_argument("--hidden", type=int, default=DEFAULTS["hidden"])
    parser.add_argument("--processes", type=int, nargs="+", default=DEFAULTS["processes"])
    parser.add_argument("--graphs", nargs="+", default=DEFAULTS["graphs"])
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--world", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = vars(parser.parse_args(arguments))
    rank, world, folder = (options.pop(name) for name in ("rank", "world", "folder"))
    if rank is not None:
        rank_main(rank, folder, world, options["layers"], options["hidden"])
        return 0
    cases = cases_of(options["graphs"], options["processes"])
    graph, fewest = options["graphs"][-1], options["processes"][0]
    cases += [Case(graph, "gcn", fewest, 1, "miscounting"), Case(graph, "gcn", 1, fewest, "forgetful")]
    rows = measure(cases, options["layers"], options["hidden"])
    claim = judge(rows, options)
    (write if options == DEFAULTS else show)(claim)
    return int(not claim.passed)


def judge(rows: Sequence[dict[str, Any]], options: dict[str, Any]) -> Claim:
    """Every row to the byte and confirmed by the kernel, every control caught."""
    right = [row for row in rows if row["counts"] == "right"]
    miscounted, forgotten, *moved = (row for row in rows if row["counts"] != "right")
    ratios = add_ratios(right)
    most_processes, least, largest = max(ratios)[0], *(pick(ratio for _, ratio in ratios) for pick in (min, max))
    mean = statistics.mean(ratio for processes, ratio in ratios if processes == most_processes)
    good, seen = sum(map(exact, right)), sum(map(confirmed, right))
    caught = [not exact(miscounted), not exact(forgotten), not confirmed(forgotten), *(not exact(row) for row in moved)]
    most = max(abs(row["kernel_over_counted_percent"]) for row in right)
    processes = ", ".join(map(str, options["processes"]))
    return Claim(
        name="pipeline_bytes",
        statement=(
            f"Bytes that an epoch sends, counted in the transport, against communication_volume: GCN and GCNII, "
            f"{options['layers']} layers {options['hidden']} wide, METIS parts of {', '.join(options['graphs'])}, "
            f"{processes} processes, modes pipeline, graph and hybrid"
        ),
        command="python benchmarks/claims/pipeline_bytes.py",
        result=(
            f"{good} of {len(right)} to the byte, kind by kind, and by the paper's formula; the kernel's count of "
            f"payload differs by at most {most:.2g} %; graph mode sends {mean:.2f}x what a pipeline of "
            f"{most_processes} processes does on average, {least:.2f}x to {largest:.2f}x of all ({PAPER})"
        ),
        rows=list(rows),
        passed=good == seen == len(right) and all(caught),
        control=(
            f"gradients counted as activations and replicas' gradients not counted: {sum(caught[:3])} of 3 checks see "
            f"it, the kernel's too; one node in another way: {sum(caught[3:])} of {len(moved)} predictions differ"
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
