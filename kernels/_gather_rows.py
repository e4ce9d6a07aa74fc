"""gather_rows: read rows of a table by id."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._backend import backend
from gnnkit.kernels._pages import on_huge_pages
from gnnkit.kernels._register import fake, operation


def gather_rows(table: Tensor, ids: Tensor, out: Tensor | None = None) -> Tensor:
    """Read rows of a table: ``out[k] = table[ids[k]]``.

    Fresh memory costs more than the gather itself: pass ``out`` to reuse a buffer.

    Args:
        table: ``[N, ...]`` of any dtype, contiguous, in host (pinned or not) or device memory.
        ids: ``[K]`` int32 or int64, in ``[0, N)``; the result lives on their device.
        out: ``[K, ...]`` to write into, contiguous, of the table's dtype and on the device of ``ids``.
            Not differentiable.

    Returns:
        ``[K, ...]``; ``out`` if it was given.

    Raises:
        ValueError: An id lies outside ``[0, N)``, or ``out`` does not fit.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import gather_rows
        >>> gather_rows(torch.tensor([[1, 2], [3, 4]]), torch.tensor([1, 0, 1])).tolist()
        [[3, 4], [1, 2], [3, 4]]
    """
    _check.index_vector("ids", ids)
    if not isinstance(table, Tensor) or table.dim() == 0 or table.layout != torch.strided:
        raise ValueError(f"table: expected a dense tensor with rows (got {_check.describe(table)})")
    if out is None:
        result: Tensor = gather_op(table, ids)
        return result
    if not isinstance(out, Tensor) or out.shape != (len(ids), *table.shape[1:]) or out.dtype != table.dtype:
        expected = f"{str(table.dtype).removeprefix('torch.')} tensor of shape {[len(ids), *table.shape[1:]]}"
        raise ValueError(f"out: expected a {expected} (got {_check.describe(out)})")
    if not out.is_contiguous() or out.device != ids.device:
        raise ValueError(
            f"out: expected contiguous memory on {ids.device} (got strides {out.stride()} on {out.device})"
        )
    if out.untyped_storage().data_ptr() == table.untyped_storage().data_ptr() and out.numel():
        raise ValueError("out: expected memory apart from the table's (got a view of the same)")
    if torch.is_grad_enabled() and (table.requires_grad or out.requires_grad):
        raise ValueError("out: expected tensors without gradients when writing into a buffer (got requires_grad)")
    _gather(table, ids, out)
    return out


def _gather(table: Tensor, ids: Tensor, out: Tensor) -> None:
    # a table on another device than the ids: the backend of the one that is not on the CPU
    where = ids if table.device.type == "cpu" else table
    backend(where).gather_rows(table.contiguous(), ids, out)


@operation("gnnkit::gather_rows", gradient=True)
def gather_op(table: Tensor, ids: Tensor) -> Tensor:
    out = torch.empty((len(ids), *table.shape[1:]), dtype=table.dtype, device=ids.device)
    if ids.device.type == "cpu":
        on_huge_pages(out)
    _gather(table, ids, out)
    return out


@fake(gather_op)
def _(table: Tensor, ids: Tensor) -> Tensor:
    return torch.empty((ids.shape[0], *table.shape[1:]), dtype=table.dtype, device=ids.device)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])
    ctx.shape, ctx.device = inputs[0].shape, inputs[0].device


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    (ids,) = ctx.saved_tensors
    grad, ids = grad.to(ctx.device), ids.to(ctx.device)
    return grad.new_zeros(ctx.shape).index_add(0, ids, grad), None


torch.library.register_autograd(gather_op, _backward, setup_context=_setup)
