"""sample_hops: the neighbourhood of a batch, hop by hop, with the numbers that its nodes have in the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit.kernels import relabel, sample_neighbors

_WORD = 2**64


class Hops(NamedTuple):
    """A sampled neighbourhood, as PyG's loaders take it.

    Attributes:
        nodes: ``[n]`` int64, the seeds first and then each hop's new nodes.
        row: ``[m]`` int64, the source of each edge as a position in ``nodes``.
        col: ``[m]`` int64, its destination.
        entries: ``[m]`` int64, its position in the CSR.
        num_sampled_nodes: The number of seeds, then of the new nodes of each hop.
        num_sampled_edges: The number of edges of each hop.
    """

    nodes: Tensor
    row: Tensor
    col: Tensor
    entries: Tensor
    num_sampled_nodes: list[int]
    num_sampled_edges: list[int]


def sample_hops(
    indptr: Tensor,
    indices: Tensor,
    seeds: Tensor,
    fanouts: Sequence[int],
    key: int,
    *,
    replace: bool = False,
    cumulative: Tensor | None = None,
    local: Tensor | None = None,
) -> Hops:
    """Sample the neighbourhood of seeds: hop l draws ``fanouts[l]`` edges of every node that hop l - 1 found.

    A seed that comes twice stays two nodes with draws of their own, as in PyG, so that the first rows of a batch are
    the seeds as given; an edge from it comes from the first of them. A pure function of its arguments, on any thread.

    Args:
        indptr: ``[N + 1]`` int64 of a CSR sorted by destination.
        indices: ``[E]`` int32 or int64, the source of each entry.
        seeds: ``[S]`` int32 or int64, in ``[0, N)``.
        fanouts: The number of edges a node, hop by hop; -1 takes all.
        key: Any whole number; the draws depend on it and on the arguments alone.
        replace: Whether an edge can be drawn again.
        cumulative: ``[E]`` float64, running sums of weights within each row: draws proportional to weight.
        local: ``[N]`` int32 full of -1, to reuse from batch to batch; it is left as it came. One call at a time.

    Raises:
        ValueError: A seed lies outside ``[0, N)``, or an argument is not of its kind.

    Example:
        >>> import torch
        >>> from gnnkit.data._hops import sample_hops
        >>> indptr, indices = torch.tensor([0, 2, 3, 3]), torch.tensor([1, 2, 0])  # 1 -> 0, 2 -> 0, 0 -> 1
        >>> hops = sample_hops(indptr, indices, torch.tensor([1]), [2, 2], key=0)
        >>> hops.nodes.tolist(), hops.row.tolist(), hops.col.tolist()
        ([1, 0, 2], [1, 0, 2], [0, 1, 1])
        >>> hops.entries.tolist(), hops.num_sampled_nodes, hops.num_sampled_edges
        ([2, 0, 1], [1, 1, 1], [1, 2])
    """
    if local is None:
        local = torch.full((len(indptr) - 1,), -1, dtype=torch.int32, device=seeds.device)
    labels, first = relabel(local, 0, seeds)
    known = [seeds]
    try:
        if len(first) < len(seeds):
            local[first] = _first_positions(labels, len(first))
        count, rows, cols, picked = len(seeds), [], [], []
        for hop, fanout in enumerate(fanouts):
            begin, frontier = count - len(known[-1]), known[-1]
            starts, ends = indptr.index_select(0, frontier), indptr[1:].index_select(0, frontier)
            pointers, entries, neighbors = sample_neighbors(
                indices, starts, ends, fanout, hop_key(key, hop), replace=replace, cumulative=cumulative
            )
            row, new = relabel(local, count, neighbors)
            col = torch.arange(begin, count, device=row.device)
            cols.append(col.repeat_interleave(pointers.diff(), output_size=len(row)))
            rows.append(row)
            picked.append(entries)
            known.append(new)
            count += len(new)
    finally:
        for nodes in known:
            local[nodes] = -1
    empty = indptr[:0]
    return Hops(
        nodes=torch.cat([nodes.long() for nodes in known]),
        row=torch.cat([empty, *rows]),
        col=torch.cat([empty, *cols]),
        entries=torch.cat([empty, *picked]),
        num_sampled_nodes=[len(nodes) for nodes in known],
        num_sampled_edges=[len(row) for row in rows],
    )


def hop_key(key: int, hop: int) -> int:
    """A key of its own for a hop of a batch: the finaliser of SplitMix64, as in `gnnkit.kernels.sample_neighbors`."""
    z = (key + (hop + 1) * 0x9E3779B97F4A7C15) % _WORD
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % _WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % _WORD
    return z ^ (z >> 31)


def _first_positions(labels: Tensor, num_labels: int) -> Tensor:
    """Where each label comes first, as int32."""
    positions = torch.arange(len(labels), device=labels.device)
    return positions.new_full((num_labels,), len(labels)).scatter_reduce(0, labels, positions, "amin").int()
