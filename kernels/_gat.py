"""GAT's attention, fused: scores, softmax and aggregation in one walk, with nothing of size E kept."""

from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._attention_gradients import gat_gradients, row_products
from gnnkit.kernels._attention_inputs import check_inputs, score_dtype
from gnnkit.kernels._backend import backend
from gnnkit.kernels._csr import Transpose, full_transpose
from gnnkit.kernels._register import fake, operation


def gat_attention(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    a_src: Tensor,
    a_dst: Tensor,
    a_edge: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    negative_slope: float = 0.2,
    transpose: Transpose | None = None,
) -> Tensor:
    r"""Aggregate rows by the attention of GAT (`Veličković et al. <https://arxiv.org/abs/1710.10903>`_, eq. 1 to 4).

    .. math::
        out_i = \sum_{e \in row(i)} m_e \, \alpha_e \, x_{j}, \quad
        \alpha = \mathrm{softmax}_{row(i)} \; \mathrm{LeakyReLU}(s_j + d_i + t_e), \quad j = indices_e

    Differs from `segment_softmax` and `spmm` one after the other by what is kept for the backward: two numbers a
    destination and head, in place of several for every edge. Each walk makes the scores again. Second
    derivatives are made of the other operations, and keep what those keep.

    Costs three walks of the edges, forward and backward together. Deterministic on CPU.

    Args:
        indptr: ``[N_dst + 1]`` int32 or int64, where each destination's edges begin.
        indices: ``[E]`` int32 or int64, the source of each edge.
        x: ``[N_src, H, D]`` rows of the sources; float32, float64, bfloat16 or float16.
        a_src: ``[N_src, H]`` the sources' part of the scores, s; the dtype of x, or float32 where that has 16 bits.
        a_dst: ``[N_dst, H]`` the destinations' part, d.
        a_edge: ``[E, H]`` the edges' own part, t, in CSR order; None for zeros.
        mask: ``[E, H]`` factors after the softmax, m (the mask of a dropout); a constant, without gradient.
        negative_slope: Of the LeakyReLU, at least 0.
        transpose: As in `spmm`; serves the backward, which builds it when None.

    Returns:
        ``[N_dst, H, D]``; 0 for rows without edges.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit, the CSR is invalid, the slope is negative, or the mask
            asks for a gradient.

    Example:
        >>> import torch
        >>> from gnnkit.kernels import gat_attention
        >>> indptr, indices = torch.tensor([0, 2]), torch.tensor([0, 1])
        >>> x, zeros = torch.tensor([[[2.0]], [[4.0]]]), torch.zeros(2, 1)
        >>> gat_attention(indptr, indices, x, zeros, zeros[:1]).tolist()
        [[[3.0]]]
    """
    check_inputs(indptr, indices, "x", x, mask, negative_slope, transpose)
    numbers = score_dtype(x)
    num_src, num_dst, heads = x.shape[0], indptr.shape[0] - 1, x.shape[1]
    for name, value, rows in (("a_src", a_src, num_src), ("a_dst", a_dst, num_dst), ("a_edge", a_edge, len(indices))):
        if value is not None or name != "a_edge":
            _check.shaped(name, value, [rows, heads], (x.dtype, numbers))
    _check.same("indptr, x, a_src, a_dst and a_edge", indptr, x, a_src, a_dst, a_edge, dtype=False)
    scores = (None if t is None else t.to(numbers) for t in (a_src, a_dst, a_edge, mask))
    out, _, _ = gat_op(indptr, indices, x, *scores, negative_slope, *(transpose or (None, None, None)))
    result: Tensor = out
    return result


@operation("gnnkit::gat", gradient=True)
def gat_op(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    a_src: Tensor,
    a_dst: Tensor,
    a_edge: Tensor | None,
    mask: Tensor | None,
    slope: float,
    t_indptr: Tensor | None,
    t_indices: Tensor | None,
    t_perm: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    out, top, total = backend(x).gat_forward(indptr, indices, x, a_src, a_dst, a_edge, mask, slope)
    return out, top, total


@fake(gat_op)
def _(indptr: Tensor, indices: Tensor, x: Tensor, a_src: Tensor, a_dst: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return x.new_empty(a_dst.shape[0], *x.shape[1:]), a_dst.new_empty(a_dst.shape), a_dst.new_empty(a_dst.shape)


@operation("gnnkit::gat_backward_dst", gradient=False)
def gat_dst_op(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    a_src: Tensor,
    a_dst: Tensor,
    a_edge: Tensor | None,
    mask: Tensor | None,
    slope: float,
    top: Tensor,
    total: Tensor,
    grad: Tensor,
    delta: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of a_dst and a_edge (empty when that is None); they have none of their own."""
    args = indptr, indices, x, a_src, a_dst, a_edge, mask, slope, top, total, grad, delta
    d_dst, d_edge = backend(x).gat_backward_dst(*args)
    return d_dst, a_dst.new_empty(0) if d_edge is None else d_edge


@fake(gat_dst_op)
def _(
    indptr: Tensor, indices: Tensor, x: Tensor, a_src: Tensor, a_dst: Tensor, a_edge: Tensor | None, *_: Any
) -> tuple[Tensor, Tensor]:
    return a_dst.new_empty(a_dst.shape), a_dst.new_empty(0 if a_edge is None else a_edge.shape)


@operation("gnnkit::gat_backward_src", gradient=False)
def gat_src_op(
    t_indptr: Tensor,
    t_indices: Tensor,
    t_perm: Tensor,
    x: Tensor,
    a_src: Tensor,
    a_dst: Tensor,
    a_edge: Tensor | None,
    mask: Tensor | None,
    slope: float,
    top: Tensor,
    total: Tensor,
    grad: Tensor,
    delta: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of x and a_src; they have none of their own."""
    args = t_indptr, t_indices, t_perm, x, a_src, a_dst, a_edge, mask, slope, top, total, grad, delta
    dx, d_src = backend(x).gat_backward_src(*args)
    return dx, d_src


@fake(gat_src_op)
def _(t0: Tensor, t1: Tensor, t2: Tensor, x: Tensor, a_src: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), a_src.new_empty(a_src.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    indptr, indices, x, a_src, a_dst, a_edge, mask, ctx.slope, *transpose = inputs
    ctx.save_for_backward(indptr, indices, x, a_src, a_dst, a_edge, mask, *output, *transpose)
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    indptr, indices, *inputs, out, top, total, t0, t1, t2 = ctx.saved_tensors
    transpose = full_transpose(indptr, indices, (t0, t1, t2), inputs[0].shape[0])
    _, _, need_x, need_src, need_dst, need_edge, *_ = ctx.needs_input_grad
    dx = d_src = d_dst = d_edge = None
    if torch.is_grad_enabled():  # somebody will differentiate this again
        x, a_src, a_dst, a_edge, mask = inputs
        args = x, a_src, a_dst, a_edge, mask, ctx.slope, grad
        dx, d_src, d_dst, d_edge = gat_gradients(indptr, indices, transpose, *args)
    else:
        saved = *inputs, ctx.slope, top, total, grad, row_products(grad, out)
        if need_x or need_src:
            dx, d_src = gat_src_op(*transpose, *saved)
        if need_dst or need_edge:
            d_dst, d_edge = gat_dst_op(indptr, indices, *saved)
    return None, None, dx, d_src, d_dst, d_edge if need_edge else None, None, None, None, None, None


torch.library.register_autograd(gat_op, _backward, setup_context=_setup)
