"""sample_neighbors: some entries of each row of a CSR, drawn from a key."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._backend import backend


def sample_neighbors(
    indices: Tensor,
    starts: Tensor,
    ends: Tensor,
    fanout: int,
    key: int,
    *,
    replace: bool = False,
    cumulative: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Draw up to ``fanout`` entries of each row ``starts[k] .. ends[k]`` of a CSR.

    Without replacement a row of at most ``fanout`` entries gives all of them, in order, and a longer one ``fanout``
    different ones in the order in which they are drawn: uniformly (Floyd's algorithm; Bentley and Floyd, 1987), or
    with weights one after the other, each draw proportional to weight among the entries that are left. With
    replacement every row that has entries gives ``fanout`` draws, each proportional to weight. ``fanout=-1`` takes
    every entry once.

    Draw j of row k is a hash of (key, k, j): the finaliser ``mix`` of SplitMix64 (Steele, Lea and Flood, 2014), with
    :math:`G` = ``0x9E3779B97F4A7C15`` and modulo :math:`2^{64}`,

    .. math:: r_{kj} = \mathrm{mix}(\mathrm{mix}(key + (k + 1) G) + (j + 1) G)

    The result depends on the arguments alone: every backend gives the same bits, on any number of threads. A CPU call
    runs on the calling thread and releases the GIL; sampling in parallel is a batch a thread.

    Cost: O(K + M); with weights a binary search a draw, and without replacement F steps a draw beside it.

    Args:
        indices: ``[E]`` int32 or int64, the source of each entry. Pinned host memory may serve ranges on a GPU.
        starts: ``[K]`` int64, where each row begins.
        ends: ``[K]`` int64, where it ends; ``0 <= starts <= ends <= E``, less than :math:`2^{31}` entries a row.
        fanout: The number of draws F, or -1 for all entries.
        key: Any whole number, taken modulo :math:`2^{64}`.
        replace: Whether an entry can be drawn again.
        cumulative: ``[E]`` float64, the running sum of positive weights within each row of the CSR; ``starts[k]`` is
            then where such a row begins. The sums are trusted: wrong ones give wrong odds.

    Returns:
        ``indptr [K + 1]`` int64, which of the draws belong to each row; ``entries [M]`` int64, the positions in the
        CSR; ``neighbors [M] = indices[entries]``.

    Raises:
        ValueError: A range leaves the entries, or an argument is not of its kind.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import sample_neighbors
        >>> indices = torch.tensor([7, 8, 9, 5])  # node 0 receives from 7, 8 and 9, node 1 from 5
        >>> starts, ends = torch.tensor([0, 3]), torch.tensor([3, 4])
        >>> indptr, entries, neighbors = sample_neighbors(indices, starts, ends, 2, key=0)
        >>> indptr.tolist(), bool((neighbors == indices[entries]).all())
        ([0, 2, 3], True)
    """
    for name, value in (("starts", starts), ("ends", ends)):
        if not _check.is_dense(value, (1,), (torch.int64,)):
            raise ValueError(f"{name}: expected a 1-D int64 tensor (got {_check.describe(value)})")
    if len(starts) != len(ends):
        raise ValueError(f"ends: expected {len(starts)} entries, one a row (got {len(ends)})")
    _check.same("starts and ends", starts, ends)
    check_tables(starts, indices=indices, cumulative=cumulative, replace=replace)
    check_fanout(fanout)
    check_key(key)
    result: tuple[Tensor, Tensor, Tensor] = backend(starts).sample_neighbors(
        indices, starts, ends, fanout, key % 2**64, replace, cumulative
    )
    return result


def check_tables(
    where: Tensor, *, indices: Tensor, cumulative: Tensor | None, replace: bool, indptr: Tensor | None = None
) -> None:
    """Require the tables of a CSR on the device of ``where``, or pinned beside a GPU."""
    _check.index_vector("indices", indices)
    if not isinstance(replace, bool):
        raise ValueError(f"replace: expected True or False (got {replace!r})")
    if cumulative is not None:
        _check.shaped("cumulative", cumulative, [indices.numel()], (torch.float64,))
    for name, table in (("indptr", indptr), ("indices", indices), ("cumulative", cumulative)):
        if table is not None and table.device != where.device and not (where.is_cuda and table.is_pinned()):
            expected = f"{where.device}" + ", or pinned host memory" * where.is_cuda
            raise ValueError(f"{name}: expected a tensor on {expected} (got one on {table.device})")


def check_fanout(fanout: object) -> None:
    """Require a number of draws, or -1."""
    if isinstance(fanout, bool) or not isinstance(fanout, int) or not -1 <= fanout < 2**31:
        raise ValueError(f"fanout: expected a whole number from -1 to 2^31 - 1 (got {fanout!r})")


def check_key(key: object) -> None:
    """Require a whole number of any size."""
    if isinstance(key, bool) or not isinstance(key, int):
        raise ValueError(f"key: expected a whole number (got {key!r})")
