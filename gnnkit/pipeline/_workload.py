"""What a plan makes of a graph and a network, in counts: rows, edges and widths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gnnkit.adjacency import Adjacency

if TYPE_CHECKING:
    from gnnkit.pipeline._check import HopShape
    from gnnkit.pipeline._plan import Plan


@dataclass(frozen=True, eq=False)
class Workload:
    """The counts from which bytes, memory and times of an epoch follow.

    Attributes:
        stages: The hops ``low … high - 1`` of each stage.
        shapes: A `HopShape` for each hop.
        first_channels: Width of the rows that the first hop takes, which are what travels along as ``shared``.
        shares: Whether they travel along.
        itemsize: Bytes of a number of the rows.
        rows: ``[W, K]`` nodes of each cell.
        edges: ``[W, K]`` edges into them.
        waiting: ``[W, K]`` edges into those that read rows of their very chunk of another way.
        sources: ``[W, K]`` distinct rows that those edges read and the cell's own.
        given: ``[W, W, K]`` rows of chunk k that way a gives way b at every hop.
    """

    stages: tuple[tuple[int, int], ...]
    shapes: tuple[HopShape, ...]
    first_channels: int
    shares: bool
    itemsize: int
    rows: Tensor
    edges: Tensor
    waiting: Tensor
    sources: Tensor
    given: Tensor

    @classmethod
    def of(
        cls,
        plan: Plan,
        adj: Adjacency,
        shapes: Sequence[HopShape],
        *,
        first_channels: int,
        shares: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> Workload:
        """Count. O(E log E) time.

        Args:
            plan: The plan.
            adj: The graph as the layers read it, with self-loops if they do.
            shapes: What `inspect` gives.
            first_channels: Width of the rows that the network's first part gives, or of the features without one.
            shares: The network's.
            dtype: Of the rows that travel.

        Raises:
            ValueError: Plan, graph and shapes do not fit each other.
        """
        if adj.num_src != adj.num_dst or adj.num_dst != plan.num_nodes:
            got = f"{adj.num_src} sources, {adj.num_dst} destinations"
            raise ValueError(f"adj: expected one set of nodes, the plan's {plan.num_nodes} (got {got})")
        if len(shapes) != plan.num_layers:
            raise ValueError(f"shapes: expected one for each of {plan.num_layers} hops (got {len(shapes)})")
        if first_channels < 1 or first_channels != shapes[0].in_channels:
            expected = f"the width that the first hop takes, {shapes[0].in_channels}"
            raise ValueError(f"first_channels: expected {expected} (got {first_channels})")
        ways, chunks = plan.ways, plan.num_chunks
        cell = plan.way * chunks + plan.chunk  # [N]
        src, dst = adj.to_edge_index().cpu()
        foreign = plan.way[src] != plan.way[dst]
        waits = torch.zeros(plan.num_nodes, dtype=torch.bool)
        waits[dst[foreign & (plan.chunk[src] == plan.chunk[dst])]] = True
        into = cell[dst]
        every = torch.arange(plan.num_nodes)
        read = torch.unique(torch.cat([into * plan.num_nodes + src, cell * plan.num_nodes + every])) // plan.num_nodes
        node, reader = reads(src, dst, plan.way, ways)
        pair = (plan.way[node] * ways + reader) * chunks + plan.chunk[node]
        return cls(
            plan.stages,
            tuple(shapes),
            first_channels,
            shares,
            dtype.itemsize,
            torch.bincount(cell, minlength=ways * chunks).view(ways, chunks),
            torch.bincount(into, minlength=ways * chunks).view(ways, chunks),
            torch.bincount(into[waits[dst]], minlength=ways * chunks).view(ways, chunks),
            torch.bincount(read, minlength=ways * chunks).view(ways, chunks),
            torch.bincount(pair, minlength=ways * ways * chunks).view(ways, ways, chunks),
        )

    @property
    def num_stages(self) -> int:
        """S."""
        return len(self.stages)

    @property
    def ways(self) -> int:
        """W."""
        return int(self.rows.shape[0])

    @property
    def num_chunks(self) -> int:
        """K."""
        return int(self.rows.shape[1])

    @property
    def world_size(self) -> int:
        """S * W."""
        return self.num_stages * self.ways

    @property
    def mode(self) -> str:
        """``"single"``, ``"pipeline"``, ``"graph"`` or ``"hybrid"``."""
        if self.num_stages == 1:
            return "single" if self.ways == 1 else "graph"
        return "pipeline" if self.ways == 1 else "hybrid"

    def boundary_bytes(self, stage: int, way: int, chunk: int) -> int:
        """Bytes that a way of a stage hands to the stage after it of one chunk; as many come back."""
        if stage == self.num_stages - 1:
            return 0
        high = self.stages[stage][1]
        width = self.shapes[high - 1].out_channels + (self.first_channels if self.shares else 0)
        states = [shape.edge_channels for shape in self.shapes[:high] if shape.edge_channels]
        numbers = int(self.rows[way, chunk]) * width + int(self.edges[way, chunk]) * (states[-1] if states else 0)
        return numbers * self.itemsize


def reads(src: Tensor, dst: Tensor, way: Tensor, ways: int) -> tuple[Tensor, Tensor]:
    """Return the distinct pairs of a node and a foreign way that reads it: ``[M]`` nodes and ``[M]`` ways."""
    foreign = way[src] != way[dst]
    pairs = torch.unique(src[foreign] * ways + way[dst[foreign]])
    return pairs // ways, pairs % ways


def replicas(adj: Adjacency, way: Tensor, ways: int) -> int:
    """Return M, the number of pairs of a node and a foreign way that reads it.

    Args:
        adj: The graph.
        way: ``[N]`` int64, each node's way.
        ways: W.

    Raises:
        ValueError: ``way`` does not give each node one of the W ways.

    Example:
        >>> import torch, gnnkit
        >>> from gnnkit.pipeline import replicas
        >>> star = gnnkit.Adjacency.from_edge_index(torch.tensor([[0, 0, 0], [1, 2, 3]]))
        >>> replicas(star, torch.tensor([0, 0, 1, 1]), 2), replicas(star, torch.tensor([0, 1, 2, 3]), 4)
        (1, 3)
    """
    if way.shape != (adj.num_nodes,) or way.dtype != torch.int64:
        raise ValueError(f"way: expected [{adj.num_nodes}] int64 (got {list(way.shape)} {way.dtype})")
    if len(way) and not 0 <= int(way.min()) <= int(way.max()) < ways:
        raise ValueError(f"way: expected numbers from 0 to {ways - 1} (got {int(way.min())} to {int(way.max())})")
    src, dst = adj.to_edge_index().cpu()
    return len(reads(src, dst, way, ways)[0])
