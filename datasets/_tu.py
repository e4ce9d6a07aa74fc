"""Graph classification sets of the TU collection."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

from gnnkit.data import Split, k_fold
from gnnkit.datasets import _files
from gnnkit.datasets._card import Card

_MAX_DEGREE = 135  # of IMDB-BINARY, whose nodes have no features of their own
_PARTS = {  # the raw files of each, NAME_<part>.txt
    "mutag": ("A", "edge_labels", "graph_indicator", "graph_labels", "node_labels"),
    "proteins": ("A", "graph_indicator", "graph_labels", "node_attributes", "node_labels"),
    "enzymes": ("A", "graph_indicator", "graph_labels", "node_attributes", "node_labels"),
    "nci1": ("A", "graph_indicator", "graph_labels", "node_labels"),
    "imdb-binary": ("A", "graph_indicator", "graph_labels"),
}


def _split(dataset: Any, seed: int) -> Split:
    return k_fold(dataset.y, seed)


def _card(
    title: str, graphs: int, nodes: int, edges: int, features: int, classes: int, source: str, edge_features: int = 0
) -> Card:
    return Card(
        name=title.lower(),
        title=title,
        task="graph_classification",
        metric="accuracy",
        num_graphs=graphs,
        num_nodes=nodes,
        num_edges=edges,
        num_features=features,
        num_edge_features=edge_features,
        num_classes=classes,
        splits="stratified 10-fold, the seed is the test fold (seeds from 10 on shuffle anew); "
        "a stratified tenth of the other folds validates",
        split=_split,
        source=f"{source}; files: Morris et al. 2020 (TUDataset)",
        licence="none stated by its authors",
        folder=f"TUDataset/{title}/raw",
    )


CARDS = {
    card.name: card
    for card in (
        _card("MUTAG", 188, 3371, 7442, 7, 2, "Debnath et al. 1991 (molecules: mutagenic or not)", edge_features=4),
        _card("PROTEINS", 1113, 43471, 162088, 3, 2, "Borgwardt et al. 2005 (proteins: enzyme or not)"),
        _card("ENZYMES", 600, 19580, 74564, 21, 6, "Borgwardt et al. 2005 (proteins: class of enzyme)"),
        _card("NCI1", 4110, 122747, 265506, 37, 2, "Wale et al. 2008 (molecules: active against lung cancer or not)"),
        _card(
            "IMDB-BINARY",
            1000,
            19773,
            193062,
            _MAX_DEGREE + 1,
            2,
            "Yanardag and Vishwanathan 2015 (actors of action or romance films; x: the degree, one-hot)",
        ),
    )
}


def load(name: str, root: Path) -> Any:
    """Load one of them from ``root/TUDataset/<NAME>/raw``, downloading the archive when files are missing."""
    from torch_geometric.datasets import TUDataset
    from torch_geometric.transforms import OneHotDegree

    card = CARDS[name]
    folder = root / str(card.folder)
    files = [folder / f"{card.title}_{part}.txt" for part in _PARTS[name]]

    def download(scratch: Path) -> None:
        archive = _files.read_url(f"{TUDataset.url}/{card.title}.zip")
        with zipfile.ZipFile(io.BytesIO(archive)) as content:
            for path in files:  # by name: no path of the archive is believed
                (scratch / path.name).write_bytes(content.read(f"{card.title}/{path.name}"))

    if not all(path.is_file() for path in files):
        _files.fetch(name, folder, download, lambda scratch: None, root)
    digest = _files.digest(files)
    degrees = {"pre_transform": OneHotDegree(_MAX_DEGREE)} if name == "imdb-binary" else {}
    dataset = _files.processed(
        TUDataset,
        name,
        digest,
        lambda made: _files.check_totals(name, made, card, folder),
        root=str(root / "TUDataset"),
        name=card.title,
        use_node_attr=name == "enzymes",  # as Errica et al. 2020: the other sets are read without
        **degrees,
    )
    dataset.raw_digest = digest
    return dataset
