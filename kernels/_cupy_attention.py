"""Attention on the GPU, fused: scores, softmax and sum in one walk, recomputed in the backward (``attention.cuh``)."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.kernels._walk import Walk, plain


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
    scores = x, plain(a_src), plain(a_dst), plain(a_edge), plain(mask), float(slope)
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
    x, grad, a_dst = plain(x), plain(grad), plain(a_dst)
    da_dst, da_edge = torch.empty_like(a_dst), None if a_edge is None else torch.empty_like(plain(a_edge))
    walk = Walk(indptr, indices, len(x), x.shape[1:], x.dtype, x, grad)
    scores = x, plain(a_src), a_dst, plain(a_edge), plain(mask), float(slope)
    backward = plain(top), plain(total), grad, plain(delta)
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
    x, grad, a_src = plain(x), plain(grad), plain(a_src)
    dx, da_src = torch.empty_like(x), torch.empty_like(a_src)
    walk = Walk(t_indptr, t_indices, len(grad), x.shape[1:], x.dtype, x, grad, dx)
    scores = x, a_src, plain(a_dst), plain(a_edge), plain(mask), float(slope)
    backward = plain(top), plain(total), grad, plain(delta)
    perm = plain(t_perm), int(t_perm.dtype == torch.int64)
    walk.attend("gat.cu", "gat_backward_src", walk.per_lane + 1, dx, *scores, *backward, da_src, *perm)
    return dx, da_src


def gatv2_forward(
    indptr: Tensor, indices: Tensor, x: Tensor, x_dst: Tensor, att: Tensor, mask: Tensor | None, slope: float
) -> tuple[Tensor, Tensor, Tensor]:
    """See `gnnkit.kernels._torch.gatv2_forward`."""
    x, x_dst, att = plain(x), plain(x_dst), plain(att)
    walk, out, top, total = _forward(indptr, indices, x, x_dst, att)
    walk.attend(
        "gatv2.cu", "gatv2_forward", walk.per_lane + 2, out, x, x_dst, att, plain(mask), float(slope), top, total
    )
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
    scores = x, x_dst, att, plain(mask), float(slope)
    backward = plain(top), plain(total), grad, plain(delta)
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
    scores = x, x_dst, att, plain(mask), float(slope)
    backward = plain(top), plain(total), grad, plain(delta)
    perm = plain(t_perm), int(t_perm.dtype == torch.int64)
    walk.attend("gatv2.cu", "gatv2_backward_src", walk.per_lane, dx, *scores, *backward, *perm)
    return dx


def _forward(indptr: Tensor, indices: Tensor, *packed: Tensor) -> tuple[Walk, Tensor, Tensor, Tensor]:
    x = packed[0]
    out = x.new_empty(indptr.numel() - 1, *x.shape[1:])
    walk = Walk(indptr, indices, len(x), x.shape[1:], x.dtype, *packed, out)
    # zeros: heads of no features launch nothing
    top, total = x.new_zeros(2, len(out), x.shape[1])
    return walk, out, top, total
