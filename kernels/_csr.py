"""Building a CSR: a stable counting sort by row, and the transpose made with it."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._backend import backend
from gnnkit.kernels._register import fake, operation

Transpose = tuple[Tensor, Tensor, Tensor]


def group_by(keys: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    """Sort positions by key, stably: entries ``perm[indptr[k]:indptr[k + 1]]`` are those with key k.

    O(E + num_groups) time on CPU.

    Args:
        keys: ``[E]`` int32 or int64, in ``[0, num_groups)``.
        num_groups: The number of groups, empty ones included.

    Returns:
        ``indptr [num_groups + 1]`` and ``perm [E]``, both int64.

    Raises:
        ValueError: A key lies outside ``[0, num_groups)``, or ``keys`` is no index vector.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import group_by
        >>> indptr, perm = group_by(torch.tensor([2, 0, 2]), 4)
        >>> indptr.tolist(), perm.tolist()
        ([0, 1, 1, 3, 3], [1, 0, 2])
    """
    _check.index_vector("keys", keys)
    _check.count("num_groups", num_groups)
    indptr, perm = _group_by(keys, num_groups)
    return indptr, perm


@operation("gnnkit::group_by", gradient=False)
def _group_by(keys: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    indptr, perm = backend(keys).group_by(keys, num_groups)
    return indptr, perm


@fake(_group_by)
def _(keys: Tensor, num_groups: int) -> tuple[Tensor, Tensor]:
    indptr = keys.new_empty(num_groups + 1, dtype=torch.int64)
    return indptr, keys.new_empty(keys.shape, dtype=torch.int64)


@operation("gnnkit::row_of_entry", gradient=False)
def row_of_entry(indptr: Tensor, like: Tensor) -> Tensor:
    """Return the row of every entry of a CSR, ``[E]`` in the dtype of ``like``, which has E entries."""
    # an op of its own, so that the pointers' values are checked also inside a compiled graph
    _check.csr_pointers(indptr, like.shape[0])
    rows = torch.arange(indptr.shape[0] - 1, dtype=like.dtype, device=indptr.device)
    return rows.repeat_interleave(indptr.diff(), output_size=like.shape[0])


@fake(row_of_entry)
def _(indptr: Tensor, like: Tensor) -> Tensor:
    return indptr.new_empty(like.shape[0], dtype=like.dtype)


def transpose_csr(indptr: Tensor, indices: Tensor, num_src: int) -> Transpose:
    """Transpose a CSR: the same edges, sorted by source.

    O(E + N) time. Entries of one source keep the order that they have in the input.

    Args:
        indptr: ``[N_dst + 1]`` row pointers.
        indices: ``[E]`` source of each entry.
        num_src: The number of sources.

    Returns:
        ``t_indptr [num_src + 1]``, ``t_indices [E]`` (destinations) and ``t_perm [E]``: entry k of the
        transpose is entry ``t_perm[k]`` of the input, so ``values[t_perm]`` carries values over.

    Raises:
        ValueError: The pointers or indices do not describe a CSR over ``num_src`` sources.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import transpose_csr
        >>> [t.tolist() for t in transpose_csr(torch.tensor([0, 2, 3]), torch.tensor([0, 2, 0]), 3)]
        [[0, 2, 2, 3], [0, 1, 0], [0, 2, 1]]
    """
    _check.csr_shapes(indptr, indices)
    _check.count("num_src", num_src)
    rows = row_of_entry(indptr, indices)
    t_indptr, t_perm = group_by(indices, num_src)
    return t_indptr, rows.index_select(0, t_perm), t_perm


def full_transpose(indptr: Tensor, indices: Tensor, transpose: Any, num_src: int) -> Transpose:
    """The transpose that a caller gave, or one built now where the triple is of None."""
    given: Transpose = transpose_csr(indptr, indices, num_src) if transpose[0] is None else transpose
    return given
