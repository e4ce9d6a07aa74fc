"""sample_hops: the neighbourhood of a batch, hop by hop, with the numbers that its nodes have in it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._backend import backend
from gnnkit.kernels._sample_neighbors import check_fanout, check_key, check_tables


def sample_hops(
    indptr: Tensor,
    indices: Tensor,
    seeds: Tensor,
    fanouts: Sequence[int],
    keys: Sequence[int],
    *,
    replace: bool = False,
    cumulative: Tensor | None = None,
    local: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, list[int], list[int]]:
    """Sample the neighbourhood of seeds: hop l draws ``fanouts[l]`` edges of every node that hop l - 1 found.

    It is `sample_neighbors` and `relabel` in turn, and the bits are theirs: the draws of hop l are those of
    ``keys[l]``, on every backend. On the CPU a hop without weights is one walk on the calling thread, without the GIL.

    A seed that comes twice stays two nodes with draws of their own, as in PyG, so that the first rows of a batch are
    the seeds as given; an edge from it comes from the first of them.

    Cost: O(nodes + edges) of the batch; without ``local`` O(N) more.

    Args:
        indptr: ``[N + 1]`` int64 of a CSR sorted by destination; as ``indices``, it may be pinned for seeds on a GPU.
        indices: ``[E]`` int32 or int64, the source of each entry, in ``[0, N)``.
        seeds: ``[S]`` int32 or int64, in ``[0, N)``.
        fanouts: The number of edges a node, hop by hop; -1 takes all.
        keys: A whole number for each hop, taken modulo :math:`2^{64}`.
        replace: Whether an edge can be drawn again.
        cumulative: ``[E]`` float64, running sums of positive weights within each row: odds proportional to weight.
        local: ``[N]`` int32 full of -1, contiguous, to reuse from batch to batch, by one call at a time; it is left
            as it came, also by an error.

    Returns:
        ``nodes [n]`` int64, the seeds and then each hop's new nodes in the order in which they appear; ``row [m]`` and
        ``col [m]`` int64, source and destination of each edge as positions in ``nodes``; ``entries [m]`` int64, its
        position in the CSR; how many nodes are seeds and how many each hop found; how many edges each hop drew.

    Raises:
        ValueError: A seed or a source lies outside ``[0, N)``, or an argument is not of its kind.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import sample_hops
        >>> indptr, indices = torch.tensor([0, 2, 3, 3]), torch.tensor([1, 2, 0])  # 1 -> 0, 2 -> 0, 0 -> 1
        >>> nodes, row, col, entries, *counts = sample_hops(indptr, indices, torch.tensor([1]), [2, 2], [0, 1])
        >>> nodes.tolist(), row.tolist(), col.tolist(), entries.tolist(), counts
        ([1, 0, 2], [1, 0, 2], [0, 1, 1], [2, 0, 1], [[1, 1, 1], [1, 2]])
    """
    if not _check.is_dense(indptr, (1,), (torch.int64,)) or not indptr.numel():
        raise ValueError(f"indptr: expected a 1-D int64 tensor of N + 1 entries (got {_check.describe(indptr)})")
    _check.index_vector("seeds", seeds)
    check_tables(seeds, indptr=indptr, indices=indices, cumulative=cumulative, replace=replace)
    for name, values in (("fanouts", fanouts), ("keys", keys)):
        if not isinstance(values, list | tuple):
            raise ValueError(f"{name}: expected a list of whole numbers, one a hop (got {_check.describe(values)})")
    if len(fanouts) != len(keys):
        raise ValueError(f"keys: expected {len(fanouts)}, one a hop (got {len(keys)})")
    for fanout, key in zip(fanouts, keys, strict=True):
        check_fanout(fanout)
        check_key(key)
    num_nodes = indptr.numel() - 1
    if local is None:
        local = torch.full((num_nodes,), -1, dtype=torch.int32, device=seeds.device)
    _check.shaped("local", local, [num_nodes], (torch.int32,))
    if not local.is_contiguous() or local.device != seeds.device:
        where = f"strides {local.stride()} on {local.device}"
        raise ValueError(f"local: expected contiguous memory on {seeds.device} (got {where})")
    words = [key % 2**64 for key in keys]
    result: tuple[Tensor, Tensor, Tensor, Tensor, list[int], list[int]] = backend(seeds).sample_hops(
        indptr, indices, seeds, list(fanouts), words, replace, cumulative, local
    )
    return result
