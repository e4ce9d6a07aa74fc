"""GATv2's attention, fused as GAT's is in `gnnkit.kernels._gat`."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._attention_gradients import gatv2_gradients, row_products
from gnnkit.kernels._attention_inputs import check_inputs, score_dtype
from gnnkit.kernels._backend import backend
from gnnkit.kernels._csr import Transpose, full_transpose
from gnnkit.kernels._register import fake, operation


def gatv2_attention(
    indptr: Tensor,
    indices: Tensor,
    x_src: Tensor,
    x_dst: Tensor,
    att: Tensor,
    *,
    mask: Tensor | None = None,
    negative_slope: float = 0.2,
    transpose: Transpose | None = None,
) -> Tensor:
    r"""Aggregate rows by the attention of GATv2 (`Brody et al. <https://arxiv.org/abs/2105.14491>`_, eq. 7).

    .. math::
        out_i = \sum_{e \in row(i)} m_e \, \alpha_e \, x_{j}, \quad
        \alpha = \mathrm{softmax}_{row(i)} \; a \cdot \mathrm{LeakyReLU}(x_j + y_i), \quad j = indices_e

    Everything of `gat_attention` holds, but for the scores.

    Args:
        indptr: ``[N_dst + 1]`` int32 or int64.
        indices: ``[E]`` int32 or int64, the source of each edge.
        x_src: ``[N_src, H, D]`` rows of the sources, x; float32, float64, bfloat16 or float16.
        x_dst: ``[N_dst, H, D]`` rows of the destinations, y, of the same dtype.
        att: ``[H, D]``, a.
        mask: ``[E, H]`` factors after the softmax, in CSR order; a constant, without gradient.
        negative_slope: Of the LeakyReLU, at least 0.
        transpose: As in `spmm`.

    Returns:
        ``[N_dst, H, D]``; 0 for rows without edges.

    Raises:
        ValueError: As `gat_attention`.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import gatv2_attention
        >>> indptr, indices = torch.tensor([0, 2]), torch.tensor([0, 1])
        >>> x_src, x_dst = torch.tensor([[[2.0]], [[4.0]]]), torch.zeros(1, 1, 1)
        >>> gatv2_attention(indptr, indices, x_src, x_dst, torch.zeros(1, 1)).tolist()
        [[[3.0]]]
    """
    check_inputs(indptr, indices, "x_src", x_src, mask, negative_slope, transpose)
    _check.shaped("x_dst", x_dst, [indptr.shape[0] - 1, *x_src.shape[1:]], (x_src.dtype,))
    _check.shaped("att", att, list(x_src.shape[1:]), (x_src.dtype,))
    _check.same("indptr, x_src, x_dst and att", indptr, x_src, x_dst, att, dtype=False)
    mask = None if mask is None else mask.to(score_dtype(x_src))
    args = indptr, indices, x_src, x_dst, att, mask, negative_slope
    out, _, _ = gatv2_op(*args, *(transpose or (None, None, None)))
    result: Tensor = out
    return result


@operation("gnnkit::gatv2", gradient=True)
def gatv2_op(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    x_dst: Tensor,
    att: Tensor,
    mask: Tensor | None,
    slope: float,
    t_indptr: Tensor | None,
    t_indices: Tensor | None,
    t_perm: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    out, top, total = backend(x).gatv2_forward(indptr, indices, x, x_dst, att, mask, slope)
    return out, top, total


@fake(gatv2_op)
def _(indptr: Tensor, indices: Tensor, x: Tensor, x_dst: Tensor, *_: Any) -> tuple[Tensor, ...]:
    numbers = x.new_empty(x_dst.shape[:2], dtype=score_dtype(x))
    return x.new_empty(x_dst.shape), numbers, torch.empty_like(numbers)


@operation("gnnkit::gatv2_backward_dst", gradient=False)
def gatv2_dst_op(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    x_dst: Tensor,
    att: Tensor,
    mask: Tensor | None,
    slope: float,
    top: Tensor,
    total: Tensor,
    grad: Tensor,
    delta: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of x_dst and att; they have none of their own."""
    args = indptr, indices, x, x_dst, att, mask, slope, top, total, grad, delta
    d_dst, d_att = backend(x).gatv2_backward_dst(*args)
    return d_dst, d_att


@fake(gatv2_dst_op)
def _(indptr: Tensor, indices: Tensor, x: Tensor, x_dst: Tensor, att: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return x_dst.new_empty(x_dst.shape), att.new_empty(att.shape)


@operation("gnnkit::gatv2_backward_src", gradient=False)
def gatv2_src_op(
    t_indptr: Tensor,
    t_indices: Tensor,
    t_perm: Tensor,
    x: Tensor,
    x_dst: Tensor,
    att: Tensor,
    mask: Tensor | None,
    slope: float,
    top: Tensor,
    total: Tensor,
    grad: Tensor,
    delta: Tensor,
) -> Tensor:
    """Gradient of x; it has none of its own."""
    args = t_indptr, t_indices, t_perm, x, x_dst, att, mask, slope, top, total, grad, delta
    dx: Tensor = backend(x).gatv2_backward_src(*args)
    return dx


@fake(gatv2_src_op)
def _(t0: Tensor, t1: Tensor, t2: Tensor, x: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    indptr, indices, x, x_dst, att, mask, ctx.slope, *transpose = inputs
    ctx.save_for_backward(indptr, indices, x, x_dst, att, mask, *output, *transpose)
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    indptr, indices, *inputs, out, top, total, t0, t1, t2 = ctx.saved_tensors
    transpose = full_transpose(indptr, indices, (t0, t1, t2), inputs[0].shape[0])
    _, _, need_x, need_dst, need_att, *_ = ctx.needs_input_grad
    dx = d_dst = d_att = None
    if torch.is_grad_enabled():
        x, x_dst, att, mask = inputs
        dx, d_dst, d_att = gatv2_gradients(indptr, indices, transpose, x, x_dst, att, mask, ctx.slope, grad)
    else:
        args = *inputs, ctx.slope, top, total, grad, row_products(grad, out)
        if need_x:
            dx = gatv2_src_op(*transpose, *args)
        if need_dst or need_att:
            d_dst, d_att = gatv2_dst_op(indptr, indices, *args)
    return None, None, dx, d_dst, d_att, None, None, None, None, None


torch.library.register_autograd(gatv2_op, _backward, setup_context=_setup)
