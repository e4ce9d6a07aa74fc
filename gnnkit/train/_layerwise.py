"""Exact inference on a whole graph, layer by layer, in pieces that fit the memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from gnnkit.adjacency import Adjacency
from gnnkit.kernels import relabel


class Rows(Protocol):
    """What rows are read from: a feature store."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of rows and columns."""

    def read(self, ids: Tensor) -> Tensor:
        """Return rows by id, on the device of ``ids``."""


@dataclass(frozen=True)
class Step:
    """One step of a network: what lies between two tables of node states.

    Attributes:
        run: ``run(x, edge_index, edge_weight)`` gives the states after the step, row by row from ``x`` and at most one
            hop of edges. Without reading edges the last two are None.
        reads: ``"rows"``: no edges. ``"edges"``: one hop. ``"normalised edges"``: one hop with self-loops, and in
            ``edge_weight`` GCN's normalisation by the degrees of the whole graph, which a piece of it does not show.
    """

    run: Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
    reads: Literal["rows", "edges", "normalised edges"] = "edges"


class Stepwise(Protocol):
    """A network that says what its steps are."""

    def steps(self) -> Sequence[Step]:
        """Return the steps, first to last."""


@torch.no_grad()
def layerwise(
    model: Stepwise,
    features: Rows,
    adj: Adjacency,
    *,
    piece_edges: int = 1 << 20,
    device: torch.device | str = "cpu",
    scratch: Path | None = None,
) -> Tensor:
    """Run a network on a whole graph, one step for all nodes after the other: what a full forward pass gives.

    Every node's neighbours are read, none is sampled, and no step is computed twice for a node. Sums are taken in
    another order than in one pass over the whole graph, so results agree to rounding.

    Cost: every step reads each node's row once for itself and once a piece where it is a neighbour. Memory: two tables
    [N, D] of states, and of one piece the rows of its nodes and of their neighbours.

    Args:
        model: In evaluation mode; ``model.steps()`` says what its steps are.
        features: A feature store of shape [N, D]; it is read by ids on ``device``.
        adj: The graph, on the CPU.
        piece_edges: Edges and nodes of a piece, at the most (a node with more edges is a piece by itself).
        device: Where a piece is computed.
        scratch: Folder for the tables of states between the steps, to keep them out of the memory; None for memory.

    Returns:
        ``[N, C]`` on the CPU, the states after the last step.

    Raises:
        ValueError: The features do not fit the graph, or ``piece_edges`` is below 1.
        OSError: The folder has no room for a table.

    Example:
        >>> import torch, gnnkit
        >>> from gnnkit.data import InMemory
        >>> from gnnkit.train import Step, layerwise
        >>> from torch_geometric.nn import SAGEConv
        >>> class Net(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.layers = torch.nn.ModuleList([SAGEConv(3, 4), SAGEConv(4, 2)])
        ...     def forward(self, x, edge_index):
        ...         return self.layers[1](self.layers[0](x, edge_index), edge_index)
        ...     def steps(self):
        ...         return [Step(lambda x, edge_index, _, layer=layer: layer(x, edge_index)) for layer in self.layers]
        >>> net, x, edge_index = Net().eval(), torch.rand(5, 3), torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]])
        >>> adj = gnnkit.Adjacency.from_edge_index(edge_index, num_nodes=5)
        >>> out = layerwise(net, InMemory(x), adj, piece_edges=2)
        >>> torch.allclose(out, net(x, edge_index), atol=1e-6)
        True
    """
    num_nodes = adj.num_dst
    if adj.num_src != num_nodes or features.shape[0] != num_nodes:
        got = f"{features.shape[0]} rows, {adj.num_src} sources and {num_nodes} destinations"
        raise ValueError(f"features: expected one row for each node of one graph (got {got})")
    if piece_edges < 1:
        raise ValueError(f"piece_edges: expected a whole number >= 1 (got {piece_edges})")
    pieces = _Pieces(adj, piece_edges, torch.device(device))
    table: Tensor | None = None
    for depth, step in enumerate(model.steps()):
        into: Tensor | None = None
        for low, high in pieces.bounds(step):
            nodes, edge_index, edge_weight = pieces.cut(low, high, step)
            x = features.read(nodes) if table is None else table.index_select(0, nodes.cpu()).to(device)
            edge_weight = None if edge_weight is None else edge_weight.to(x)
            out = step.run(x, edge_index, edge_weight)[: high - low]  # [high - low, D]
            if into is None:
                into = _table((num_nodes, *out.shape[1:]), out.dtype, depth, scratch)
            into[low:high] = out
        table = into
    if table is None:
        raise ValueError(f"model: expected at least one step and one node (got {num_nodes} nodes)")
    return table


def _table(shape: tuple[int, ...], dtype: torch.dtype, depth: int, scratch: Path | None) -> Tensor:
    """Make a table in memory, or in a file of which the open map is the only name."""
    if scratch is None:
        return torch.empty(shape, dtype=dtype)
    path, numel = scratch / f"states-{depth}.tmp", 1
    for size in shape:
        numel *= size
    needed, free = numel * dtype.itemsize, shutil.disk_usage(scratch).free
    if needed > free:  # a map that the disk cannot hold kills the process when it is written
        raise OSError(
            f"{scratch}: expected {needed:,} bytes of free space for the states between layers (got {free:,})"
        )
    table = torch.from_file(str(path), shared=True, size=numel, dtype=dtype).view(shape)
    path.unlink()
    return table


class _Pieces:
    """Cuts runs of destination nodes out of a graph, with all their edges."""

    def __init__(self, adj: Adjacency, piece_edges: int, device: torch.device) -> None:
        self.indptr, self.indices, self.size, self.device = adj.indptr, adj.indices, piece_edges, device
        self._local = torch.full((adj.num_dst,), -1, dtype=torch.int32)
        self._scale: Tensor | None = None

    def bounds(self, step: Step) -> Iterator[tuple[int, int]]:
        """Give runs of nodes with at most ``size`` edges and nodes each."""
        num_nodes = self.indptr.numel() - 1
        work = torch.arange(num_nodes + 1)
        if step.reads != "rows":
            work = work + self.indptr
        low = 0
        while low < num_nodes:
            high = int(torch.searchsorted(work, work[low] + self.size, right=True)) - 1
            high = min(max(high, low + 1), num_nodes)
            yield low, high
            low = high

    def cut(self, low: int, high: int, step: Step) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the ids of a piece's nodes, its destinations first, and its edges among them."""
        nodes = torch.arange(low, high)
        if step.reads == "rows":
            return nodes.to(self.device), None, None
        degree = self.indptr[low + 1 : high + 1] - self.indptr[low:high]
        src = self.indices[int(self.indptr[low]) : int(self.indptr[high])].long()
        col = torch.repeat_interleave(torch.arange(high - low), degree)
        weight: Tensor | None = None
        if step.reads == "normalised edges":
            other = src != col + low  # a loop that is there already gives way to the one that every node gets
            src, col = torch.cat([src[other], nodes]), torch.cat([col[other], nodes - low])
            scale = self._normaliser(step)
            weight = scale[src] * scale[col + low]
        self._local[nodes] = torch.arange(high - low, dtype=torch.int32)
        row, new = relabel(self._local, high - low, src)
        nodes = torch.cat([nodes, new])
        self._local[nodes] = -1
        return nodes.to(self.device), torch.stack([row, col]).to(self.device), weight

    def _normaliser(self, step: Step) -> Tensor:
        """1 / sqrt(degree) of each node, [N], edges into it and one loop counted."""
        if self._scale is None:
            degree = self.indptr.diff()
            total = degree + 1
            for low, high in self.bounds(step):  # in pieces too: ids of all edges' ends would be a second graph
                src = self.indices[int(self.indptr[low]) : int(self.indptr[high])]
                col = torch.repeat_interleave(torch.arange(high - low), degree[low:high])
                total[low:high] -= torch.bincount(col[src == col + low], minlength=high - low)
            self._scale = total.double().rsqrt()
        return self._scale
