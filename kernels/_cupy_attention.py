"""Attention on the GPU, fused: scores, softmax and sum in one walk, recomputed in the backward (``attention.cuh``)."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels._walk import Walk, plain

# x, x_dst, att and grad have the dtype of x; all other numbers that of sums, which is float32 where x has 16 bits


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
    """See `gnnkit.kernels._torch.gat_forward`."""
    x = plain(x)
    walk, out, top, total = _forward(indptr, indices, x)
    scores = x, *walk.wide_numbers(a_src, a_dst, a_edge, mask), float(slope)
    walk.attend("gat.cu", "gat_forward", walk.per_lane + 2, out, *scores, top, total)
    return out, top, total


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
    """See `gnnkit.kernels._torch.gat_backward_dst`."""
    x, grad = plain(x), plain(grad)
    walk = Walk(indptr, indices, len(x), x.shape[1:], x.dtype, x, grad)
    da_dst = x.new_empty(a_dst.shape, dtype=walk.wide)
    da_edge = None if a_edge is None else x.new_empty(a_edge.shape, dtype=walk.wide)
    scores = x, *walk.wide_numbers(a_src, a_dst, a_edge, mask), float(slope)
    backward = *walk.wide_numbers(top, total), grad, *walk.wide_numbers(delta)
    walk.attend("gat.cu", "gat_backward_dst", 1, da_dst, *scores, *backward, da_edge)
    return da_dst, da_edge


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
    """See `gnnkit.kernels._torch.gat_backward_src`."""
    x, grad = plain(x), plain(grad)
    dx = torch.empty_like(x)
    walk = Walk(t_indptr, t_indices, len(grad), x.shape[1:], x.dtype, x, grad, dx)
    da_src = x.new_empty(a_src.shape, dtype=walk.wide)
    scores = x, *walk.wide_numbers(a_src, a_dst, a_edge, mask), float(slope)
    backward = *walk.wide_numbers(top, total), grad, *walk.wide_numbers(delta)
    perm = plain(t_perm), int(t_perm.dtype == torch.int64)
    walk.attend("gat.cu", "gat_backward_src", walk.per_lane + 1, dx, *scores, *backward, da_src, *perm)
    return dx, da_src


def gatv2_forward(
    indptr: Tensor, indices: Tensor, x: Tensor, x_dst: Tensor, att: Tensor, mask: Tensor | None, slope: float
) -> tuple[Tensor, Tensor, Tensor]:
    """See `gnnkit.kernels._torch.gatv2_forward`."""
    x, x_dst, att = plain(x), plain(x_dst), plain(att)
    walk, out, top, total = _forward(indptr, indices, x, x_dst, att)
    scores = x, x_dst, att, *walk.wide_numbers(mask), float(slope)
    walk.attend("gatv2.cu", "gatv2_forward", walk.per_lane + 2, out, *scores, top, total)
    return out, top, total


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
    """See `gnnkit.kernels._torch.gatv2_backward_dst`; the gradient of ``att`` is summed over ``[N_dst, H, D]``."""
    x, x_dst, att, grad = plain(x), plain(x_dst), plain(att), plain(grad)
    dx_dst = torch.empty_like(x_dst)
    walk = Walk(indptr, indices, len(x), x.shape[1:], x.dtype, x, x_dst, att, grad, dx_dst)
    datt = torch.empty_like(x_dst, dtype=walk.wide)
    scores = x, x_dst, att, *walk.wide_numbers(mask), float(slope)
    backward = *walk.wide_numbers(top, total), grad, *walk.wide_numbers(delta)
    walk.attend("gatv2.cu", "gatv2_backward_dst", 2 * walk.per_lane, dx_dst, *scores, *backward, datt)
    return dx_dst, datt.sum(0).to(att.dtype)


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
    """See `gnnkit.kernels._torch.gatv2_backward_src`."""
    x, x_dst, att, grad = plain(x), plain(x_dst), plain(att), plain(grad)
    dx = torch.empty_like(x)
    walk = Walk(t_indptr, t_indices, len(grad), x.shape[1:], x.dtype, x, x_dst, att, grad, dx)
    scores = x, x_dst, att, *walk.wide_numbers(mask), float(slope)
    backward = *walk.wide_numbers(top, total), grad, *walk.wide_numbers(delta)
    perm = plain(t_perm), int(t_perm.dtype == torch.int64)
    walk.attend("gatv2.cu", "gatv2_backward_src", walk.per_lane, dx, *scores, *backward, *perm)
    return dx


def _forward(indptr: Tensor, indices: Tensor, *packed: Tensor) -> tuple[Walk, Tensor, Tensor, Tensor]:
    x = packed[0]
    out = x.new_empty(indptr.numel() - 1, *x.shape[1:])
    walk = Walk(indptr, indices, len(x), x.shape[1:], x.dtype, *packed, out)
    # zeros: heads of no features launch nothing
    top, total = (x.new_zeros(len(out), x.shape[1], dtype=walk.wide) for _ in range(2))
    return walk, out, top, total
