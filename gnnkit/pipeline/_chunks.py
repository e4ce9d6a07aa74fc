"""Cuts a graph into what each process of a plan works on."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from gnnkit.adjacency import Adjacency
from gnnkit.pipeline._edges import read_edges
from gnnkit.pipeline._network import Edges, Neighbourhood
from gnnkit.pipeline._part import Exchange, Part, Piece
from gnnkit.pipeline._plan import Plan


class ChunkedGraph:
    """A whole graph and the plan that cuts it.

    Cost: O(E + N log N + K M) a part, M the replicas of all ways, and O(E + N) memory. A process that needs one way
    asks for that part alone.

    Args:
        adj: The whole graph, on the CPU.
        plan: Which way and chunk each node belongs to.
        edge_weight: ``[E]`` in the order of the edges, normalised on the whole graph.
        edge_attr: ``[E, De]`` in that order.
        edges: What these edges are, as `Network` says it; `ChunkedGraph.of` makes them.

    Raises:
        ValueError: The graph, the plan and the edges' tensors do not fit each other.

    Example:
        >>> import torch, gnnkit
        >>> from gnnkit.pipeline import ChunkedGraph, plan
        >>> ring = torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]])
        >>> adj = gnnkit.Adjacency.from_edge_index(ring, num_nodes=6)
        >>> cut = plan(adj, 4, ways=2, chunks=1, partitioner=torch.tensor([0, 0, 0, 1, 1, 1]))
        >>> part = ChunkedGraph(adj, cut).part(0)
        >>> part.nodes.tolist(), part.num_own  # nodes 1 and 2 wait for nobody, 0 for the other way's 5
        ([1, 2, 0, 5], 3)
    """

    def __init__(
        self,
        adj: Adjacency,
        plan: Plan,
        *,
        edge_weight: Tensor | None = None,
        edge_attr: Tensor | None = None,
        edges: Edges = "plain",
    ) -> None:
        if adj.num_src != adj.num_dst or adj.num_dst != plan.num_nodes:
            got = f"{adj.num_src} sources, {adj.num_dst} destinations and a plan of {plan.num_nodes} nodes"
            raise ValueError(f"adj: expected one set of nodes, the plan's (got {got})")
        if edge_weight is not None and edge_weight.shape != (adj.num_edges,):
            raise ValueError(f"edge_weight: expected shape [{adj.num_edges}] (got {list(edge_weight.shape)})")
        if edge_attr is not None and (edge_attr.dim() != 2 or len(edge_attr) != adj.num_edges):
            raise ValueError(f"edge_attr: expected shape [{adj.num_edges}, De] (got {list(edge_attr.shape)})")
        self.adj, self.plan, self.edge_weight, self.edge_attr, self.edges = adj, plan, edge_weight, edge_attr, edges
        src, dst = adj.indices.long(), torch.repeat_interleave(torch.arange(adj.num_dst), adj.indptr.diff())
        foreign = plan.way[src] != plan.way[dst]
        self._crossing = torch.zeros(plan.num_nodes, dtype=torch.bool)  # reads rows of its very chunk of another way
        self._crossing[dst[foreign & (plan.chunk[src] == plan.chunk[dst])]] = True
        # [M, 2]: a node and a foreign way that reads it, without repetition
        self._reads: Tensor = torch.unique(torch.stack([src[foreign], plan.way[dst[foreign]]], 1), dim=0)
        cell = (plan.chunk * plan.ways + plan.way) * 2 + self._crossing
        self._order = torch.argsort(cell, stable=True)  # [N]: by chunk, way, waiting, id
        self._place = torch.empty_like(self._order)  # [N]: where a node stands in that order
        self._place[self._order] = torch.arange(plan.num_nodes)

    @classmethod
    def of(
        cls,
        edge_index: Tensor,
        plan: Plan,
        edges: Edges,
        *,
        edge_attr: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> ChunkedGraph:
        """Cut a graph as a network reads it: with its self-loops and weights of the whole graph.

        Args:
            edge_index: ``[2, E]`` of the whole graph.
            plan: From `plan`.
            edges: ``network.edges``.
            edge_attr: ``[E, De]``, only where ``edges`` adds no self-loops.
            dtype: Of the weights: that of the features.

        Raises:
            ValueError: The edges, the plan and the edges' states do not fit each other.
        """
        adj, edge_weight = read_edges(edge_index.cpu(), plan.num_nodes, edges, dtype)
        return cls(adj, plan, edge_weight=edge_weight, edge_attr=edge_attr, edges=edges)

    def part(self, way: int | None = None) -> Part:
        """Return what the processes of one way work on, or one process that executes all ways (None).

        Raises:
            ValueError: No such way.
        """
        plan = self.plan
        if way is not None and not 0 <= way < plan.ways:
            raise ValueError(f"way: expected one of {plan.ways} (got {way})")
        ways = tuple(range(plan.ways)) if way is None else (way,)
        own = self._order if way is None else self._order[plan.way[self._order] == way]
        replicas = self._replicas(way)
        nodes = torch.cat([own, replicas])
        row_of = torch.full((plan.num_nodes,), -1)
        row_of[nodes] = torch.arange(len(nodes))
        chunk_of_row = plan.chunk[nodes]
        bounds = torch.searchsorted(chunk_of_row[: len(own)], torch.arange(plan.num_chunks + 1)).tolist()
        segments, pieces = [], []
        for low, high in itertools.pairwise(bounds):
            inside = own[low:high]
            group = plan.way[inside] * 2 + self._crossing[inside]  # never falls
            segments.append(tuple((w, *_run(group // 2, w)) for w in ways))
            runs = [(w, flag, *_run(group, 2 * w + flag)) for w in ways for flag in (0, 1)]
            cells = [(w, a, b, bool(flag)) for w, flag, a, b in runs if a < b]
            pieces.append(tuple(self._piece(inside, nodes, row_of, *cell, way is not None) for cell in cells))
        exchanges = tuple(self._exchange(way, chunk, row_of) for chunk in range(plan.num_chunks))
        fixed = (ways, nodes, len(own), tuple(bounds), chunk_of_row)
        rest = (exchanges, plan.num_nodes, self.edges, plan.cut_digest())
        return Part(*fixed, tuple(segments), tuple(pieces), *rest)

    def _replicas(self, way: int | None) -> Tensor:
        """Nodes of other ways that this one reads, by way, chunk and place."""
        if way is None:
            return self._order[:0]
        found = self._reads[self._reads[:, 1] == way, 0]
        return found.index_select(0, torch.argsort(self.plan.way[found] * self.plan.num_nodes + self._place[found]))

    def _piece(
        self, inside: Tensor, nodes: Tensor, row_of: Tensor, way: int, low: int, high: int, crosses: bool, alone: bool
    ) -> Piece:
        dst = inside[low:high]
        start, degree = self.adj.indptr[dst], self.adj.indptr[dst + 1] - self.adj.indptr[dst]
        indptr = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
        entries = torch.arange(int(indptr[-1])) + torch.repeat_interleave(start - indptr[:-1], degree)
        rows = row_of[self.adj.indices[entries].long()]  # [E] rows of the tables
        own = row_of[dst]
        others = torch.unique(rows)
        others = others[~torch.isin(others, own)]
        others = others[torch.argsort(self._place[nodes[others]])]  # the same order whoever executes the piece
        sources = torch.cat([own, others])
        local = torch.empty(len(row_of), dtype=torch.int64)
        local[sources] = torch.arange(len(sources))
        edges = self.adj.edge_ids[entries]
        graph = Neighbourhood(
            Adjacency.from_csr(indptr, local[rows], len(sources)),
            None if self.edge_weight is None else self.edge_weight[edges],
            None if self.edge_attr is None else self.edge_attr[edges],
        )
        return Piece(way, low, high, crosses and alone, crosses, sources, graph)

    def _exchange(self, way: int | None, chunk: int, row_of: Tensor) -> tuple[Exchange, ...]:
        if way is None:
            return ()
        plan, (read, reader) = self.plan, self._reads.unbind(1)
        given = read[(plan.way[read] == way) & (plan.chunk[read] == chunk)]
        readers = reader[(plan.way[read] == way) & (plan.chunk[read] == chunk)]
        taken = read[(reader == way) & (plan.chunk[read] == chunk)]
        found = []
        for other in range(plan.ways):
            give = given[readers == other]
            give = row_of[give[torch.argsort(self._place[give])]]
            rows = row_of[taken[plan.way[taken] == other]]
            low = int(rows.min()) if len(rows) else 0
            if len(give) or len(rows):
                found.append(Exchange(other, give, low, low + len(rows)))
        return tuple(found)


def _run(group: Tensor, value: int) -> tuple[int, int]:
    """Where a value stands in a tensor that never falls."""
    low, high = torch.searchsorted(group, torch.tensor([value, value + 1])).tolist()
    return low, high
