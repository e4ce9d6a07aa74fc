"""relabel: short numbers for the nodes of a batch, in the order in which they appear."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._backend import backend


def relabel(local: Tensor, count: int, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Give every id its number in a batch: the one that ``local`` holds, or the next free one.

    Ids that are unknown (``local[id] == -1``) are numbered ``count, count + 1, …`` in the order of their first
    appearance, on every backend, and ``local`` is written in place, so that the next call knows them. The table is
    made once and cleared for the next batch with ``local[nodes] = -1``, which costs the batch and not the graph.

    Cost: O(M).

    Args:
        local: ``[N]`` int32, contiguous: the number of each id, -1 where it has none; all below ``count``.
        count: How many ids are known.
        ids: ``[M]`` int32 or int64, in ``[0, N)``, on the device of ``local``.

    Returns:
        ``labels [M]`` int64, the number of each id, and ``new``, the ids that were unknown, each once, of the dtype
        of ``ids``.

    Raises:
        ValueError: An id lies outside ``[0, N)``, or ``local`` holds a number beyond all that were given; nothing is
            written then.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import relabel
        >>> local = torch.full((10,), -1, dtype=torch.int32)
        >>> labels, nodes = relabel(local, 0, torch.tensor([7, 3]))
        >>> labels, new = relabel(local, 2, torch.tensor([5, 3, 9, 5]))
        >>> labels.tolist(), new.tolist()
        ([2, 1, 3, 2], [5, 9])
    """
    if not _check.is_dense(local, (1,), (torch.int32,)):
        raise ValueError(f"local: expected a 1-D int32 tensor (got {_check.describe(local)})")
    if not local.is_contiguous():
        raise ValueError(f"local: expected contiguous memory, which is written (got strides {local.stride()})")
    _check.count("count", count)
    _check.index_vector("ids", ids)
    _check.same("local and ids", local, ids, dtype=False)
    if count + ids.numel() >= 2**31:
        raise ValueError(f"count: expected fewer than 2^31 numbers in all (got {count} and {ids.numel()} ids)")
    result: tuple[Tensor, Tensor] = backend(local).relabel(local, count, ids)
    return result
