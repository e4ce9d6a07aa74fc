"""What a batch says about how it was sampled, under PyG's names."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch_geometric.sampler import SamplerOutput

from gnnkit.data._fetch import original_edges


def add_sampled(batch: Any, out: Any, edge_permutation: Any) -> None:
    """Add ``n_id``, ``e_id``, ``batch`` and the numbers of nodes and edges of each hop."""
    if isinstance(out, SamplerOutput):
        batch.batch = out.batch
        batch.num_sampled_nodes, batch.num_sampled_edges = out.num_sampled_nodes, out.num_sampled_edges
        _add_ids(batch, "n_id", out.node)
        _add_ids(batch, "e_id", original_edges(out, None, edge_permutation))
        return
    for node_type, nodes in out.node.items():
        _add_ids(batch[node_type], "n_id", nodes)
    for edge_type in out.edge or {}:
        _add_ids(batch[edge_type], "e_id", original_edges(out, edge_type, edge_permutation))
    for name in ("batch", "num_sampled_nodes", "num_sampled_edges"):
        batch.set_value_dict(name, getattr(out, name))


def _add_ids(store: Any, name: str, ids: Tensor | None) -> None:
    """Ids of nodes or edges, unless the graph has an attribute of that name, which then was read like any other."""
    if ids is not None and name not in store:
        store[name] = ids


def first_of(ids: Tensor, count: int = 5) -> str:
    """The first few ids, for an error."""
    return f"[{', '.join(map(str, ids[:count].tolist()))}{', …' if len(ids) > count else ''}]"
