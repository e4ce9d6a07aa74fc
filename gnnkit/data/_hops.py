"""sample_hops: the neighbourhood of a batch, hop by hop, with the numbers that its nodes have in the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from gnnkit import kernels

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
    """Sample the neighbourhood of seeds: `gnnkit.kernels.sample_hops`, with a key for each hop made from one.

    The arguments are that function's; the result depends on them alone, on any thread.

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
    keys = [hop_key(key, hop) for hop in range(len(fanouts))]
    sampled = kernels.sample_hops(
        indptr, indices, seeds, fanouts, keys, replace=replace, cumulative=cumulative, local=local
    )
    return Hops(*sampled)


def hop_key(key: int, hop: int) -> int:
    """A key of its own for a hop of a batch: the finaliser of SplitMix64, as in `gnnkit.kernels.sample_neighbors`."""
    z = (key + (hop + 1) * 0x9E3779B97F4A7C15) % _WORD
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % _WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % _WORD
    return z ^ (z >> 31)
