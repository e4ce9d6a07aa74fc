"""gather_cached: read rows from a cache's lines and from a staging buffer, at once."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._backend import backend


def gather_cached(lines: Tensor, staged: Tensor, where: Tensor, out: Tensor | None = None) -> Tensor:
    """Read rows of two tables: ``out[k] = lines[where[k]]``, or ``staged[-1 - where[k]]`` where that is negative.

    A batch whose rows lie partly in a cache and partly in what was just read from storage is put together in one pass,
    without a copy of the staged rows into the cache's memory beforehand. On a GPU one kernel reads both tables, the
    staged one over PCIe if it is pinned; staged rows that are neither pinned nor on the device are sent there whole
    first. Not differentiable.

    Cost: every row is read and written once.

    Args:
        lines: ``[C, ...]`` of any dtype, on the device of ``where``.
        staged: ``[S, ...]`` of the same dtype and rows, on that device or in host memory.
        where: ``[K]`` int64 in ``[-S, C)``; the result lives on its device.
        out: ``[K, ...]`` to write into, contiguous, of the same dtype and device.

    Returns:
        ``[K, ...]``; ``out`` if it was given.

    Raises:
        ValueError: The tables do not fit each other, a place lies outside ``[-S, C)`` (on a GPU such a row has all bits
            set instead, unless ``GNNKIT_CHECK=1``), or ``out`` does not fit.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import gather_cached
        >>> lines, staged = torch.tensor([[1, 2], [3, 4]]), torch.tensor([[5, 6]])
        >>> gather_cached(lines, staged, torch.tensor([1, -1, 0])).tolist()
        [[3, 4], [5, 6], [1, 2]]
    """
    for name, table in (("lines", lines), ("staged", staged)):
        if not isinstance(table, Tensor) or table.dim() == 0 or table.layout != torch.strided:
            raise ValueError(f"{name}: expected a dense tensor with rows (got {_check.describe(table)})")
    if not _check.is_dense(where, (1,), (torch.int64,)):
        raise ValueError(f"where: expected a 1-D int64 tensor (got {_check.describe(where)})")
    if staged.dtype != lines.dtype or staged.shape[1:] != lines.shape[1:]:
        rows = f"{str(lines.dtype).removeprefix('torch.')} rows of shape {list(lines.shape[1:])}, as lines"
        raise ValueError(f"staged: expected {rows} (got {_check.describe(staged)})")
    if lines.device != where.device or staged.device.type not in ("cpu", where.device.type):
        expected = f"lines on {where.device}, where the places are, and staged there or in host memory"
        raise ValueError(f"lines and staged: expected {expected} (got {lines.device} and {staged.device})")
    shape = [len(where), *lines.shape[1:]]
    if out is None:
        out = torch.empty(shape, dtype=lines.dtype, device=where.device)
    _check.shaped("out", out, shape, (lines.dtype,))
    if not out.is_contiguous() or out.device != where.device:
        expected = f"contiguous memory on {where.device}"
        raise ValueError(f"out: expected {expected} (got strides {out.stride()} on {out.device})")
    if out.numel() and out.untyped_storage().data_ptr() in (
        lines.untyped_storage().data_ptr(),
        staged.untyped_storage().data_ptr(),
    ):
        raise ValueError("out: expected memory apart from the tables' (got a view of one)")
    if torch.is_grad_enabled() and any(t.requires_grad for t in (lines, staged, out)):
        raise ValueError("gather_cached: expected tensors without gradients (got requires_grad)")
    backend(where).gather_cached(lines.contiguous(), staged.contiguous(), where, out)
    return out
