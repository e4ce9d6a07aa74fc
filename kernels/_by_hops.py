"""Whole batches from an operation that samples one hop and one that numbers its nodes, of any backend."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gnnkit.kernels._gather_rows import gather_rows

Batch = tuple[Tensor, Tensor, Tensor, Tensor, list[int], list[int]]
Sample = Callable[[Tensor, Tensor, Tensor, int, int, bool, Tensor | None], tuple[Tensor, Tensor, Tensor]]
Relabel = Callable[[Tensor, int, Tensor], tuple[Tensor, Tensor]]


def by_hops(
    sample: Sample,
    relabel: Relabel,
    indptr: Tensor,
    indices: Tensor,
    seeds: Tensor,
    fanouts: list[int],
    keys: list[int],
    replace: bool,
    cumulative: Tensor | None,
    local: Tensor,
) -> Batch:
    """Sample and number hop by hop; ``local`` is cleared whatever happens."""
    known = [seeds]
    number_seeds(relabel, seeds, local)
    try:
        begin, count, rows, cols, picked = 0, len(seeds), [], [], []
        for fanout, key in zip(fanouts, keys, strict=True):
            # a CSR in pinned memory is read by the device of the seeds
            starts, ends = gather_rows(indptr, known[-1]), gather_rows(indptr[1:], known[-1])
            pointers, entries, neighbors = sample(indices, starts, ends, fanout, key, replace, cumulative)
            row, new = relabel(local, count, neighbors)
            numbers = torch.arange(begin, count, device=row.device)
            cols.append(numbers.repeat_interleave(pointers.diff(), output_size=len(row)))
            rows.append(row)
            picked.append(entries)
            known.append(new)
            begin, count = count, count + len(new)
    finally:
        for nodes in known:
            local[nodes] = -1
    none = torch.empty(0, dtype=torch.int64, device=seeds.device)
    nodes = torch.cat([part.long() for part in known])
    row, col, entries = (torch.cat([none, *parts]) for parts in (rows, cols, picked))
    return nodes, row, col, entries, [len(part) for part in known], [len(part) for part in rows]


def number_seeds(relabel: Relabel, seeds: Tensor, local: Tensor) -> None:
    """Number the seeds by their positions; one that comes twice has the number of the first."""
    labels, new = relabel(local, 0, seeds)
    if len(new) < len(seeds):
        local[new] = first_positions(labels, len(new))


def first_positions(labels: Tensor, num_labels: int) -> Tensor:
    """Where each label comes first, as int32."""
    positions = torch.arange(len(labels), device=labels.device)
    return positions.new_full((num_labels,), len(labels)).scatter_reduce(0, labels, positions, "amin").int()
