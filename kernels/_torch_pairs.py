"""The reference of `common_neighbors`: each neighbour of a pair is a key, sought among those of the other end."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels._pair_sets import PairSets, Rows, Sets, pointers


def common_neighbors(a: Rows, b: Rows, sets: tuple[str, ...]) -> PairSets:
    """The sets of each pair p: members of both of its rows, only of row ``a[p]``, only of row ``b[p]``."""
    (pair_a, entries_a), (pair_b, entries_b) = _expanded(a, "pairs[0]"), _expanded(b, "pairs[1]")
    cols_a, cols_b = a.indices[entries_a], b.indices[entries_b]
    most = max((int(cols.max()) for cols in (cols_a, cols_b) if len(cols)), default=0)
    # [M]: columns increase within a row, so keys do over all of them
    keys_a, keys_b = pair_a * (most + 1) + cols_a, pair_b * (most + 1) + cols_b
    in_b, place = _found(keys_a, keys_b)
    in_a, _ = _found(keys_b, keys_a)
    num_pairs = len(a.nodes)

    def members(name: str, pair: Tensor, cols: Tensor, entries: Tensor, other: Tensor | None = None) -> Sets | None:
        if name not in sets:
            return None
        return Sets(pointers(pair.bincount(minlength=num_pairs)), cols, entries, other)

    return PairSets(
        members("both", pair_a[in_b], cols_a[in_b], entries_a[in_b], entries_b[place[in_b]]),
        members("only_i", pair_a[~in_b], cols_a[~in_b], entries_a[~in_b]),
        members("only_j", pair_b[~in_a], cols_b[~in_a], entries_b[~in_a]),
    )


def rows_increase(indptr: Tensor, indices: Tensor) -> bool:
    """Whether pointers run from 0 to E and never decrease, and the indices of each row are in [0, 2^31) and increase.

    Of 2^31: a pair and a column are one number of 64 bits.
    """
    if int(indptr[0]) != 0 or int(indptr[-1]) != len(indices) or bool((indptr.diff() < 0).any()):
        return False
    least, most = (int(v) for v in indices.aminmax()) if len(indices) else (0, 0)
    return least >= 0 and most < 2**31 and not bool(falls(indptr, indices).any())


def falls(indptr: Tensor, indices: Tensor) -> Tensor:
    """``[E - 1]``: where an entry is not above the one before it, though no row begins there."""
    found = indices[1:] <= indices[:-1]
    begins = indptr[1:-1]
    found[begins[(begins > 0) & (begins < len(indices))] - 1] = False
    return found


def _expanded(rows: Rows, name: str) -> tuple[Tensor, Tensor]:
    """``[M]`` each: the pair of every entry that counts, and the entry."""
    starts, ends = rows.ends(name)
    degree = ends - starts
    pair = torch.arange(len(degree), device=degree.device).repeat_interleave(degree)
    first = degree.cumsum(0) - degree
    entries = (starts - first)[pair] + torch.arange(len(pair), device=degree.device)
    if rows.keep is None:
        return pair, entries
    kept = rows.keep[entries]
    return pair[kept], entries[kept]


def _found(keys: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """``[M]`` each: whether a key is among others, and where. Both are in increasing order."""
    place = torch.searchsorted(among, keys)
    inside = place < len(among)
    found = torch.zeros_like(inside)
    found[inside] = among[place[inside]] == keys[inside]
    return found, place
