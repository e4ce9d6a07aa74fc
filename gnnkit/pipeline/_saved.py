"""What autograd keeps of each hop, counted on small graphs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from gnnkit.adjacency import Adjacency
from gnnkit.pipeline._network import Neighbourhood, Network, OneHop, call

if TYPE_CHECKING:
    from gnnkit.pipeline._check import HopShape


class Saved(NamedTuple):
    """Bytes that autograd keeps of one hop until its way back.

    Attributes:
        row: For each destination.
        source: For each distinct row that a chunk reads, its own included.
        edge: For each edge.
    """

    row: float
    source: float = 0.0
    edge: float = 0.0


class NetworkSaved(NamedTuple):
    """Bytes that autograd keeps of a network's parts.

    Attributes:
        first: Of the row-wise first part, for each row.
        hops: Of each hop.
        last: Of the row-wise last part, for each row.
    """

    first: float
    hops: tuple[Saved, ...]
    last: float


def usual_saved(shapes: Sequence[HopShape], in_channels: int, itemsize: int) -> NetworkSaved:
    """Guess: a hop's message and two rows of what it gives, and a number an edge; two rows of the ends' inputs."""
    hops = (Saved((shape.message_channels + 2 * shape.out_channels) * itemsize, 0.0, itemsize) for shape in shapes)
    return NetworkSaved(2.0 * in_channels * itemsize, tuple(hops), 2.0 * shapes[-1].out_channels * itemsize)


def measure_saved(
    network: Network, in_channels: int, *, edge_channels: int | None = None, dtype: torch.dtype = torch.float32
) -> NetworkSaved:
    """Count what autograd keeps of each part in training, by running a copy of the network on four small graphs.

    A tensor that two parts keep, such as an activation that is the next hop's input, counts at the first. Parameters,
    the graph and features do not count: they are there anyway. Nor does the loss. On the CPU, where a dropout keeps
    a number where a GPU keeps a byte. Cost: four passes over some 200 nodes.

    Args:
        network: Hops that `inspect` accepts.
        in_channels: Width of the features.
        edge_channels: Width of the edge states, None where the layers are given none.
        dtype: Of the rows.

    Returns:
        What `memory_of` takes.

    Example:
        >>> from gnnkit.pipeline import adapters, measure_saved
        >>> net = adapters.gcn(4, 16, 2, num_layers=3)
        >>> each = measure_saved(net, in_channels=4).hops[1]
        >>> each.row / 4, each.edge / 4  # 16 of the dropout's mask, 16 gathered, 16 of the activation; a weight an edge
        (48.0, 1.0)
    """
    network = copy.deepcopy(network).to("cpu", dtype).train()
    with torch.random.fork_rng(devices=[]):
        base, rows, sources, edges = (
            _kept(network, in_channels, edge_channels, dtype, *sizes)
            for sizes in ((64, 96, 256), (128, 192, 256), (64, 192, 256), (64, 96, 512))
        )
    found = [
        Saved((rows[part] - sources[part]) / 64, (sources[part] - base[part]) / 96, (edges[part] - base[part]) / 256)
        for part in range(len(network.layers) + 2)
    ]
    return NetworkSaved(found[0].row, tuple(found[1:-1]), found[-1].row)


class _Keeper:
    """Counts the bytes of storages that were not there before, each once, part by part."""

    def __init__(self, there: Sequence[Tensor]) -> None:
        self.seen = {tensor.untyped_storage().data_ptr() for tensor in there}
        self.alive = list(there)  # so that no storage is given out twice
        self.count = 0
        self.counts: list[int] = []

    def keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.seen:
            self.seen.add(storage.data_ptr())
            self.alive.append(tensor)
            self.count += storage.nbytes()
        return tensor

    def part(self, out: Tensor, *others: Tensor) -> Tensor:
        """End a part; what it made lives on."""
        self.alive += [out, *others]
        self.counts.append(self.count)
        self.count = 0
        return out


def _kept(
    network: Network,
    in_channels: int,
    edge_channels: int | None,
    dtype: torch.dtype,
    num_rows: int,
    num_sources: int,
    num_edges: int,
) -> list[int]:
    """Count the bytes that each part is the first to keep, on a piece of a graph with so many rows and edges."""
    ends = torch.stack([torch.arange(num_edges) % num_sources, torch.arange(num_edges) % num_rows])
    adj = Adjacency.from_edge_index(ends, (num_sources, num_rows))
    weight = None if network.edges in ("plain", "loops") else torch.rand(num_edges, dtype=dtype)
    attr = None if edge_channels is None else torch.rand(num_edges, edge_channels, dtype=dtype)
    x = torch.rand(num_rows, in_channels, dtype=dtype)
    keeper = _Keeper([*network.parameters(), *_tensors(adj), *([] if weight is None else [weight]), x])
    with torch.autograd.graph.saved_tensors_hooks(keeper.keep, lambda tensor: tensor):
        x = keeper.part(x if network.first is None else network.first(x))  # [n, D]
        shared = x if network.shares else None
        for layer in network.layers:
            z = layer.before(x, shared) if isinstance(layer, OneHop) else x  # [n, D']
            table = torch.rand(num_sources, z.shape[1], dtype=dtype, requires_grad=True)  # as it is gathered
            if isinstance(layer, OneHop):
                x = layer.after(layer.aggregate(table, Neighbourhood(adj, weight, attr)), x, shared)
            else:
                along = None if shared is None else _longer(shared, num_sources)
                x, attr = call(layer, table, adj, weight, attr, along)
            keeper.part(x, z, table)
        keeper.part(x if network.last is None else network.last(x))
    return keeper.counts


def _tensors(adj: Adjacency) -> Sequence[Tensor]:
    return (adj.indptr, adj.indices, adj.edge_ids, *adj.transpose)


def _longer(rows: Tensor, count: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros(count - len(rows), rows.shape[1])])
