"""Times and weights of a graph's edges, in the order in which samplers read the edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from gnnkit.data._graph import EDGES, NODES, Edges, EdgeType, Graph, NodeType
from gnnkit.data._weights import running_sums
from gnnkit.kernels import _check, group_by


@dataclass(frozen=True)
class Attributes:
    """Where a graph's attributes are found: in a PyG Data, in a HeteroData's stores by type, or in a FeatureStore."""

    data: Any = None
    stores: Mapping[Any, Any] = field(default_factory=dict)
    features: Any = None

    def collect(self, name: str, graph: Graph) -> tuple[dict[NodeType, Any], dict[EdgeType, Any]]:
        """The attributes of that name, by node type and by edge type."""
        if self.data is not None:
            on_nodes = {NODES: self.data[name]} if name in self.data and self.data.is_node_attr(name) else {}
            on_edges = {EDGES: self.data[name]} if name in self.data and self.data.is_edge_attr(name) else {}
            return on_nodes, on_edges
        found = {kind: store[name] for kind, store in self.stores.items() if name in store}
        for attr in self.features.get_all_tensor_attrs() if self.features is not None else ():
            if attr.attr_name == name:
                attr.index = None  # all rows
                rows, group = self.features.get_tensor(attr), attr.group_name
                only = EDGES if group is None and len(rows) != graph.num_nodes[NODES] else NODES
                found[only if group is None else group] = rows
        return (
            {kind: rows for kind, rows in found.items() if not isinstance(kind, tuple)},
            {kind: rows for kind, rows in found.items() if isinstance(kind, tuple)},
        )


def with_times(graph: Graph, attributes: Attributes, name: str, is_sorted: bool) -> Graph:
    """The graph with edges of each destination in the order of their times, or of their sources' times."""
    node_time, edge_time = attributes.collect(name, graph)
    if bool(node_time) == bool(edge_time):
        which = "both" if node_time else "neither"
        raise ValueError(f"time_attr: expected {name!r} to be of the nodes or of the edges (got {which})")
    for kind, time in node_time.items():
        _check_rows("time_attr", time, graph.num_nodes[kind], "node")
    edges = {}
    for edge_type, one in graph.edges.items():
        if edge_type[0] in node_time:
            time = node_time[edge_type[0]].index_select(0, one.indices)
        elif edge_type in edge_time:
            _check_rows("time_attr", edge_time[edge_type], one.indices.numel(), "edge")
            time = one.to_entries(edge_time[edge_type])
        else:  # edges of this type are there at all times
            edges[edge_type] = one
            continue
        if is_sorted:
            _check_order(one.indptr, time)
        else:
            perm = _time_order(one.indptr, time)
            one, time = replace(one, indices=one.indices[perm], edge_ids=one.original(perm)), time[perm]
        edges[edge_type] = replace(one, time=time)
    return replace(graph, edges=edges, node_time=node_time)


def _check_order(indptr: Tensor, time: Tensor) -> None:
    """Require the entries of each row to be sorted by time."""
    falls = time[1:] < time[:-1]
    begins = indptr[1:-1]
    falls[begins[(begins > 0) & (begins < time.numel())] - 1] = False  # where a row begins
    if bool(falls.any()):
        raise ValueError("is_sorted: expected the edges of each destination sorted by time (got a fall)")


def _time_order(indptr: Tensor, time: Tensor) -> Tensor:
    """``[E]``: the entries sorted by row, then by time, then as they came. O(E log E)."""
    order = time.argsort(stable=True)
    row = torch.arange(len(indptr) - 1, device=indptr.device).repeat_interleave(indptr.diff())
    return order[group_by(row[order], len(indptr) - 1)[1]]


def with_weights(graph: Graph, attributes: Attributes, name: str) -> Graph:
    """The graph with running sums of weights; edges of weight 0, never drawn, are left out."""
    data = attributes.data
    # where a graph has as many nodes as edges, PyG cannot tell whose an attribute is
    weights = attributes.collect(name, graph)[1] if data is None else {EDGES: data[name]} if name in data else {}
    if not weights:
        raise ValueError(f"weight_attr: expected {name!r} to be of the edges (got no such attribute)")
    edges = {}
    for edge_type, one in graph.edges.items():
        if edge_type in weights:
            weight = weights[edge_type]
            _check_rows("weight_attr", weight, one.indices.numel(), "edge")
            if not bool((torch.isfinite(weight) & (weight >= 0)).all()):
                raise ValueError("weight_attr: expected finite weights >= 0 (got a negative one, NaN or infinity)")
            one = _positive(one, one.to_entries(weight).double())
        edges[edge_type] = one
    return replace(graph, edges=edges)


def _positive(edges: Edges, weight: Tensor) -> Edges:
    """Edges of positive weight, with the running sums of the weights within each destination."""
    kept = (weight > 0).nonzero().view(-1)
    before = torch.zeros(weight.numel() + 1, dtype=torch.int64, device=weight.device)
    torch.cumsum(weight > 0, 0, out=before[1:])
    indptr = before[edges.indptr]
    row = torch.arange(len(indptr) - 1, device=indptr.device).repeat_interleave(indptr.diff())
    return replace(
        edges,
        indptr=indptr,
        indices=edges.indices[kept],
        edge_ids=edges.original(kept),
        time=None if edges.time is None else edges.time[kept],
        cumulative=running_sums(weight[kept], indptr, row),
    )


def _check_rows(name: str, rows: Any, count: int, what: str) -> None:
    """Require one number a node, or an edge."""
    if not isinstance(rows, Tensor) or rows.shape != (count,) or rows.dtype == torch.bool or rows.is_complex():
        raise ValueError(f"{name}: expected a tensor of {count} numbers, one a {what} (got {_check.describe(rows)})")
    if rows.is_floating_point() and bool(rows.isnan().any()):
        raise ValueError(f"{name}: expected numbers (got NaN)")
