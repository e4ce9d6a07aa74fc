"""What a plan makes of one process: its part of the graph, its neighbours, what they trade."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from gnnkit.pipeline._check import HopShape
from gnnkit.pipeline._chunks import ChunkedGraph
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
    if not isinstance(graph, Part):
        return ChunkedGraph.of(graph, plan, network.edges, edge_attr=edge_attr, dtype=dtype).part(way)
    wanted = tuple(range(plan.ways)) if way is None else (way,)
    if graph.cut != plan.cut_digest() or graph.ways != wanted:
        got = f"{graph.num_nodes} nodes, {graph.num_chunks} chunks, ways {graph.ways}, cut {graph.cut[:12]}"
        raise ValueError(f"graph: expected the plan's part for ways {wanted}, cut {plan.cut_digest()[:12]} (got {got})")
    if graph.edges != network.edges:
        raise ValueError(f"graph: expected a part with edges={network.edges!r}, the network's (got {graph.edges!r})")
    if edge_attr is not None:
        raise ValueError("edge_attr: expected None beside a part, which holds its edges' states (got another)")
    return graph


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


def fingerprint(network: Network, graph: Tensor | Part, train: Tensor, *more: object) -> str:
    """Return a digest of what has to be the same on every rank: weights, edges, training nodes and settings."""
    total = hashlib.sha256(repr((network, *more)).encode())
    tensors = [*network.state_dict().values(), train, *([graph] if isinstance(graph, Tensor) else [])]
    for tensor in tensors:
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


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
            "plan: expected the same plan, weights, edges, training nodes and settings on every rank "
            f"(got {int(different)} that differ from rank 0)"
        )
