"""The numbers that one type's nodes have in a batch: one graph for all seeds, or a tree for each."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from gnnkit.kernels import relabel
from gnnkit.kernels._by_hops import first_positions


class Numbering(Protocol):
    """Numbers nodes in the order in which they are found.

    Attributes:
        nodes: The nodes found so far, a tensor for the seeds and for each call of `number`.
        trees: The tree of each of them, likewise; empty where all seeds share a graph.
        count: How many there are.
    """

    nodes: list[Tensor]
    trees: list[Tensor]
    count: int

    def start(self, seeds: Tensor, trees: Tensor) -> None:
        """Take the seeds as they are: seed k has the number k, twice the same one has two."""
        ...

    def number(self, ids: Tensor, trees: Tensor) -> Tensor:
        """``[M]`` int64: the number of each node, those not seen before numbered anew."""
        ...

    def find(self, ids: Tensor, trees: Tensor) -> Tensor:
        """``[M]`` int64: the number of each node, -1 where it has none."""
        ...


class Shared:
    """One graph for all seeds; `local` is ``[N]`` int32 full of -1, and is left so by `clear`."""

    def __init__(self, local: Tensor) -> None:
        self.local, self.count = local, 0
        self.nodes: list[Tensor] = []
        self.trees: list[Tensor] = []

    def start(self, seeds: Tensor, trees: Tensor) -> None:
        """See `Numbering.start`; an edge from a seed that comes twice comes from the first of the two."""
        labels, first = relabel(self.local, 0, seeds)
        self._add(seeds)
        if len(first) < len(seeds):
            self.local[first] = first_positions(labels, len(first))

    def number(self, ids: Tensor, trees: Tensor) -> Tensor:
        """See `Numbering.number`."""
        labels, new = relabel(self.local, self.count, ids)
        self._add(new)
        return labels

    def find(self, ids: Tensor, trees: Tensor) -> Tensor:
        """See `Numbering.find`."""
        return self.local[ids].long()

    def clear(self) -> None:
        """Leave `local` as it came, for the next batch."""
        for nodes in self.nodes:
            self.local[nodes] = -1

    def _add(self, nodes: Tensor) -> None:
        self.nodes.append(nodes)
        self.count += len(nodes)


class Separate:
    """A tree for each seed: what has a number is a (tree, node) pair. A sort of all pairs a call, O(M log M)."""

    def __init__(self, num_nodes: int) -> None:
        self.num_nodes, self.count = max(num_nodes, 1), 0
        self.nodes: list[Tensor] = []
        self.trees: list[Tensor] = []
        self._keys = torch.empty(0, dtype=torch.int64)  # [count], in the order of the numbers

    def start(self, seeds: Tensor, trees: Tensor) -> None:
        """See `Numbering.start`."""
        self._keys = trees[:0]
        self.number(seeds, trees)

    def number(self, ids: Tensor, trees: Tensor) -> Tensor:
        """See `Numbering.number`."""
        # the known pairs go first: the order of first appearance then gives them the numbers that they have
        keys = torch.cat([self._keys, trees * self.num_nodes + ids])
        unique, inverse = keys.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        first = torch.sort(first_positions(inverse, len(unique)))
        number = torch.empty_like(first.indices)
        number[first.indices] = torch.arange(len(unique), device=keys.device)
        new = first.values[self.count :]
        position = new - self.count
        self._keys = torch.cat([self._keys, keys[new]])
        self.nodes.append(ids[position])
        self.trees.append(trees[position])
        known, self.count = self.count, len(unique)
        return number[inverse[known:]]

    def find(self, ids: Tensor, trees: Tensor) -> Tensor:
        """See `Numbering.find`."""
        if not self.count:
            return torch.full_like(ids, -1, dtype=torch.int64)
        keys, order = self._keys.sort()
        wanted = trees * self.num_nodes + ids
        place = torch.searchsorted(keys, wanted).clamp(max=self.count - 1)
        return torch.where(keys[place] == wanted, order[place], -1)
