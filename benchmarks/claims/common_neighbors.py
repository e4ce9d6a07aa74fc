"""Claim: the neighbours that pairs of nodes share, and each one's own, beside SciPy's and torch-sparse's ways to them.

65,536 pairs of each graph, half of them edges and half drawn at random, shuffled; graphs are simple and symmetric. Ours
is called as a user does, with its check of the rows. SciPy multiplies and subtracts rows that it selects (float32 and
32-bit indices, its fastest). torch-sparse's way is that of NCN's code: it selects rows of a ``SparseTensor``, makes
a sorted key of each pair and neighbour, and seeks the keys of one end among those of the other. Neither says where a
neighbour stands in the graph; ours does, in 8 bytes more a member. The thresholds: what both ends share against both
peers, and all three sets against torch-sparse. SciPy's time for all three stands beside ours without a threshold: it
goes into memory that is written for the first time, 8 bytes a member of SciPy's and 12 of ours.

``make peers`` makes an environment with torch-sparse and this script is run in it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from gnnkit.datasets import load
from gnnkit.datasets.synthetic import power_law
from gnnkit.kernels import PairSets, common_neighbors

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _harness import interleave
from _rows import Claim, show, write

GRAPHS = ("physics", "computers", "ogbl-ddi", "power law 170k / 2.3M")
PAIRS = 65_536
MIN_TIMES = 3.0
WANTED = {"both": ("both",), "all three": ("both", "only_i", "only_j")}

Members = list[tuple[Tensor, Tensor]]  # of each set: the numbers of members of the pairs, and the members


class Problem:
    """A simple symmetric graph and pairs of its nodes."""

    def __init__(self, name: str) -> None:
        if name.startswith("power law"):
            edge_index, size = power_law(170_000, 2_300_000), 170_000
        else:
            data = load(name)
            edge_index, size = data.edge_index, data.num_nodes
        edges = torch.cat([edge_index, edge_index.flip(0)], dim=1)
        keys = (edges[0] * size + edges[1])[edges[0] != edges[1]].unique()
        row, col = keys // size, keys % size
        self.size, self.indices = size, col.int()
        self.indptr = torch.cat([row.new_zeros(1), row.bincount(minlength=size).cumsum(0)])
        draw = torch.Generator().manual_seed(0)
        chosen = torch.randint(len(row), (PAIRS // 2,), generator=draw)
        pairs = torch.cat([torch.stack([row, col])[:, chosen], torch.randint(size, (2, PAIRS // 2), generator=draw)], 1)
        self.pairs = pairs[:, torch.randperm(PAIRS, generator=draw)].contiguous()

    def ours(self, sets: tuple[str, ...]) -> Callable[[], PairSets]:
        return lambda: common_neighbors(self.indptr, self.indices, self.pairs, sets=sets)

    def scipy(self, sets: tuple[str, ...]) -> Callable[[], list[Any]]:
        ones = np.ones(len(self.indices), dtype=np.float32)
        given = ones, self.indices.numpy(), self.indptr.numpy().astype(np.int32)
        matrix = scipy.sparse.csr_array(given, shape=(self.size, self.size))
        i, j = self.pairs.numpy()

        def run() -> list[Any]:
            a, b = matrix[i], matrix[j]
            both = a.multiply(b)
            return [both] if len(sets) == 1 else [both, a - both, b - both]

        return run

    def torch_sparse(self, sets: tuple[str, ...]) -> Callable[[], Members]:
        module = import_module("torch_sparse")
        sizes = self.size, self.size
        matrix = module.SparseTensor(rowptr=self.indptr, col=self.indices.long(), sparse_sizes=sizes, is_sorted=True)

        def found(keys: Tensor, among: Tensor) -> Tensor:
            place = torch.searchsorted(among, keys).clamp_(max=max(len(among) - 1, 0))
            return among[place] == keys

        def run() -> Members:
            keys = []
            for nodes in self.pairs:
                row, col, _ = matrix[nodes].coo()
                keys.append(row << 32 | col)
            in_j = found(*keys)
            chosen = [keys[0][in_j]]
            if len(sets) > 1:
                chosen += [keys[0][~in_j], keys[1][~found(*keys[::-1])]]
            return [((k >> 32).bincount(minlength=PAIRS), k & 0xFFFFFFFF) for k in chosen]

        return run


def members_of(result: Any) -> Members:
    """What any of the contenders found, in one form."""
    if isinstance(result, PairSets):
        return [(s.indptr.diff(), s.indices.long()) for s in result if s is not None]
    if isinstance(result[0], tuple):
        return list(result)
    for matrix in result:
        matrix.eliminate_zeros()
        matrix.sort_indices()
    return [(torch.from_numpy(np.diff(m.indptr)).long(), torch.from_numpy(m.indices).long()) for m in result]


def equal(a: Any, b: Any) -> bool:
    """Whether two contenders found the same members of the same pairs."""
    return all(
        torch.equal(x, y)
        for ours, theirs in zip(members_of(a), members_of(b), strict=True)
        for x, y in zip(ours, theirs, strict=True)
    )


def row_of(problem: Problem, name: str, what: str, repeats: int) -> dict[str, Any]:
    """Check that everybody finds the same, then time them side by side."""
    sets = WANTED[what]
    cases = {"ours": problem.ours(sets), "scipy": problem.scipy(sets), "torch_sparse": problem.torch_sparse(sets)}
    found = cases["ours"]()
    for peer in ("scipy", "torch_sparse"):
        if not equal(found, cases[peer]()):
            raise SystemExit(f"{name}, {what}: {peer} finds other members")
    print(f"timing {name}, {what}, {torch.get_num_threads()} threads", file=sys.stderr)
    seconds = {case: timing.median_seconds for case, timing in interleave(cases, repeats, warmup=1, lead=1).items()}
    return {
        "graph": name,
        "sets": what,
        "threads": torch.get_num_threads(),
        "members": sum(len(indices) for _, indices in members_of(found)),
        **{f"{case}_ms": value * 1e3 for case, value in seconds.items()},
        **{f"vs_{peer}": seconds[peer] / seconds["ours"] for peer in ("scipy", "torch_sparse")},
    }


def holds(row: dict[str, Any]) -> bool:
    """The thresholds; SciPy's product is what both ends share."""
    return min(row["vs_torch_sparse"], row["vs_scipy"] if row["sets"] == "both" else MIN_TIMES) >= MIN_TIMES


def controls(name: str) -> tuple[bool, str]:
    """A graph without one edge has to be noticed, and the PyTorch reference has to miss the threshold."""
    problem, sets = Problem(name), WANTED["both"]
    keep = torch.ones(len(problem.indices), dtype=torch.bool)
    both = problem.ours(sets)().both
    assert both is not None
    keep[both.entries[0]] = False
    less = common_neighbors(problem.indptr, problem.indices, problem.pairs, keep=keep, sets=sets)
    noticed = not equal(less, problem.scipy(sets)())
    with patch.dict(os.environ, GNNKIT_BACKEND="torch"):
        row = row_of(problem, name, "both", 1)
    return noticed and not holds(row), (
        f"without one entry the check notices: {'yes' if noticed else 'NO'}; "
        f"the PyTorch reference misses the threshold: {'NO' if holds(row) else 'yes'} ({row['vs_scipy']:.2f}× SciPy)"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--graphs", nargs="*", default=list(GRAPHS), choices=GRAPHS, help="not written then")
    options = parser.parse_args()
    rows = []
    for name in options.graphs:
        problem = Problem(name)
        rows += [row_of(problem, name, what, options.repeats) for what in WANTED]
    caught, control = controls(options.graphs[0])
    least = {
        (what, peer): min(row[f"vs_{peer}"] for row in rows if row["sets"] == what)
        for what in WANTED
        for peer in ("scipy", "torch_sparse")
    }
    claim = Claim(
        name="common_neighbors",
        statement=(
            f"The neighbours that {PAIRS:,} pairs share, and all three sets with each one's own; medians. "
            f"Thresholds, on every graph: {MIN_TIMES:g}× torch-sparse's keys, and for shared neighbours {MIN_TIMES:g}× "
            f"SciPy's product of rows"
        ),
        command=".venv-peers/bin/python benchmarks/claims/common_neighbors.py",
        result="; ".join(
            f"{what}: at least {least[what, 'scipy']:.1f}× SciPy, {least[what, 'torch_sparse']:.1f}× torch-sparse"
            for what in WANTED
        ),
        rows=rows,
        passed=all(holds(row) for row in rows) and caught,
        control=control,
    )
    (write if options.graphs == list(GRAPHS) else show)(claim)
    return int(not claim.passed)


if __name__ == "__main__":
    sys.exit(main())
