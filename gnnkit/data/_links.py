"""Batches of links: their ends as seeds, negative ends beside them, and what is left out of the sampled graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gnnkit.data._graph import EDGES, EdgeType, Graph, NodeType
from gnnkit.data._hops import hop_key
from gnnkit.data._typed_hops import TypedHops
from gnnkit.kernels import _check


@dataclass(frozen=True)
class LinkSeeds:
    """What a batch of links asks of a sampler, and what it says to PyG's loader.

    Attributes:
        seeds: ``[S]`` by node type.
        time: ``[trees]``, or None; trees count through the types.
        batch: ``[trees]``: the link, of the batch's positive ones, that each tree belongs to.
        metadata: What PyG's ``LinkLoader`` reads: the input ids, then positions among the seeds, labels and times.
    """

    seeds: dict[NodeType, Tensor]
    time: Tensor | None
    batch: Tensor
    metadata: tuple[Any, ...]


def link_seeds(inputs: Any, negatives: Any, graph: Graph, disjoint: bool, key: int) -> LinkSeeds:
    """Read PyG's ``EdgeSamplerInput``, with PyG's meaning of ``NegativeSampling``.

    Negative k goes with positive ``k % P`` of the P, also where it takes its time. Where nodes have times, a negative
    is drawn among the nodes that are there at its time, or is the earliest node where none is.
    """
    types = inputs.input_type or EDGES
    src_type, dst_type = types[0], types[-1]
    sizes = graph.num_nodes[src_type], graph.num_nodes[dst_type]
    for name, ids, size in (("sources", inputs.row, sizes[0]), ("destinations", inputs.col, sizes[1])):
        _check.index_vector(f"edge_label_index, {name}", ids)
        _check.ids(f"edge_label_index, {name}", ids, size)
    src, dst, label, time = inputs.row.long(), inputs.col.long(), inputs.label, inputs.time
    num_pos, triplet = len(src), negatives is not None and negatives.is_triplet()
    src_time = dst_time = time
    if negatives is not None:
        extra = torch.arange(math.ceil(num_pos * negatives.amount)) % max(num_pos, 1)  # the positive of each
        extra_time = None if time is None else time[extra]
        drawn = _negatives(graph, dst_type, len(extra), extra_time, negatives.dst_weight, hop_key(key, 0))
        dst, dst_time = torch.cat([dst, drawn]), _join(time, extra_time)
        if not triplet:
            drawn = _negatives(graph, src_type, len(extra), extra_time, negatives.src_weight, hop_key(key, 1))
            src, src_time = torch.cat([src, drawn]), dst_time
            label = torch.ones(num_pos) if label is None else label
            label = torch.cat([label, label.new_zeros(len(extra), *label.shape[1:])])
    seeds, src_at, dst_at = _positions((src_type, src), (dst_type, dst), disjoint)
    where = torch.arange(len(src)), torch.arange(len(dst))
    batch = torch.cat(where) % max(num_pos, 1)
    if triplet:
        # [P, amount], and [P] where the amount is 1
        negative = dst_at[num_pos:].view(-1, num_pos).t().contiguous().squeeze(-1) if num_pos else dst_at[num_pos:]
        metadata: tuple[Any, ...] = inputs.input_id, src_at, dst_at[:num_pos], negative, src_time
    else:
        metadata = inputs.input_id, torch.stack([src_at, dst_at]), label, src_time
    return LinkSeeds(seeds, _join(src_time, dst_time), batch, metadata)


def without_links(hops: TypedHops, inputs: Any, num_nodes: Mapping[NodeType, int]) -> None:
    """Leave the links of a batch, their parallels and their reverses out of its sampled edges; nodes stay."""
    for edge_type, flipped in _reverses(inputs.input_type or EDGES, list(hops.row)):
        src_type, _, dst_type = edge_type
        ends = (inputs.col, inputs.row) if flipped else (inputs.row, inputs.col)
        row, col, edge = hops.row[edge_type], hops.col[edge_type], hops.edge[edge_type]
        # a pair of nodes as one number
        pairs = hops.node[src_type][row] * num_nodes[dst_type] + hops.node[dst_type][col]
        targets = ends[0].to(row.device) * num_nodes[dst_type] + ends[1].to(row.device)
        kept = ~torch.isin(pairs, targets)
        if edge_type in hops.num_sampled_edges:
            parts = kept.split(hops.num_sampled_edges[edge_type])  # type: ignore[no-untyped-call]
            hops.num_sampled_edges[edge_type] = [int(part.sum()) for part in parts]
        hops.row[edge_type], hops.col[edge_type], hops.edge[edge_type] = row[kept], col[kept], edge[kept]


def _reverses(edge_type: EdgeType, every: list[EdgeType]) -> list[tuple[EdgeType, bool]]:
    """The type itself and those that hold its reverses, each with whether ends change places.

    Reverses are in the type of the name ``rev_…`` (PyG's ``ToUndirected``), else in the only type that leads back.
    """
    src, rel, dst = edge_type
    found = [(edge_type, False)] if edge_type in every else []
    if src == dst:
        found += [(edge_type, True)] if edge_type in every else []
    named = (dst, rel.removeprefix("rev_") if rel.startswith("rev_") else f"rev_{rel}", src)
    back = [other for other in every if other[0] == dst and other[-1] == src and other != edge_type]
    if named in back:
        found.append((named, True))
    elif src != dst and len(back) == 1:
        found.append((back[0], True))
    return found


def _positions(
    source: tuple[NodeType, Tensor], destination: tuple[NodeType, Tensor], disjoint: bool
) -> tuple[dict[NodeType, Tensor], Tensor, Tensor]:
    """The seeds by type, and where sources and destinations stand among them."""
    (src_type, src), (dst_type, dst) = source, destination
    if src_type == dst_type:
        both = torch.cat([src, dst])
        unique, at = _unique(both, disjoint)
        return {src_type: unique}, at[: len(src)], at[len(src) :]
    (src_seeds, src_at), (dst_seeds, dst_at) = _unique(src, disjoint), _unique(dst, disjoint)
    return {src_type: src_seeds, dst_type: dst_seeds}, src_at, dst_at


def _unique(ids: Tensor, disjoint: bool) -> tuple[Tensor, Tensor]:
    if disjoint:
        return ids, torch.arange(len(ids))
    unique, at = ids.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    return unique, at


def _join(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return None if first is None or second is None else torch.cat([first, second])


def _negatives(
    graph: Graph, node_type: NodeType, count: int, time: Tensor | None, weight: Tensor | None, key: int
) -> Tensor:
    """``[count]`` nodes, drawn uniformly or by weight, where they have times among those up to a time each."""
    num_nodes = graph.num_nodes[node_type]
    if weight is not None and weight.shape != (num_nodes,):
        raise ValueError(f"neg_sampling: expected {num_nodes} weights (got {_check.describe(weight)})")
    if weight is not None and not bool((torch.isfinite(weight) & (weight >= 0)).all() & (weight > 0).any()):
        raise ValueError("neg_sampling: expected finite weights >= 0, not all 0 (got others)")
    if not count:
        return torch.empty(0, dtype=torch.int64)
    unit = torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(key % 2**63))
    order, below = None, torch.full((count,), num_nodes)
    if time is not None and node_type in graph.node_time:
        times, order = graph.nodes_by_time(node_type)
        below = torch.searchsorted(times, time.to(times.dtype), right=True)
    if weight is None:
        drawn = (unit * below).long()
    else:
        mass = (weight if order is None else weight[order]).double().cumsum(0)
        total = torch.where(below > 0, mass[(below - 1).clamp(min=0)], 0)
        drawn = torch.searchsorted(mass, unit * total, right=True)
    drawn = torch.minimum(drawn, below - 1).clamp(min=0)
    return drawn if order is None else order[drawn]
