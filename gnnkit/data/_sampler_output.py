"""sampler_output: sampled hops in the form that PyG's loaders take."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.sampler import HeteroSamplerOutput, SamplerOutput
from torch_geometric.sampler.base import SubgraphType

from gnnkit.data._graph import NodeType
from gnnkit.data._typed_hops import TypedHops


def sampler_output(
    hops: TypedHops,
    trees: dict[NodeType, Tensor] | None,
    metadata: tuple[Any, ...],
    is_hetero: bool,
    subgraph_type: SubgraphType,
) -> Any:
    """Return PyG's ``SamplerOutput`` or ``HeteroSamplerOutput``.

    Args:
        hops: What was sampled.
        trees: ``[n]`` by node type, what ``batch`` is to be; None where seeds share a graph.
        metadata: What the loader reads.
        is_hetero: Which of the two.
        subgraph_type: Whether reverses are added, which belong to no hop.
    """
    counted = subgraph_type == SubgraphType.directional
    fields: list[Any] = [hops.node, hops.row, hops.col, hops.edge, trees]
    fields += [hops.num_sampled_nodes, hops.num_sampled_edges] if counted else [None, None]
    if is_hetero:
        out = HeteroSamplerOutput(*fields, metadata=metadata)
        return out.to_bidirectional() if subgraph_type == SubgraphType.bidirectional else out
    flat: list[Any] = [None if value is None else next(iter(value.values())) for value in fields]
    if subgraph_type == SubgraphType.bidirectional:
        node, row, col, edge = flat[:4]
        flat[1:4] = _both_ways(row, col, edge, len(node))
    return SamplerOutput(*flat, metadata=metadata)


def _both_ways(row: Tensor, col: Tensor, edge: Tensor, num_nodes: int) -> list[Tensor]:
    """Edges and their reverses, each pair once, by destination; a reverse that was not sampled has its edge's place."""
    pairs, order = torch.cat([col * num_nodes + row, row * num_nodes + col]).sort(stable=True)
    first = torch.ones_like(pairs, dtype=torch.bool)
    first[1:] = pairs[1:] != pairs[:-1]
    pairs, order = pairs[first], order[first]
    return [pairs % num_nodes, pairs // num_nodes, torch.cat([edge, edge])[order]]
