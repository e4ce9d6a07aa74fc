"""What loaders make batches of: checked, and said in the way that PyG's loaders take it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.data.remote_backend_utils import num_nodes

from gnnkit.kernels import _check


def nodes_as_pyg(data: Any, nodes: Any) -> Any:
    """The nodes as PyG's ``NodeLoader`` takes them, of a type that there is.

    PyG takes no None for all nodes of a pair, and adds a type to a ``HeteroData`` that lacks the one asked for.
    """
    if isinstance(data, Data):
        return nodes
    types = _node_types(data)
    if types == [None]:
        return _untyped_nodes(data[1], nodes)
    pair = isinstance(nodes, list | tuple) and len(nodes) == 2
    node_type, ids = nodes if pair else (nodes, None)
    if not isinstance(node_type, str) or node_type not in types:
        names = ", ".join(map(repr, types))
        raise ValueError(f"input_nodes: expected one of the types {names}, or (type, ids) (got {_name(node_type)})")
    if ids is None and not isinstance(data, HeteroData):
        ids = torch.arange(num_nodes(*data, node_type))
    return node_type, ids


def links_as_pyg(data: Any, links: Any) -> Any:
    """The links as PyG's ``LinkLoader`` takes them, ``[2, P]`` and of a type that there is."""
    if isinstance(data, Data):
        edge_type, ends = None, links
    else:
        types = _edge_types(data)
        if types == [None]:  # PyG takes no other form from a pair
            ends = links[-1] if isinstance(links, list | tuple) else links
            links = None, torch.stack(data[1].coo()[:2]) if ends is None else ends
        typed = isinstance(links, list | tuple) and len(links) == 2 and not isinstance(links[0], str)
        edge_type, ends = links if typed else (links, None)
        if isinstance(data, HeteroData) and isinstance(edge_type, list | tuple):
            edge_type = data._to_canonical(*edge_type)
        if edge_type not in types:
            names = ", ".join(map(str, types))
            raise ValueError(
                f"edge_label_index: expected one of the types {names}, or (type, links) (got {_name(links)})"
            )
    if ends is not None and (not isinstance(ends, Tensor) or ends.dim() != 2 or len(ends) != 2):
        raise ValueError(f"edge_label_index: expected links of shape [2, P] (got {_check.describe(ends)})")
    return links


def check_lengths(count: int, **values: Tensor | None) -> None:
    """Require a row for each input."""
    for name, rows in values.items():
        if rows is not None and (not isinstance(rows, Tensor) or not rows.dim() or len(rows) != count):
            raise ValueError(f"{name}: expected {count} rows, one an input (got {_check.describe(rows)})")


def _untyped_nodes(graph: Any, nodes: Any) -> Tensor:
    """All nodes of a GraphStore without types, or those given."""
    if nodes is None:
        size = graph.get_all_edge_attrs()[0].size
        if size is None or size[0] is None:
            raise ValueError("input_nodes: expected ids, since the GraphStore does not know its size (got None)")
        return torch.arange(size[0])
    if isinstance(nodes, str):
        raise ValueError(f"input_nodes: expected ids of nodes without types (got {nodes!r})")
    return torch.as_tensor(nodes)


def _node_types(data: Any) -> list[Any]:
    if isinstance(data, HeteroData):
        return list(data.node_types)
    edge_types = _edge_types(data)
    if edge_types == [None]:
        return [None]
    return list(dict.fromkeys(end for edge_type in edge_types for end in (edge_type[0], edge_type[-1])))


def _edge_types(data: Any) -> list[Any]:
    if isinstance(data, HeteroData):
        return list(data.edge_types)
    return list(dict.fromkeys(attr.edge_type for attr in data[1].get_all_edge_attrs()))


def _name(value: Any) -> str:
    return _check.describe(value) if isinstance(value, Tensor) else repr(value)
