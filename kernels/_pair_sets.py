"""What `common_neighbors` takes and gives: rows of pairs, sets of each pair, and pairs in blocks that fit a bound."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gnnkit.kernels import _check

NAMES = ("both", "only_i", "only_j")


class Rows(NamedTuple):
    """The rows of one end of every pair: of ``nodes [P]`` in a CSR, of whose entries ``keep`` says which count.

    ``keep`` is ``[E]`` bool, or None for all.
    """

    indptr: Tensor
    indices: Tensor
    keep: Tensor | None
    nodes: Tensor

    def ends(self, name: str) -> tuple[Tensor, Tensor]:
        """``[P]`` int64 each: where the rows begin and end, within the entries."""
        starts, ends = row_ends(name, self.indptr, self.nodes)
        _check.ranges(starts, ends, self.indices.numel())
        return starts, ends


class Sets(NamedTuple):
    """A set of nodes for each of P pairs, as a CSR over the pairs.

    Attributes:
        indptr: ``[P + 1]`` int64: members ``indptr[p] .. indptr[p + 1]`` are those of pair p.
        indices: ``[M]`` the members, in increasing order within a pair, of the graph's dtype.
        entries: ``[M]`` int64, where each stands in the graph's CSR: in i's row, or in j's for ``only_j``.
        other_entries: ``[M]`` int64, where each stands in j's row as well; of ``both`` alone, else None.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import Sets, spmm
        >>> sets = Sets(torch.tensor([0, 2, 2]), torch.tensor([0, 3]), torch.tensor([4, 5]), None)
        >>> spmm(sets.indptr, sets.indices, torch.eye(4)).tolist()  # which nodes each pair has
        [[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    """

    indptr: Tensor
    indices: Tensor
    entries: Tensor
    other_entries: Tensor | None


class PairSets(NamedTuple):
    """The neighbours of each pair (i, j): of both, only of i, only of j. A set that was not asked for is None.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import PairSets, common_neighbors
        >>> indptr, indices, pairs = torch.tensor([0, 1, 2]), torch.tensor([1, 0]), torch.tensor([[0], [1]])
        >>> found = common_neighbors(indptr, indices, pairs, sets=["both"])
        >>> isinstance(found, PairSets), found.only_i is None
        (True, True)
    """

    both: Sets | None
    only_i: Sets | None
    only_j: Sets | None


def joined(blocks: list[PairSets]) -> PairSets:
    """The sets of consecutive blocks of pairs as those of all."""
    return blocks[0] if len(blocks) == 1 else PairSets(*(_joined(list(parts)) for parts in zip(*blocks, strict=True)))


def _joined(parts: list[Sets | None]) -> Sets | None:
    sets = [part for part in parts if part is not None]
    if not sets:
        return None
    # [P + 1]: the counts of all pairs, added up
    counts = torch.cat([part.indptr.diff() for part in sets])
    others = [part.other_entries for part in sets if part.other_entries is not None]
    return Sets(
        pointers(counts),
        torch.cat([part.indices for part in sets]),
        torch.cat([part.entries for part in sets]),
        torch.cat(others) if others else None,
    )


def pointers(counts: Tensor) -> Tensor:
    """``[P]`` numbers of members as ``[P + 1]`` pointers."""
    out = counts.new_zeros(len(counts) + 1, dtype=torch.int64)
    torch.cumsum(counts, 0, out=out[1:])
    return out


def check_pairs(pairs: object) -> None:
    """Require ``[2, P]`` whole numbers."""
    if not _check.is_dense(pairs, (2,), _check.INDEX_DTYPES) or len(pairs) != 2:  # type: ignore[arg-type]
        raise ValueError(f"pairs: expected an int32 or int64 tensor of shape [2, P] (got {_check.describe(pairs)})")


def pair_blocks(indptr: Tensor, pairs: Tensor, max_bytes: int, *, other: Tensor | None = None) -> list[slice]:
    """Cut pairs into consecutive blocks whose results of `common_neighbors` take at most ``max_bytes`` each.

    By a bound from degrees, before anything is computed: all three sets of a pair (i, j) hold at most d(i) + d(j)
    members, of 16 bytes each (members of ``both`` take 24, but count in both degrees), beside 24 bytes of pointers. A
    pair that is too large by itself is a block by itself: a result of one pair is not cut.

    Cost: O(P).

    Args:
        indptr: ``[N + 1]`` int32 or int64 row pointers.
        pairs: ``[2, P]`` int32 or int64, rows of nodes i and j.
        max_bytes: The bound, 1 at least.
        other: The pointers of j's rows where they are of another CSR.

    Returns:
        Slices of ``[0, P)``, in order and without gaps; none for no pairs.

    Raises:
        ValueError: A pair names no row, or an argument is not of its kind.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import pair_blocks
        >>> indptr = torch.tensor([0, 2, 3, 5, 6])  # degrees 2, 1, 2, 1
        >>> pair_blocks(indptr, torch.tensor([[0, 0, 1], [2, 1, 3]]), max_bytes=170)
        [slice(0, 2, None), slice(2, 3, None)]
    """
    check_pairs(pairs)
    check_bytes(max_bytes)
    for name, value in (("indptr", indptr), ("other", indptr if other is None else other)):
        _check.index_vector(name, value)
        if value.numel() == 0:
            raise ValueError(f"{name}: expected num_dst + 1 entries, at least 1 (got 0)")
    _check.same("indptr, pairs and other", indptr, pairs, other, dtype=False)
    starts_i, ends_i = row_ends("pairs[0]", indptr, pairs[0])
    starts_j, ends_j = row_ends("pairs[1]", indptr if other is None else other, pairs[1])
    # [P]: the bytes of each pair and all before it
    total = (24 + 16 * (ends_i - starts_i + ends_j - starts_j)).cumsum(0)
    blocks, low, used = [], 0, 0
    while low < len(total):
        high = int(torch.searchsorted(total, used + max_bytes, right=True))
        high = max(high, low + 1)
        blocks.append(slice(low, high))
        low, used = high, int(total[high - 1])
    return blocks


def check_bytes(max_bytes: object) -> None:
    """Require a bound of at least a byte."""
    _check.count("max_bytes", max_bytes)
    if max_bytes == 0:
        raise ValueError("max_bytes: expected at least 1 (got 0)")


def row_ends(name: str, indptr: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """``[P]`` int64 each: where the rows of nodes begin and end."""
    _check.ids(name, nodes, indptr.numel() - 1)
    return indptr[nodes].long(), indptr[1:][nodes].long()
