"""sample_typed_hops: the neighbourhood of a batch over typed nodes and edges, in trees or not, up to a time or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gnnkit.data._graph import Edges, EdgeType, Graph, NodeType, at
from gnnkit.data._hops import hop_key
from gnnkit.data._numbering import Numbering
from gnnkit.kernels import sample_neighbors


@dataclass
class TypedHops:
    """A sampled neighbourhood by types, in PyG's words.

    Attributes:
        node: ``[n]`` int64 by node type, the seeds first and then each hop's new nodes.
        row: ``[m]`` int64 by edge type, the source of each edge as a position among its type's nodes.
        col: ``[m]`` int64 by edge type, the destination likewise.
        edge: ``[m]`` int64 by edge type, the edge's place in the original order.
        tree: ``[n]`` int64 by node type, the seed that the node was found from; empty where seeds share a graph.
        num_sampled_nodes: By node type, how many seeds, then how many new nodes in each hop.
        num_sampled_edges: By edge type, how many edges in each hop; empty where hops are unknown.
    """

    node: dict[NodeType, Tensor]
    row: dict[EdgeType, Tensor]
    col: dict[EdgeType, Tensor]
    edge: dict[EdgeType, Tensor]
    tree: dict[NodeType, Tensor]
    num_sampled_nodes: dict[NodeType, list[int]]
    num_sampled_edges: dict[EdgeType, list[int]]


@dataclass(frozen=True)
class Rule:
    """How edges are drawn: with replacement or without, and whether the latest of them instead of any."""

    replace: bool = False
    last: bool = False


def sample_typed_hops(
    graph: Graph,
    seeds: Mapping[NodeType, Tensor],
    fanouts: Mapping[EdgeType, Sequence[int]],
    key: int,
    numbering: Mapping[NodeType, Numbering],
    rule: Rule,
    tree_time: Tensor | None = None,
) -> TypedHops:
    """Sample: hop l draws ``fanouts[t][l]`` edges of type t of every node that hop l - 1 found.

    Seeds count as trees 0, 1, … through the types in the order given. No edge is drawn that is later than the time of
    its tree. `numbering` has to be fresh, and holds the nodes afterwards.

    Args:
        graph: What `read_graph` made.
        seeds: ``[S]`` int64 by node type, in ``[0, N)``.
        fanouts: The number of edges a node, hop by hop, of every edge type; -1 takes all.
        key: Any whole number; the draws depend on it and on the arguments alone.
        numbering: Of every node type.
        rule: How edges are drawn.
        tree_time: ``[trees]``, in the unit of the graph's times.
    """
    trees = 0
    for node_type, ids in seeds.items():
        numbering[node_type].start(ids, torch.arange(trees, trees + len(ids), device=ids.device))
        trees += len(ids)
    num_sampled_nodes = {node_type: [one.count] for node_type, one in numbering.items()}
    num_sampled_edges: dict[EdgeType, list[int]] = {edge_type: [] for edge_type in graph.edges}
    found: dict[EdgeType, list[tuple[Tensor, Tensor, Tensor]]] = {edge_type: [] for edge_type in graph.edges}
    begin = dict.fromkeys(numbering, 0)
    for hop in range(max((len(fanout) for fanout in fanouts.values()), default=0)):
        end = {node_type: one.count for node_type, one in numbering.items()}
        for kind, (edge_type, edges) in enumerate(graph.edges.items()):
            src, _, dst = edge_type
            fanout, drawn = fanouts[edge_type][hop], 0
            if fanout and begin[dst] < end[dst]:
                nodes, tree = _slice(numbering[dst], begin[dst])
                nodes, tree = nodes[: end[dst] - begin[dst]], tree[: end[dst] - begin[dst]]
                time = None if tree_time is None else tree_time[tree]
                position, entries, neighbors = _draw(edges, nodes, fanout, hop_key(hop_key(key, hop), kind), rule, time)
                row = numbering[src].number(neighbors, tree[position] if len(tree) else tree)
                found[edge_type].append((row, position + begin[dst], edges.original(entries)))
                drawn = len(row)
            num_sampled_edges[edge_type].append(drawn)
        for node_type, one in numbering.items():
            num_sampled_nodes[node_type].append(one.count - end[node_type])
        begin = end
    return _collect(graph, found, numbering, num_sampled_nodes, num_sampled_edges)


def induce(graph: Graph, hops: TypedHops, numbering: Mapping[NodeType, Numbering], tree_time: Tensor | None) -> None:
    """Replace the edges by all edges between the nodes (of one tree), up to its time; O(the sum of their degrees)."""
    for edge_type, edges in graph.edges.items():
        src, _, dst = edge_type
        nodes, tree = hops.node[dst], hops.tree[dst]
        time = None if tree_time is None else tree_time[tree]
        position, entries, neighbors = _draw(edges, nodes, -1, 0, Rule(), time)
        row = numbering[src].find(neighbors, tree[position] if len(tree) else tree)
        inside = row >= 0
        hops.row[edge_type], hops.col[edge_type] = row[inside], position[inside]
        hops.edge[edge_type] = edges.original(entries[inside])
    hops.num_sampled_edges.clear()  # they are of no hop


def _draw(
    edges: Edges, nodes: Tensor, fanout: int, key: int, rule: Rule, time: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw edges of destinations: the positions of these in `nodes`, the entries, the sources."""
    starts, ends = edges.indptr.index_select(0, nodes), edges.indptr[1:].index_select(0, nodes)
    cumulative = edges.cumulative
    if time is not None and edges.time is not None:
        ends = _until(edges.time, starts, ends, time)
        if rule.last and fanout >= 0:
            starts = torch.maximum(starts, ends - fanout)
            if not rule.replace:
                fanout = -1
    if fanout == -1:
        cumulative = None
    pointers, entries, neighbors = sample_neighbors(
        edges.indices, starts, ends, fanout, key, replace=rule.replace, cumulative=cumulative
    )
    position = torch.arange(len(nodes), device=nodes.device)
    return position.repeat_interleave(pointers.diff(), output_size=len(entries)), entries, neighbors


def _until(time: Tensor, starts: Tensor, ends: Tensor, limit: Tensor) -> Tensor:
    """Where in each row ``starts … ends``, sorted by time, the first entry later than its limit stands."""
    low, high = starts, ends
    longest = int((ends - starts).max()) if len(starts) else 0
    for _ in range(longest.bit_length()):
        middle = (low + high) // 2
        # a row that is decided, low == high, has no entry to ask, and stays
        later = at(time, middle.clamp(max=time.numel() - 1)) > limit
        low, high = torch.where(~later & (low < high), middle + 1, low), torch.where(later, middle, high)
    return low


def _slice(numbering: Numbering, begin: int) -> tuple[Tensor, Tensor]:
    """The nodes from number `begin` on, and their trees."""
    count, chunks = numbering.count, 0
    while count > begin:
        chunks += 1
        count -= len(numbering.nodes[-chunks])
    first = len(numbering.nodes) - chunks
    trees = numbering.trees[first:]
    return torch.cat(numbering.nodes[first:]), torch.cat(trees) if trees else torch.empty(0, dtype=torch.int64)


def _collect(
    graph: Graph,
    found: Mapping[EdgeType, list[tuple[Tensor, Tensor, Tensor]]],
    numbering: Mapping[NodeType, Numbering],
    num_sampled_nodes: dict[NodeType, list[int]],
    num_sampled_edges: dict[EdgeType, list[int]],
) -> TypedHops:
    """Put the hops together."""
    parts: list[dict[EdgeType, Tensor]] = [{}, {}, {}]
    for edge_type, edges in graph.edges.items():
        empty = edges.indptr[:0]
        for part, tensors in zip(
            parts, zip(*found[edge_type], strict=True) if found[edge_type] else ((),) * 3, strict=True
        ):
            part[edge_type] = torch.cat([empty, *tensors])
    row, col, edge = parts
    some = next(iter(graph.edges.values())).indptr[:0] if graph.edges else torch.empty(0, dtype=torch.int64)
    node = {kind: torch.cat([some, *(n.long() for n in one.nodes)]) for kind, one in numbering.items()}
    tree = {kind: torch.cat([some, *one.trees]) for kind, one in numbering.items()}
    return TypedHops(node, row, col, edge, tree, num_sampled_nodes, num_sampled_edges)
