"""Operations on an ``edge_index`` for compiled graphs: the topology is found again at run time, inside them.

A compiled graph may write over whatever an operation returned, so what the cache holds must not leave one: operations
take the ``edge_index`` and return results. Their backward operations look the graph up again (one hash), and build it
again where it was dropped meanwhile. They have no second derivatives; compiled graphs have none anyway.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gnnkit._accelerate import _cache
from gnnkit._accelerate._gcn_norm import normalised, unit_normalised
from gnnkit.kernels import sddmm, spmm, spmm_scaled
from gnnkit.kernels._register import fake, operation

_EXTREMES = ("max", "min")


# ------------------------------------------------------------------ sums, means, maxima, minima


@operation("gnnkit_accelerate::aggregate", gradient=True)
def aggregate_op(edge_index: Tensor, x: Tensor, weight: Tensor | None, reduce: str, num_dst: int) -> Tensor:
    """Reduce ``weight_e * x[source of e]`` at every destination.

    Args:
        edge_index: ``[2, E]``.
        x: ``[N_src, D]`` or ``[N_src, H, D]``.
        weight: ``[E]`` or ``[E, H]`` in the order of ``edge_index``.
        reduce: As in `gnnkit.kernels.spmm`.
        num_dst: The number of destinations.
    """
    adj = _cache.of_edges(edge_index, (len(x), num_dst)).adj
    values = None if weight is None else weight.index_select(0, adj.edge_ids)
    return spmm(adj.indptr, adj.indices, x, values, reduce)


@fake(aggregate_op)
def _(edge_index: Tensor, x: Tensor, weight: Tensor | None, reduce: str, num_dst: int) -> Tensor:
    return x.new_empty(num_dst, *x.shape[1:])


@operation("gnnkit_accelerate::aggregate_backward", gradient=False)
def aggregate_backward_op(
    edge_index: Tensor,
    grad: Tensor,
    x: Tensor | None,
    weight: Tensor | None,
    out: Tensor | None,
    reduce: str,
    num_src: int,
    need_x: bool,
    need_weight: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of x and weight, empty where they are not needed."""
    adj = _cache.of_edges(edge_index, (num_src, len(grad))).adj
    values = None if weight is None else weight.index_select(0, adj.edge_ids)
    if reduce in _EXTREMES:
        assert x is not None
        assert out is not None
        dx, dvalues = _extreme_gradients(adj, grad, x, values, out, need_x, need_weight)
    else:
        dx, dvalues = _linear_gradients(adj, grad, x, values, reduce, need_x, need_weight)
    none = grad.new_empty(0)
    return none if dx is None else dx, none.clone() if dvalues is None else adj.to_edge_order(dvalues)


@fake(aggregate_backward_op)
def _(
    edge_index: Tensor, grad: Tensor, x: Any, weight: Any, out: Any, reduce: str, num_src: int, need_x: bool, need: bool
) -> tuple[Tensor, Tensor]:
    dx = grad.new_empty(num_src, *grad.shape[1:]) if need_x else grad.new_empty(0)
    return dx, weight.new_empty(weight.shape) if need else grad.new_empty(0)


def _linear_gradients(
    adj: Any, grad: Tensor, x: Tensor | None, values: Tensor | None, reduce: str, need_x: bool, need_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    dx = dvalues = None
    if reduce == "mean":
        grad = grad / adj.in_degree().clamp(min=1).to(grad.dtype).view(-1, *[1] * (grad.dim() - 1))
    if need_x:
        t_indptr, t_indices, t_perm = adj.transpose
        dx = spmm(t_indptr, t_indices, grad, None if values is None else values.index_select(0, t_perm))
    if need_weight:
        assert x is not None
        dvalues = sddmm(adj.indptr, adj.indices, grad, x)
    return dx, dvalues


def _extreme_gradients(
    adj: Any, grad: Tensor, x: Tensor, values: Tensor | None, out: Tensor, need_x: bool, need_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    ops, csr, shape = torch.ops.gnnkit, (adj.indptr, adj.indices), x.shape
    if values is None or values.dim() == 1:  # one head, as `spmm` does it
        x, grad, out = (t.reshape(len(t), 1, -1) for t in (x, grad, out))
    weight = values.unsqueeze(-1) if values is not None and values.dim() == 1 else values
    share = grad / ops.extreme_ties(*csr, x, weight, out)
    dx = dvalues = None
    if need_x:
        dx = ops.masked_spmm(*csr, *adj.transpose, share, weight, x, out, weight, True).view(shape)
    if need_weight:
        assert values is not None
        dvalues = ops.masked_sddmm(*csr, *adj.transpose, share, x, x, out, weight).view(values.shape)
    return dx, dvalues


def _aggregate_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    edge_index, x, weight, ctx.reduce, _ = inputs
    ctx.num_src = x.shape[0]
    extreme = ctx.reduce in _EXTREMES
    keep_x = extreme or (weight is not None and ctx.needs_input_grad[2])
    ctx.save_for_backward(edge_index, x if keep_x else None, weight, output if extreme else None)


def _aggregate_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    edge_index, x, weight, out = ctx.saved_tensors
    _, need_x, need_weight, *_ = ctx.needs_input_grad
    need_weight = need_weight and weight is not None
    args = edge_index, grad, x, weight, out, ctx.reduce, ctx.num_src, need_x, need_weight
    dx, dweight = aggregate_backward_op(*args)
    return None, dx if need_x else None, dweight if need_weight else None, None, None


torch.library.register_autograd(aggregate_op, _aggregate_backward, setup_context=_aggregate_setup)


# ------------------------------------------------------------------ GCN


@operation("gnnkit_accelerate::gcn", gradient=True)
def gcn_op(
    edge_index: Tensor, x: Tensor, weight: Tensor | None, improved: bool, loops: bool, transposed: bool
) -> Tensor:
    """Multiply PyG's normalised adjacency, or its transpose, with ``x``; the weights are constants."""
    if weight is None:
        adj, scale = unit_normalised(edge_index, len(x), loops, x.dtype)
        return spmm_scaled(*(adj.transpose[:2] if transposed else (adj.indptr, adj.indices)), x, scale, scale)
    adj, values = normalised(edge_index, weight, len(x), improved, loops, x.dtype)
    if transposed:
        return spmm(*adj.transpose[:2], x, values.by_src)
    return spmm(adj.indptr, adj.indices, x, values.by_dst)


@fake(gcn_op)
def _(edge_index: Tensor, x: Tensor, *_: Any) -> Tensor:
    return x.new_empty(x.shape)


def _gcn_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    edge_index, _, weight, *ctx.how, ctx.transposed = inputs
    ctx.save_for_backward(edge_index, weight)


def _gcn_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    edge_index, weight = ctx.saved_tensors
    return None, gcn_op(edge_index, grad, weight, *ctx.how, not ctx.transposed), None, None, None, None


torch.library.register_autograd(gcn_op, _gcn_backward, setup_context=_gcn_setup)
