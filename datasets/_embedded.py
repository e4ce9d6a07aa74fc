"""Graphs that need no download: handwritten digits and the karate club."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gnnkit.data import Split, per_class
from gnnkit.datasets._card import Card


def _digits_split(data: Any, seed: int) -> Split:
    return per_class(data.y, train_per_class=20, valid_per_class=30, seed=seed)


def _karate_split(data: Any, seed: int) -> Split:
    train = data.train_mask.nonzero().squeeze(1)
    rest = (~data.train_mask).nonzero().squeeze(1)
    rest = rest[torch.randperm(rest.numel(), generator=torch.Generator().manual_seed(seed))]
    return Split(train, rest[:10], rest[10:])


CARDS = {
    "digits": Card(
        name="digits",
        title="Digits",
        task="node_classification",
        metric="accuracy",
        num_nodes=1797,
        num_edges=24680,
        num_features=64,
        num_classes=10,
        splits="a seed draws 20 training and 30 validation nodes a class, the rest test",
        split=_digits_split,
        source="Alpaydin and Kaynak 1998 (UCI), as shipped by scikit-learn; edges: 10 nearest neighbours, symmetrised",
        licence="CC BY 4.0",
    ),
    "karate": Card(
        name="karate",
        title="Karate club",
        task="node_classification",
        metric="accuracy",
        num_nodes=34,
        num_edges=156,
        num_features=34,
        num_classes=4,
        splits="PyG's 4 training nodes, one a class; a seed draws 10 of the rest to validate, 20 test",
        split=_karate_split,
        source="Zachary 1977; classes by modularity (Brandes et al. 2008), as shipped by PyG",
        licence="none stated",
    ),
}


def load(name: str, root: Path) -> Any:
    """Build one of the two; ``root`` is not read."""
    return _digits() if name == "digits" else _karate()


def _digits() -> Any:
    from sklearn.datasets import load_digits
    from sklearn.neighbors import kneighbors_graph
    from torch_geometric.data import Data

    pixels, labels = load_digits(return_X_y=True)
    near = kneighbors_graph(pixels, n_neighbors=10)  # row i holds the neighbours of i
    near = near.maximum(near.T).tocoo()
    edges = torch.stack([torch.from_numpy(ids.astype("int64")) for ids in (near.row, near.col)])
    x = torch.from_numpy(pixels / 16).float()  # pixels count 0 … 16
    return Data(x=x, edge_index=edges, y=torch.from_numpy(labels).long())


def _karate() -> Any:
    from torch_geometric.datasets import KarateClub

    return KarateClub()[0]
