"""Sums over typed edges with a matrix for each relation: two sparse products, and one of groups between them.

Where the aggregation is linear, the edges of a destination and relation may be added up first, and their sum is
transformed; or the sources are transformed first. Each relation goes the way that makes fewer rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit._accelerate._typed_graph import Pairs, SparseMatrix, in_range, lasting, remembered, typed_key
from gnnkit.kernels import content_hash, group_by, segment_matmul


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
        self,
        ends: tuple[Tensor, Tensor],
        relation: Tensor,
        sizes: tuple[int, int],
        num_relations: int,
        reduce: str,
        dtype: torch.dtype,
    ) -> None:
        src, dst = ends
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
        num_src = int(keep_src.sum())
        src_row[keep_src], dst_row[keep_dst] = place[:num_src], place[num_src:]
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

    def make() -> TypedSum:
        edges, relation = lasting(edge_index, edge_type)
        return TypedSum((edges[0], edges[1]), relation, sizes, num_relations, reduce, dtype)

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
        cols = rows.index_select(0, in_range(edges[0], sizes[0]))
        in_range(cols, shape[1])
        share = None
        if reduce == "mean":
            share = (1 / pairs.of_edge.bincount().to(dtype)).index_select(0, pairs.of_edge)
        return SparseMatrix(edges[1], relation * shape[1] + cols, (sizes[1], shape[0] * shape[1]), share)

    key = typed_key(edge_index, edge_type, sizes, shape[0]), content_hash(ids), len(ids), shape, reduce, dtype
    return remembered(("typed lookup", key), make)


def _counts(pairs: Pairs, num_relations: int) -> Tensor:
    """``[R]``: the distinct pairs of each relation."""
    return pairs.relation.bincount(minlength=num_relations)
