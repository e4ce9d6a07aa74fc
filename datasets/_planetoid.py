"""Cora, CiteSeer and PubMed with their public split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gnnkit.data import Split, from_masks
from gnnkit.datasets import _files
from gnnkit.datasets._card import Card

_PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
_DIGESTS = {  # of the raw files as published; see `gnnkit.datasets._files.digest`
    "cora": "f76cec2ecf659224dd60573717e5b4821bb3a052a8d9defb36111b13d529b73c",
    "citeseer": "2e0d78ce791b22e385989d2a064945bd2eabfc11a083829c77ab4476e4492ff5",
    "pubmed": "317ed0f8d691f219ba07a13cfceb38334b8cd7e8d745326fff5d1e428daa8c48",
}


def _split(data: Any, seed: int) -> Split:
    """Return the public split, the same for every seed."""
    return from_masks(data)


def _card(name: str, title: str, nodes: int, edges: int, features: int, classes: int) -> Card:
    return Card(
        name=name,
        title=title,
        task="node_classification",
        metric="accuracy",
        num_nodes=nodes,
        num_edges=edges,
        num_features=features,
        num_classes=classes,
        splits="public: 20 training nodes a class, 500 validation, 1,000 test; seeds vary the model only",
        split=_split,
        source="Sen et al. 2008 and Namata et al. 2012; files and split: Yang, Cohen, Salakhutdinov 2016 (Planetoid)",
        licence="none stated by its authors",
        folder=f"Planetoid/{title}/raw",
    )


CARDS = {
    card.name: card
    for card in (
        _card("cora", "Cora", 2708, 10556, 1433, 7),
        _card("citeseer", "CiteSeer", 3327, 9104, 3703, 6),
        _card("pubmed", "PubMed", 19717, 88648, 500, 3),
    )
}


def load(name: str, root: Path) -> Any:
    """Load one of the three from ``root/Planetoid/<Title>/raw``, downloading the files when they are missing."""
    from torch_geometric.datasets import Planetoid

    card = CARDS[name]
    assert card.folder is not None
    sources = {f"ind.{name}.{part}": f"{Planetoid.url}/ind.{name}.{part}" for part in _PARTS}
    _files.obtain(name, root, card.folder, sources, _DIGESTS[name])
    dataset = _files.processed(Planetoid, name, _DIGESTS[name], root=str(root / "Planetoid"), name=card.title)
    data = dataset[0]
    data.raw_digest = _DIGESTS[name]
    return data
