"""What a plan makes of one process: its part of the graph, its neighbours, what they trade."""

from __future__ import annotations

import torch
from torch import Tensor

from gnnkit.pipeline._check import HopShape
from gnnkit.pipeline._chunks import ChunkedGraph
from gnnkit.pipeline._edges import read_edges
from gnnkit.pipeline._network import Network, returns_edges
from gnnkit.pipeline._part import Part
from gnnkit.pipeline._plan import Plan
from gnnkit.pipeline._transport import Transport


def part_of(
    graph: Tensor | Part, network: Network, plan: Plan, edge_attr: Tensor | None, dtype: torch.dtype, way: int | None
) -> Part:
    """Return the part of one way, or of all (None), cut here or given.

    Raises:
        ValueError: The part given is another's, or comes with ``edge_attr``, which it holds itself.
    """
    if isinstance(graph, Part):
        wanted = tuple(range(plan.ways)) if way is None else (way,)
        if graph.num_nodes != plan.num_nodes or graph.num_chunks != plan.num_chunks or graph.ways != wanted:
            got = f"{graph.num_nodes} nodes, {graph.num_chunks} chunks, ways {graph.ways}"
            raise ValueError(f"graph: expected the plan's part for ways {wanted} (got {got})")
        return graph
    adj, edge_weight = read_edges(graph, plan.num_nodes, network.edges, dtype)
    return ChunkedGraph(adj, plan, edge_weight=edge_weight, edge_attr=edge_attr).part(way)


def neighbours(plan: Plan, stage: int, way: int) -> tuple[int | None, int | None]:
    """Return the ranks of the stages before and after, None where there is none."""
    previous = plan.rank(stage - 1, way) if stage > 0 else None
    following = plan.rank(stage + 1, way) if stage < plan.num_stages - 1 else None
    return previous, following


def travels(network: Network, shapes: tuple[HopShape, ...], hop: int) -> dict[str, int]:
    """Return the widths of what comes to a hop that begins a stage, by name; nothing past the last hop."""
    if hop == len(shapes):
        return {}
    widths = {"x": shapes[hop].in_channels}
    if network.shares:
        widths["shared"] = shapes[0].in_channels
    states = [shapes[each].edge_channels for each in range(hop) if returns_edges(network.layers[each])]
    if states:
        widths["edges"] = states[-1]
    return widths


def agree(transport: Transport, mine: str) -> None:
    """Require the same plan, network and settings on all ranks.

    Raises:
        ValueError: Some rank's differ from rank 0's; on all ranks.
    """
    theirs = transport.broadcast_object(mine, 0)
    different = torch.tensor([float(mine != theirs)])
    transport.all_reduce([different], range(transport.world_size), "control")
    if different:
        raise ValueError(
            f"plan: expected the same plan, network and settings on every rank (got {int(different)} ranks that "
            "differ from rank 0)"
        )
