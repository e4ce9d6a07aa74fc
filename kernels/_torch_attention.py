"""The reference of fused attention in plain PyTorch: any device, no care for memory; see `gnnkit.kernels._torch`."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels._entries import rows_and_columns, widened


def gat_forward(
    indptr: Tensor,
    indices: Tensor,
    x: Tensor,
    a_src: Tensor,
    a_dst: Tensor,
    a_edge: Tensor | None,
    mask: Tensor | None,
    slope: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """GAT's attention: ``out[i] = sum over e of softmax(leaky(a_src[j] + a_dst[i] + a_edge[e])) * mask[e] * x[j]``.

    Shapes: ``x [N_src, H, D]``, ``a_src [N_src, H]``, ``a_dst [N_dst, H]``, ``a_edge`` and ``mask [E, H]``.
    Returns ``out [N_dst, H, D]``, and for the backward each row's largest score and its sum of
    ``exp(score - largest)``, both ``[N_dst, H]``; they are 0 for rows without entries. x may have 16 bits; all
    numbers of nodes and edges are float32 then.
    """
    rows, cols = rows_and_columns(indptr, indices, len(x))
    scores = _gat_scores(rows, cols, a_src, a_dst, a_edge, slope)
    return _attend(rows, cols, x, scores, mask, indptr.numel() - 1)


def gat_backward_dst(
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
) -> tuple[Tensor, Tensor | None]:
    """Gradients of `gat_forward` for ``a_dst``, and for ``a_edge`` unless it is None.

    ``grad [N_dst, H, D]`` is the output's gradient and ``delta = (grad * out).sum(-1)``, so that an edge's
    score has the gradient ``alpha * (mask * grad[i] . x[j] - delta[i])``: nothing of size E was stored.
    """
    rows, cols = rows_and_columns(indptr, indices, len(x))
    scores = _gat_scores(rows, cols, a_src, a_dst, a_edge, slope)
    _, dscores = _attend_backward(rows, cols, x, scores, mask, top, total, grad, delta)
    draw = dscores * _leaky_slope(scores, slope)
    return torch.zeros_like(a_dst).index_add(0, rows, draw), None if a_edge is None else draw


def gat_backward_src(
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
    """Gradients of `gat_forward` for ``x`` and ``a_src``, along the transpose (``t_perm`` for numbers of edges)."""
    cols, rows = rows_and_columns(t_indptr, t_indices, len(grad))
    a_edge, mask = (None if t is None else t[t_perm.long()] for t in (a_edge, mask))
    scores = _gat_scores(rows, cols, a_src, a_dst, a_edge, slope)
    weight, dscores = _attend_backward(rows, cols, x, scores, mask, top, total, grad, delta)
    draw = dscores * _leaky_slope(scores, slope)
    dx = torch.zeros_like(widened(x)).index_add(0, cols, weight.unsqueeze(-1) * widened(grad)[rows])
    return dx.to(x.dtype), torch.zeros_like(a_src).index_add(0, cols, draw)


def gatv2_forward(
    indptr: Tensor, indices: Tensor, x: Tensor, x_dst: Tensor, att: Tensor, mask: Tensor | None, slope: float
) -> tuple[Tensor, Tensor, Tensor]:
    """GATv2's attention: as `gat_forward`, with the scores ``(att * leaky(x[j] + x_dst[i])).sum(-1)``.

    Shapes: ``x [N_src, H, D]``, ``x_dst [N_dst, H, D]``, ``att [H, D]``, ``mask [E, H]``.
    """
    rows, cols = rows_and_columns(indptr, indices, len(x))
    scores = (widened(att) * _mixed(rows, cols, x, x_dst, slope)).sum(-1)
    return _attend(rows, cols, x, scores, mask, indptr.numel() - 1)


def gatv2_backward_dst(
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
    """Gradients of `gatv2_forward` for ``x_dst [N_dst, H, D]`` and ``att [H, D]``; see `gat_backward_dst`."""
    rows, cols = rows_and_columns(indptr, indices, len(x))
    mixed, wide = _mixed(rows, cols, x, x_dst, slope), widened(att)
    _, dscores = _attend_backward(rows, cols, x, (wide * mixed).sum(-1), mask, top, total, grad, delta)
    dmixed = dscores.unsqueeze(-1) * wide * _leaky_slope(mixed, slope)
    d_dst = torch.zeros_like(widened(x_dst)).index_add(0, rows, dmixed)
    return d_dst.to(x.dtype), (dscores.unsqueeze(-1) * mixed).sum(0).to(x.dtype)


def gatv2_backward_src(
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
    """Gradient of `gatv2_forward` for ``x``, along the transpose; ``mask`` by ``t_perm``."""
    cols, rows = rows_and_columns(t_indptr, t_indices, len(grad))
    mask = None if mask is None else mask[t_perm.long()]
    mixed, wide = _mixed(rows, cols, x, x_dst, slope), widened(att)
    weight, dscores = _attend_backward(rows, cols, x, (wide * mixed).sum(-1), mask, top, total, grad, delta)
    dmixed = dscores.unsqueeze(-1) * wide * _leaky_slope(mixed, slope)
    each = weight.unsqueeze(-1) * widened(grad)[rows] + dmixed
    return torch.zeros_like(widened(x)).index_add(0, cols, each).to(x.dtype)


def _gat_scores(
    rows: Tensor, cols: Tensor, a_src: Tensor, a_dst: Tensor, a_edge: Tensor | None, slope: float
) -> Tensor:
    # [E, H]
    raw = a_src[cols] + a_dst[rows] if a_edge is None else a_src[cols] + a_dst[rows] + a_edge
    return torch.nn.functional.leaky_relu(raw, slope)


def _mixed(rows: Tensor, cols: Tensor, x: Tensor, x_dst: Tensor, slope: float) -> Tensor:
    # [E, H, D]
    return torch.nn.functional.leaky_relu(widened(x)[cols] + widened(x_dst)[rows], slope)


def _leaky_slope(activated: Tensor, slope: float) -> Tensor:
    """The derivative where ``activated = leaky(raw)``, which has the sign of raw: slopes are not negative."""
    return torch.where(activated > 0, activated.new_ones(()), activated.new_full((), slope))


def _attend(
    rows: Tensor, cols: Tensor, x: Tensor, scores: Tensor, mask: Tensor | None, num_dst: int
) -> tuple[Tensor, Tensor, Tensor]:
    where = rows.unsqueeze(-1).expand_as(scores)
    zeros = scores.new_zeros(num_dst, scores.shape[1])
    top = zeros.scatter_reduce(0, where, scores, "amax", include_self=False)
    weight = (scores - top[rows]).exp()
    total = zeros.index_add(0, rows, weight)
    alpha = weight / total[rows] if mask is None else weight / total[rows] * mask
    wide = widened(x)
    out = wide.new_zeros(num_dst, *x.shape[1:]).index_add(0, rows, alpha.unsqueeze(-1) * wide[cols])
    return out.to(x.dtype), top, total


def _attend_backward(
    rows: Tensor,
    cols: Tensor,
    x: Tensor,
    scores: Tensor,
    mask: Tensor | None,
    top: Tensor,
    total: Tensor,
    grad: Tensor,
    delta: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return ``alpha * mask`` and the gradient of the scores, both ``[E, H]``."""
    alpha = (scores - top[rows]).exp() / total[rows]
    dalpha = (widened(grad)[rows] * widened(x)[cols]).sum(-1)
    if mask is None:
        return alpha, alpha * (dalpha - delta[rows])
    return alpha * mask, alpha * (mask * dalpha - delta[rows])
