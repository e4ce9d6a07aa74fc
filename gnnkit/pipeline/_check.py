"""Whether a network's parts keep the contract of a pipeline, and how wide they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from gnnkit.pipeline._laws import Laws
from gnnkit.pipeline._network import Network, returns_edges
from gnnkit.pipeline._probe import Probe
from gnnkit.pipeline._refused import refuse
from gnnkit.pipeline._trial import of_hop, of_rows


@dataclass(frozen=True)
class HopShape:
    """How wide a hop is.

    Attributes:
        in_channels: Width D of the rows that it takes.
        message_channels: Width D' of the rows that neighbours see.
        out_channels: Width of the rows that it gives.
        edge_channels: Width of the edge states that it gives, 0 if none.
        message_grad: Whether the rows that neighbours see require a gradient.
        parameters: How many numbers it learns.
    """

    in_channels: int
    message_channels: int
    out_channels: int
    edge_channels: int
    message_grad: bool
    parameters: int


def inspect(network: Network, in_channels: int, edge_channels: int | None = None) -> tuple[HopShape, ...]:
    """Require that a network can be pipelined, and give the widths of its hops.

    Modules known to read more than one hop, or all nodes, are refused by class. Every part then runs on a graph of
    nine nodes, in evaluation and in training mode, where a row may follow one node's change only as the contract
    says, and where a piece of the graph, its destinations first, must give the rows of the whole. Copies on the CPU
    are tried, layer by layer: parameters, gradients, modes, buffers and random states stay as they are.

    Cost: some milliseconds a layer.

    Args:
        network: Layers are numbered from 0, as in ``network.layers``.
        in_channels: Width of the features.
        edge_channels: Width of ``edge_attr``, None where the layers are given none.

    Returns:
        A `HopShape` for each layer.

    Raises:
        ValueError: A part breaks the contract, or does not run; the message names it.

    Example:
        >>> from torch import nn
        >>> from gnnkit.pipeline import Network, OneHop, inspect
        >>> class Sum(OneHop):
        ...     def aggregate(self, z, graph):
        ...         return graph.adj.spmm(z, graph.edge_weight)
        >>> inspect(Network(nn.Linear(5, 3), [Sum(), Sum()], None), in_channels=5)[1].message_channels
        3
    """
    if not isinstance(network, Network):
        raise ValueError(f"network: expected a gnnkit.pipeline.Network (got {type(network).__name__})")
    for name, width in (("in_channels", in_channels), ("edge_channels", edge_channels)):
        if (width is not None or name == "in_channels") and (not isinstance(width, int) or width < 1):
            raise ValueError(f"{name}: expected a width >= 1 (got {width!r})")
    if edge_channels is not None and network.edges in ("loops", "gcn"):
        raise ValueError(f"edge_channels: expected None, for self-loops have no state (got edges={network.edges!r})")
    ends = [("first", network.first), ("last", network.last)]
    hops = [(f"layer {number} ({type(layer).__name__})", layer) for number, layer in enumerate(network.layers)]
    for where, part in (*ends, *hops):
        if part is not None:
            refuse(part, where)
    dtypes = {parameter.dtype for parameter in network.parameters()}
    dtype = torch.float64 if torch.float64 in dtypes else torch.float32
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(devices=[]), _one_thread():
        laws = Laws(Probe.make(network.edges, dtype), dtype)
        rows = laws.draw(in_channels)
        if network.first is not None:
            rows = of_rows(laws, "first", network.first, rows)
        shared = laws.like(rows) if network.shares else None
        states = None if edge_channels is None else laws.draw(edge_channels, laws.probe.whole.adj.num_edges)
        shapes = []
        for where, layer in hops:
            found = of_hop(laws, where, layer, rows, states, shared)
            shapes.append(
                HopShape(
                    in_channels=rows.shape[1],
                    message_channels=found.message.shape[1],
                    out_channels=found.rows.shape[1],
                    edge_channels=found.states.shape[1] if found.states is not None and returns_edges(layer) else 0,
                    message_grad=found.message.requires_grad,
                    parameters=sum(each.numel() for each in layer.parameters() if each.requires_grad),
                )
            )
            rows, states = found.rows, found.states
        if network.last is not None:
            of_rows(laws, "last", network.last, rows)
    return tuple(shapes)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run on one thread: on nine rows a second one is only waited for."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
