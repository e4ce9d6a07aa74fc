"""spmm: aggregate source rows into destination rows."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._backend import backend
from gnnkit.kernels._csr import Transpose, full_transpose, row_of_entry
from gnnkit.kernels._extreme import extreme_backward
from gnnkit.kernels._register import fake, operation
from gnnkit.kernels._sddmm import sddmm_op
from gnnkit.kernels._spmm_scaled import scaled_op

REDUCES = ("sum", "mean", "max", "min")


def spmm(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    values: Tensor | None = None,
    reduce: str = "sum",
    *,
    transpose: Transpose | None = None,
) -> Tensor:
    r"""Aggregate the rows of ``x`` along the edges of a CSR sorted by destination.

    .. math:: out_i = \mathrm{reduce}_{e \in row(i)} \; values_e \cdot x_{indices_e}

    Rows without edges give 0 for every ``reduce``, and the gradient of max and min is split evenly over
    ties, a maximum of exactly 0 counting as one more tie: both are PyG's rules. Destinations are served
    row by row, without atomics, so results are deterministic, forward and backward (on CPU: the reference that
    serves CUDA tensors adds in no fixed order).

    16-bit rows are added up in float32 and rounded once (max and min: by way of a float32 copy of ``x``).

    Costs :math:`(E + N) D` reads and writes and no memory beyond the output.

    Args:
        indptr: ``[N_dst + 1]`` int32 or int64, where each destination's edges begin.
        indices: ``[E]`` int32 or int64, the source of each edge.
        x: ``[N_src, D]`` or ``[N_src, H, D]``, float32, float64, bfloat16 or float16, any strides.
        values: ``[E]``, or ``[E, H]`` when ``x`` has heads, in CSR order; None for ones.
        reduce: ``"sum"``, ``"mean"`` (over the number of edges), ``"max"`` or ``"min"``.
        transpose: ``(t_indptr, t_indices, t_perm)`` from `transpose_csr`, trusted to be the transpose; it
            serves the backward pass, which builds it when None.

    Returns:
        ``[N_dst, D]`` or ``[N_dst, H, D]``.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit, ``indptr`` decreases or does not end at E, or an
            index lies outside ``[0, N_src)``.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import spmm
        >>> indptr, indices = torch.tensor([0, 2, 3]), torch.tensor([0, 1, 1])
        >>> spmm(indptr, indices, torch.tensor([[1.0], [10.0]])).tolist()
        [[11.0], [10.0]]
    """
    _check.csr_shapes(indptr, indices)
    _check.float_tensor("x", x, (2, 3), half=True)
    if reduce not in REDUCES:
        raise ValueError(f"reduce: expected one of {', '.join(REDUCES)} (got {reduce!r})")
    if values is not None:
        _check.float_tensor("values", values, (1, 2), half=True)
        expected = [indices.shape[0]] if values.dim() == 1 else [indices.shape[0], x.shape[1]]
        if list(values.shape) != expected or x.dim() < values.dim() + (values.dim() == 2):
            shapes = "[E] or, for x [N, H, D], [E, H]"
            raise ValueError(
                f"values: expected {shapes} with E = {indices.shape[0]} for x of shape {list(x.shape)} "
                f"(got shape {list(values.shape)})"
            )
    _check.same("x and values", x, values)
    _check.same("indptr, indices, x and values", indptr, indices, x, values, dtype=False)
    if transpose is not None:
        _check.transposed(transpose, indices, x.shape[0])
    if x.dtype in _check.HALF_DTYPES and reduce in ("max", "min"):
        # which message wins is found by comparing, and products are rounded to 16 bits only at the end
        wide = None if values is None else values.float()
        return spmm(indptr, indices, x.float(), wide, reduce, transpose=transpose).to(x.dtype)
    # [N_src, H, D]: one head unless the values tell heads apart
    per_head = values is not None and values.dim() == 2
    table = x if per_head else x.reshape(x.shape[0], 1, x.shape[1:].numel())
    weight = values.unsqueeze(-1) if values is not None and values.dim() == 1 else values
    out: Tensor = spmm_op(indptr, indices, table, weight, reduce, *(transpose or (None, None, None)))
    shape = indptr.shape[0] - 1, *x.shape[1:]
    if reduce in ("max", "min"):
        return out.view(shape)  # their backward looks at it, and as a view tells of what is written in place
    # The base is forgotten here, so this need not be a view: what is added in place costs no copy in the backward.
    result: Tensor = torch.ops.aten._unsafe_view(out, shape)
    return result


@operation("gnnkit::spmm", gradient=True)
def spmm_op(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    values: Tensor | None,
    reduce: str,
    t_indptr: Tensor | None,
    t_indices: Tensor | None,
    t_perm: Tensor | None,
) -> Tensor:
    out: Tensor = backend(x).spmm(indptr, indices, x, values, reduce)
    return out


@fake(spmm_op)
def _(indptr: Tensor, indices: Tensor, x: Tensor, values: Tensor | None, reduce: str, *_: Tensor | None) -> Tensor:
    return x.new_empty(indptr.shape[0] - 1, *x.shape[1:])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    indptr, indices, x, values, ctx.reduce, t_indptr, t_indices, t_perm = inputs
    ctx.num_src = x.shape[0]
    extreme = ctx.reduce in ("max", "min")
    # a sum without gradients for its values needs neither x nor the output: do not keep them alive
    keep_x = x if extreme or (values is not None and ctx.needs_input_grad[3]) else None
    keep_out = output if extreme else None
    ctx.save_for_backward(indptr, indices, keep_x, values, keep_out, t_indptr, t_indices, t_perm)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    indptr, indices, x, values, out, *transpose = ctx.saved_tensors
    if ctx.needs_input_grad[2]:
        transpose = full_transpose(indptr, indices, transpose, ctx.num_src)
    if out is not None:
        dx, dvalues = extreme_backward(ctx, grad, indptr, indices, transpose, x, values, out)
    else:
        dx, dvalues = _linear_backward(ctx, grad, indptr, indices, transpose, x, values)
    return None, None, dx, dvalues, None, None, None, None


def _linear_backward(
    ctx: Any,
    grad: Tensor,
    indptr: Tensor,
    indices: Tensor,
    transpose: Transpose,
    x: Tensor | None,
    values: Tensor | None,
) -> tuple[Tensor | None, Tensor | None]:
    dx = dvalues = None
    numbers = torch.float32 if grad.dtype in _check.HALF_DTYPES else grad.dtype
    share = 1 / indptr.diff().clamp(min=1).to(numbers) if ctx.reduce == "mean" else None  # [N_dst]
    if ctx.needs_input_grad[2]:
        t_indptr, t_indices, t_perm = transpose
        t_values = None if values is None else values.index_select(0, t_perm)  # [E, H]
        if share is not None and grad.shape[1] == 1:  # the mean's 1/degree rides along: no pass over [N, D], no [E]
            wide = None if t_values is None else t_values.to(numbers)
            ones = share.new_ones(ctx.num_src)
            dx = scaled_op(t_indptr, t_indices, grad, wide, share, ones, None, None, None)
        else:
            if share is not None and t_values is not None:
                t_values = t_values * share.index_select(0, t_indices).unsqueeze(-1)
            dx = spmm_op(t_indptr, t_indices, grad, t_values, "sum", None, None, None)
    if values is not None and ctx.needs_input_grad[3]:
        assert x is not None
        dvalues = sddmm_op(indptr, indices, grad, x, *transpose)
        if share is not None:
            each = share.index_select(0, row_of_entry(indptr, indices)).unsqueeze(-1)  # [E, 1]
            dvalues = (dvalues * each).to(values.dtype)
    return dx, dvalues


torch.library.register_autograd(spmm_op, _backward, setup_context=_setup)
