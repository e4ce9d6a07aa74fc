"""Typed graphs made compact: a row for every distinct (node, relation), not for every edge.

What a relational layer computes of a source depends on the source and the relation alone, and many edges share
both (the compact materialisation of Hector, first called PIGEON: Wu et al., arXiv:2301.06284). Where the
aggregation is linear, the edges of a destination and relation may be added up first, and the sum is transformed.
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
from gnnkit.kernels import content_hash, group_by, segment_matmul, spmm, transpose_csr

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


class TypedSum:
    r"""What relational convolutions compute: ``x [N_src, K]`` and a matrix for each relation to ``[N_dst, M]``.

    .. math:: out_i = \sum_r \mathrm{reduce}_{j \to_r i} \; x_j W_r

    is two sparse products with a `segment_matmul` between them, whose rows are distinct (source, relation) pairs or,
    for the relations that have fewer of those, distinct (destination, relation) pairs.

    Attributes:
        gather: ``[P, N_src]``: from sources to rows.
        ptr: ``[R + 1]`` the rows of each relation.
        scatter: ``[N_dst, P]``: from rows to destinations.
    """

    def __init__(
        self, edge_index: Tensor, relation: Tensor, sizes: tuple[int, int], num_relations: int, reduce: str, dtype: Any
    ) -> None:
        src, dst = edge_index
        by_src = Pairs.of(src, relation, sizes[0], num_relations)
        by_dst = Pairs.of(dst, relation, sizes[1], num_relations)
        self.reduce = reduce
        fewer = _counts(by_src, num_relations) < _counts(by_dst, num_relations)
        first = fewer if reduce in ("sum", "mean") else torch.zeros_like(fewer)  # [R]: transformed, then aggregated
        keep_src, keep_dst = first[by_src.relation], ~first[by_dst.relation]
        self.ptr, order = group_by(torch.cat([by_src.relation[keep_src], by_dst.relation[keep_dst]]), num_relations)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        # [pairs] the row of each pair that has one
        src_row, dst_row = (torch.zeros(len(keep), dtype=torch.int64) for keep in (keep_src, keep_dst))
        src_row[keep_src], dst_row[keep_dst] = place.split([int(keep_src.sum()), int(keep_dst.sum())])
        early = first[relation]  # [E]
        late = ~early
        into = torch.cat([src_row[keep_src], dst_row[by_dst.of_edge[late]]])
        come = torch.cat([by_src.node[keep_src], src[late]])
        out = torch.cat([dst[early], by_dst.node[keep_dst]])
        via = torch.cat([src_row[by_src.of_edge[early]], dst_row[keep_dst]])
        shares: tuple[Tensor | None, Tensor | None] = (None, None)
        if reduce == "mean":
            share = (1 / by_dst.of_edge.bincount().to(dtype)).index_select(0, by_dst.of_edge)  # [E]
            ones = share.new_ones(max(len(by_src.node), len(by_dst.node)))
            shares = (
                torch.cat([ones[: int(keep_src.sum())], share[late]]),
                torch.cat([share[early], ones[: int(keep_dst.sum())]]),
            )
        self.gather = SparseMatrix(into, come, (len(order), sizes[0]), shares[0])
        self.scatter = SparseMatrix(out, via, (sizes[1], len(order)), shares[1])

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        """Aggregate; ``weight [R, K, M]`` or, a block for each part of the channels, ``[R, B, K / B, M / B]``."""
        rows = self.gather @ x if self.reduce in ("sum", "mean") else self.gather.extreme(x, self.reduce)
        if weight.dim() == 4:
            rows = rows.view(len(rows), *weight.shape[1:3])
        return self.scatter @ segment_matmul(rows, self.ptr, weight).flatten(1)

    @property
    def nbytes(self) -> int:
        """The bytes of both matrices."""
        return self.gather.nbytes + self.scatter.nbytes


def typed_sum(
    edge_index: Tensor, edge_type: Tensor, sizes: tuple[int, int], num_relations: int, reduce: str, dtype: torch.dtype
) -> TypedSum:
    """Return the two matrices of a graph, remembered by its content.

    Raises:
        ValueError: An id that ``sizes`` or the number of relations does not admit.
    """
    key = typed_key(edge_index, edge_type, sizes, num_relations), reduce, dtype if reduce == "mean" else None
    make = lambda: TypedSum(*lasting(edge_index, edge_type), sizes, num_relations, reduce, dtype)  # noqa: E731
    return remembered(("typed sum", key), make)


def typed_lookup(
    edge_index: Tensor,
    edge_type: Tensor,
    ids: Tensor,
    sizes: tuple[int, int],
    shape: tuple[int, int],
    reduce: str,
    dtype: torch.dtype,
) -> SparseMatrix:
    r"""Return the matrix that adds up rows of the relations' weights: ``[N_dst, R K]``, remembered by its content.

    .. math:: out_i = \sum_r \mathrm{reduce}_{j \to_r i} \; W_r[ids_j]

    Args:
        ids: ``[N_src]`` the row of ``weight[r]`` that a source is.
        shape: R and K.
        reduce: ``"sum"`` or ``"mean"``.

    Raises:
        ValueError: An id that ``sizes`` or ``shape`` does not admit.
    """

    def make() -> SparseMatrix:
        edges, relation, rows = lasting(edge_index, edge_type, ids)
        pairs = Pairs.of(edges[1], relation, sizes[1], shape[0])
        cols = rows[edges[0]]
        if edges[0].numel() and (int(edges[0].min()) < 0 or int(cols.min()) < 0 or int(cols.max()) >= shape[1]):
            raise ValueError(f"ids: expected ids in [0, {shape[1]}) (got {int(cols.min())} to {int(cols.max())})")
        share = None
        if reduce == "mean":
            share = (1 / pairs.of_edge.bincount().to(dtype)).index_select(0, pairs.of_edge)
        return SparseMatrix(edges[1], relation * shape[1] + cols, (sizes[1], shape[0] * shape[1]), share)

    key = typed_key(edge_index, edge_type, sizes, shape[0]), content_hash(ids), len(ids), shape, reduce, dtype
    return remembered(("typed lookup", key), make)


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


def lasting(*tensors: Tensor) -> list[Tensor]:
    """Return tensors that outlive inference mode."""
    return [tensor.clone() if tensor.is_inference() else tensor for tensor in tensors]


def _counts(pairs: Pairs, num_relations: int) -> Tensor:
    """``[R]``: the distinct pairs of each relation."""
    return pairs.relation.bincount(minlength=num_relations)
