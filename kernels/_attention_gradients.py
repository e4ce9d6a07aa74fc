"""Gradients of attention made of differentiable operations: what serves when they are differentiated again."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gnnkit.kernels._csr import Transpose, row_of_entry
from gnnkit.kernels._sddmm import sddmm_op
from gnnkit.kernels._segment_reduce import segment_reduce
from gnnkit.kernels._segment_softmax import softmax_op
from gnnkit.kernels._spmm import spmm_op

_NONE = None, None, None


def row_products(a: Tensor, b: Tensor) -> Tensor:
    """``(a * b).sum(-1)`` of ``[N, H, D]``, in float32 at least and without a product of that size."""
    if a.dtype in (torch.bfloat16, torch.float16):
        return (a.float() * b.float()).sum(-1)
    each = torch.arange(a.shape[0] + 1, device=a.device)
    products: Tensor = sddmm_op(each, each[:-1], a, b, *_NONE)
    return products


def gat_gradients(
    indptr: Tensor,
    indices: Tensor,
    transpose: Transpose,
    x: Tensor,
    a_src: Tensor,
    a_dst: Tensor,
    a_edge: Tensor | None,
    mask: Tensor | None,
    slope: float,
    grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of x, a_src, a_dst and a_edge."""
    rows, cols = row_of_entry(indptr, indices).long(), indices.long()
    raw = a_src[cols] + a_dst[rows]  # [E, H]
    raw = raw if a_edge is None else raw + a_edge
    dx, dscores = _through_softmax(indptr, indices, transpose, rows, x, F.leaky_relu(raw, slope), mask, grad)
    draw = dscores * torch.where(raw > 0, raw.new_ones(()), raw.new_full((), slope))
    t_indptr, _, t_perm = transpose
    return dx, segment_reduce(draw[t_perm.long()], t_indptr), segment_reduce(draw, indptr), draw


def gatv2_gradients(
    indptr: Tensor,
    indices: Tensor,
    transpose: Transpose,
    x: Tensor,
    x_dst: Tensor,
    att: Tensor,
    mask: Tensor | None,
    slope: float,
    grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, x_dst and att."""
    rows, cols = row_of_entry(indptr, indices).long(), indices.long()
    raw = x[cols] + x_dst[rows]  # [E, H, D]
    mixed = F.leaky_relu(raw, slope)
    dx, dscores = _through_softmax(indptr, indices, transpose, rows, x, (mixed * att).sum(-1), mask, grad)
    slopes = torch.where(raw > 0, raw.new_ones(()), raw.new_full((), slope))
    draw = dscores.unsqueeze(-1) * slopes * att  # [E, H, D]
    t_indptr, _, t_perm = transpose
    d_att = (dscores.unsqueeze(-1) * mixed).sum(0)
    return dx + segment_reduce(draw[t_perm.long()], t_indptr), segment_reduce(draw, indptr), d_att


def _through_softmax(
    indptr: Tensor,
    indices: Tensor,
    transpose: Transpose,
    rows: Tensor,
    x: Tensor,
    scores: Tensor,
    mask: Tensor | None,
    grad: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the gradient of x where it is aggregated, and that of the scores."""
    t_indptr, t_indices, t_perm = transpose
    alpha = softmax_op(scores, indptr)  # [E, H]
    weight = alpha if mask is None else alpha * mask
    dx = spmm_op(t_indptr, t_indices, grad, weight[t_perm.long()], "sum", *_NONE)
    dalpha = sddmm_op(indptr, indices, grad, x, *transpose)
    dalpha = dalpha if mask is None else dalpha * mask
    weighted = alpha * dalpha
    return dx, weighted - alpha * segment_reduce(weighted, indptr)[rows]
