"""Random graphs for `common_neighbors`, and its sets by Python's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnnkit.kernels import PairSets

NAMES = ("both", "only_i", "only_j")


@dataclass(frozen=True)
class Graph:
    """A CSR whose rows increase strictly, and which of its entries count."""

    indptr: Tensor
    indices: Tensor
    keep: Tensor

    @property
    def csr(self) -> tuple[Tensor, Tensor]:
        return self.indptr, self.indices

    def row(self, node: int, *, masked: bool) -> dict[int, int]:
        """The neighbours of a node that count, each with its entry."""
        entries = range(int(self.indptr[node]), int(self.indptr[node + 1]))
        return {int(self.indices[e]): e for e in entries if not masked or bool(self.keep[e])}


def make(seed: int, *, num_nodes: int | None = None, dtype: torch.dtype = torch.int64) -> Graph:
    """A graph of up to 40 nodes by ``seed``: sparse, dense, or with hubs that have nearly every edge."""
    draw = torch.Generator().manual_seed(seed)
    size = int(torch.randint(1, 40, (), generator=draw)) if num_nodes is None else num_nodes
    odds = torch.full((size,), (0.05, 0.2, 0.6)[seed % 3])
    odds[torch.rand(size, generator=draw) < 0.1] = 0.95
    odds[torch.rand(size, generator=draw) < 0.2] = 0.0
    edges = torch.rand(size, size, generator=draw) < torch.maximum(odds[:, None], odds[None] * (odds[:, None] > 0))
    row, indices = edges.nonzero().unbind(1)
    indptr = torch.cat([row.new_zeros(1), row.bincount(minlength=size).cumsum(0)])
    return Graph(indptr, indices.to(dtype), torch.rand(len(row), generator=draw) < 0.7)


def draw_pairs(seed: int, num_nodes: int, count: int = 60) -> Tensor:
    """Pairs that repeat, some with i = j, and as many that follow each other with the same i."""
    draw = torch.Generator().manual_seed(seed)
    pairs = torch.randint(num_nodes, (2, count), generator=draw)
    runs = torch.randint(num_nodes, (2, count), generator=draw)
    return torch.cat([pairs, torch.stack([runs[0].sort().values, runs[1]])], dim=1)


def agrees(found: PairSets, graph: Graph, other: Graph, pairs: Tensor, *, masked: bool) -> None:
    """Compare every member of every set, its order and where it stands, with Python's sets."""
    members: dict[str, list[list[tuple[int, int]]]] = {name: [] for name in NAMES}
    others = []
    for i, j in pairs.t().tolist():
        a, b = graph.row(i, masked=masked), other.row(j, masked=masked)
        members["both"].append([(node, a[node]) for node in sorted(a.keys() & b.keys())])
        members["only_i"].append([(node, a[node]) for node in sorted(a.keys() - b.keys())])
        members["only_j"].append([(node, b[node]) for node in sorted(b.keys() - a.keys())])
        others += [b[node] for node in sorted(a.keys() & b.keys())]
    for name in NAMES:
        sets = getattr(found, name)
        flat = [member for pair in members[name] for member in pair]
        assert sets.indptr.diff().tolist() == [len(pair) for pair in members[name]], name
        assert list(zip(sets.indices.tolist(), sets.entries.tolist(), strict=True)) == flat, name
        assert sets.indptr.dtype == sets.entries.dtype == torch.int64
        assert sets.indices.dtype == graph.indices.dtype
        assert int(sets.indptr[0]) == 0
    assert found.both is not None
    assert found.both.other_entries is not None
    assert found.both.other_entries.tolist() == others
    assert found.only_i is not None
    assert found.only_j is not None
    assert found.only_i.other_entries is found.only_j.other_entries is None
