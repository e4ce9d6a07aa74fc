"""Rows of nodes reduced along a graph: `spmm` with the transpose at hand, and constants in both orders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gnnkit._accelerate._cache import Topology, Values
from gnnkit._accelerate._rows import Rows, materialised
from gnnkit.adjacency import Adjacency
from gnnkit.kernels import spmm, spmm_scaled

Matrix = tuple[Tensor, Tensor, Tensor]  # indptr, indices, values


def reduced(messages: Any, topology: Topology, reduce: str, dim: int = 0) -> Tensor:
    """Reduce messages at their destinations; pending rows of sources are never written out.

    Args:
        messages: One row an edge, pending or not.
        topology: The graph.
        reduce: As in `spmm`.
        dim: Where in ``messages`` the edges are.
    """
    if isinstance(messages, Rows) and messages.is_pending and messages.end == "src" and messages.table.dim() in (2, 3):
        return _reduced_rows(messages, reduce)
    rows = materialised(messages)
    if dim == 0:
        return topology.adj.aggregate(rows, reduce)
    return topology.adj.aggregate(rows.movedim(dim, 0), reduce).movedim(0, dim).contiguous()


def _reduced_rows(rows: Rows, reduce: str) -> Tensor:
    rows.check_unwritten()
    x, weight = rows.table, rows.weight
    saved = (reduce in ("max", "min") and x.requires_grad) or (weight is not None and weight.requires_grad)
    if saved and torch.is_grad_enabled():
        x = rows.own_table()
    if rows.batched:
        return aggregate(rows.topology, x.transpose(0, 1), weight, reduce).transpose(0, 1).contiguous()
    out = aggregate(rows.topology, x, weight, reduce)
    return out.flatten(1) if rows.is_flat else out


def aggregate(topology: Topology, x: Tensor, weight: Tensor | None, reduce: str) -> Tensor:
    """Reduce ``weight_e * x[source of e]`` at every destination, weights in the original edge order."""
    adj = topology.adj
    if weight is None:
        return spmm(adj.indptr, adj.indices, x, None, reduce, transpose=_transpose(adj, x))
    if weight.requires_grad or reduce != "sum":
        values = adj.to_csr_order(weight)
        return spmm(adj.indptr, adj.indices, x, values, reduce, transpose=_transpose(adj, x, values))
    return FixedProduct.of(adj, topology.values(weight), x)


def scaled(adj: Adjacency, scale: Tensor, x: Tensor) -> Tensor:
    """Multiply ``D A D``, ``D`` of a constant number for each node, with the rows of the nodes."""
    return spmm_scaled(adj.indptr, adj.indices, x, scale, scale, transpose=_transpose(adj, x))


def _transpose(adj: Adjacency, *inputs: Tensor) -> Any:
    return adj.transpose if torch.is_grad_enabled() and any(t.requires_grad for t in inputs) else None


class FixedProduct(torch.autograd.Function):
    """The product with a matrix of constants, whose transpose has its values in order beforehand."""

    @staticmethod
    def of(adj: Adjacency, values: Values, x: Tensor) -> Tensor:
        """Multiply a graph with constant weights and the rows of its sources."""
        matrix = adj.indptr, adj.indices, values.by_dst
        if not (torch.is_grad_enabled() and x.requires_grad):
            return spmm(*matrix[:2], x, matrix[2])
        out: Tensor = FixedProduct.apply(x, matrix, (*adj.transpose[:2], values.by_src))  # type: ignore[no-untyped-call]
        return out

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Matrix, transpose: Matrix) -> Tensor:
        ctx.matrix, ctx.transpose = matrix, transpose
        indptr, indices, values = matrix
        return spmm(indptr, indices, x, values)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return FixedProduct.apply(grad, ctx.transpose, ctx.matrix), None, None  # type: ignore[no-untyped-call]
