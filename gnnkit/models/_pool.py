"""What predictors of links share: blocks of pairs, dropped entries, rows of members alone, counts of walks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit.adjacency import Adjacency
from gnnkit.kernels import Sets, pair_blocks, spmm
from gnnkit.models._dropout import keep_at_random


class Pool(NamedTuple):
    """A set of nodes for each pair and a value for each member: ``indptr [P + 1]``, ``indices [M]``, ``values [M]``."""

    indptr: Tensor
    indices: Tensor
    values: Tensor | None = None

    @classmethod
    def of(cls, sets: Sets | None, values: Tensor | None = None) -> Pool:
        """The members of sets that were asked for."""
        assert sets is not None
        return cls(sets.indptr, sets.indices, values)

    def compact(self) -> tuple[Pool, Tensor]:
        """The sets that are not empty, Q of them, and for each pair the number of its set, Q for an empty one."""
        filled = self.indptr.diff() > 0
        pool = self._replace(indptr=torch.cat([self.indptr[:-1][filled], self.indptr[-1:]]))
        number = filled.cumsum(0) - 1
        return pool, torch.where(filled, number, len(pool.indptr) - 1)

    def part(self, low: int, high: int) -> Pool:
        """The sets of pairs low to high."""
        high = min(high, len(self.indptr) - 1)
        if (low, high) == (0, len(self.indptr) - 1):
            return self
        begin, end = int(self.indptr[low]), int(self.indptr[high])
        values = None if self.values is None else self.values[begin:end]
        return Pool(self.indptr[low : high + 1] - begin, self.indices[begin:end], values)

    def sum(self, rows: Tensor) -> Tensor:
        """``[P, D]``: the members' rows, times their values, added up."""
        values = None if self.values is None else self.values.to(rows.dtype)
        return spmm(self.indptr, self.indices, rows, values)


def blocks(adj: Adjacency, pairs: Tensor, max_bytes: int, row_bytes: int) -> list[slice]:
    """Cut pairs so that a block's sets take at most ``max_bytes``, and so many bytes a pair as well; one at least."""
    step = max(1, max_bytes // row_bytes)
    found = pair_blocks(adj.indptr, pairs, max_bytes)
    cut = [slice(at, min(at + step, part.stop)) for part in found for at in range(part.start, part.stop, step)]
    return cut or [slice(0, 0)]


def drop_entries(keep: Tensor | None, adj: Adjacency, rate: float) -> Tensor | None:
    """Let each entry that counts count with probability 1 - ``rate``, the two directions of an edge independently."""
    if rate == 0:
        return keep
    drawn = keep_at_random(adj.indices.shape, rate, adj.device)
    return drawn if keep is None else keep & drawn


def members_alone(pools: list[list[Pool]], num_nodes: int) -> tuple[Tensor, list[list[Pool]]]:
    """The nodes that are a member of any set, ``[R]``, and the pools with their places in it for indices."""
    like = pools[0][0].indices
    seen = torch.zeros(num_nodes, dtype=torch.bool, device=like.device)
    for pool in (pool for group in pools for pool in group):
        seen[pool.indices] = True
    place = seen.cumsum(0, dtype=like.dtype) - 1
    return seen.nonzero().squeeze(-1), [
        [pool._replace(indices=place[pool.indices]) for pool in group] for group in pools
    ]


def walks(adj: Adjacency, keep: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """A @ A of the entries that count, as a CSR: the numbers of walks of two steps (float64).

    SciPy's product, on the CPU: O(sum of squared degrees), once a forward pass.
    """
    from scipy.sparse import csr_array

    size = (adj.num_nodes, adj.num_nodes)
    counts = torch.ones(adj.num_edges, dtype=torch.float64) if keep is None else keep.double().cpu()
    once = csr_array((counts.numpy(), adj.indices.cpu().numpy(), adj.indptr.cpu().numpy()), shape=size)
    twice = once @ once  # its own memory; that of once is the graph's
    twice.eliminate_zeros()
    twice.sort_indices()
    found = (torch.from_numpy(part).to(adj.device) for part in (twice.indptr, twice.indices, twice.data))
    indptr, indices, values = found
    return indptr.long(), indices.to(adj.indices.dtype), values
