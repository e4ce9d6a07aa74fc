"""Single graphs that PyG has a class for: co-purchases, co-authors, heterophilous graphs, web pages, actors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnnkit.data import Split, from_masks, per_class
from gnnkit.datasets import _files
from gnnkit.datasets._card import Card

_SHCHUR = "a seed draws 20 training and 30 validation nodes a class, the rest test (Shchur et al. 2018)"
_PLATONOV = "10 fixed splits of 50 / 25 / 25 %, seed modulo 10 (Platonov et al. 2023)"
_PEI = "10 fixed splits of about 48 / 32 / 20 %, seed modulo 10 (Pei et al. 2020)"
_NO_LICENCE = "none stated by its authors"
_DIGESTS = {  # of the raw files as published; see `gnnkit.datasets._files.digest`
    "minesweeper": "10faf0abdd00c4ece8136c174b88e85eb9f04b0ba4f5f510f87ec41b47a0fd60",
    "tolokers": "8d01a9375ea9e78735b60ff6560a6ab6db2d905569faba037bb0114d6eb3a339",
    "cornell": "06b2fc4efe0d872350bf47a4117c512b3c4c3f305d80cf3c6b40efaf315fed52",
    "texas": "c7c5d59e751f8058a25eef02528110922827bf0a54fe1c5762bfedfdd0e84e8d",
    "wisconsin": "eb2976d8350c5b9bbf1471161613529386f2687b5b1f50188a242d8293c8a51d",
    "actor": "0ed7dce6c72396e38dfe6d15583df3db3ca587205c84579407828b8f7d8ba380",
}


@dataclass(frozen=True)
class _Home:
    """How PyG knows a set.

    Attributes:
        cls: Name of its class in ``torch_geometric.datasets``.
        root: Its root, below the data root.
        arguments: What the class is called with beside its root.
        addresses: Below the class's ``url``, where each raw file is.
        digest: Of the raw files as published, where that is known.
    """

    cls: str
    root: str
    arguments: dict[str, str]
    addresses: tuple[str, ...]
    digest: str | None = None


def _shchur_split(data: Any, seed: int) -> Split:
    return per_class(data.y, train_per_class=20, valid_per_class=30, seed=seed)


def _fixed_split(data: Any, seed: int) -> Split:
    return from_masks(data, column=seed % 10)


def _card(
    name: str,
    title: str,
    sizes: tuple[int, int, int, int],
    splits: str,
    split: Callable[[Any, int], Split],
    source: str,
    licence: str,
    folder: str,
    metric: str = "accuracy",
) -> Card:
    nodes, edges, features, classes = sizes
    return Card(
        name=name,
        title=title,
        task="node_classification",
        metric=metric,
        num_nodes=nodes,
        num_edges=edges,
        num_features=features,
        num_classes=classes,
        splits=splits,
        split=split,
        source=source,
        licence=licence,
        folder=folder,
    )


def _shchur(name: str, title: str, sizes: tuple[int, int, int, int], folder: str) -> Card:
    amazon = folder.startswith("Amazon")
    made = "McAuley et al. 2015 (Amazon co-purchases)" if amazon else "Microsoft Academic Graph, KDD Cup 2016"
    return _card(
        name,
        title,
        sizes,
        _SHCHUR,
        _shchur_split,
        source=f"{made}; files: Shchur et al. 2018",
        licence="none stated for the data; the repository of the files is under the MIT licence",
        folder=folder,
    )


def _platonov(name: str, title: str, sizes: tuple[int, int, int, int], made: str, binary: bool = False) -> Card:
    return _card(
        name,
        title,
        sizes,
        _PLATONOV,
        _fixed_split,
        source=f"{made}; Platonov et al. 2023",
        licence="none stated for the data; the repository of the files is under the MIT licence",
        folder=f"HeterophilousGraphDataset/{name.replace('-', '_')}/raw",
        metric="roc_auc" if binary else "accuracy",
    )


def _pei(name: str, title: str, sizes: tuple[int, int, int, int], made: str, folder: str) -> Card:
    return _card(
        name, title, sizes, _PEI, _fixed_split, f"{made}; files and splits: Pei et al. 2020", _NO_LICENCE, folder
    )


_WEBKB = "web pages and their links, as directed edges (CMU WebKB project)"
_ALL = (
    _shchur("computers", "Amazon Computers", (13752, 491722, 767, 10), "Amazon/Computers/raw"),
    _shchur("photo", "Amazon Photo", (7650, 238162, 745, 8), "Amazon/Photo/raw"),
    _shchur("cs", "Coauthor CS", (18333, 163788, 6805, 15), "Coauthor/CS/raw"),
    _shchur("physics", "Coauthor Physics", (34493, 495924, 8415, 5), "Coauthor/Physics/raw"),
    _platonov("roman-empire", "Roman-empire", (22662, 65854, 300, 18), "word dependencies of a Wikipedia article"),
    _platonov("amazon-ratings", "Amazon-ratings", (24492, 186100, 300, 5), "co-purchases with ratings, SNAP"),
    _platonov("minesweeper", "Minesweeper", (10000, 78804, 7, 2), "synthetic, after the game", binary=True),
    _platonov("tolokers", "Tolokers", (11758, 1038000, 10, 2), "workers of the platform Toloka", binary=True),
    _platonov("questions", "Questions", (48921, 307080, 301, 2), "users of the site Yandex Q", binary=True),
    _pei("cornell", "Cornell", (183, 298, 1703, 5), _WEBKB, "WebKB/cornell/raw"),
    _pei("texas", "Texas", (183, 325, 1703, 5), _WEBKB, "WebKB/texas/raw"),
    _pei("wisconsin", "Wisconsin", (251, 515, 1703, 5), _WEBKB, "WebKB/wisconsin/raw"),
    _pei("actor", "Actor", (7600, 30019, 932, 5), "actors on pages of Wikipedia (Tang et al. 2009)", "Actor/raw"),
)
CARDS = {card.name: card for card in _ALL}


def _pei_addresses(name: str) -> tuple[str, ...]:
    files = ("out1_node_feature_label.txt", "out1_graph_edges.txt")
    splits = (f"splits/{name}_split_0.6_0.2_{number}.npz" for number in range(10))
    return *(f"new_data/{name}/{file}" for file in files), *splits


def _home(name: str) -> _Home:
    card = CARDS[name]
    family = str(card.folder).split("/")[0]
    if family in ("Amazon", "Coauthor"):
        title = card.title.split()[1]
        stem = f"amazon_electronics_{name}" if family == "Amazon" else f"ms_academic_{name[:3]}"
        return _Home(family, family, {"name": title}, (f"{stem}.npz",))
    if family == "HeterophilousGraphDataset":
        file = name.replace("-", "_")
        return _Home(family, family, {"name": card.title}, (f"{file}.npz",), _DIGESTS.get(name))
    if family == "WebKB":
        return _Home(family, family, {"name": card.title}, _pei_addresses(name), _DIGESTS[name])
    return _Home("Actor", "Actor", {}, _pei_addresses("film"), _DIGESTS[name])


def load(name: str, root: Path) -> Any:
    """Load one of them from ``root``, downloading the files when they are missing."""
    import torch_geometric.datasets as pyg

    home = _home(name)
    cls = getattr(pyg, home.cls)
    sources = {address.rpartition("/")[2]: f"{cls.url.rstrip('/')}/{address}" for address in home.addresses}
    digest = _files.obtain(name, root, str(CARDS[name].folder), sources, home.digest)
    dataset = _files.processed(cls, name, digest, root=str(root / home.root), **home.arguments)
    data = dataset[0]
    data.raw_digest = digest
    return data
