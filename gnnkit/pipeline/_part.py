"""What one process holds of a graph that is cut into ways and chunks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnnkit.pipeline._network import Edges, Neighbourhood


@dataclass(frozen=True)
class Piece:
    """Destinations of one way and chunk that are aggregated in one call.

    Attributes:
        way: Whose destinations they are.
        low: First of their rows, counted from the chunk's first.
        high: One past the last.
        waits: Whether some of their sources are rows of this very chunk that other processes send.
        crosses: Whether some of their sources are rows of this very chunk of another way, wherever it is executed.
        sources: ``[n_src]`` int64, rows of the part's tables; the destinations' own come first.
        graph: The edges, from ``sources`` to the destinations, each destination's in the whole graph's order.
    """

    way: int
    low: int
    high: int
    waits: bool
    crosses: bool
    sources: Tensor
    graph: Neighbourhood

    def to(self, device: torch.device) -> Piece:
        """Return the piece on another device."""
        weight, attr = self.graph.edge_weight, self.graph.edge_attr
        graph = Neighbourhood(self.graph.adj.to(device), _moved(weight, device), _moved(attr, device))
        return Piece(self.way, self.low, self.high, self.waits, self.crosses, self.sources.to(device), graph)


@dataclass(frozen=True)
class Exchange:
    """What a process trades with one other about one chunk, at every hop.

    Attributes:
        way: The other's.
        give: ``[n]`` int64, own rows that it reads.
        low: First of the rows of the tables that hold what it gives.
        high: One past the last.
    """

    way: int
    give: Tensor
    low: int
    high: int


@dataclass(frozen=True)
class Part:
    """The rows and edges that one process works on, and whom it trades rows with.

    Rows are numbered: own nodes by chunk, within a chunk by way, those that wait for nobody first; then replicas of
    other ways' nodes by way and chunk.

    Attributes:
        ways: The ways that this process executes.
        nodes: ``[R]`` int64, the node of each row, replicas included.
        num_own: Number of own nodes.
        bounds: ``[K + 1]`` first own row of each chunk.
        chunk_of_row: ``[R]`` int64.
        segments: For each chunk ``(way, low, high)``, rows counted from the chunk's first.
        pieces: For each chunk, in the order of their rows.
        exchanges: For each chunk, by way.
        num_nodes: N of the whole graph.
        edges: What its edges are, as `Network` says it.
        cut: `Plan.cut_digest` of the plan that it was cut by.
    """

    ways: tuple[int, ...]
    nodes: Tensor
    num_own: int
    bounds: tuple[int, ...]
    chunk_of_row: Tensor
    segments: tuple[tuple[tuple[int, int, int], ...], ...]
    pieces: tuple[tuple[Piece, ...], ...]
    exchanges: tuple[tuple[Exchange, ...], ...]
    num_nodes: int
    edges: Edges
    cut: str

    @property
    def num_rows(self) -> int:
        """R: own nodes and replicas."""
        return len(self.nodes)

    @property
    def num_chunks(self) -> int:
        """K."""
        return len(self.bounds) - 1

    def rows(self, chunk: int) -> tuple[int, int]:
        """Return the first own row of a chunk and one past its last."""
        return self.bounds[chunk], self.bounds[chunk + 1]

    def chunk_nodes(self, chunk: int) -> Tensor:
        """Return the nodes of a chunk, row by row."""
        low, high = self.rows(chunk)
        return self.nodes[low:high]

    def edge_attr(self, chunk: int) -> Tensor | None:
        """Return the states of a chunk's edges, piece by piece, or None without any."""
        rows = [piece.graph.edge_attr for piece in self.pieces[chunk]]
        return torch.cat([each for each in rows if each is not None]) if rows and rows[0] is not None else None

    def to(self, device: torch.device | str) -> Part:
        """Return the part with its edges and rows on another device; ``nodes`` stay where they are."""
        device = torch.device(device)
        pieces = tuple(tuple(piece.to(device) for piece in row) for row in self.pieces)
        exchanges = tuple(
            tuple(Exchange(each.way, each.give.to(device), each.low, each.high) for each in row)
            for row in self.exchanges
        )
        return replace(self, chunk_of_row=self.chunk_of_row.to(device), pieces=pieces, exchanges=exchanges)


def _moved(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return None if tensor is None else tensor.to(device)
