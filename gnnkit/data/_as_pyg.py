"""as_pyg: feature stores and a topology as the pair that PyG's loaders take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import FeatureStore as PygFeatureStore
from torch_geometric.data import GraphStore as PygGraphStore
from torch_geometric.data import TensorAttr
from torch_geometric.data.graph_store import EdgeAttr, EdgeLayout

from gnnkit.adjacency import Adjacency
from gnnkit.data._store import FeatureStore, InMemory

Rows = FeatureStore | Tensor
EdgeType = tuple[str, str, str]


class StoredFeatures(PygFeatureStore):  # type: ignore[misc]
    """PyG's view of gnnkit's stores: reads go to ``tables[group, name].read``, nothing can be put or removed."""

    def __init__(self, tables: dict[tuple[Any, str], FeatureStore]) -> None:
        super().__init__()
        self.tables = tables

    def get_all_tensor_attrs(self) -> list[TensorAttr]:
        """One attribute a table; PyG's loaders write their index into it."""
        return [TensorAttr(group, name) for group, name in self.tables]

    def _get_tensor(self, attr: TensorAttr) -> Tensor:
        store = self._table(attr)
        if isinstance(attr.index, int):
            return store.read(torch.tensor([range(_num_rows(store))[attr.index]]))[0]
        return store.read(_ids(attr.index, _num_rows(store)))

    def _get_tensor_size(self, attr: TensorAttr) -> tuple[int, ...]:
        return tuple(self._table(attr).shape)

    def _table(self, attr: TensorAttr) -> FeatureStore:
        key = attr.group_name, attr.attr_name
        if key not in self.tables:
            raise ValueError(f"attribute: expected one of {', '.join(map(str, self.tables))} (got {key})")
        return self.tables[key]

    def _put_tensor(self, tensor: Any, attr: TensorAttr) -> bool:
        raise ValueError(f"features: expected no change of a store behind as_pyg (got put_tensor of {attr.attr_name})")

    def _remove_tensor(self, attr: TensorAttr) -> bool:
        raise ValueError(
            f"features: expected no change of a store behind as_pyg (got remove_tensor of {attr.attr_name})"
        )

    def __repr__(self) -> str:
        tables = ", ".join(
            f"{name if group is None else (group, name)}: {s}" for (group, name), s in self.tables.items()
        )
        return f"{type(self).__name__}({tables})"


class StoredGraph(PygGraphStore):  # type: ignore[misc]
    """PyG's view of topologies: every layout is read off an `Adjacency`, and none is sorted anew.

    Attributes:
        adjacencies: By edge type; the type of a homogeneous graph is None.
    """

    def __init__(self, adjacencies: Mapping[Any, Adjacency]) -> None:
        super().__init__()
        self.adjacencies = dict(adjacencies)

    def get_all_edge_attrs(self) -> list[EdgeAttr]:
        """One attribute an edge type, in the layout that is stored: CSC, PyG's word for sorted by destination."""
        return [
            EdgeAttr(edge_type, EdgeLayout.CSC, size=(adj.num_src, adj.num_dst))
            for edge_type, adj in self.adjacencies.items()
        ]

    def _get_edge_index(self, attr: EdgeAttr) -> tuple[Tensor, Tensor] | None:
        adj = self.adjacencies.get(attr.edge_type)
        return None if adj is None else _layout(adj, attr.layout)[:2]

    def _edge_to_layout(
        self, attr: EdgeAttr, layout: EdgeLayout, store: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        # PyG's own would lose the edges' original order, which is that of edge features and of e_id
        return _layout(self.adjacencies[attr.edge_type], layout)

    def _put_edge_index(self, edge_index: Any, edge_attr: EdgeAttr) -> bool:
        raise ValueError(f"graph: expected no change of a topology behind as_pyg (got put_edge_index of {edge_attr})")

    def _remove_edge_index(self, edge_attr: EdgeAttr) -> bool:
        raise ValueError(
            f"graph: expected no change of a topology behind as_pyg (got remove_edge_index of {edge_attr})"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{t}: {a}' if t else str(a) for t, a in self.adjacencies.items())})"


def as_pyg(
    stores: Rows | Mapping[Any, Any], adj: Adjacency | Mapping[EdgeType, Adjacency]
) -> tuple[StoredFeatures, StoredGraph]:
    """Return the ``(FeatureStore, GraphStore)`` pair that PyG's loaders and gnnkit's take in place of a ``Data``.

    Nothing is copied: a batch's rows are read from the stores when PyG asks for them. The pair cannot be changed.
    Numbers of edges (``e_id``) are those of the original ``edge_index``.

    Args:
        stores: Of one graph: a store, which becomes the attribute ``x``, or ``{"x": store, "y": tensor, …}``, each with
            a row a node. Of typed nodes: ``{"paper": store, "author": {"x": store, "y": tensor}, …}``; a type of edges
            may stand beside them, with a row an edge in the original order. A tensor becomes an `InMemory`.
        adj: An `gnnkit.Adjacency`, or one for each type of edges: ``{("author", "writes", "paper"): adj, …}``.

    Raises:
        ValueError: Something is neither store nor tensor, a type is unknown, or a store has not one row a node.

    Example:
        >>> import torch
        >>> from gnnkit import Adjacency
        >>> from gnnkit.data import InMemory, as_pyg
        >>> adj = Adjacency.from_edge_index(torch.tensor([[0, 1, 2], [1, 0, 1]]), num_nodes=3)
        >>> features, graph = as_pyg({"x": InMemory(torch.eye(3)), "y": torch.tensor([5, 6, 7])}, adj)
        >>> features.get_tensor(None, "x", torch.tensor([2])).tolist()
        [[0.0, 0.0, 1.0]]
        >>> row, colptr, perm = graph.csc()
        >>> row.tolist(), colptr.tolist(), perm.tolist()
        ([1, 0, 2], [0, 1, 3, 3], [1, 0, 2])
    """
    if isinstance(adj, Adjacency):
        if adj.num_src != adj.num_dst:
            raise ValueError(f"adj: expected a dict of edge types for a bipartite graph (got {adj})")
        attributes = stores if isinstance(stores, Mapping) else {"x": stores}
        return StoredFeatures(_tables({None: attributes}, {None: adj.num_src})), StoredGraph({None: adj})
    if not isinstance(adj, Mapping) or not adj or not all(map(_is_typed, adj.items())):
        raise ValueError(f"adj: expected an Adjacency or a dict of edge types to them (got {_name(adj)})")
    if not isinstance(stores, Mapping):
        raise ValueError(f"stores: expected a dict of node types for typed edges (got {_name(stores)})")
    groups = {group: rows if isinstance(rows, Mapping) else {"x": rows} for group, rows in stores.items()}
    return StoredFeatures(_tables(groups, _sizes(adj))), StoredGraph(adj)


def _tables(groups: Mapping[Any, Mapping[str, Any]], sizes: Mapping[Any, int]) -> dict[tuple[Any, str], FeatureStore]:
    tables: dict[tuple[Any, str], FeatureStore] = {}
    for group, attributes in groups.items():
        if group not in sizes:
            raise ValueError(f"stores: expected types among {', '.join(map(str, sizes))} (got {group!r})")
        for name, rows in attributes.items():
            what = name if group is None else f"{group} {name}"
            store = InMemory(rows) if isinstance(rows, Tensor) else rows
            if not isinstance(store, FeatureStore) or not isinstance(name, str):
                raise ValueError(f"stores: expected a store or a tensor as {what} (got {_name(rows)})")
            if _num_rows(store) != sizes[group]:
                raise ValueError(f"stores: expected {sizes[group]} rows as {what} (got {_num_rows(store)})")
            tables[group, name] = store
    return tables


def _sizes(adj: Mapping[EdgeType, Adjacency]) -> dict[Any, int]:
    """How many nodes, or edges, each type has."""
    sizes: dict[Any, int] = {edge_type: one.num_edges for edge_type, one in adj.items()}
    for (src, _, dst), one in adj.items():
        for node_type, size in ((src, one.num_src), (dst, one.num_dst)):
            if sizes.setdefault(node_type, size) != size:
                raise ValueError(f"adj: expected one number of {node_type} nodes (got {sizes[node_type]} and {size})")
    return sizes


def _layout(adj: Adjacency, layout: EdgeLayout) -> tuple[Tensor, Tensor, Tensor | None]:
    """``(row, col, perm)`` as PyG wants them, int64; row or col holds pointers, perm the original edges."""
    if layout == EdgeLayout.COO:
        row, col = adj.to_edge_index()
        return row, col, None
    if layout == EdgeLayout.CSC:
        return adj.indices.long(), adj.indptr, adj.edge_ids
    t_indptr, t_indices, t_perm = adj.transpose
    return t_indptr, t_indices.long(), adj.edge_ids[t_perm]


def _ids(index: Any, num_rows: int) -> Tensor:
    """PyG's index, a tensor, list, mask, slice or None for all rows, as ids."""
    if index is None or isinstance(index, slice):
        return torch.arange(num_rows)[index or slice(None)]
    ids = torch.as_tensor(index)
    if ids.dtype != torch.bool:
        return ids if ids.numel() else ids.long()  # an empty list makes floats
    if ids.shape != (num_rows,):
        raise ValueError(f"index: expected a mask of {num_rows} rows (got shape {list(ids.shape)})")
    return ids.nonzero().view(-1)


def _num_rows(store: FeatureStore) -> int:
    """The number of rows."""
    return int(store.shape[0])


def _is_typed(item: tuple[Any, Any]) -> bool:
    edge_type, adj = item
    return isinstance(edge_type, tuple) and len(edge_type) == 3 and isinstance(adj, Adjacency)


def _name(value: object) -> str:
    return type(value).__name__
