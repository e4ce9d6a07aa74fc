"""CPU backend of fused attention; see `gnnkit.kernels._torch` for what each function gives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels import _loops_gat, _loops_gatv2
from gnnkit.kernels._arrays import array, empty, empty_like, over_rows, refused, table, with_scratch
from gnnkit.kernels._threads import edge_bounds, run

PARTS = 64  # into which a sum over all edges is cut, whatever the number of threads, so that it does not depend on it


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
    out = empty(x, len(a_dst), *x.shape[1:])
    top, total = (a_dst.new_empty(a_dst.shape) for _ in range(2))  # contiguous, whatever a_dst is: loops write to them
    inputs = table(x), *(array(t) for t in (a_src, a_dst, a_edge, mask)), slope, x.shape[2]
    over_rows(
        _with_scratch(_loops_gat.gat_forward, indptr, indices, x),
        indptr,
        indices,
        x,
        *inputs,
        table(out),
        array(top),
        array(total),
    )
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
    d_dst = torch.empty_like(a_dst, memory_format=torch.contiguous_format)
    d_edge = None if a_edge is None else empty_like(a_edge)
    inputs = table(x), *(array(t) for t in (a_src, a_dst, a_edge, mask)), slope, x.shape[2]
    saved = array(top), array(total), table(grad), array(delta)
    over_rows(
        _with_scratch(_loops_gat.gat_backward_dst, indptr, indices, x),
        indptr,
        indices,
        x,
        *inputs,
        *saved,
        array(d_dst),
        array(d_edge),
    )
    return d_dst, d_edge


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
    dx, d_src = empty_like(x), torch.empty_like(a_src, memory_format=torch.contiguous_format)
    ends = torch.cat([a_dst, top, total, delta], dim=1)  # [N_dst, 4 H]: one place to look for an edge
    inputs = array(t_perm), table(x), *(array(t) for t in (a_src, ends, a_edge, mask)), slope, x.shape[2]
    over_rows(
        _with_scratch(_loops_gat.gat_backward_src, t_indptr, t_indices, x),
        t_indptr,
        t_indices,
        grad,
        *inputs,
        table(grad),
        table(dx),
        array(d_src),
    )
    return dx, d_src


def gatv2_forward(
    indptr: Tensor, indices: Tensor, x: Tensor, x_dst: Tensor, att: Tensor, mask: Tensor | None, slope: float
) -> tuple[Tensor, Tensor, Tensor]:
    """See `gnnkit.kernels._torch.gatv2_forward`."""
    top = x.new_empty(len(x_dst), x.shape[1], dtype=_computed(x))
    out, total = empty(x, *x_dst.shape), torch.empty_like(top)
    inputs = table(x), table(x_dst), array(att).reshape(1, -1), array(mask), slope, x.shape[2]
    over_rows(
        _with_scratch(_loops_gatv2.gatv2_forward, indptr, indices, x),
        indptr,
        indices,
        x,
        *inputs,
        table(out),
        array(top),
        array(total),
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
    """See `gnnkit.kernels._torch.gatv2_backward_dst`."""
    d_dst = empty_like(x_dst)
    pointers, columns = array(indptr), array(indices)
    if pointers[0] != 0 or pointers[-1] != len(columns):
        refused(indptr, indices, len(x))
    bounds = torch.tensor(edge_bounds(pointers, len(columns), x[0:1].numel(), parts=PARTS))
    d_att = x.new_zeros(len(bounds) - 1, att.numel(), dtype=_computed(x))
    inputs = table(x), table(x_dst), array(att).reshape(1, -1), array(mask), slope, x.shape[2]
    saved = array(top), array(total), table(grad), array(delta)
    each = list(range(len(bounds)))
    args = pointers, columns, *inputs, *saved, table(d_dst), array(d_att), array(bounds)
    if run(_with_scratch(_loops_gatv2.gatv2_backward_dst, indptr, indices, x), each, *args):
        refused(indptr, indices, len(x))
    return d_dst, d_att.sum(0).view(att.shape).to(att.dtype)


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
    dx = empty_like(x)
    ends = torch.cat([top, top, total, delta], dim=1)  # [N_dst, 4 H]
    inputs = array(t_perm), table(x), table(x_dst), array(att).reshape(1, -1), array(ends), array(mask)
    args = *inputs, slope, x.shape[2], table(grad), table(dx)
    over_rows(_with_scratch(_loops_gatv2.gatv2_backward_src, t_indptr, t_indices, x), t_indptr, t_indices, grad, *args)
    return dx


def _with_scratch(loop: Any, indptr: Tensor, indices: Tensor, x: Tensor) -> Any:
    return with_scratch(loop, indptr, len(indices), x.shape[1], _computed(x))


def _computed(x: Tensor) -> torch.dtype:
    """The dtype that sums are made in."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32
