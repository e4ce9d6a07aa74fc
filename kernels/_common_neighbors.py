"""common_neighbors: for pairs of nodes, the neighbours of both, of the one and of the other."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from gnnkit.kernels import _check, _torch_pairs
from gnnkit.kernels._backend import backend
from gnnkit.kernels._pair_sets import NAMES, PairSets, Rows, check_bytes, check_pairs, joined, pair_blocks

Keep = Tensor | tuple[Tensor | None, Tensor | None] | None


def common_neighbors(
    indptr: Tensor,
    indices: Tensor,
    pairs: Tensor,
    *,
    keep: Keep = None,
    other: tuple[Tensor, Tensor] | None = None,
    sets: Collection[str] = NAMES,
    max_bytes: int | None = None,
    check: bool = True,
) -> PairSets:
    r"""Find the neighbours that the nodes of each pair share, and those that only one of them has.

    For pair p = (i, j), with :math:`N(i)` the indices of row i that count,

    .. math:: both_p = N(i) \cap N(j), \quad only\_i_p = N(i) \setminus N(j), \quad only\_j_p = N(j) \setminus N(i)

    as a CSR over the pairs each, exact, members in increasing order. They are what NCN and NCNC pool (Wang, Yang and
    Zhang, "Neural Common Neighbor with Completion for Link Prediction", ICLR 2024), as
    ``spmm(both.indptr, both.indices, x, values)``; the authors' code makes them by products of sparse matrices. Nothing
    is removed beyond what ``keep`` says: where i and j are neighbours, i is a member of N(j) and so of ``only_j``.
    A pair (i, i) has N(i) in ``both``, pairs may repeat, and nothing is differentiated.

    Cost: O(E) for the check, and the results: d(i) + d(j) a pair if all are wanted. Finding them takes the smaller
    degree of each pair on the CPU, where a longer row (a hub's) is read once for all its pairs, or searched by halves
    if they are few; pairs are walked hub by hub, so their order does not matter. On a GPU each entry of the shorter
    row is sought in the longer one by halves. Memory: the results, on the CPU also O(N + P) and 8 bytes a common
    neighbour.

    Args:
        indptr: ``[N + 1]`` int32 or int64 row pointers.
        indices: ``[E]`` int32 or int64, in :math:`[0, 2^{31})` and strictly increasing within each row.
        pairs: ``[2, P]`` int32 or int64, rows of nodes i and j.
        keep: ``[E]`` bool, the entries that count, in the rows of i and of j; None for all. With ``other`` a mask for
            each of the two graphs, or None for either.
        other: ``(indptr, indices)`` of the graph that has j's rows where it is another one, two hops for instance;
            indices of the same dtype.
        sets: Which of ``"both"``, ``"only_i"`` and ``"only_j"`` are wanted; the others are None.
        max_bytes: Work on blocks of pairs whose results take at most this much (see `pair_blocks`) and join them,
            which bounds what is needed beside the results by one block and the largest tensor of the results. The
            results are the same. To bound the results too, call this for the slices of `pair_blocks`.
        check: Whether to check that the rows increase; without it the caller promises they do, and rows that do not
            give wrong sets.

    Returns:
        The three sets, each ``(indptr [P + 1], indices, entries, other_entries)``: the members of each pair, and where
        they stand in the CSR.

    Raises:
        ValueError: A pair names no row, a row has duplicates or is not in order, or an argument is not of its kind.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import common_neighbors
        >>> indptr = torch.tensor([0, 2, 5, 7, 8])  # the edges 0-1, 0-2, 1-2, 1-3
        >>> indices = torch.tensor([1, 2, 0, 2, 3, 0, 1, 1])
        >>> found = common_neighbors(indptr, indices, torch.tensor([[0, 0], [2, 3]]))
        >>> found.both.indptr.tolist(), found.both.indices.tolist(), found.both.entries.tolist()
        ([0, 1, 2], [1, 1], [0, 0])
        >>> found.only_i.indices.tolist(), found.only_j.indices.tolist()
        ([2, 2], [0])
    """
    check_pairs(pairs)
    _check_graph("", indptr, indices, check=check)
    keep_i, keep_j = _masks(keep, other)
    if other is None:
        other, keep_j = (indptr, indices), keep_i
    else:
        if not isinstance(other, tuple) or len(other) != 2:
            raise ValueError(f"other: expected a pair (indptr, indices) (got {_check.describe(other)})")
        _check_graph("other ", *other, check=check)
        _check.same("indices and other indices", indices, other[1])
    for name, mask, entries in (("keep", keep_i, indices), ("keep of other", keep_j, other[1])):
        if mask is not None:
            _check.shaped(name, mask, [entries.numel()], (torch.bool,))
    _check.same("indptr, indices, pairs, keep and other", indptr, indices, pairs, *other, keep_i, keep_j, dtype=False)
    wanted = _names(sets)
    if max_bytes is None:
        blocks = [slice(None)]
    else:
        check_bytes(max_bytes)
        blocks = pair_blocks(indptr, pairs, max_bytes, other=other[0]) or [slice(None)]
    serve = backend(indices).common_neighbors

    def found(part: slice) -> PairSets:
        i, j = pairs[:, part]
        result: PairSets = serve(Rows(indptr, indices, keep_i, i), Rows(*other, keep_j, j), wanted)
        return result

    return joined([found(part) for part in blocks])


def _check_graph(name: str, indptr: Tensor, indices: Tensor, *, check: bool) -> None:
    """Require the shapes of a CSR, and with ``check`` its pointers and rows that increase strictly from 0 on."""
    _check.index_vector(f"{name}indptr", indptr)
    _check.index_vector(f"{name}indices", indices)
    if indptr.numel() == 0:
        raise ValueError(f"{name}indptr: expected num_dst + 1 entries, at least 1 (got 0)")
    if not check:
        return
    _check.same(f"{name}indptr and indices", indptr, indices, dtype=False)
    if backend(indices).rows_increase(indptr, indices):
        return
    _check.csr_pointers(indptr, indices.numel(), f"{name}indptr")
    _check.ids(f"{name}indices", indices, 2**31)
    entry = int(_torch_pairs.falls(indptr, indices).nonzero()[0])
    row = int(torch.searchsorted(indptr, entry, right=True)) - 1
    got = f"{int(indices[entry])} then {int(indices[entry + 1])} in row {row}"
    raise ValueError(f"{name}indices: expected strictly increasing ones within each row (got {got})")


def _masks(keep: Keep, other: object) -> tuple[Tensor | None, Tensor | None]:
    """The masks of the graph of i and of that of j, if there is another."""
    if keep is None:
        return None, None
    if other is None:
        if not isinstance(keep, Tensor):
            raise ValueError(f"keep: expected a bool tensor, one entry an edge (got {_check.describe(keep)})")
        return keep, None
    if not isinstance(keep, tuple) or len(keep) != 2:
        raise ValueError(f"keep: expected a pair of masks beside other (got {_check.describe(keep)})")
    return keep


def _names(sets: object) -> tuple[str, ...]:
    if isinstance(sets, str) or not isinstance(sets, Collection) or not sets or not set(sets) <= set(NAMES):
        raise ValueError(f"sets: expected some of {', '.join(NAMES)} (got {sets!r})")
    return tuple(sets)
