"""Fused attention: scores, softmax and aggregation of GAT and GATv2 in one walk, with nothing of size E kept."""

import sys
from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels import _check
from gnnkit.kernels._attention_gradients import gat_gradients, gatv2_gradients, row_products
from gnnkit.kernels._backend import backend
from gnnkit.kernels._csr import Transpose, transpose_csr


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
    _common(indptr, indices, "x", x, mask, negative_slope, transpose)
    numbers = _numbers(x)
    num_src, num_dst, heads = x.shape[0], indptr.shape[0] - 1, x.shape[1]
    for name, value, rows in (("a_src", a_src, num_src), ("a_dst", a_dst, num_dst), ("a_edge", a_edge, len(indices))):
        if value is not None or name != "a_edge":
            _check.shaped(name, value, [rows, heads], (x.dtype, numbers))
    _check.same("indptr, x, a_src, a_dst and a_edge", indptr, x, a_src, a_dst, a_edge, dtype=False)
    scores = (None if t is None else t.to(numbers) for t in (a_src, a_dst, a_edge, mask))
    out, _, _ = gat_op(indptr, indices, x, *scores, negative_slope, *(transpose or (None, None, None)))
    result: Tensor = out
    return result


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
    _common(indptr, indices, "x_src", x_src, mask, negative_slope, transpose)
    _check.shaped("x_dst", x_dst, [indptr.shape[0] - 1, *x_src.shape[1:]], (x_src.dtype,))
    _check.shaped("att", att, list(x_src.shape[1:]), (x_src.dtype,))
    _check.same("indptr, x_src, x_dst and att", indptr, x_src, x_dst, att, dtype=False)
    mask = None if mask is None else mask.to(_numbers(x_src))
    args = indptr, indices, x_src, x_dst, att, mask, negative_slope
    out, _, _ = gatv2_op(*args, *(transpose or (None, None, None)))
    result: Tensor = out
    return result


def _numbers(x: Tensor) -> torch.dtype:
    """The dtype of scores: that of x, float32 at least."""
    return x.dtype if x.dtype in _check.FLOAT_DTYPES else torch.float32


def _common(
    indptr: Tensor,
    indices: Tensor,
    name: str,
    x: Tensor,
    mask: Tensor | None,
    slope: float,
    transpose: Transpose | None,
) -> None:
    """Check what both take, ``name`` being the name of the rows of sources."""
    _check.csr_shapes(indptr, indices)
    _check.float_tensor(name, x, (3,), half=True)
    if not isinstance(slope, int | float) or isinstance(slope, bool) or not 0 <= slope <= sys.float_info.max:
        raise ValueError(f"negative_slope: expected a finite number >= 0 (got {slope!r})")
    if mask is not None:
        _check.shaped("mask", mask, [indices.shape[0], x.shape[1]], (x.dtype, _numbers(x)))
        if mask.requires_grad:
            raise ValueError("mask: expected a constant (got a tensor that asks for a gradient)")
    _check.same(f"indptr, indices, {name} and mask", indptr, indices, x, mask, dtype=False)
    if transpose is not None:
        _check.transposed(transpose, indices, x.shape[0])


# ------------------------------------------------------------------ GAT


@torch.library.custom_op("gnnkit::gat", mutates_args=())
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


@gat_op.register_fake
def _(indptr: Tensor, indices: Tensor, x: Tensor, a_src: Tensor, a_dst: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return x.new_empty(a_dst.shape[0], *x.shape[1:]), a_dst.new_empty(a_dst.shape), a_dst.new_empty(a_dst.shape)


@torch.library.custom_op("gnnkit::gat_backward_dst", mutates_args=())
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


@gat_dst_op.register_fake
def _(
    indptr: Tensor, indices: Tensor, x: Tensor, a_src: Tensor, a_dst: Tensor, a_edge: Tensor | None, *_: Any
) -> tuple[Tensor, Tensor]:
    return a_dst.new_empty(a_dst.shape), a_dst.new_empty(0 if a_edge is None else a_edge.shape)


@torch.library.custom_op("gnnkit::gat_backward_src", mutates_args=())
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


@gat_src_op.register_fake
def _(t0: Tensor, t1: Tensor, t2: Tensor, x: Tensor, a_src: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), a_src.new_empty(a_src.shape)


def _gat_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    indptr, indices, x, a_src, a_dst, a_edge, mask, ctx.slope, *transpose = inputs
    ctx.save_for_backward(indptr, indices, x, a_src, a_dst, a_edge, mask, *output, *transpose)
    ctx.mark_non_differentiable(*output[1:])


def _gat_backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    indptr, indices, *inputs, out, top, total, t0, t1, t2 = ctx.saved_tensors
    transpose = _given(indptr, indices, (t0, t1, t2), inputs[0].shape[0])
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


gat_op.register_autograd(_gat_backward, setup_context=_gat_setup)


# ------------------------------------------------------------------ GATv2


@torch.library.custom_op("gnnkit::gatv2", mutates_args=())
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


@gatv2_op.register_fake
def _(indptr: Tensor, indices: Tensor, x: Tensor, x_dst: Tensor, *_: Any) -> tuple[Tensor, ...]:
    numbers = x.new_empty(x_dst.shape[:2], dtype=_numbers(x))
    return x.new_empty(x_dst.shape), numbers, torch.empty_like(numbers)


@torch.library.custom_op("gnnkit::gatv2_backward_dst", mutates_args=())
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


@gatv2_dst_op.register_fake
def _(indptr: Tensor, indices: Tensor, x: Tensor, x_dst: Tensor, att: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return x_dst.new_empty(x_dst.shape), att.new_empty(att.shape)


@torch.library.custom_op("gnnkit::gatv2_backward_src", mutates_args=())
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


@gatv2_src_op.register_fake
def _(t0: Tensor, t1: Tensor, t2: Tensor, x: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape)


def _gatv2_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    indptr, indices, x, x_dst, att, mask, ctx.slope, *transpose = inputs
    ctx.save_for_backward(indptr, indices, x, x_dst, att, mask, *output, *transpose)
    ctx.mark_non_differentiable(*output[1:])


def _gatv2_backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    indptr, indices, *inputs, out, top, total, t0, t1, t2 = ctx.saved_tensors
    transpose = _given(indptr, indices, (t0, t1, t2), inputs[0].shape[0])
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


def _given(indptr: Tensor, indices: Tensor, transpose: Any, num_src: int) -> Transpose:
    built: Transpose = transpose_csr(indptr, indices, num_src) if transpose[0] is None else transpose
    return built


gatv2_op.register_autograd(_gatv2_backward, setup_context=_gatv2_setup)
