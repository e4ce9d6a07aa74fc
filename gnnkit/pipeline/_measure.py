"""How long a network's parts take on this machine, for stages of equal cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gnnkit.pipeline._edges import read_edges
from gnnkit.pipeline._network import Network, call

Outputs = tuple[Tensor, Tensor | None]


class LayerCosts(NamedTuple):
    """Seconds forward and backward of a whole graph, as `gnnkit.pipeline.plan` takes them.

    Attributes:
        layers: Of each hop.
        ends: Of the network's first and last part, 0 where it has none. The loss is not in it.
    """

    layers: tuple[float, ...]
    ends: tuple[float, float]


def measure_costs(
    network: Network, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None, *, repeats: int = 5
) -> LayerCosts:
    """Time each part of a network forward and backward on this machine, with the threads that torch is set to.

    The graph may be a piece of the one to train on. One part runs at a time, ``repeats + 1`` times, and of all but the
    first the median is taken; the first run compiles and builds transposes. Parameters, their gradients and random
    states stay as they are. Another run gives other numbers and maybe another plan: with several processes, measure
    in one and send the plan.

    Args:
        network: In the mode, training or not, in which it is to be timed.
        x: ``[N, F]`` features, on the device of the network.
        edge_index: ``[2, E]``.
        edge_attr: ``[E, De]``, where the layers read it.
        repeats: How often each part is timed.

    Raises:
        ValueError: Not a `Network`, no repeat, or arguments that the network refuses.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from gnnkit import Adjacency
        >>> from gnnkit.pipeline import Network, OneHop, measure_costs, plan
        >>> class Sum(OneHop):
        ...     def aggregate(self, z, graph):
        ...         return graph.adj.spmm(z, graph.edge_weight)
        >>> ring = torch.stack([torch.arange(100), torch.arange(100).roll(-1)])
        >>> costs = measure_costs(Network(nn.Linear(5, 8), [Sum(), Sum(), Sum()], None), torch.randn(100, 5), ring)
        >>> len(costs.layers), costs.ends[1]
        (3, 0.0)
        >>> plan(Adjacency.from_edge_index(ring), costs.layers, ends=costs.ends, stages=2).num_stages
        2
    """
    if not isinstance(network, Network):
        raise ValueError(f"network: expected a gnnkit.pipeline.Network (got {type(network).__name__})")
    if not isinstance(repeats, int) or repeats < 1:
        raise ValueError(f"repeats: expected a whole number from 1 (got {repeats!r})")
    adj, edge_weight = read_edges(edge_index, len(x), network.edges, x.dtype)
    first, last, layers = 0.0, 0.0, []
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []), torch.enable_grad():
        rows, edges = x.detach(), edge_attr  # features need no gradient
        if network.first is not None:
            first, (rows, _) = _time(_row_wise(network.first), [rows], network.first, repeats)
        shared = rows if network.shares else None
        for layer in network.layers:

            def hop(rows: Tensor, edges: Tensor | None, shared: Tensor | None, layer: nn.Module = layer) -> Outputs:
                return call(layer, rows, adj, edge_weight, edges, shared)

            seconds, (rows, edges) = _time(hop, [rows, edges, shared], layer, repeats)
            layers.append(seconds)
        if network.last is not None:
            last, _ = _time(_row_wise(network.last), [rows], network.last, repeats)
    return LayerCosts(tuple(layers), (first, last))


def _row_wise(part: nn.Module) -> Callable[[Tensor], Outputs]:
    return lambda rows: (part(rows), None)


def _time(
    run: Callable[..., Outputs], given: Sequence[Tensor | None], part: nn.Module, repeats: int
) -> tuple[float, Outputs]:
    """Give the median seconds of a part forward and backward, and its outputs, cut off from what made them."""
    wanted = [each for each in (*given, *part.parameters()) if each is not None and each.requires_grad]
    seconds = []
    for _ in range(1 + repeats):
        start = _now(given[0])
        outputs = run(*given)
        grown = [each for each in outputs if each is not None and each.requires_grad]
        if wanted and grown:
            ones = [torch.ones_like(each) for each in grown]
            torch.autograd.grad(grown, wanted, ones, allow_unused=True)
        seconds.append(_now(given[0]) - start)
    rows, edges = (None if each is None else each.detach().requires_grad_(each.requires_grad) for each in outputs)
    assert rows is not None
    return median(seconds[1:]), (rows, edges)


def _now(rows: Tensor | None) -> float:
    if rows is not None and rows.is_cuda:
        torch.cuda.synchronize(rows.device)
    return perf_counter()
