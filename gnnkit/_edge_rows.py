"""Rows of nodes and rows of edges: going from one to the other, with gradients that are sums along rows.

PyTorch's own backward of ``index_select`` adds row by row on one thread (and in no fixed order on a GPU).
Along a topology the same sum is an `spmm`; and along a permutation it is the inverse permutation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gnnkit.kernels import spmm


class _Permute(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        return x.index_select(0, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        order, inverse = ctx.saved_tensors
        return permute(grad, inverse, order), None, None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, node: Tensor, indptr: Tensor, edges: Tensor) -> Tensor:
        return x.index_select(0, node)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        node, indptr, edges = ctx.saved_tensors
        return reduce_rows(grad, node, indptr, edges, "sum"), None, None, None


def permute(x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """Return ``x[order]`` for a permutation and its inverse."""
    if not _needs_grad(x):
        return x.index_select(0, order)
    out: Tensor = _Permute.apply(x, order, inverse)  # type: ignore[no-untyped-call]
    return out


def gather(x: Tensor, node: Tensor, indptr: Tensor, edges: Tensor) -> Tensor:
    """Return ``x[node]``: for every edge the row of one of its nodes.

    Args:
        x: ``[N, ...]``, float32 or float64.
        node: ``[E]`` the node of each edge.
        indptr: ``[N + 1]``; the edges of node n are ``edges[indptr[n]:indptr[n + 1]]``.
        edges: ``[E]`` edges, by node.
    """
    if not _needs_grad(x):
        return x.index_select(0, node)
    out: Tensor = _Gather.apply(x, node, indptr, edges)  # type: ignore[no-untyped-call]
    return out


def reduce_rows(rows: Tensor, node: Tensor, indptr: Tensor, edges: Tensor, reduce: str) -> Tensor:
    """Reduce rows of edges at the node of each; arguments as in `gather`, of which this is the transpose."""
    each = torch.arange(len(rows) + 1, device=rows.device)
    flat = rows.reshape(len(rows), rows.shape[1:].numel())  # [E, D]
    # message e has one destination; without values its position in the CSR is never asked for
    out = spmm(indptr, edges, flat, reduce=reduce, transpose=(each, node, each[:-1]))
    return out.reshape(len(indptr) - 1, *rows.shape[1:])


def _needs_grad(x: Tensor) -> bool:
    return torch.is_grad_enabled() and x.requires_grad
