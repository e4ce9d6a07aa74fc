"""Chameleon and Squirrel without their duplicated nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gnnkit.data import Split, from_masks
from gnnkit.datasets import _files
from gnnkit.datasets._card import Card

_URL = "https://github.com/yandex-research/heterophilous-graphs/raw/main/data"
_DIGESTS = {  # of the raw file as published; see `gnnkit.datasets._files.digest`
    "chameleon-filtered": "906fab7aebfbbe3847f973b2a6a0319f7c73c6c59f531c67c221419742c8c737",
    "squirrel-filtered": "8925d2ffca27680be888235ed9bde83dd4de78504e77e6d3be7abe9f9c48f4d1",
}


def _split(data: Any, seed: int) -> Split:
    return from_masks(data, column=seed % 10)


def _card(title: str, nodes: int, edges: int, features: int) -> Card:
    return Card(
        name=title.lower(),
        title=title,
        task="node_classification",
        metric="accuracy",
        num_nodes=nodes,
        num_edges=edges,
        num_features=features,
        num_classes=5,
        splits="10 fixed splits of about 48 / 32 / 20 %, seed modulo 10 (Platonov et al. 2023)",
        split=_split,
        source="Rozemberczki et al. 2021 (pages of Wikipedia); without duplicated nodes: Platonov et al. 2023",
        licence="none stated for the data; the repository of the files is under the MIT licence",
        folder="yandex_npz",
    )


CARDS = {
    card.name: card
    for card in (_card("Chameleon-filtered", 890, 17708, 2325), _card("Squirrel-filtered", 2223, 93996, 2089))
}


def load(name: str, root: Path) -> Any:
    """Load one of the two from ``root/yandex_npz``, downloading the file when it is missing."""
    file = f"{name.replace('-', '_')}.npz"
    below = str(CARDS[name].folder)
    digest = _files.obtain(name, root, below, {file: f"{_URL}/{file}"}, _DIGESTS[name])
    data = _read(root / below / file)
    data.raw_digest = digest
    return data


def _read(path: Path) -> Any:
    """Read the file as PyG reads those of the five sets of the same authors; it is small enough to do so each time."""
    import numpy as np
    import torch
    from torch_geometric.data import Data
    from torch_geometric.utils import to_undirected

    with np.load(path, allow_pickle=False) as raw:
        arrays = {key: torch.from_numpy(raw[key]) for key in raw.files}
    x, y = arrays["node_features"], arrays["node_labels"]
    masks = {f"{part}_mask": arrays[f"{part}_masks"].t().contiguous() for part in ("train", "val", "test")}  # [N, 10]
    return Data(x=x, y=y, edge_index=to_undirected(arrays["edges"].t(), num_nodes=len(y)), **masks)
