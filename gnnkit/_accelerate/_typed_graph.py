"""Typed graphs made compact: a row for every distinct (node, relation), not for every edge.

What a relational layer computes of a source depends on the source and the relation alone, and many edges share
both (the compact materialisation of Hector, first called PIGEON: Wu et al., arXiv:2301.06284).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import Parameter

from gnnkit._accelerate import _cache
from gnnkit._accelerate._cache import CACHE
from gnnkit._accelerate._layer import FastLayer, is_fast
from gnnkit._accelerate._products import FixedProduct
from gnnkit.kernels import content_hash, group_by, spmm, transpose_csr

Made = TypeVar("Made")


def is_plain(*values: Any) -> bool:
    """Whether these are ordinary tensors on the CPU."""
    return all(
        type(value) in (Tensor, Parameter) and value.device.type == "cpu" and value.layout is torch.strided
        for value in values
    )


def is_typed(layer: FastLayer, edge_index: Any, edge_type: Any) -> bool:
    """Whether a call can be served, as `is_fast` says, with a relation for every edge."""
    return (
        is_fast(layer, edge_index)
        and edge_index.dtype == torch.int64
        and is_plain(edge_type)
        and edge_type.dtype == torch.int64
        and edge_type.shape == edge_index.shape[1:]
        and layer.flow == "source_to_target"
        and not torch.is_autocast_enabled("cpu")
    )


class Pairs(NamedTuple):
    """The distinct (node, relation) of the edges, sorted by relation and within one by node.

    Attributes:
        of_edge: ``[E]`` the pair of each edge.
        node: ``[P]``.
        relation: ``[P]``.
    """

    of_edge: Tensor
    node: Tensor
    relation: Tensor

    @classmethod
    def of(cls, node: Tensor, relation: Tensor, num_nodes: int, num_relations: int) -> Pairs:
        """Find them, in O(E + N + R).

        Raises:
            ValueError: A node or a relation out of its range.
        """
        order = group_by(node, num_nodes)[1]
        order = order.index_select(0, group_by(relation.index_select(0, order), num_relations)[1])
        node, relation = node.index_select(0, order), relation.index_select(0, order)
        first = torch.ones(len(order), dtype=torch.bool)
        first[1:] = (node[1:] != node[:-1]) | (relation[1:] != relation[:-1])
        of_edge = torch.empty_like(order)
        of_edge[order] = first.cumsum(0) - 1
        return cls(of_edge, node[first], relation[first])


class SparseMatrix:
    """A constant matrix as the kernels take it: ``matrix @ x`` is differentiable with respect to ``x``.

    Args:
        rows: ``[E]`` the row of each entry.
        cols: ``[E]`` its column.
        shape: The numbers of rows and columns.
        values: ``[E]``; None for ones.
    """

    def __init__(self, rows: Tensor, cols: Tensor, shape: tuple[int, int], values: Tensor | None = None) -> None:
        self.shape = shape
        self.indptr, perm = group_by(rows, shape[0])
        fits = max(shape) < 2**31
        self.indices = cols.index_select(0, perm).to(torch.int32 if fits else torch.int64)
        self.values = None if values is None else values.index_select(0, perm)
        self._transpose: tuple[Tensor, Tensor, Tensor] | None = None
        self._t_values: Tensor | None = None

    def __matmul__(self, x: Tensor) -> Tensor:
        """Multiply with rows ``[columns, ...]``."""
        if not (torch.is_grad_enabled() and x.requires_grad):
            return spmm(self.indptr, self.indices, x, self.values)
        t_indptr, t_indices, t_perm = self.transpose
        if self.values is not None and self._t_values is None:
            with torch.inference_mode(False):
                self._t_values = self.values.index_select(0, t_perm)
        matrices = (self.indptr, self.indices, self.values), (t_indptr, t_indices, self._t_values)
        out: Tensor = FixedProduct.apply(x, *matrices)  # type: ignore[no-untyped-call]
        return out

    def extreme(self, x: Tensor, reduce: str) -> Tensor:
        """The max or min over each row's entries, values aside."""
        needed = torch.is_grad_enabled() and x.requires_grad
        # the backward looks at x, which the caller may have written on by then
        x = x.clone() if needed else x
        return spmm(self.indptr, self.indices, x, None, reduce, transpose=self.transpose if needed else None)

    @property
    def transpose(self) -> tuple[Tensor, Tensor, Tensor]:
        """The CSR by column, made at first use."""
        if self._transpose is None:
            with torch.inference_mode(False):
                self._transpose = transpose_csr(self.indptr, self.indices, self.shape[1])
        return self._transpose

    @property
    def nbytes(self) -> int:
        """With the transpose."""
        value_bytes = 0 if self.values is None else 2 * self.values.element_size()
        return self.indices.numel() * (16 + value_bytes) + 8 * sum(self.shape)


def typed_key(edge_index: Tensor, edge_type: Tensor, sizes: tuple[int, int], num_relations: int) -> Hashable:
    """Return the key of a typed graph's content."""
    return _cache.edges_key(edge_index, sizes), content_hash(edge_type), num_relations


def remembered(key: Hashable, make: Callable[[], Made]) -> Made:
    """Return what has a key in the cache, made if it is missing; it has ``nbytes``."""

    def made() -> tuple[Any, int]:
        with torch.inference_mode(False):  # what is remembered serves training later
            value: Any = make()
        return value, value.nbytes

    return CACHE.get(key, made)  # type: ignore[no-any-return]


def in_range(ids: Tensor, bound: int) -> Tensor:
    """Return ids in ``[0, bound)``; others are a ValueError, at which a layer leaves the call to PyG."""
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < bound:
        raise ValueError(f"expected ids in [0, {bound}) (got {int(ids.min())} to {int(ids.max())})")
    return ids


def lasting(*tensors: Tensor) -> list[Tensor]:
    """Return tensors that outlive inference mode."""
    return [tensor.clone() if tensor.is_inference() else tensor for tensor in tensors]
