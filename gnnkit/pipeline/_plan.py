"""Who computes what: layers cut into stages, nodes into ways and chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from gnnkit.adjacency import Adjacency
from gnnkit.pipeline._keys import key
from gnnkit.pipeline._partition import node_work, partition, whole
from gnnkit.pipeline._stages import split_layers

Partitioner = Literal["auto", "metis", "builtin"] | Tensor


@dataclass(frozen=True, eq=False)
class Plan:
    """Which process computes which layers of which nodes, and in which order: pure data, the same on every rank.

    The process of stage s and way w has rank ``s * ways + w``. A cell is a chunk's share of a way, and has a node.
    `plan` makes plans.

    Attributes:
        stages: The layers ``low … high - 1`` of each stage. A network's row-wise first part belongs to stage 0, its
            row-wise last part to the last stage.
        way: ``[N]`` int64, which way of its stage computes a node.
        chunk: ``[N]`` int64, the node's chunk.
        seed: Draws the order of the chunks.
        shuffle: Whether that order is drawn anew each epoch; else it is 0, 1, ….

    Raises:
        ValueError: The stages do not cover the layers one after the other, ``way`` and ``chunk`` are not two such
            vectors, there are more cells than nodes, or a cell is empty.

    Example:
        >>> import torch
        >>> from gnnkit.pipeline import Plan
        >>> one = Plan(((0, 3), (3, 5)), way=torch.tensor([0, 0, 1, 1]), chunk=torch.tensor([0, 1, 0, 1]))
        >>> one.num_layers, one.num_chunks, one.world_size, one.rank(stage=1, way=0), one.place(3)
        (5, 2, 4, 2, (1, 1))
        >>> sorted(one.order(epoch=7)), one.order(epoch=7) == one.order(epoch=7)
        ([0, 1], True)
    """

    stages: tuple[tuple[int, int], ...]
    way: Tensor
    chunk: Tensor
    seed: int = 0
    shuffle: bool = True

    def __post_init__(self) -> None:
        bounds = [0, *(high for _, high in self.stages)]
        if len(bounds) == 1 or any(
            low != at or high <= at for at, (low, high) in zip(bounds, self.stages, strict=False)
        ):
            expected = "runs of at least one layer, each from where the one before ends, the first from 0"
            raise ValueError(f"stages: expected {expected} (got {self.stages})")
        whole("seed", self.seed, 0)
        for name, ids in (("way", self.way), ("chunk", self.chunk)):
            if not isinstance(ids, Tensor) or ids.dim() != 1 or ids.dtype != torch.int64 or ids.device.type != "cpu":
                got = f"{list(ids.shape)} {ids.dtype} on {ids.device}" if isinstance(ids, Tensor) else repr(ids)
                raise ValueError(f"{name}: expected an int64 vector on the CPU (got {got})")
        if len(self.way) != len(self.chunk) or len(self.way) == 0:
            got = f"{len(self.way)} and {len(self.chunk)}"
            raise ValueError(f"way and chunk: expected one entry for each of at least one node (got {got})")
        if min(int(self.way.min()), int(self.chunk.min())) < 0:
            raise ValueError(f"way and chunk: expected numbers from 0 (got {int(self.way.min())}, {self.chunk.min()})")
        cells = self.ways * self.num_chunks
        if cells > self.num_nodes:
            raise ValueError(
                f"way and chunk: expected at most as many cells as the {self.num_nodes} nodes "
                f"(got {self.ways} ways of {self.num_chunks} chunks)"
            )
        empty = torch.bincount(self.way * self.num_chunks + self.chunk, minlength=cells) == 0
        if bool(empty.any()):
            way, chunk = divmod(int(empty.nonzero()[0]), self.num_chunks)
            raise ValueError(f"way and chunk: expected a node in every cell (got none in way {way}, chunk {chunk})")

    @property
    def num_stages(self) -> int:
        """S."""
        return len(self.stages)

    @property
    def num_layers(self) -> int:
        """L, the number of hops."""
        return self.stages[-1][1]

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.way)

    @cached_property
    def num_chunks(self) -> int:
        """K."""
        return int(self.chunk.max()) + 1

    @cached_property
    def ways(self) -> int:
        """W."""
        return int(self.way.max()) + 1

    @property
    def world_size(self) -> int:
        """The number of processes, S * W."""
        return self.num_stages * self.ways

    def rank(self, stage: int, way: int) -> int:
        """Give the rank of a stage's way."""
        if not (0 <= stage < self.num_stages and 0 <= way < self.ways):
            expected = f"a stage below {self.num_stages} and a way below {self.ways}"
            raise ValueError(f"rank: expected {expected} (got stage {stage}, way {way})")
        return stage * self.ways + way

    def place(self, rank: int) -> tuple[int, int]:
        """Give the stage and the way of a rank."""
        if not 0 <= rank < self.world_size:
            raise ValueError(f"rank: expected 0 to {self.world_size - 1} (got {rank})")
        return divmod(rank, self.ways)

    def order(self, epoch: int) -> list[int]:
        """List the chunks in the order of an epoch; it depends on the seed and the epoch alone."""
        if epoch < 0:
            raise ValueError(f"epoch: expected a number from 0 (got {epoch})")
        if not self.shuffle:
            return list(range(self.num_chunks))
        own = torch.Generator().manual_seed(key(self.seed, epoch))  # the global one is the user's
        order: list[int] = torch.randperm(self.num_chunks, generator=own).tolist()
        return order

    def cut_digest(self) -> str:
        """Give the SHA-256 of ways and chunks alone, which say what a process holds of the graph."""
        parts = [ids.contiguous().numpy().tobytes() for ids in (self.way, self.chunk)]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def digest(self) -> str:
        """Give the SHA-256 of all of it: equal plans have equal digests."""
        head = repr((self.stages, self.num_nodes, self.seed, self.shuffle))
        parts = [head.encode(), *(ids.contiguous().numpy().tobytes() for ids in (self.way, self.chunk))]
        return hashlib.sha256(b"".join(parts)).hexdigest()


def plan(
    adj: Adjacency,
    layers: int | Sequence[float],
    *,
    stages: int = 1,
    chunks: int | None = None,
    ways: int = 1,
    partitioner: Partitioner = "auto",
    ends: tuple[float, float] = (0.0, 0.0),
    seed: int = 0,
    shuffle: bool = True,
) -> Plan:
    """Cut a network's layers into stages and a graph's nodes into ways and chunks.

    Stages are the runs of layers whose dearest costs least; ways are parts of the graph with few edges between them,
    and chunks are such parts of each way (`partition`). A pure function: it computes nothing of the network.

    Args:
        adj: The whole graph.
        layers: How many, or the cost of each (`measure_costs`).
        stages: S, at most as many as layers.
        chunks: K, by default 4 S, or 1 where S is 1.
        ways: W, the ways of graph parallelism of every stage; the plan is for S * W processes.
        partitioner: ``"metis"``, ``"builtin"``, or ``"auto"``: metis where it is installed, else builtin. Or the cells
            themselves, ``[N]`` int64, ``way * K + chunk`` of every node.
        ends: The cost of the network's first and last part, in the unit of ``layers``.
        seed: Of the partitioner and of the chunks' order.
        shuffle: Whether the chunks' order is drawn anew each epoch.

    Raises:
        ValueError: There are more stages than layers or more cells than nodes, or another argument is out of range.
        ImportError: ``"metis"`` without pymetis; the message holds the install command.

    Example:
        >>> import torch, gnnkit
        >>> from gnnkit.pipeline import plan
        >>> ring = torch.stack([torch.arange(100), torch.arange(100).roll(-1)])
        >>> adj = gnnkit.Adjacency.from_edge_index(ring)
        >>> one = plan(adj, layers=[3, 1, 1, 1], stages=2, chunks=4, ways=2, partitioner="builtin")
        >>> one.stages, one.world_size
        (((0, 1), (1, 4)), 4)
        >>> cells = one.way * one.num_chunks + one.chunk
        >>> int((cells[ring[0]] != cells[ring[1]]).sum()) < 20
        True
    """
    num_nodes = adj.num_nodes
    if isinstance(layers, int):
        whole("layers", layers, 1)
        layers = [1.0] * layers
    bounds = split_layers(layers, stages, ends)
    if chunks is None:
        chunks = 1 if stages == 1 else 4 * stages
    for name, number, least in (("chunks", chunks, 1), ("ways", ways, 1), ("seed", seed, 0)):
        whole(name, number, least)
    if chunks * ways > num_nodes:
        raise ValueError(
            f"chunks: expected at most as many cells as the {num_nodes} nodes (got {ways} ways of {chunks} chunks)"
        )
    if isinstance(partitioner, Tensor):
        cells = _given_cells(partitioner, num_nodes, ways, chunks)
    else:
        adj = adj.to("cpu")
        work = node_work(adj)
        way = partition(adj, ways, partitioner, seed, work=work, least=chunks)
        cells = way * chunks
        for number in range(ways):
            own = (way == number).nonzero().flatten()
            cells[own] += partition(_inside(adj, own), chunks, partitioner, seed, work=work[own])
    return Plan(bounds, cells // chunks, cells % chunks, seed, shuffle)


def _given_cells(cells: Tensor, num_nodes: int, ways: int, chunks: int) -> Tensor:
    if cells.dtype != torch.int64 or list(cells.shape) != [num_nodes]:
        raise ValueError(f"partitioner: expected cells [{num_nodes}] int64 (got {list(cells.shape)} {cells.dtype})")
    low, high = int(cells.min()), int(cells.max())
    if low < 0 or high >= ways * chunks:
        raise ValueError(f"partitioner: expected cells from 0 to {ways * chunks - 1} (got {low} to {high})")
    found = int(torch.bincount(cells).count_nonzero())
    if found < ways * chunks:
        raise ValueError(f"partitioner: expected a node in each of {ways * chunks} cells (got nodes in {found})")
    return cells.cpu()


def _inside(adj: Adjacency, nodes: Tensor) -> Adjacency:
    """Give the graph of some nodes, numbered as they are listed, and of the edges between them."""
    number = torch.full((adj.num_nodes,), -1)
    number[nodes] = torch.arange(len(nodes))
    ends = number[adj.to_edge_index()]
    return Adjacency.from_edge_index(ends[:, (ends >= 0).all(0)], len(nodes))
