"""Fetcher: a sampler's output and a graph's tables as a PyG Data or HeteroData, a batch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader.utils import index_select
from torch_geometric.sampler import SamplerOutput

from gnnkit.data._as_pyg import StoredFeatures
from gnnkit.data._buffers import Buffers
from gnnkit.data._store import FeatureStore
from gnnkit.kernels import gather_rows

Group = Any  # a node type, an edge type, None for a graph without types
Tables = dict[tuple[Group, str], FeatureStore]


class Fetcher:
    """Reads what belongs to the nodes and edges of a batch, into memory that earlier batches have left.

    Args:
        features: Stores beside the attributes of a ``Data`` or ``HeteroData``, as `as_pyg` takes them.
        data: What they go with.
    """

    def __init__(self, features: Any, data: Any) -> None:
        self.tables: Tables = {}
        self.buffers = Buffers()
        if isinstance(data, Data | HeteroData):
            self.tables = _tables(features, data) if features is not None else {}
        elif features is not None:
            raise ValueError("features: expected none beside a FeatureStore, which holds them (got some)")
        elif isinstance(data[0], StoredFeatures):
            self.tables = data[0].tables
        self.announced: dict[tuple[Group, str], Any] = {
            key: store for key, store in self.tables.items() if hasattr(store, "announce")
        }
        for (_, name), store in self.announced.items():
            if not hasattr(store, "forget"):
                what = type(store).__name__
                raise ValueError(f"features: expected forget beside announce in the store of {name} (got a {what})")

    def announce(self, out: Any) -> None:
        """Tell the stores that take announcements which rows a batch will read."""
        for (group, _), store in self.announced.items():
            ids = _ids(out, group)
            if ids is not None:
                store.announce(ids)

    def read(self, data: Any, out: Any, edge_permutation: Any, custom_cls: Any) -> Any:
        """Make the batch, without what its sampler says about it."""
        if isinstance(data, Data):
            batch = copy.copy(data)
            self._filter_nodes(data._store, batch._store, out.node)
            self._filter_edges(data._store, batch._store, out.row, out.col, original_edges(out, None, edge_permutation))
        elif isinstance(data, HeteroData):
            batch = copy.copy(data)
            for node_type in data.node_types:
                nodes = out.node.setdefault(node_type, torch.empty(0, dtype=torch.long))
                self._filter_nodes(data[node_type], batch[node_type], nodes)
            for edge_type in data.edge_types:
                # a sampler may leave out a type that nothing reaches
                row, col = (ends.setdefault(edge_type, torch.empty(0, dtype=torch.long)) for ends in (out.row, out.col))
                out.edge.setdefault(edge_type, row)
                edge = original_edges(out, edge_type, edge_permutation)
                self._filter_edges(data[edge_type], batch[edge_type], row, col, edge)
        else:
            batch = self._of_pair(data, out, custom_cls)
        for (group, name), store in self.tables.items():
            ids = _ids(out, group)
            if ids is not None:
                (batch if group is None else batch[group])[name] = self._read(store, ids)
        return batch

    def _of_pair(self, data: Any, out: Any, custom_cls: Any) -> Any:
        """The topology, and the features of a FeatureStore that is not gnnkit's."""
        features, graph = data
        typed = not isinstance(out, SamplerOutput)
        batch = custom_cls() if custom_cls is not None else HeteroData() if typed else Data()
        if typed:
            for node_type, nodes in out.node.items():
                batch[node_type].num_nodes = len(nodes)
            for attr in graph.get_all_edge_attrs():
                if attr.edge_type in out.row:
                    edge_index = self._edge_index(out.row[attr.edge_type], out.col[attr.edge_type])
                    batch[attr.edge_type].edge_index = edge_index
        else:
            batch.num_nodes = len(out.node)
            batch.edge_index = self._edge_index(out.row, out.col)
        if isinstance(features, StoredFeatures):
            return batch
        wanted = [attr for attr in features.get_all_tensor_attrs() if not isinstance(attr.group_name, tuple)]
        wanted = [attr for attr in wanted if _ids(out, attr.group_name) is not None]
        for attr in wanted:
            attr.index = _ids(out, attr.group_name)
        for attr, rows in zip(wanted, features.multi_get_tensor(wanted), strict=True):
            (batch if attr.group_name is None else batch[attr.group_name])[attr.attr_name] = rows
        return batch

    def _filter_nodes(self, store: Any, into: Any, nodes: Tensor) -> None:
        for name, value in store.items():
            if name == "num_nodes":
                into.num_nodes = len(nodes)
            elif store.is_node_attr(name):
                into[name] = self._select(value, nodes, store._parent().__cat_dim__(name, value, store))

    def _filter_edges(self, store: Any, into: Any, row: Tensor, col: Tensor, edge: Tensor | None) -> None:
        for name, value in store.items():
            if name == "edge_index":
                into.edge_index = self._edge_index(row, col)
            elif store.is_edge_attr(name):
                dim = store._parent().__cat_dim__(name, value, store)
                into[name] = None if edge is None else self._select(value, edge, dim)

    def _edge_index(self, row: Tensor, col: Tensor) -> Tensor:
        return torch.stack([row, col], out=self._out((2, len(row)), row.dtype, row.device))

    def _select(self, value: Any, ids: Tensor, dim: int) -> Any:
        """Rows of an attribute: on the device of the ids where they lie in a plain table, else as PyG reads them."""
        if isinstance(value, Tensor) and dim == 0 and value.is_contiguous() and not value.requires_grad:
            return gather_rows(value, ids, self._out((len(ids), *value.shape[1:]), value.dtype, ids.device))
        return index_select(value, ids.to(value.device) if isinstance(value, Tensor) else ids.cpu(), dim)

    def _read(self, store: FeatureStore, ids: Tensor) -> Tensor:
        return store.read(ids, self._out((len(ids), *store.shape[1:]), store.dtype, ids.device))

    def _out(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor | None:
        return self.buffers.take(shape, dtype) if device.type == "cpu" else None


def _ids(out: Any, group: Group) -> Tensor | None:
    """The nodes or edges of a batch whose rows a table holds."""
    found = out.edge if isinstance(group, tuple) else out.node
    ids: Tensor | None = found if isinstance(out, SamplerOutput) else (found or {}).get(group)
    return ids


def original_edges(out: Any, edge_type: Any, permutation: Any) -> Tensor | None:
    """The places of the sampled edges in the graph as it was given."""
    edge: Tensor | None = out.edge if edge_type is None or out.edge is None else out.edge.get(edge_type)
    perm: Tensor | None = permutation.get(edge_type) if isinstance(permutation, Mapping) else permutation
    if edge is None:
        return None
    return edge.long() if perm is None else perm[edge.long()]


def _tables(features: Any, data: Any) -> Tables:
    """The stores by group and name, each with a row a node."""
    found: Tables
    if isinstance(data, Data):
        named = features if isinstance(features, Mapping) else {"x": features}
        found = {(None, name): store for name, store in named.items()}
    elif isinstance(features, Mapping):
        groups = {group: rows if isinstance(rows, Mapping) else {"x": rows} for group, rows in features.items()}
        found = {(group, name): store for group, rows in groups.items() for name, store in rows.items()}
    else:
        raise ValueError(f"features: expected a dict of node types for typed nodes (got {type(features).__name__})")
    for (group, name), store in found.items():
        _check_store(store, name)
        if group is not None and group not in data.node_types:
            raise ValueError(f"features: expected types among {', '.join(data.node_types)} (got {group!r})")
        num_nodes = (data if group is None else data[group]).num_nodes
        if store.shape[0] != num_nodes:
            raise ValueError(f"features: expected {num_nodes} rows as {name} (got {store.shape[0]})")
    return found


def _check_store(store: Any, name: str) -> None:
    if not isinstance(store, FeatureStore):
        raise ValueError(f"features: expected a store as {name} (got {type(store).__name__})")
