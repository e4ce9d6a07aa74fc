"""GAT's and GATv2's attention on an ``edge_index`` for compiled graphs; everything of `_compiled_ops` holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gnnkit._accelerate import _cache
from gnnkit._accelerate._cache import CACHE
from gnnkit.adjacency import Adjacency
from gnnkit.kernels import sddmm
from gnnkit.kernels._register import fake, operation

_NO_TRANSPOSE = None, None, None


@operation("gnnkit_accelerate::gat", gradient=True)
def gat_op(
    edge_index: Tensor,
    x: Tensor,
    a_src: Tensor,
    a_dst: Tensor,
    mask: Tensor | None,
    slope: float,
    loops: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Aggregate by GAT's attention.

    Args:
        edge_index: ``[2, E]``.
        x: ``[N_src, H, D]``.
        a_src: ``[N_src, H]``, as in `gnnkit.kernels.gat_attention`.
        a_dst: ``[N_dst, H]``.
        mask: ``[E + loops, H]``, factors of the edges and, after them, of the self-loops that take the place of theirs.
        slope: Of the LeakyReLU.
        loops: How many nodes get a self-loop in place of theirs; None leaves the graph as it is.

    Returns:
        ``[N_dst, H, D]``, and the two numbers of each destination and head that the backward wants.
    """
    adj, values = _graph(edge_index, (len(x), len(a_dst)), mask, loops)
    out, top, total = torch.ops.gnnkit.gat(
        adj.indptr, adj.indices, x, a_src, a_dst, None, values, slope, *_NO_TRANSPOSE
    )
    return out, top, total


@fake(gat_op)
def _(edge_index: Tensor, x: Tensor, a_src: Tensor, a_dst: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(a_dst.shape[0], *x.shape[1:]), a_dst.new_empty(a_dst.shape), a_dst.new_empty(a_dst.shape)


@operation("gnnkit_accelerate::gat_backward", gradient=False)
def gat_backward_op(
    edge_index: Tensor,
    x: Tensor,
    a_src: Tensor,
    a_dst: Tensor,
    mask: Tensor | None,
    slope: float,
    loops: int | None,
    out: Tensor,
    top: Tensor,
    total: Tensor,
    grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, a_src and a_dst."""
    adj, values = _graph(edge_index, (len(x), len(a_dst)), mask, loops)
    args = x, a_src, a_dst, None, values, slope, top, total, grad, _row_products(grad, out)
    dx, d_src = torch.ops.gnnkit.gat_backward_src(*adj.transpose, *args)
    d_dst, _ = torch.ops.gnnkit.gat_backward_dst(adj.indptr, adj.indices, *args)
    return dx, d_src, d_dst


@fake(gat_backward_op)
def _(edge_index: Tensor, x: Tensor, a_src: Tensor, a_dst: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), a_src.new_empty(a_src.shape), a_dst.new_empty(a_dst.shape)


@operation("gnnkit_accelerate::gatv2", gradient=True)
def gatv2_op(
    edge_index: Tensor,
    x: Tensor,
    x_dst: Tensor,
    att: Tensor,
    mask: Tensor | None,
    slope: float,
    loops: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Aggregate by GATv2's attention: ``x [N_src, H, D]``, ``x_dst [N_dst, H, D]``, ``att [H, D]``, as `gat_op`."""
    adj, values = _graph(edge_index, (len(x), len(x_dst)), mask, loops)
    out, top, total = torch.ops.gnnkit.gatv2(adj.indptr, adj.indices, x, x_dst, att, values, slope, *_NO_TRANSPOSE)
    return out, top, total


@fake(gatv2_op)
def _(edge_index: Tensor, x: Tensor, x_dst: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return x_dst.new_empty(x_dst.shape), x_dst.new_empty(x_dst.shape[:2]), x_dst.new_empty(x_dst.shape[:2])


@operation("gnnkit_accelerate::gatv2_backward", gradient=False)
def gatv2_backward_op(
    edge_index: Tensor,
    x: Tensor,
    x_dst: Tensor,
    att: Tensor,
    mask: Tensor | None,
    slope: float,
    loops: int | None,
    out: Tensor,
    top: Tensor,
    total: Tensor,
    grad: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, x_dst and att."""
    adj, values = _graph(edge_index, (len(x), len(x_dst)), mask, loops)
    args = x, x_dst, att, values, slope, top, total, grad, _row_products(grad, out)
    dx = torch.ops.gnnkit.gatv2_backward_src(*adj.transpose, *args)
    d_dst, d_att = torch.ops.gnnkit.gatv2_backward_dst(adj.indptr, adj.indices, *args)
    return dx, d_dst, d_att


@fake(gatv2_backward_op)
def _(edge_index: Tensor, x: Tensor, x_dst: Tensor, att: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), x_dst.new_empty(x_dst.shape), att.new_empty(att.shape)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.slope, ctx.loops = inputs
    ctx.save_for_backward(*tensors, *output)
    ctx.mark_non_differentiable(*output[1:])


def _backward_by(op: Callable[..., Any]) -> Callable[..., Any]:
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        *inputs, out, top, total = ctx.saved_tensors
        grads = op(*inputs, ctx.slope, ctx.loops, out, top, total, grad)
        return (
            None,
            *(g if need else None for g, need in zip(grads, ctx.needs_input_grad[1:4], strict=True)),
            *3 * [None],
        )

    return backward


torch.library.register_autograd(gat_op, _backward_by(gat_backward_op), setup_context=_setup)
torch.library.register_autograd(gatv2_op, _backward_by(gatv2_backward_op), setup_context=_setup)


def _graph(
    edge_index: Tensor, sizes: tuple[int, int], mask: Tensor | None, loops: int | None
) -> tuple[Adjacency, Tensor | None]:
    """Return the graph with its self-loops and the mask in the order of its CSR."""
    adj = _cache.of_looped_edges(edge_index, sizes, loops)
    if mask is None:
        return adj, None

    def make() -> tuple[Tensor, int]:
        kept = (edge_index[0] != edge_index[1]).nonzero().view(-1)
        added = torch.arange(edge_index.shape[1], len(mask))
        rows = torch.cat([kept, added]).index_select(0, adj.edge_ids)
        return rows, rows.nbytes

    key = "rows of the mask", loops, _cache.edges_key(edge_index, sizes)
    return adj, mask.index_select(0, adj.edge_ids if loops is None else CACHE.get(key, make))


def _row_products(a: Tensor, b: Tensor) -> Tensor:
    """``(a * b).sum(-1)`` of ``[N, H, D]`` without a product of that size."""
    each = torch.arange(len(a) + 1)
    return sddmm(each, each[:-1], a, b)
