"""read_graph: what samplers read of a PyG graph, a CSR by destination for every edge type."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.data import Data, FeatureStore, GraphStore, HeteroData

from gnnkit.adjacency import Adjacency
from gnnkit.data._as_pyg import StoredGraph
from gnnkit.kernels import _check, gather_rows

NodeType = str
EdgeType = tuple[str, str, str]
NODES: NodeType = ""  # the one type of nodes of a homogeneous graph, and of its edges
EDGES: EdgeType = ("", "", "")


@dataclass(frozen=True)
class Edges:
    """The edges of one type, sorted by destination, and by time within a destination where there are times.

    Attributes:
        indptr: ``[num_dst + 1]`` int64.
        indices: ``[E]`` int32 or int64, the source of each entry.
        num_src: The number of sources.
        edge_ids: ``[E]`` int64, the place of each entry in the original order; None where it is the same.
        time: ``[E]``, when each entry's edge (or its source) came to be.
        cumulative: ``[E]`` float64, running sums of the weights within each destination.
    """

    indptr: Tensor
    indices: Tensor
    num_src: int
    edge_ids: Tensor | None = None
    time: Tensor | None = None
    cumulative: Tensor | None = None

    def original(self, entries: Tensor) -> Tensor:
        """``[M]`` int64: the places of entries in the original order."""
        return entries if self.edge_ids is None else at(self.edge_ids, entries)

    def to_entries(self, rows: Tensor) -> Tensor:
        """Bring ``[E, …]`` from the original order to that of the entries."""
        return rows if self.edge_ids is None else rows.index_select(0, self.edge_ids)

    def to(self, device: torch.device) -> Edges:
        """Move to a device: to a GPU the pointers alone, the rest into pinned memory that the GPU reads."""
        here = self.indices.device
        if here.type == device.type and device.index in (None, here.index):
            return self
        if device.type == "cpu":
            moved: dict[str, Any] = {k: v.cpu() for k, v in vars(self).items() if isinstance(v, Tensor)}
        else:
            moved = {k: v.pin_memory() for k, v in vars(self).items() if isinstance(v, Tensor)}
            moved["indptr"] = self.indptr.to(device)
        return replace(self, **moved)


@dataclass(frozen=True)
class Graph:
    """A graph as samplers read it.

    Attributes:
        num_nodes: By node type.
        edges: By edge type.
        node_time: ``[N]`` by node type, where nodes have times.
        is_hetero: Whether the types are those of a heterogeneous graph.
    """

    num_nodes: dict[NodeType, int]
    edges: dict[EdgeType, Edges]
    is_hetero: bool
    node_time: dict[NodeType, Tensor] = field(default_factory=dict)
    _by_time: dict[NodeType, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    def nodes_by_time(self, node_type: NodeType) -> tuple[Tensor, Tensor]:
        """Sorted times on the CPU and the nodes that they are of; O(N log N) at the first call, and kept."""
        if node_type not in self._by_time:  # two threads may both sort, to the same end
            times, nodes = self.node_time[node_type].cpu().sort(stable=True)
            self._by_time[node_type] = times, nodes
        return self._by_time[node_type]


def at(table: Tensor, ids: Tensor) -> Tensor:
    """``table[ids]`` on the device of ``ids``, also of a table in pinned host memory."""
    return table.index_select(0, ids) if table.device == ids.device else gather_rows(table, ids)


def read_graph(
    data: Any,
    time_attr: str | None = None,
    weight_attr: str | None = None,
    is_sorted: bool = False,
    device: torch.device | None = None,
) -> Graph:
    """Read a ``Data``, a ``HeteroData`` or a ``(FeatureStore, GraphStore)`` pair; `NeighborSampler` has the rules."""
    from gnnkit.data._edge_attributes import Attributes, with_times, with_weights

    if isinstance(data, Data):
        graph, attributes = _read_data({EDGES: data}, {NODES: data}, False, is_sorted), Attributes(data)
    elif isinstance(data, HeteroData):
        stores = {kind: data[kind] for kind in (*data.node_types, *data.edge_types)}
        edge_stores = {edge_type: stores[edge_type] for edge_type in data.edge_types}
        node_stores = {node_type: stores[node_type] for node_type in data.node_types}
        graph, attributes = _read_data(edge_stores, node_stores, True, is_sorted), Attributes(stores=stores)
    elif isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[1], GraphStore):
        graph, attributes = _read_pair(data[0], data[1]), Attributes(features=data[0])
    else:
        raise ValueError(
            f"data: expected a PyG Data, HeteroData or (FeatureStore, GraphStore) pair (got {type(data).__name__})"
        )
    if time_attr is not None:
        graph = with_times(graph, attributes, time_attr, is_sorted)
    if weight_attr is not None:
        graph = with_weights(graph, attributes, weight_attr)
    if device is not None:
        edges = {edge_type: one.to(device) for edge_type, one in graph.edges.items()}
        node_time = {node_type: time.to(device) for node_type, time in graph.node_time.items()}
        graph = replace(graph, edges=edges, node_time=node_time)
    return graph


# ------------------------------------------------------------------ topology


def _read_data(
    edge_stores: Mapping[EdgeType, Any], node_stores: Mapping[NodeType, Any], is_hetero: bool, is_sorted: bool
) -> Graph:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyG infers the largest id plus one, as Adjacency does
        num_nodes = {node_type: store.num_nodes for node_type, store in node_stores.items()}
    for node_type, count in num_nodes.items():
        if count is None:
            of = f" of {node_type!r} nodes" if node_type else ""
            raise ValueError(f"data: expected num_nodes or a row a node, to know the number{of} (got neither)")
    edges = {}
    for edge_type, store in edge_stores.items():
        sizes = num_nodes[edge_type[0]], num_nodes[edge_type[-1]]
        if "adj_t" in store or "adj" in store:
            raise ValueError("data: expected edges as edge_index (got a sparse matrix)")
        edge_index = store.edge_index if "edge_index" in store else None
        if edge_index is None:
            edge_index = torch.empty(2, 0, dtype=torch.int64)
        edges[edge_type] = _sorted_edges(edge_index, sizes) if is_sorted else _edges(edge_index, sizes)
    return Graph(num_nodes, edges, is_hetero)


def _edges(edge_index: Tensor, sizes: tuple[int, int]) -> Edges:
    return _of_adjacency(Adjacency.from_edge_index(edge_index, sizes))


def _sorted_edges(edge_index: Tensor, sizes: tuple[int, int]) -> Edges:
    """Edges that the caller says are sorted by destination: no sort, and no order to remember."""
    edge_index = edge_index.as_tensor() if isinstance(edge_index, EdgeIndex) else edge_index
    if not _check.is_dense(edge_index, (2,), _check.INDEX_DTYPES) or len(edge_index) != 2:
        raise ValueError(f"edge_index: expected int32 or int64 of shape [2, E] (got {_check.describe(edge_index)})")
    src, dst = edge_index
    for name, ids, size in zip(("sources", "destinations"), edge_index, sizes, strict=True):
        _check.ids(f"edge_index, {name}", ids, size)
    if bool((dst[1:] < dst[:-1]).any()):
        raise ValueError("is_sorted: expected edge_index sorted by destination (got a smaller one after a larger)")
    indptr = torch.searchsorted(dst.contiguous(), torch.arange(sizes[1] + 1, device=dst.device, dtype=dst.dtype))
    return Edges(indptr, src.contiguous(), sizes[0])


def _of_adjacency(adj: Adjacency) -> Edges:
    return Edges(adj.indptr, adj.indices, adj.num_src, adj.edge_ids)


def _read_pair(features: Any, graph: Any) -> Graph:
    if not isinstance(features, FeatureStore):
        raise ValueError(f"data: expected a FeatureStore beside the GraphStore (got {type(features).__name__})")
    attrs = graph.get_all_edge_attrs()
    if not attrs:
        raise ValueError("data: expected a GraphStore with edges (got none)")
    edge_types = list(dict.fromkeys(attr.edge_type for attr in attrs))
    is_hetero = edge_types != [None]
    if isinstance(graph, StoredGraph):
        stored: dict[Any, Edges] = {edge_type: _of_adjacency(adj) for edge_type, adj in graph.adjacencies.items()}
    else:
        stored = _from_csc(graph, {attr.edge_type: attr.size for attr in attrs}, is_hetero)
    num_nodes: dict[NodeType, int] = {}
    edges = {}
    for edge_type in edge_types:
        one = stored[edge_type]
        src, _, dst = edge_type or EDGES
        for node_type, size in ((src, one.num_src), (dst, len(one.indptr) - 1)):
            if num_nodes.setdefault(node_type, size) != size:
                what = f"{node_type!r} nodes in all edge types" if is_hetero else "sources and destinations"
                raise ValueError(f"data: expected one number of {what} (got {num_nodes[node_type]} and {size})")
        edges[edge_type or EDGES] = one
    return Graph(num_nodes, edges, is_hetero)


def _from_csc(graph: Any, sizes: Mapping[Any, Any], is_hetero: bool) -> dict[Any, Edges]:
    """Another library's GraphStore, in the layout that PyG's samplers ask for."""
    triples = graph.csc()
    if not is_hetero:
        triples = tuple({None: part} for part in triples)
    found = {}
    for edge_type, size in sizes.items():
        row, colptr, perm = (part[edge_type] for part in triples)
        if size is None or None in size:
            raise ValueError(f"data: expected a GraphStore that knows the size of {edge_type} (got {size})")
        _check.csr_shapes(colptr, row)
        _check.csr_values(colptr, row, size[0])
        if len(colptr) != size[1] + 1:
            raise ValueError(f"data: expected {size[1] + 1} pointers of {edge_type} (got {len(colptr)})")
        found[edge_type] = Edges(colptr.long(), row, size[0], perm)
    return found
