"""segment_reduce: reduce consecutive rows, the segments given by pointers."""

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._csr import row_of_entry
from gnnkit.kernels._spmm import spmm


def segment_reduce(x: Tensor, indptr: Tensor, reduce: str = "sum") -> Tensor:
    r"""Reduce the rows ``indptr[i]:indptr[i + 1]`` of ``x`` to row i.

    .. math:: out_i = \mathrm{reduce}_{indptr_i \le e < indptr_{i+1}} \; x_e

    This is `spmm` over the graph in which entry e has the one source e, with its rules: empty segments
    give 0, ties share the gradient. Costs one read of ``x`` and three index vectors of length E.

    Args:
        x: ``[E]``, ``[E, D]`` or ``[E, H, D]``, dtypes as in `spmm`, in the order of the segments.
        indptr: ``[N + 1]`` int32 or int64, from 0 to E.
        reduce: ``"sum"``, ``"mean"``, ``"max"`` or ``"min"``.

    Returns:
        ``[N]``, ``[N, D]`` or ``[N, H, D]``.

    Raises:
        ValueError: ``indptr`` decreases or does not run from 0 to E, or shapes and dtypes do not fit.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import segment_reduce
        >>> segment_reduce(torch.tensor([1.0, 2.0, 5.0]), torch.tensor([0, 2, 2, 3])).tolist()
        [3.0, 0.0, 5.0]
    """
    _check.float_tensor("x", x, (1, 2, 3), half=True)
    _check.csr_shapes(indptr, indptr)
    entries = torch.arange(x.shape[0] + 1, device=x.device)
    indices = entries[:-1]
    transpose = entries, row_of_entry(indptr, indices), indices
    out = spmm(indptr, indices, x.unsqueeze(-1) if x.dim() == 1 else x, reduce=reduce, transpose=transpose)
    return out.squeeze(-1) if x.dim() == 1 else out
