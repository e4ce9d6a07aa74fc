"""What one process of a pipeline run holds of its dataset: its part of the graph, its features, its labels."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from gnnkit import data as stores
from gnnkit import datasets
from gnnkit.bench._inputs import on_disk
from gnnkit.bench._pipeline_config import PipelineConfig, build_network
from gnnkit.datasets import Card

if TYPE_CHECKING:
    from gnnkit.adjacency import Adjacency
    from gnnkit.data import FeatureStore
    from gnnkit.pipeline import Network, Part, Plan
    from gnnkit.pipeline._launch import Launch
    from gnnkit.pipeline._transport import Transport

Partitioner = Literal["metis", "builtin", "none"]


class OwnRows:
    """The features of some nodes, read by their numbers in the whole graph: consecutive rows without a copy.

    Args:
        rows: ``[R, F]``.
        nodes: ``[R]`` the node of each row; no other is read.
        num_nodes: N of the whole graph.
    """

    def __init__(self, rows: Tensor, nodes: Tensor, num_nodes: int) -> None:
        self._rows, self._nodes, self._num_nodes = rows, nodes.to(rows.device), num_nodes
        self._row_of = torch.full((num_nodes,), -1, device=rows.device)
        self._row_of[self._nodes] = torch.arange(len(nodes), device=rows.device)

    @property
    def shape(self) -> torch.Size:
        """``[N, F]`` of the whole table."""
        return torch.Size([self._num_nodes, *self._rows.shape[1:]])

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows."""
        return self._rows.dtype

    def read(self, ids: Tensor, out: Tensor | None = None) -> Tensor:
        """See `FeatureStore.read`; the result may be a view of the rows."""
        if out is None and len(ids) and torch.equal(self._nodes[(low := int(self._row_of[ids[0]])) :][: len(ids)], ids):
            return self._rows[low : low + len(ids)]
        rows = self._row_of[ids]
        if bool((rows < 0).any()):
            raise ValueError(f"ids: expected nodes of this process's part (got {int((rows < 0).sum())} others)")
        return torch.index_select(self._rows, 0, rows, out=out)


@dataclass(frozen=True)
class Share:
    """One process's share of a dataset.

    Attributes:
        plan: Of the whole run; its seed is replaced by each run's.
        part: Of the graph.
        features: A store of the whole table's shape; only the first stage may read it, its own rows.
        y: ``[N]`` labels on rank 0 and at the last stage; zeros that take no memory elsewhere.
        data: What splits are made of, on rank 0.
        raw_digest: Of the raw files.
        partitioner: What has cut the nodes, ``"metis"`` or ``"builtin"``; ``"none"`` where nothing is cut.
    """

    plan: Plan
    part: Part
    features: FeatureStore
    y: Tensor
    data: Any
    raw_digest: str
    partitioner: Partitioner


def take_share(config: PipelineConfig, here: Launch, root: str | None, transport: Transport) -> Share:
    """Load a dataset, cut it, and keep this process's part of it; collective.

    Every process reads the graph and forgets what it does not need, features and labels too.

    Raises:
        ValueError: The dataset has no features, or no class for each node, or the plan does not fit.
    """
    from gnnkit.pipeline import ChunkedGraph
    from gnnkit.pipeline._edges import read_edges

    data = None
    for turn in range(2):  # rank 0 downloads and converts what is missing; the others find it
        if (here.rank == 0) == (turn == 0):
            data = _load(config, root)
        transport.barrier()
    assert data is not None
    table, num_nodes = data.features, data.num_nodes
    network = build_network(config, data.card)
    adj, edge_weight = read_edges(data.edge_index, num_nodes, network.edges)
    first = here.rank == 0
    partitioner = _partitioner(config, here)
    made = _plan(config, network, data.card, adj, here, partitioner) if first else None
    plan: Plan = transport.broadcast_object(made, 0)
    alone = here.processes == 1
    stage, way = (0, 0) if alone else plan.place(here.rank)
    part = ChunkedGraph(adj, plan, edge_weight=edge_weight, edges=network.edges).part(None if alone else way)
    del data.edge_index
    if isinstance(table, Tensor):
        own = part.nodes[: part.num_own] if stage == 0 else part.nodes[:0]
        table = OwnRows(table[own].to(here.device), own, num_nodes)
    y = data.y
    if here.rank != 0:
        y = y if stage == plan.num_stages - 1 else y.new_zeros(1).expand(num_nodes)
    data.features = None
    return Share(plan, part, table, y, data if here.rank == 0 else None, data.raw_digest, partitioner)


def _load(config: PipelineConfig, root: str | None) -> Any:
    """Load a graph with its features, a tensor or a store, in ``features``."""
    name, kind = config.dataset, config.features.kind
    of_ogb = kind == "memmap" and name.startswith("ogbn-")
    if of_ogb and config.features.scale == "rows":
        raise ValueError(f"features.scale=rows: expected features in memory (got features.kind=memmap with {name})")
    data = datasets.load(name, root, features="memmap" if of_ogb else "memory")
    y, num_nodes = data.y, data.num_nodes
    if not isinstance(y, Tensor) or y.dim() != 1 or y.dtype != torch.int64 or len(y) != num_nodes:
        raise ValueError(f"{name}: expected an int64 class for each of {num_nodes} nodes (got {_shape(y)})")
    data.num_nodes = num_nodes  # it outlives the features
    if of_ogb:
        return data
    x = data.x
    if not isinstance(x, Tensor) or x.dim() != 2 or not bool(x.isfinite().all()):
        raise ValueError(f"{name}: expected finite features of nodes to train on (got {_shape(x)})")
    if config.features.scale == "rows":
        x = x / x.sum(dim=1, keepdim=True).clamp(min=1)
    data.x = None
    data.features = x.float() if kind == "memory" else stores.MemoryMapped(on_disk(x.float(), name))
    return data


def _partitioner(config: PipelineConfig, here: Launch) -> Partitioner:
    """Say which partitioner cuts the nodes; rank 0's is the one that does."""
    _, ways, chunks = config.plan.shape(here.processes)
    if ways * chunks == 1:
        return "none"
    if config.plan.partitioner == "auto":
        return "builtin" if find_spec("pymetis") is None else "metis"
    return config.plan.partitioner


def _plan(
    config: PipelineConfig, network: Network, card: Card, adj: Adjacency, here: Launch, partitioner: Partitioner
) -> Plan:
    from gnnkit.pipeline import plan

    stages, ways, chunks = config.plan.shape(here.processes)
    layers, ends = _costs(network, card.num_features, adj, here.device)
    return plan(
        adj,
        layers,
        ends=ends,
        stages=stages,
        ways=ways,
        chunks=chunks,
        partitioner=config.plan.partitioner if partitioner == "none" else partitioner,
        shuffle=config.plan.shuffle,
    )


def _costs(
    network: Network, in_channels: int, adj: Adjacency, device: torch.device
) -> tuple[list[float], tuple[float, float]]:
    """Estimate the seconds of each hop and of the two ends, forward and backward.

    Measured ones would differ from run to run, and with them the plan, to which a checkpoint belongs.
    """
    from gnnkit.pipeline import HARDWARE, Hardware, inspect
    from gnnkit.pipeline._costs import hop_seconds

    core = Hardware("a CPU core", flops=5e10, memory_bytes_per_second=1e10)
    hardware = HARDWARE["a100"] if device.type == "cuda" else core
    size = adj.num_dst, adj.num_edges, 0
    hops = [
        sum(sum(hop_seconds(*size, shape, 4, hardware, back)) for back in (False, True))
        for shape in inspect(network, in_channels)
    ]
    numbers = [sum(p.numel() for p in end.parameters()) if end else 0 for end in (network.first, network.last)]
    first, last = (hardware.compute(3 * 2.0 * adj.num_dst * number, 0) for number in numbers)
    return hops, (first, last)


def _shape(value: object) -> str:
    return f"{value.dtype} of shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
