"""What a raw folder of OGB holds, in PyG's customs: ``Data``, ``HeteroData`` or a dataset of graphs, with its split."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData, InMemoryDataset

from gnnkit.datasets._card import Card
from gnnkit.datasets._ogb_raw import Raw

_MASKS = {"train": "train_mask", "valid": "val_mask", "test": "test_mask"}


class OGBGraphs(InMemoryDataset):  # type: ignore[misc]
    """Graphs of one of OGB's sets, all in a few tensors of which each graph has a part.

    Attributes:
        split_idx: Ids of graphs as OGB splits them: ``train``, ``valid``, ``test``.
    """

    def __init__(self, found: Raw, split_idx: dict[str, Tensor]) -> None:
        super().__init__()
        self.split_idx = split_idx
        nodes, edges = found.num_nodes[None], found.num_edges[None]
        data = Data(y=found.y, num_nodes=int(nodes.sum()))
        slices = {"y": torch.arange(len(nodes) + 1)}
        for rows, sizes in ((found.edges[None], edges), (found.nodes[None], nodes)):
            bounds = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
            for key, value in rows.items():
                data[key], slices[key] = value, bounds
        data._store._num_nodes = nodes.tolist()  # of which PyG's collate keeps the list as well
        self._data, self.slices = data, slices


def shape(found: Raw, split: dict[str, Any], facts: Card) -> Any:
    """Bring what was read into PyG's customs: classes ``[N]``, masks, ``HeteroData`` where there are types."""
    if facts.task.startswith("graph"):
        edges = found.edges[None]
        if "edge_attr" in edges and facts.edge_categories is None:  # whole numbers that measure; those that name stay
            edges["edge_attr"] = edges["edge_attr"].float()
        if facts.num_tasks is None and isinstance(found.y, Tensor):
            found.y = _classes(found.y)
        return OGBGraphs(found, split)
    data = _plain(found) if None in found.nodes else _typed(found)
    if facts.task == "link_prediction":
        data.split_edge = split
        return data
    for store in data.node_stores:
        if "y" in store and facts.num_tasks is None:
            store.y = _classes(store.y)
        ids = split if store._key is None else {part: split[part].get(store._key) for part in _MASKS}
        if all(each is not None for each in ids.values()):
            for part, mask in _MASKS.items():
                store[mask] = torch.zeros(store.num_nodes, dtype=torch.bool).index_fill_(0, ids[part], True)
    return data


def _plain(found: Raw) -> Any:
    _require_one(found)
    return Data(**found.edges[None], **found.nodes[None], num_nodes=int(found.num_nodes[None]))


def _typed(found: Raw) -> Any:
    _require_one(found)
    data = HeteroData()
    for name, rows in found.nodes.items():
        data[name].update(rows | {"num_nodes": int(found.num_nodes[name])})
    for edge_type, rows in found.edges.items():
        data[edge_type].update(rows)
    return data


def _require_one(found: Raw) -> None:
    numbers = {len(sizes) for sizes in (*found.num_nodes.values(), *found.num_edges.values())}
    if numbers != {1}:
        raise ValueError(f"graphs: expected one of nodes or links to learn on (got {max(numbers, default=0)})")


def _classes(y: Tensor) -> Tensor:
    """Turn one column of classes, NaN where unknown, into int64 ``[N]``, -1 where unknown."""
    return y.reshape(-1).nan_to_num(-1).long()
