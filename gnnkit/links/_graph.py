"""LinkGraph: a simple symmetric graph whose edges have numbers, to be hidden and found again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnnkit.adjacency import Adjacency
from gnnkit.kernels import _check
from gnnkit.links import _inputs


@dataclass(frozen=True, eq=False)
class LinkGraph:
    """An undirected graph without self-loops and parallel edges, as link prediction reads it.

    Made by `from_edges`. Edge m joins ``edges[0, m]`` and ``edges[1, m]``; both its directions are entries of ``adj``.
    A node without edges is an empty row. Memory: 28 bytes an edge in ``adj``, 32 beside it.

    Attributes:
        adj: Both directions of every edge; the indices of each row strictly increase. ``adj.edge_ids`` is the identity,
            so that the order of edges of ``adj``'s methods is the order of the CSR.
        edges: ``[2, M]`` int64, each edge once, the smaller node first, sorted.
        entries: ``[2, M]`` int64, where the CSR holds edge m: in the row of ``edges[0, m]`` and in that of
            ``edges[1, m]``.
        num_duplicates: How many pairs given to `from_edges` repeated another, reversed or not.
        num_self_loops: How many pairs given to `from_edges` were self-loops.

    Example:
        >>> import torch
        >>> from gnnkit.links import LinkGraph
        >>> graph = LinkGraph.from_edges(torch.tensor([[2, 0, 1, 1, 3], [1, 1, 0, 2, 3]]), num_nodes=4)
        >>> graph.edges.tolist(), graph.num_duplicates, graph.num_self_loops
        ([[0, 1], [1, 2]], 2, 1)
        >>> graph.adj.indptr.tolist(), graph.adj.indices.tolist()
        ([0, 1, 3, 4, 4], [1, 0, 2, 1])
        >>> graph.keep(graph.numbers(torch.tensor([[2], [1]]))).tolist()
        [True, True, False, False]
    """

    adj: Adjacency
    edges: Tensor
    entries: Tensor
    num_duplicates: int
    num_self_loops: int

    @classmethod
    def from_edges(cls, edges: Tensor, num_nodes: int) -> LinkGraph:
        """Build from pairs in any direction and order; O(M log M).

        A directed graph becomes the undirected one of the same pairs: an edge and its reverse are one edge. Repeated
        pairs are merged and self-loops left out; the attributes say how many.

        Args:
            edges: ``[2, M]`` int32 or int64; an ``edge_index`` with both directions of each edge serves too.
            num_nodes: Number of nodes, at most 2^31.

        Raises:
            ValueError: Not such pairs, or a node outside ``[0, num_nodes)``.
        """
        num_nodes = _inputs.size(num_nodes)
        given = _inputs.pairs("edges", edges, num_nodes)
        low, high = given.amin(dim=0), given.amax(dim=0)
        keys = (low * num_nodes + high)[low != high]  # sorted keys are sorted edges
        distinct: Tensor = keys.unique()  # type: ignore[no-untyped-call]
        low, high = distinct // max(num_nodes, 1), distinct % max(num_nodes, 1)
        # [2 M]: direction 0 lies in the row of the smaller node, direction 1 in that of the larger
        order = torch.cat([distinct, high * num_nodes + low]).argsort()
        entries = torch.empty_like(order)
        entries[order] = torch.arange(len(order), device=order.device)
        rows, indices = torch.cat([low, high]), torch.cat([high, low])[order]
        indptr = torch.zeros(num_nodes + 1, dtype=torch.int64, device=order.device)
        indptr[1:] = torch.bincount(rows, minlength=num_nodes).cumsum(0)
        return cls(
            Adjacency.from_csr(indptr, indices),
            torch.stack([low, high]),
            entries.view(2, -1),
            num_duplicates=len(keys) - len(distinct),
            num_self_loops=given.shape[1] - len(keys),
        )

    @property
    def num_nodes(self) -> int:
        """The number of nodes, those without edges included."""
        return self.adj.num_dst

    @property
    def num_edges(self) -> int:
        """M, the number of undirected edges; ``adj`` holds twice as many entries."""
        return self.edges.shape[1]

    def degree(self) -> Tensor:
        """``[N]`` int64: how many neighbours each node has."""
        return self.adj.in_degree()

    def numbers(self, pairs: Tensor) -> Tensor:
        """Return the number of the edge between each pair, in either direction, and -1 where there is none.

        A node paired with itself has none. Cost: O(P log M).

        Args:
            pairs: ``[2, P]`` int32 or int64.

        Returns:
            ``[P]`` int64.

        Raises:
            ValueError: Not such pairs, or a node that the graph has not.
        """
        given = _inputs.pairs("pairs", pairs, self.num_nodes)
        keys = self.edges[0] * self.num_nodes + self.edges[1]
        wanted = given.amin(dim=0) * self.num_nodes + given.amax(dim=0)
        if not self.num_edges:
            return torch.full_like(wanted, -1)
        place = torch.searchsorted(keys, wanted).clamp(max=self.num_edges - 1)
        return torch.where(keys[place] == wanted, place, -1)

    def keep(self, removed: Tensor) -> Tensor:
        """Return which entries of ``adj`` stay when edges are removed, each in both directions.

        Args:
            removed: ``[K]`` numbers of edges, in any order, repeated or not.

        Returns:
            ``[E]`` booleans in the order of ``adj``'s CSR.

        Raises:
            ValueError: A number that no edge has, such as the -1 of `numbers`.
        """
        _check.index_vector("removed", removed)
        _check.ids("removed", removed, self.num_edges)
        kept = torch.ones(self.adj.num_edges, dtype=torch.bool, device=self.adj.device)
        kept[self.entries[:, removed.long()]] = False
        return kept

    def to(self, device: torch.device | str) -> LinkGraph:
        """Return the graph on another device."""
        adj, edges, entries = self.adj.to(device), self.edges.to(device), self.entries.to(device)
        return LinkGraph(adj, edges, entries, self.num_duplicates, self.num_self_loops)
