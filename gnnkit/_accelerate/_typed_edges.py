"""The edges of a typed graph for attention: by destination, within one by relation, from compact rows."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit import _edge_rows
from gnnkit._accelerate._typed_graph import Pairs, SparseMatrix
from gnnkit.adjacency import Adjacency
from gnnkit.kernels import group_by

Transpose = tuple[Tensor, Tensor, Tensor]


class Compact:
    """The distinct (node, relation) pairs at one end of the edges, as rows of a `segment_matmul`.

    Attributes:
        gather: ``[P, N]``: the node's row for every pair.
        ptr: ``[R + 1]`` the pairs of each relation.
    """

    def __init__(self, pairs: Pairs, num_nodes: int, num_relations: int) -> None:
        self.size = len(pairs.node)
        self.gather = SparseMatrix(torch.arange(self.size), pairs.node, (self.size, num_nodes))
        self.ptr = group_by(pairs.relation, num_relations)[0]


class TypedEdges:
    """Edges from the compact rows of their sources to their destinations.

    Tensors of edges are in the order of ``edge_ids``: by destination, within one by relation.

    Attributes:
        sources: The distinct (source, relation) pairs.
        adj: From these pairs to destinations.
        edge_ids: ``[E]`` which edge of the original order each is.
    """

    def __init__(self, src: Tensor, dst: Tensor, relation: Tensor, sizes: tuple[int, int], num_relations: int) -> None:
        pairs = Pairs.of(src, relation, sizes[0], num_relations)
        order = group_by(relation, num_relations)[1]  # stable: a destination's edges stay by relation
        self.sources = Compact(pairs, sizes[0], num_relations)
        ends = torch.stack([pairs.of_edge.index_select(0, order), dst.index_select(0, order)])
        self.adj = Adjacency.from_edge_index(ends, (self.sources.size, sizes[1]))
        self.edge_ids = order.index_select(0, self.adj.edge_ids)
        self._position: Tensor | None = None

    @property
    def transpose(self) -> Transpose | None:
        """The edges by source row, where gradients are asked for."""
        return self.adj.transpose if torch.is_grad_enabled() else None

    def from_sources(self, rows: Tensor) -> Tensor:
        """``[E, ...]``: for every edge the row of its (source, relation)."""
        if self.transpose is None:
            return rows.index_select(0, self.adj.indices)
        t_indptr, _, t_perm = self.transpose
        return _edge_rows.gather(rows, self.adj.indices, t_indptr, t_perm)

    def in_order(self, rows: Tensor) -> Tensor:
        """Bring ``[E, ...]`` from the original order of the edges to this one."""
        if self._position is None:
            with torch.inference_mode(False):
                self._position = torch.empty_like(self.edge_ids)
                self._position[self.edge_ids] = torch.arange(len(self.edge_ids))
        return _edge_rows.permute(rows, self.edge_ids, self._position)

    @property
    def nbytes(self) -> int:
        """With what is built at first use."""
        # indices, edge ids twice, positions, the transpose
        return 44 * self.adj.num_edges + 8 * (self.adj.num_src + self.adj.num_dst) + self.sources.gather.nbytes


class TypedEnds(TypedEdges):
    """The same, with compact rows of destinations too.

    Attributes:
        destinations: The distinct (destination, relation) pairs.
        indptr: ``[pairs + 1]`` where the edges of each (destination, relation) begin, by destination.
    """

    def __init__(self, src: Tensor, dst: Tensor, relation: Tensor, sizes: tuple[int, int], num_relations: int) -> None:
        super().__init__(src, dst, relation, sizes, num_relations)
        pairs = Pairs.of(dst, relation, sizes[1], num_relations)
        self.destinations = Compact(pairs, sizes[1], num_relations)
        self._pair = pairs.of_edge.index_select(0, self.edge_ids)
        self._edges = group_by(self._pair, self.destinations.size)
        first = (self._pair[1:] != self._pair[:-1]).nonzero().squeeze(1) + 1
        num_edges = len(self._pair)
        begin = torch.tensor([0] if num_edges else [])
        self.indptr = torch.cat([begin.long(), first, torch.tensor([num_edges])])

    def from_destinations(self, rows: Tensor) -> Tensor:
        """``[E, ...]``: for every edge the row of its (destination, relation)."""
        return _edge_rows.gather(rows, self._pair, *self._edges)

    @property
    def nbytes(self) -> int:
        """With what is built at first use."""
        return super().nbytes + 16 * self.adj.num_edges + 16 * self.destinations.size + self.destinations.gather.nbytes
